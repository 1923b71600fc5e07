"""A frozen head within its time: rows that it can be fitted on, of every class, and labels as far as they get."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from autosft.arrays import from_matrix, to_matrix, to_numbers
from autosft.errors import TrialFailed
from autosft.prepare import Question, check, understand
from autosft.task import Input, Output
from autosft.testing.tiny_models import tiny_base_model
from autosft.trainers import features, frozen_head, linear_head
from autosft.trainers.base import FittedModel, Limits, TrainingData
from autosft.trainers.features import FeatureCache
from autosft.trainers.frozen_head import FrozenHead
from autosft.trainers.linear_head import Fitted, LinearHead, each_label_first, head_rows, head_seconds

SECONDS_A_ROW = 0.01
#: Of the features of the tiny model.
SIZE = 16
HEAD = LinearHead(1.0, "none", 0)


def many_labels() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Returns features of 200 rows and which of 8 labels each has, from a few rows to more than half of them."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 6)).astype(np.float32)
    leaning = values @ rng.normal(size=(6, 8)) + rng.normal(size=(200, 8))
    return values, leaning > [np.quantile(leaning[:, at], 0.95 - 0.07 * at) for at in range(8)]


def fitted(limits: Limits, deadline: float | None = None) -> Fitted:
    values, targets = many_labels()
    return HEAD.fit(
        Output.LABELS, values, from_matrix(targets), num_labels=targets.shape[1], limits=limits, deadline=deadline
    )


@pytest.fixture
def slow_features(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.int64]]:
    """Makes rows slow to read; returns what will hold those that were read."""
    forward, seen = FeatureCache._forward, list[NDArray[np.int64]]()

    def slow(self: FeatureCache, rows: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        time.sleep(SECONDS_A_ROW * len(rows))
        seen.append(rows)
        return forward(self, rows, batch_size)

    monkeypatch.setattr(FeatureCache, "_forward", slow)
    monkeypatch.setattr(features, "_BLOCK_SECONDS", 0.2)
    return seen


def slow_fit(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    logistic = linear_head._logistic

    def slow(*arguments: object) -> object:
        then()
        return logistic(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(linear_head, "_logistic", slow)


def test_labels_that_there_is_no_time_for_are_answered_with_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(1, tmp_path)
    ample = fitted(limits, time.monotonic() + 600)
    whole = fitted(limits)
    np.testing.assert_array_equal(ample.weights, whole.weights)
    np.testing.assert_array_equal(ample.bias, whole.bias)
    assert whole.share == ample.share == 1
    slow_fit(monkeypatch, lambda: time.sleep(0.2))
    monkeypatch.setattr(linear_head, "_PACE_SHARE", 1.0)
    short = fitted(limits, time.monotonic() + 0.5)
    _, targets = many_labels()
    was_fitted = (short.weights != 0).any(axis=1)
    assert 1 <= was_fitted.sum() <= 4 and short.share == was_fitted.mean()
    assert targets[:, was_fitted].sum(axis=0).min() >= targets[:, ~was_fitted].sum(axis=0).max(), "the frequent ones"
    np.testing.assert_array_equal(short.weights[was_fitted], whole.weights[was_fitted])
    share = targets[:, ~was_fitted].mean(axis=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-short.bias[~was_fitted])), share, rtol=1e-5)


def test_labels_see_fewer_rows_where_their_pace_is_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logistic, numbers = linear_head._logistic, list[int]()

    def slow(values: NDArray[np.float32], *others: object) -> object:
        numbers.append(len(values))
        time.sleep(0.002 * len(values))
        return logistic(values, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(linear_head, "_logistic", slow)
    started = time.monotonic()
    found = fitted(Limits(1, tmp_path), started + 1.6)
    assert time.monotonic() - started < 2.4, "all rows take 3.2 seconds"
    assert numbers[0] == 200 and 20 < numbers[-1] < 120 and len(numbers) >= 7
    assert 0.3 < found.share < 0.8


def test_a_stop_is_noticed_between_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(1, tmp_path, stop_file=tmp_path / "stop")
    num_fits = []

    def stopped() -> None:
        num_fits.append(1)
        (tmp_path / "stop").touch()

    slow_fit(monkeypatch, stopped)
    with pytest.raises(TrialFailed, match="stopped"):
        fitted(limits)
    assert len(num_fits) == 1


def test_the_rows_of_a_time_are_those_that_take_it() -> None:
    for num_rows in (0, 1000, 50_000):
        assert abs(head_rows(head_seconds(num_rows, 384, 500), 384, 500) - num_rows) <= 1
    assert head_rows(0.0, 384, 500) == 0


def test_every_label_comes_first_once() -> None:
    targets = np.random.default_rng(0).integers(0, 30, 500)
    order = each_label_first(targets, 1)
    assert sorted(order) == list(range(500))
    assert sorted(targets[order[:30]]) == list(range(30)), "though in no order of labels"
    assert list(targets[order[:30]]) != list(range(30))


def trained(
    folder: Path, model: Path, rows: list[dict[str, object]], *, seconds: float | None
) -> tuple[FittedModel, NDArray[np.float64], TrainingData]:
    """Trains on the rows, which validate too; returns the model, its report and what it saw."""
    asked = Question("Route each message", rows, target="label")
    prepared = check(asked, *understand(asked))
    found = prepared.data.training(None)[0]
    output = Output.LABELS if isinstance(rows[0]["label"], list) else Output.LABEL
    everything = np.arange(len(found))
    data = TrainingData(Input.TEXT, output, found, everything, everything[:20], "rows")
    outputs: list[pa.Array] = []
    trainer = FrozenHead(tiny_base_model(model), model)
    fitted = trainer.fit(
        trainer.Config(), prepared.task, data, fidelity=1.0, seed=0, folder=folder,
        report=lambda fidelity, found: outputs.append(found),
        limits=Limits(1, folder / "cache", time_limit_seconds=seconds),
    )  # fmt: skip
    return fitted, to_matrix(outputs[-1]), data


def test_every_class_is_among_the_rows_that_there_is_time_for(
    tmp_path: Path, tiny_model: Path, slow_features: list[NDArray[np.int64]]
) -> None:
    # A fifth of the rows is of the first class, so that a plain sample of less than half lacks some of the others.
    classes = [0] * 100 + [label for label in range(1, 101) for _ in range(4)]
    rows = [{"text": f"message {at} about {label}", "label": f"class {label}"} for at, label in enumerate(classes)]
    model, _, data = trained(tmp_path, tiny_model, rows, seconds=3.0)
    assert 0.25 < model.share_trained < 0.6
    targets = to_numbers(data.all.targets())
    assert len(set(targets[np.concatenate(slow_features)])) == len(set(targets))


@pytest.mark.parametrize(("seconds", "is_short"), [(2.0, True), (60.0, False), (None, False)])
def test_a_head_that_takes_longer_than_its_time_is_fitted_on_fewer_rows(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, seconds: float | None, is_short: bool
) -> None:
    rows = [{"text": f"message {at} about {at % 7}", "label": f"topic {at % 7}"} for at in range(400)]
    trained(tmp_path, tiny_model, rows, seconds=None)  # So that the features are there, as in all trials but the first.
    monkeypatch.setattr(linear_head, "_SECONDS_EACH", 4.0 / 400 / SIZE / 7)
    numbers: list[int] = []
    fit = LinearHead.fit

    def noted(
        self: LinearHead, output: Output, features: NDArray[np.float32], *args: object, **named: object
    ) -> Fitted:
        numbers.append(len(features))
        return fit(self, output, features, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(frozen_head.LinearHead, "fit", noted)
    model, _, data = trained(tmp_path, tiny_model, rows, seconds=seconds)
    assert model.share_trained == numbers[0] / len(data.train)
    assert (0.1 < model.share_trained < 0.6) == is_short and (model.share_trained == 1) != is_short


def test_features_leave_the_head_its_time(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, slow_features: list[NDArray[np.int64]]
) -> None:
    compute, ended = FeatureCache.compute, list[float]()

    def timed(self: FeatureCache, *args: object, **named: object) -> NDArray[np.int64]:
        found = compute(self, *args, **named)  # type: ignore[arg-type]
        ended.append(time.monotonic())
        return found

    monkeypatch.setattr(FeatureCache, "compute", timed)
    # As long for a row as its features take, so that each is to have half of the time.
    monkeypatch.setattr(linear_head, "_SECONDS_EACH", SECONDS_A_ROW / SIZE / 3)
    rows = [{"text": f"message {at} about {at % 3}", "label": f"topic {at % 3}"} for at in range(1500)]
    started = time.monotonic()
    model, _, _ = trained(tmp_path, tiny_model, rows, seconds=6.0)
    assert ended[1] - started < 4.5, "and not 4.8 seconds"
    assert 0.1 < model.share_trained < 0.3
