"""The proof within its time: folds and passes that hang, are interrupted or cut short, and a metric that is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft import intervals, proof
from autosft.arrays import from_matrix, save_array
from autosft.errors import SearchFailed
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.proof import Candidate, Proof, prove
from autosft.search.job import Ended
from autosft.search.runner import Runner
from autosft.search.trial import OUTPUTS_FILE, Trial
from autosft.search.workbench import Workbench
from autosft.task import Metric, Task
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

NUM_ROWS, NUM_TEST_ROWS = 150, 60

#: The clock that intervals look at where a test asks for it.
CLOCK = SimpleNamespace(now=0.0, monotonic=lambda: CLOCK.now)


def slowly(targets: list[str], predictions: list[str]) -> float:
    """A user's metric that takes its time."""
    CLOCK.now += 0.02
    return float(np.mean([target == found for target, found in zip(targets, predictions, strict=True)]))


def least_precision(targets: list[str], predictions: list[str]) -> float:
    """A user's metric that is not defined where a label is never predicted."""
    pairs = list(zip(targets, predictions, strict=True))
    found = {label: [target == label for target, one in pairs if one == label] for label in ("a", "b")}
    return min(sum(right) / len(right) for right in found.values())


def hang(report: Callable[..., None], **arguments: Any) -> None:
    """A job that hears nothing."""
    time.sleep(600)


def rows(num: int, seed: int = 0) -> list[dict[str, str]]:
    texts, targets = tiny_texts(num, seed=seed)
    return [{"text": text, "label": LABELS[target]} for text, target in zip(texts, targets, strict=True)]


@pytest.fixture(scope="module")
def make_plan(tiny_model: Path) -> Callable[..., Plan]:
    def make(data: list[dict[str, str]] | None = None, **changed: Any) -> Plan:
        asked: dict[str, Any] = {"budget": "60s", "trainer": "frozen_head", "models": str(tiny_model), **changed}
        return autosft.plan("sort messages by topic", data or rows(NUM_ROWS), timing=False, tracker=Tracker(), **asked)

    return make


@pytest.fixture(scope="module")
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan()


class FakeRunner:
    """Ends each job at once, as it is told to, and remembers what it was asked."""

    def __init__(self, plan: Plan, *, fate: str = "complete", share: float = 1.0, at: Callable[[], None] | None = None):
        self.plan, self.fate, self.share, self.at = plan, fate, share, at
        self.jobs: list[dict[str, Any]] = []

    def run(self, function: str, arguments: dict[str, Any], **job: Any) -> Ended:
        asked = {"function": function, **arguments, **job}
        self.jobs.append(asked)
        if self.at is not None:
            self.at()
        if asked["function"].endswith("predict"):
            seen = len(asked["rows"])
            return Ended("", "complete", (np.arange(seen), {name: guess(seen) for name in asked["models"]}))
        if self.fate == "complete":
            asked["scratch"].mkdir(parents=True, exist_ok=True)
            save_array(guess(len(self.plan.data.training(asked["fold"])[1] or ())), asked["scratch"] / OUTPUTS_FILE)
        return Ended("", self.fate, {"fidelity": self.share * asked["fidelity"]}, "it did not end")


def guess(num_rows: int, *, moved: int = 0) -> pa.Array:
    outputs = np.random.default_rng(num_rows).dirichlet(np.ones(len(LABELS)), size=num_rows).astype(np.float32)
    return from_matrix(np.roll(outputs, moved, axis=0))


def proven(
    plan: Plan,
    runner: Any,
    folder: Path,
    *,
    seconds_left: float | None,
    interrupt: Any = None,
    before: Callable[[Path], None] = lambda path: None,
) -> Proof:
    """Proves a winner and a default that took 0.4 and 0.1 seconds."""
    trials = [
        Trial(number, plan.arms[0].name, dict(plan.arms[0].default), 1.0, 0, 0, number == 0, "complete", 0.5,
              seconds={"total": seconds})
        for number, seconds in enumerate([0.1, 0.4])
    ]  # fmt: skip
    validation = plan.data.training(0)[1]
    assert validation is not None
    folders = {trial.number: folder / f"{trial.number:04d}" for trial in trials}
    for number, place in folders.items():
        place.mkdir(parents=True)
        save_array(guess(len(validation), moved=number), place / OUTPUTS_FILE)
    before(folders[0] / OUTPUTS_FILE)
    bench = Workbench(plan, runner, folder / "cache", interrupt or Interrupt(), {plan.arms[0].name: 4})
    default, winner = (Candidate(trial, plan.task, {0: folders[trial.number]}) for trial in trials)
    refitted = folder / "refit" / "model"
    return prove(bench, winner, default, folder / "folds", shipped_model=refitted, seconds_left=seconds_left)


def test_a_winner_that_cannot_be_trained_here_is_proven_on_the_fold_that_it_has(plan: Plan, tmp_path: Path) -> None:
    small = replace(plan.resources, machine=replace(plan.resources.machine, memory_bytes=1))
    runner = FakeRunner(plan)
    found = proven(replace(plan, resources=small), runner, tmp_path, seconds_left=None)
    assert not runner.jobs and found.shipped.num_rows < NUM_ROWS


