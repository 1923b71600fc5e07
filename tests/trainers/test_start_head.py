"""The head that a fine-tuning starts from: as unsure of its own rows as it is of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from autosft.arrays import from_matrix, sigmoid, softmax
from autosft.task import Output
from autosft.trainers.base import Limits
from autosft.trainers.linear_head import Fitted, LinearHead
from autosft.trainers.start_head import fit_start_head

LIMITS = Limits(1, Path())
OUTPUTS = [Output.LABEL, Output.LABELS, Output.NUMBER]
WIDTH = 3


def rows(
    output: Output, num_rows: int, *, noise: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    """Returns features and targets that they say something about, the less the more noise there is."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_rows, 40)).astype(np.float32) / 40**0.5
    directions = np.random.default_rng(99).normal(size=(40, WIDTH))
    leaning = values @ directions + noise * rng.normal(size=(num_rows, WIDTH))
    targets = {
        Output.LABEL: lambda: leaning.argmax(axis=1),
        Output.LABELS: lambda: leaning > 0.5,
        Output.NUMBER: lambda: 40 + 5 * leaning[:, 0],
    }
    return values, targets[output]()


def arrow(targets: NDArray[np.generic]) -> pa.Array:
    return from_matrix(targets) if targets.ndim == 2 else pa.array(targets)


def start(output: Output, values: NDArray[np.float32], targets: NDArray[np.generic], C: float = 10.0) -> Fitted:
    return fit_start_head(LinearHead(C, "none", 0), output, values, arrow(targets), num_labels=WIDTH, limits=LIMITS)


def loss(output: Output, head: Fitted, values: NDArray[np.float32], targets: NDArray[np.generic]) -> float:
    logits = values @ head.weights.T + head.bias
    if output is Output.NUMBER:
        return float(np.mean((logits[:, 0] - (targets - 40) / targets.std()) ** 2))
    if output is Output.LABELS:
        return float(-np.log(np.where(targets, sigmoid(logits), 1 - sigmoid(logits))).mean())
    return float(-np.log(softmax(logits)[np.arange(len(targets)), targets.astype(int)]).mean())


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_start_head_is_as_unsure_of_its_own_rows_as_a_fitted_one_is_of_others(output: Output) -> None:
    values, targets = rows(output, 300, noise=0.6)
    fitted = LinearHead(10.0, "none", 0).fit(output, values, arrow(targets), num_labels=WIDTH, limits=LIMITS)
    if output is Output.NUMBER:
        scale = np.float32(targets.std())
        fitted = fitted._replace(weights=fitted.weights / scale, bias=(fitted.bias - np.float32(40)) / scale)
    others = rows(output, 3000, noise=0.6, seed=1)
    head = start(output, values, targets)
    elsewhere = loss(output, fitted, *others)
    assert loss(output, fitted, values, targets) < 0.8 * elsewhere
    assert loss(output, head, values, targets) == pytest.approx(elsewhere, rel=0.2)
    shares = head.weights / fitted.weights
    np.testing.assert_allclose(shares, np.full_like(shares, shares[0, 0]), rtol=1e-3)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_head_that_holds_elsewhere_stays_as_it_is(output: Output) -> None:
    values, targets = rows(output, 4000, noise=0.3)
    fitted = LinearHead(1.0, "none", 0).fit(output, values, arrow(targets), num_labels=WIDTH, limits=LIMITS)
    weights = fitted.weights / np.float32(targets.std() if output is Output.NUMBER else 1.0)
    np.testing.assert_allclose(start(output, values, targets, C=1.0).weights, weights, rtol=0.2)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_head_that_knows_nothing_of_other_rows_keeps_a_direction(output: Output) -> None:
    values, targets = rows(output, 60, noise=100.0)
    head = start(output, values, targets)
    assert np.abs(head.weights).max() > 0
    known = LinearHead(10.0, "none", 0).fit(output, values, arrow(targets), num_labels=WIDTH, limits=LIMITS)
    scale = targets.std() if output is Output.NUMBER else 1.0
    np.testing.assert_allclose(head.weights * np.float32(scale), known.weights * np.float32(0.1), rtol=0.05)


def test_classes_of_one_row_are_no_obstacle() -> None:
    values, _ = rows(Output.LABEL, 3, noise=0.0)
    head = start(Output.LABEL, values, np.arange(3))
    assert (values @ head.weights.T + head.bias).argmax(axis=1).tolist() == [0, 1, 2]
    assert np.isfinite(head.bias).all()


def test_a_class_without_rows_is_never_the_answer() -> None:
    values, targets = rows(Output.LABEL, 60, noise=0.3)
    kept = targets != 1
    head = start(Output.LABEL, values[kept], targets[kept])
    assert softmax(values @ head.weights.T + head.bias)[:, 1].max() < 1e-6


def test_without_the_time_to_hold_rows_out_a_head_stays_as_it_was_fitted() -> None:
    values, targets = rows(Output.LABEL, 90, noise=0.6)
    head = LinearHead(10.0, "none", 0)
    found = [
        fit_start_head(
            head,
            Output.LABEL,
            values,
            arrow(targets),
            num_labels=WIDTH,
            limits=Limits(1, Path(), time_limit_seconds=time),
        )
        for time in (1.0, 5.0, 1000.0)
    ]
    fitted = head.fit(Output.LABEL, values, arrow(targets), num_labels=WIDTH, limits=LIMITS)
    np.testing.assert_array_equal(found[0].weights, fitted.weights)
    assert np.abs(found[1].weights).sum() < 0.95 * np.abs(fitted.weights).sum()
    np.testing.assert_allclose(found[2].weights, found[1].weights, rtol=0.5)


def test_trials_on_the_same_rows_fit_their_head_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values, targets = rows(Output.LABEL, 90, noise=0.6, seed=7)
    first = start(Output.LABEL, values, targets)
    monkeypatch.setattr(LinearHead, "fit", lambda *arguments, **named: pytest.fail("it was fitted again"))
    again = fit_start_head(
        LinearHead(10.0, "none", 5), Output.LABEL, values, arrow(targets), num_labels=WIDTH, limits=LIMITS
    )
    np.testing.assert_array_equal(again.weights, first.weights)
