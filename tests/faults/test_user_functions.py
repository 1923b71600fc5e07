"""Functions and trainers of the user's own that raise, exit, print, run out of memory or give nonsense."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prepared import PLUGIN, Head
from shell import Shell

import autosft
from autosft import time_limit
from autosft.arrays import from_matrix
from autosft.budget import Budget
from autosft.errors import FunctionTimeout, MetricError, PlanError, SearchFailed, TaskError
from autosft.intervals import bootstrap
from autosft.planning.plan import Plan
from autosft.search.trial import TrialLog
from autosft.task import Metric
from autosft.tasks import kind
from autosft.tasks.generated_text import answers
from autosft.testing.tiny_data import tiny_task
from autosft.tracking.base import Tracker

pytestmark = pytest.mark.faults


def raises(targets: Sequence[str], predictions: Sequence[str]) -> float:
    raise KeyError("no such label")


def exits(targets: Sequence[str], predictions: Sequence[str]) -> float:
    sys.exit(0)


def of_two_classes(targets: Sequence[str], predictions: Sequence[str]) -> float:
    if len(set(targets)) < 2:
        raise ValueError("only one class")
    return float(np.mean([one == other for one, other in zip(targets, predictions, strict=True)]))


def never_defined(targets: Sequence[str], predictions: Sequence[str]) -> float:
    return math.nan


def giving(value: Any) -> Callable[..., Any]:
    return lambda targets, predictions: value


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (raises, "raised KeyError: 'no such label'"),
        (exits, "raised SystemExit"),
        (giving(None), r"gave None \(NoneType\)"),
        (giving("0.5"), r"gave '0.5' \(str\)"),
        (giving(np.ones(3)), r"gave array.*\(ndarray\)"),
        (giving({"f1": 0.5}), r"gave .*\(dict\)"),
    ],
)
def test_a_metric_that_gives_no_number_is_named_with_what_it_gave(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(MetricError, match=rf"the metric mine\(targets, predictions\) {said}[^$]*To fix") as raised:
        Metric("mine", function=function).value(["a"], ["b"])
    assert "Expected: one number" in str(raised.value)


@pytest.mark.parametrize("value", [0.5, 1, True, np.float32(0.5), np.array(0.5), math.nan, -math.inf])
def test_every_kind_of_number_is_one(value: Any) -> None:
    found = Metric("mine", function=giving(value)).value([], [])
    assert isinstance(found, float) and (found == value or math.isnan(found))


def test_a_metric_that_refuses_some_resamples_still_has_an_interval() -> None:
    task = replace(tiny_task(), metric=Metric("of_two_classes", function=of_two_classes))
    targets = pa.array([0, 0, 0, 1])
    outputs = from_matrix(np.eye(3, dtype=np.float32)[[0, 0, 1, 1]])
    interval = bootstrap(kind(task.kind), task, targets, outputs, seed=0)
    assert interval.low < 0.75 < interval.high


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda text: text.split("####")[1], "raised IndexError: list index out of range"),
        (lambda text: sys.exit(0), "raised SystemExit: 0"),
        (lambda text: 42, r"gave 42 \(int\)"),
    ],
)
def test_an_answer_function_that_fails_is_named_with_the_text(read: Callable[[str], Any], said: str) -> None:
    task = replace(tiny_task(), answer=read)
    with pytest.raises(TaskError, match=rf"answer=.*{said} \(text: 'no mark'\)[^$]*To fix"):
        answers(task, ["no mark"])


def space_that_raises(trial: Any) -> dict[str, Any]:
    raise RuntimeError("no space today")


def space_that_exits(trial: Any) -> dict[str, Any]:
    sys.exit(0)


@pytest.mark.parametrize(("space", "said"), [(space_that_raises, "no space today"), (space_that_exits, "SystemExit")])
def test_a_space_that_fails_is_named_before_anything_is_spent(
    shell: Shell, space: Callable[[Any], dict[str, Any]], said: str
) -> None:
    with pytest.raises(PlanError, match=rf"search space .*{space.__name__} raised .*{said}[^$]*To fix"):
        autosft.plan(
            "sort messages by topic", str(shell.data), models=str(shell.model), trainer="frozen_head", space=space,
            timing=False, tracker=Tracker(),
        )  # fmt: skip


def with_metric(plan: Plan, function: Callable[..., Any]) -> Plan:
    return replace(plan, task=replace(plan.task, metric=Metric(function.__name__, function=function)))


@pytest.mark.parametrize(
    ("function", "said"),
    [(raises, "no such label"), (never_defined, "gave no finite number for any of 4 complete trials")],
)
def test_a_metric_of_no_use_ends_the_search_with_words(
    quick: Plan, head: Head, tmp_path: Path, function: Callable[..., Any], said: str
) -> None:
    with pytest.raises(MetricError, match=rf"{said}[^$]*To fix"):
        autosft.fit(with_metric(quick, function), folder=tmp_path / "run", tracker=Tracker())
    assert not (tmp_path / "run" / "result.json").exists()


def hangs(targets: Sequence[str], predictions: Sequence[str]) -> float:
    time_limit.LIMIT_SECONDS = 2.0  # In the worker, whose own it is.
    time.sleep(3600)
    return 0.0


def hangs_until_time_is_over(targets: Sequence[str], predictions: Sequence[str]) -> float:
    while True:
        pass


def hangs_in_the_driver(targets: Sequence[str], predictions: Sequence[str]) -> float:
    while threading.current_thread() is threading.main_thread() and "AUTOSFT_TEST_MENDED" not in os.environ:
        time.sleep(1)
    return float(np.mean([one == other for one, other in zip(targets, predictions, strict=True)]))


def test_a_metric_that_hangs_in_a_worker_ends_the_search_with_its_name(quick: Plan, head: Head, tmp_path: Path) -> None:
    with pytest.raises(FunctionTimeout, match=r"the metric hangs\(targets, predictions\) gave no answer[^$]*To fix"):
        autosft.fit(with_metric(quick, hangs), folder=tmp_path / "run", tracker=Tracker())


def test_a_metric_that_hangs_until_the_budget_is_over_is_named(quick: Plan, head: Head, tmp_path: Path) -> None:
    plan = replace(with_metric(quick, hangs_until_time_is_over), budget=Budget(20.0, 2, refit=False))
    said = r"its time was over: the metric hangs_until_time_is_over\(targets, predictions\) gave no answer"
    with pytest.raises(SearchFailed, match=said):
        autosft.fit(plan, folder=tmp_path / "run", tracker=Tracker())


# The time limit of a test in the main thread is an alarm itself, which stays as it is.
@pytest.mark.timeout(300, method="thread")
def test_a_metric_that_hangs_in_the_driver_ends_the_run_and_no_trial_is_lost(
    quick: Plan, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "LIMIT_SECONDS", 2.0)
    with pytest.raises(FunctionTimeout, match=r"the metric hangs_in_the_driver\(.*gave no answer[^$]*autosft resume"):
        autosft.fit(with_metric(quick, hangs_in_the_driver), folder=tmp_path / "run", tracker=Tracker())
    before = TrialLog(tmp_path / "run" / "trials.jsonl").trials()
    assert [trial.fate for trial in before] == ["complete"] * 4
    monkeypatch.setenv("AUTOSFT_TEST_MENDED", "1")
    result = autosft.resume(tmp_path / "run", tracker=Tracker())
    assert list(result.trials) == before


def misbehaving(plan: Plan, orders: Sequence[str], budget: Budget) -> Plan:
    """Returns the same plan for the trainer of the package in `plugin/`, whose trainings are given these orders."""
    for at, order in enumerate(orders):
        (Path(os.environ["MISBEHAVING_ORDERS"]) / f"{at:02d}").write_text(order)
    arm = replace(plan.arms[0], trainer="misbehaving", name="misbehaving/tiny")
    return replace(plan, arms=(arm,), budget=budget)


ORDERS = ("", "raise", "sys.exit", "os._exit", "nan", "words", "MemoryError", "torch", "OutOfMemoryError", "print", "")


def test_a_trainer_that_does_everything_wrong_costs_its_trials_and_nothing_else(
    quick: Plan, head: Head, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = misbehaving(quick, ORDERS, Budget(None, len(ORDERS), refit=False))
    result = autosft.fit(plan, folder=tmp_path / "run", tracker=Tracker())
    said = {order: trial.message for order, trial in zip(ORDERS, result.trials, strict=True) if trial.fate == "failed"}
    assert set(said) == set(ORDERS) - {"", "print"}
    assert "somebody else's" in said["raise"] and "SystemExit(3)" in said["sys.exit"]
    assert "its worker died" in said["os._exit"] and "AttributeError" in said["words"]
    assert "became NaN" in said["nan"]
    for order in ("MemoryError", "torch", "OutOfMemoryError"):
        assert said[order].startswith("it ran out of memory ("), said[order]
    assert math.isfinite(result.best.score or math.nan)
    assert math.isfinite(result.summary["test"]["score"])
    assert "of too many" not in "".join(capfd.readouterr())


def test_a_trainer_that_hangs_is_ended_when_its_time_is_over(quick: Plan, head: Head, tmp_path: Path) -> None:
    plan = misbehaving(quick, ("", "hang"), Budget(45.0, 2, refit=False))
    result = autosft.fit(plan, folder=tmp_path / "run", tracker=Tracker())
    assert [trial.fate for trial in result.trials] == ["complete", "failed"]
    assert "so its worker was ended" in result.trials[1].message


def test_where_no_training_succeeds_the_search_ends_with_words(quick: Plan, head: Head, tmp_path: Path) -> None:
    plan = misbehaving(quick, ("OutOfMemoryError",) * 2, Budget(None, 2, refit=False))
    with pytest.raises(SearchFailed, match=r"none of 2 trials produced a model \(it ran out of memory[^$]*To fix"):
        autosft.fit(plan, folder=tmp_path / "run", tracker=Tracker())


def test_the_package_is_found_by_its_entry_point() -> None:
    assert str(PLUGIN) in sys.path
    from autosft.trainers import trainer_names

    assert "misbehaving" in trainer_names()