def test_folds_share_the_time_that_they_may_take_by_what_their_trials_took(plan: Plan, tmp_path: Path) -> None:
    runner, interrupt = FakeRunner(plan), Interrupt()
    found = proven(plan, runner, tmp_path, seconds_left=None, interrupt=interrupt)
    assert found.shipped.num_rows == NUM_ROWS
    others = plan.data.num_folds - 1
    assert len(runner.jobs) == 2 * others > 2
    limits = [job["limits"].time_limit_seconds for job in runner.jobs]
    allowed = 0.15 * 60 * 2
    assert limits[0] == pytest.approx(0.8 * allowed / others, rel=0.1)
    assert limits[-1] > limits[0], "what others leave is used"
    for job in runner.jobs:
        assert job["interrupt"] is interrupt and job["limits"].stop_file == job["stop_file"]
        assert job["limits"].time_limit_seconds < job["kill_after_seconds"] <= allowed + 6
        assert job["scratch"] not in job["stop_file"].parents, "a training empties its folder"
        assert job["limits"].micro_batch_size == 4, "as many rows as fitted before"
        assert (job["cpus"], job["gpus"]) == (plan.resources.cpus_per_trial, plan.resources.gpus_per_trial)
        assert job["memory_bytes"] == 4 * plan.arms[0].base_model.num_parameters


def test_folds_are_left_out_where_the_intervals_need_what_is_left(
    make_plan: Callable[..., Plan], plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "time", CLOCK)
    quick, slow = FakeRunner(plan), FakeRunner(plan)
    assert proven(plan, quick, tmp_path / "quick", seconds_left=8.0).shipped.num_rows == NUM_ROWS
    proven(make_plan(metric=slowly), slow, tmp_path / "slow", seconds_left=8.0)
    assert quick.jobs and not slow.jobs


@pytest.mark.parametrize("how", [{"fate": "failed"}, {"fate": "fatal"}, {"share": 0.5}])
def test_where_a_fold_is_not_whole_in_time_the_one_of_the_search_stands(
    plan: Plan, tmp_path: Path, how: dict[str, Any]
) -> None:
    runner = FakeRunner(plan, **how)
    found = proven(plan, runner, tmp_path, seconds_left=None)
    assert len(runner.jobs) == 1
    assert 0 < found.shipped.num_rows < NUM_ROWS


@pytest.mark.parametrize("lost", ["no file", "half a file", "other rows"])
def test_a_fold_that_left_no_outputs_is_not_counted(plan: Plan, tmp_path: Path, lost: str) -> None:
    runner = FakeRunner(plan)
    run = runner.run

    def lose(*asked: Any, **job: Any) -> Ended:
        ended, path = run(*asked, **job), runner.jobs[-1]["scratch"] / OUTPUTS_FILE
        if len(runner.jobs) == 2:
            spoil(path, lost)
        return ended

    runner.run = lose  # type: ignore[method-assign]
    found = proven(plan, runner, tmp_path, seconds_left=None)
    assert len(runner.jobs) == 2, "the other folds are of no use then"
    assert 0 < found.shipped.num_rows < NUM_ROWS


@pytest.mark.parametrize("lost", ["no file", "half a file"])
def test_outputs_of_the_search_that_are_lost_are_predicted_again(plan: Plan, tmp_path: Path, lost: str) -> None:
    whole = proven(plan, FakeRunner(plan, fate="failed"), tmp_path / "whole", seconds_left=None)
    runner = FakeRunner(plan, fate="failed")
    found = proven(plan, runner, tmp_path / "lost", seconds_left=None, before=lambda path: spoil(path, lost))
    assert [job["function"].rpartition(":")[2] for job in runner.jobs] == ["predict", "train"]
    assert found.default == whole.default


def spoil(path: Path, how: str) -> None:
    if how == "no file":
        path.unlink()
    elif how == "half a file":
        path.write_bytes(path.read_bytes()[:100])
    else:
        save_array(guess(3), path)


def test_a_slow_metric_takes_its_time_from_the_pass(
    make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "time", CLOCK)
    given = {}
    for name, metric in (("quick", "accuracy"), ("slow", slowly)):
        made = make_plan(metric=metric, test=rows(NUM_TEST_ROWS, seed=1))
        runner, before = FakeRunner(made), CLOCK.now
        proven(made, runner, tmp_path / name, seconds_left=30.0)
        [job] = runner.jobs
        given[name] = job["seconds"]
        assert job["seconds"] + CLOCK.now - before < 30.0, "the resamples of all intervals would take 2 minutes"
        assert job["kill_after_seconds"] > job["seconds"] + 300, "loading models knows no clock"
    assert given == {"quick": pytest.approx(26.0), "slow": pytest.approx(26.0 - 9.0)}


