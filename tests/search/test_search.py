"""What the search makes of trials that end in ways nobody planned, with a runner that only plays their ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autosft
from autosft.budget import Budget, Clock
from autosft.errors import BaseModelError, MetricError, SearchFailed
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.search.job import Delayed, Ended
from autosft.search.policies import policy_for
from autosft.search.search import Search
from autosft.search.trial import Trial, TrialLog
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

BROKEN = "AttributeError('no such layer')\n  File trainer.py, line 7"


class Played:
    """Ends every job at once, as `play(trainer, how many were before it)` says."""

    def __init__(self, play: Callable[[str, int], Ended]) -> None:
        self.play = play
        self.waiting: list[Ended] = []
        self.begun = 0

    def num_at_once(self, cpus: float, gpus: float) -> int | None:
        return None

    def submit(self, function: str, arguments: dict[str, Any], **job: Any) -> str:
        job_id = f"job {self.begun}"
        ended = self.play(arguments["trainer"], self.begun)
        self.begun += 1
        self.waiting.append(Ended(job_id, ended.fate, ended.value, ended.message))
        return job_id

    def wait(self, timeout_seconds: float) -> Ended | None:
        return self.waiting.pop(0)


def complete(score: float = 0.5) -> Ended:
    value = {"score": score, "loss": 1.0, "interval": (0.4, 0.6), "fidelity": 1.0, "micro_batch_size": None}
    return Ended("", "complete", value)


def broken(message: str = BROKEN) -> Ended:
    return Ended("", "fatal", message=message)


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    return autosft.plan(
        "Route each message", rows, models=str(tiny_model), budget="5 trials", max_concurrent=1, timing=False,
        tracker=Tracker(),
    )  # fmt: skip


class Searching:
    """A search with the policy that its plan asks for."""

    def __init__(
        self, plan: Plan, folder: Path, runner: Any, clock: Clock, interrupt: Interrupt, closing: float
    ) -> None:
        earlier = TrialLog(folder / "trials.jsonl").trials()
        self.search = Search(
            plan, runner, folder=folder, cache=folder / "cache", tracker=Tracker(), clock=clock, interrupt=interrupt,
            earlier=earlier,
        )  # fmt: skip
        self.policy = policy_for(plan, journal=folder / "study.log", earlier=earlier, closing_seconds=closing)

    def run(self) -> list[Trial]:
        return self.search.run(self.policy)


def search(
    plan: Plan,
    folder: Path,
    play: Callable[[str, int], Ended] | Played,
    interrupt: Interrupt | None = None,
    *,
    clock: Clock | None = None,
    closing_seconds: float = 0.0,
) -> Searching:
    runner = play if isinstance(play, Played) else Played(play)
    return Searching(plan, folder, runner, clock or Clock(), interrupt or Interrupt(), closing_seconds)


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_a_later_trial_that_breaks_is_a_failed_one_with_its_last_lines_in_the_log(plan: Plan, tmp_path: Path) -> None:
    trials = search(plan, tmp_path, lambda arm, number: broken() if number == 3 else complete()).run()
    assert [trial.fate for trial in trials] == ["complete", "complete", "complete", "failed", "complete"]
    assert trials[3].message == "AttributeError('no such layer')"
    assert [event["message"] for event in events(tmp_path) if event["event"] == "fatal"] == [BROKEN]
    assert TrialLog(tmp_path / "trials.jsonl").trials() == trials


def test_an_arm_that_breaks_leaves_the_search_to_the_others(plan: Plan, tmp_path: Path) -> None:
    first = plan.arms[0].trainer
    trials = search(plan, tmp_path, lambda arm, number: broken() if arm == first else complete()).run()
    assert [trial.fate for trial in trials] == ["failed"] + ["complete"] * 4, "it is not tried again"
    assert TrialLog(tmp_path / "trials.jsonl").trials() == trials


def test_a_metric_that_cannot_score_one_model_leaves_its_arm_in_the_search(plan: Plan, tmp_path: Path) -> None:
    def play(arm: str, number: int) -> Ended:
        return Ended("", "fatal", MetricError("one class only"), "one class only") if number == 1 else complete()

    trials = search(plan, tmp_path, play).run()
    assert [trial.fate for trial in trials] == ["complete", "failed", "complete", "complete", "complete"]
    assert trials[1].arm in {trial.arm for trial in trials[2:]}


def test_where_every_arm_breaks_the_run_stops_and_resume_tries_all_of_them_again(plan: Plan, tmp_path: Path) -> None:
    begun: list[str] = []

    def play(arm: str, number: int) -> Ended:
        begun.append(arm)
        return broken()

    with pytest.raises(SearchFailed, match=r"trainer\.py, line 7"):
        search(plan, tmp_path, play).run()
    assert begun == [arm.trainer for arm in plan.arms]
    trials = search(plan, tmp_path, lambda arm, number: complete()).run()
    assert [trial.is_default for trial in trials] == [True, True, True, False, False]


def test_what_the_caller_must_change_stops_the_run_even_late(plan: Plan, tmp_path: Path) -> None:
    error = BaseModelError("the folder is gone")
    with pytest.raises(BaseModelError, match="gone"):
        search(plan, tmp_path, lambda arm, number: Ended("", "fatal", error) if number == 2 else complete()).run()


def cut_short(interrupt: Interrupt, number: int) -> Callable[[str, int], Ended]:
    def play(arm: str, at: int) -> Ended:
        if at != number:
            return complete()
        interrupt.requested = True
        return Ended("", "failed", message="the search was stopped before this trial ended")

    return play


def test_a_default_that_the_user_cut_off_counts_for_nothing_and_runs_again(plan: Plan, tmp_path: Path) -> None:
    interrupt = Interrupt()
    [done] = search(plan, tmp_path, cut_short(interrupt, 1), interrupt).run()
    assert [event["event"] for event in events(tmp_path)] == ["started", "ended", "started", "interrupted"]
    cut = Trial.from_json(events(tmp_path)[-1]["trial"])
    assert (cut.fate, cut.is_default) == ("interrupted", True)

    trials = search(plan, tmp_path, lambda arm, number: complete()).run()
    assert trials[0] == done and len(trials) == 5
    assert (trials[1].arm, trials[1].config, trials[1].is_default) == (cut.arm, cut.config, True)


def test_a_trial_that_was_told_to_stop_for_its_time_stays_failed(plan: Plan, tmp_path: Path) -> None:
    clock = Clock().limited(600.0)

    class Slow(Played):
        def wait(self, timeout_seconds: float) -> Ended | None:
            if self.waiting[0].fate == "failed" and not (tmp_path / "trials" / "0001.stop").exists():
                clock._started -= 300.0
                return None
            return super().wait(timeout_seconds)

    stopped = Ended("", "failed", message="stopped")
    runner = Slow(lambda arm, number: stopped if number == 1 else complete())
    trials = search(plan.with_budget(Budget(600.0, 2)), tmp_path, runner, clock=clock).run()
    assert [trial.fate for trial in trials] == ["complete", "failed"]


class Growing(Played):
    """Runs as many at once as there is room for, which changes on the way; a job ends when nothing more comes."""

    def __init__(self, room: list[int]) -> None:
        super().__init__(lambda arm, number: complete())
        self.room = room
        self.most: list[int] = []

    def num_at_once(self, cpus: float, gpus: float) -> int | None:
        return self.room[0]

    def wait(self, timeout_seconds: float) -> Ended | None:
        self.most.append(len(self.waiting))
        if len(self.room) > 1:
            self.room.pop(0)
        return self.waiting.pop(0)


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({"follows_nodes": True}, [1, 3, 2, 2, 1]),
        ({}, [1, 1, 1, 1, 1]),
        ({"most_concurrent": 2}, [1, 2, 1, 2, 1]),
    ],
)
def test_nodes_that_come_and_go_change_how_many_run_at_once(
    plan: Plan, tmp_path: Path, given: dict[str, Any], most: list[int]
) -> None:
    runner = Growing([1, 3, 1, 2])
    plan = dataclasses.replace(plan, resources=dataclasses.replace(plan.resources, **given))
    trials = search(plan, tmp_path, runner).run()
    assert [trial.fate for trial in trials] == ["complete"] * 5
    assert runner.most == most


class Losing(Played):
    """The second job's node goes once before it ends."""

    lost = False

    def wait(self, timeout_seconds: float) -> Any:
        if not self.lost and self.waiting[0].job_id == "job 1":
            self.lost = True
            return Delayed("job 1", 30.0, "the node 10.0.0.2 is gone, and what ran on it begins again elsewhere")
        return super().wait(timeout_seconds)


def test_a_trial_that_begins_again_is_in_the_log_and_counts_once(plan: Plan, tmp_path: Path) -> None:
    trials = search(plan, tmp_path, Losing(lambda arm, number: complete())).run()
    assert [trial.fate for trial in trials] == ["complete"] * 5
    again = [event for event in events(tmp_path) if event["event"] == "again"]
    assert [(event["trial"]["number"], "10.0.0.2" in event["message"]) for event in again] == [(1, True)]
    assert TrialLog(tmp_path / "trials.jsonl").trials() == trials