class RightOnSome(FakeRunner):
    """The winner is right about all rows, the default about none of the first sixth of them."""

    def run(self, function: str, arguments: dict[str, Any], **job: Any) -> Ended:
        asked = arguments
        targets = asked["rows"].targets().to_numpy(zero_copy_only=False).astype(int)
        wrong = np.arange(len(targets)) < len(targets) // 6
        answers = {name: (targets + (wrong & (name == "default"))) % len(LABELS) for name in asked["models"]}
        found = {name: from_matrix(np.eye(len(LABELS), dtype=np.float32)[at]) for name, at in answers.items()}
        return Ended("", "complete", (np.arange(len(targets)), found))


@pytest.mark.parametrize(("group", "is_proven"), [(None, True), ("sender", False)])
def test_a_gain_on_one_group_alone_is_not_proven(
    make_plan: Callable[..., Plan], tmp_path: Path, group: str | None, is_proven: bool
) -> None:
    """Ten rows of sixty are beyond the noise, one group of six is not."""

    def sent(num: int, seed: int) -> list[dict[str, str]]:
        return [{**row, "sender": f"sender {seed} {at // 10}"} for at, row in enumerate(rows(num, seed))]

    made = make_plan(sent(NUM_ROWS, 0), test=sent(NUM_TEST_ROWS, 1), inputs=["text"], target="label", group=group)
    found = proven(made, RightOnSome(made), tmp_path, seconds_left=None)
    assert found.gain == pytest.approx(1 / 6)
    assert found.is_proven == is_proven
    assert found.default.interval.low < 0.6 or not group, "so is the score of each"


@pytest.mark.parametrize(("seconds_left", "seconds"), [(-1.0, 5.0), (None, None)])
def test_a_pass_has_an_end_where_there_is_a_time_budget(
    make_plan: Callable[..., Plan], tmp_path: Path, seconds_left: float | None, seconds: float | None
) -> None:
    made = make_plan(test=rows(NUM_TEST_ROWS, seed=1))
    runner = FakeRunner(made)
    proven(made, runner, tmp_path, seconds_left=seconds_left)
    [job] = runner.jobs
    assert job["seconds"] == seconds
    assert (job["kill_after_seconds"] is None) == (seconds is None)


class HangingRunner(Runner):
    """A real runner, in which jobs of one function hang."""

    hanging = ""

    def submit(self, function: str, arguments: Any, **job: Any) -> str:
        return super().submit("test_proof:hang" if function.endswith(self.hanging) else function, arguments, **job)


@pytest.mark.faults
@pytest.mark.parametrize("ended_by", ["the user", "the clock"])
@pytest.mark.usefixtures("ray_session")
def test_a_fold_that_hangs_is_ended(plan: Plan, tmp_path: Path, ended_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt = Interrupt()
    if ended_by == "the user":
        threading.Timer(3.0, lambda: setattr(interrupt, "requested", True)).start()
        monkeypatch.setattr(proof, "_FOLDS_SLACK", 100.0)
    else:
        monkeypatch.setattr(proof, "_FOLDS_SLACK", 0.1)
        monkeypatch.setattr(proof, "_FOLD_OVERRUN_SECONDS", 1.0)
    monkeypatch.setattr(HangingRunner, "hanging", ":train")
    with HangingRunner(scratch=tmp_path / "ray") as runner:
        runner.machine()
        started = time.monotonic()
        found = proven(plan, runner, tmp_path, seconds_left=None, interrupt=interrupt)
        assert time.monotonic() - started < 30
    assert 0 < found.shipped.num_rows < NUM_ROWS


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_a_pass_that_hangs_is_ended_and_resume_makes_it_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HangingRunner, "hanging", ":predict")
    monkeypatch.setattr(proof, "_PASS_OVERRUN_SECONDS", -1000.0)
    monkeypatch.setattr(proof, "_SHORTEST_PASS_SECONDS", 1001.0)
    with monkeypatch.context() as patch:
        patch.setattr("autosft.search.runner.Runner", HangingRunner)
        with pytest.raises(SearchFailed, match=r"(?s)did not end within 1 s.*autosft resume"):
            autosft.fit(
                "sort messages by topic", rows(NUM_ROWS), test=rows(NUM_TEST_ROWS, seed=1), models=str(tiny_model),
                trainer="frozen_head", budget=autosft.Budget(seconds=300, num_trials=1, refit=False),
                folder=tmp_path / "run", tracker=Tracker(),
            )  # fmt: skip
    monkeypatch.undo()
    result = autosft.resume(tmp_path / "run", tracker=Tracker())
    assert result.summary["test"]["num_rows"] == NUM_TEST_ROWS
    assert result.summary["num_trials"] == 1


def test_a_metric_that_raises_on_the_same_answer_for_every_row_costs_no_result() -> None:
    task = Task(
        "text-classification", "", ("text",), "label", Metric("own", function=least_precision), labels=("a", "b")
    )
    rows = SimpleNamespace(targets=lambda: pa.array([0, 0, 1]))
    plan: Any = SimpleNamespace(task=task, data=SimpleNamespace(training=lambda fold: (rows, None)))
    assert proof._constant_score(plan, task_kind(task.kind), pa.array([0, 1])) is None
    plan.task = replace(task, metric=Metric("accuracy"))
    assert proof._constant_score(plan, task_kind(task.kind), pa.array([0, 1])) == 0.5
