"""What cannot be done is left out with its reason, as long as something else can: an arm, the refit, an extra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autosft
from autosft import api
from autosft.budget import Budget, Clock
from autosft.errors import BaseModelError, SearchFailed
from autosft.interrupt import Interrupt
from autosft.planning.options import Options
from autosft.planning.plan import Plan
from autosft.planning.timing import time_arms, time_latecomers
from autosft.prepare import Question, check, understand
from autosft.refit import Refit, refit
from autosft.search import job, work
from autosft.search.job import Ended, Job, execute
from autosft.search.settings import Machine
from autosft.search.trial import Trial
from autosft.search.workbench import Workbench
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_images import write_tiny_images
from autosft.testing.tiny_models import write_tiny_decoder
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost

COST = Cost(1.0, 2.0, 100.0, None, 32, 0.0)


class Answering:
    """A runner whose every job ends as `answer(arguments)` says."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Ended]) -> None:
        self.answer = answer
        self.jobs: list[dict[str, Any]] = []

    def run(self, function: str, arguments: Mapping[str, Any], **job: Any) -> Ended:
        self.jobs.append({**arguments, **job})
        return self.answer(arguments)


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    options = {"models": str(tiny_model), "trainer": ["frozen_head", "transformers"], "budget": "2 trials"}
    return autosft.plan("Route each message", rows, timing=False, tracker=Tracker(), **options)


def timed(plan: Plan, answer: Callable[[Mapping[str, Any]], Ended], clock: Clock | None = None) -> Any:
    runner: Any = Answering(answer)
    prepared: Any = SimpleNamespace(task=plan.task, data=plan.data)
    return time_arms(plan.arms, prepared, runner, plan.resources, clock or Clock())


@pytest.mark.parametrize("fate", ["failed", "fatal"])
def test_an_arm_that_cannot_be_timed_is_left_out(plan: Plan, fate: str) -> None:
    bad, good = plan.arms

    def answer(arguments: Mapping[str, Any]) -> Ended:
        if arguments["trainer"] == bad.trainer:
            return Ended("", fate, message="KeyError('head')\n  its place")
        return Ended("", "complete", COST)

    arms, [reason] = timed(plan, answer)
    assert [(arm.name, arm.cost) for arm in arms] == [(good.name, COST)]
    assert reason == f"{bad.name} is left out: it could not be timed (KeyError('head'))"


def test_what_takes_a_moment_is_timed_first_and_stays_in_its_place(plan: Plan) -> None:
    head, tuning = plan.arms
    asked: list[str] = []

    def answer(arguments: Mapping[str, Any]) -> Ended:
        asked.append(arguments["trainer"])
        return Ended("", "complete", COST)

    arms, _ = timed(replace(plan, arms=(tuning, head)), answer)
    assert asked == ["frozen_head", "transformers"]
    assert [arm.name for arm in arms] == [tuning.name, head.name]


def test_an_arm_is_timed_only_where_it_fits(plan: Plan) -> None:
    runner: Any = Answering(lambda arguments: Ended("", "complete", COST))
    prepared: Any = SimpleNamespace(task=plan.task, data=plan.data)
    time_arms(plan.arms, prepared, runner, plan.resources, Clock())
    weights = plan.arms[0].base_model.num_parameters
    needed = {job["trainer"]: job["memory_bytes"] for job in runner.jobs}
    assert needed == {"frozen_head": 4 * weights, "transformers": 16 * weights}


class SimulatedClock(Clock):
    """Time passes where a test says so, and nowhere else."""

    simulated = 0.0

    @property
    def spent(self) -> float:
        return self.simulated


@pytest.mark.parametrize(
    ("seconds", "run_seconds", "own_seconds", "joins"),
    [
        (1210.0, 100.0, 100.0, True),
        (1190.0, 100.0, 100.0, False),
        (1210.0, 100.0, 110.0, False),
        (290.0, 1.0, 1.0, False),
        (310.0, 1.0, 1.0, True),
        (1210.0, None, 1.0, False),
        (None, 1.0, 1.0, False),
        (1210.0, 100.0, None, False),
    ],
    ids=[
        "six runs of each", "fewer", "fewer of its own", "too short", "short runs", "another arm is untimed",
        "no limit of time", "it fails",
    ],
)  # fmt: skip
def test_another_way_of_training_joins_where_time_is_ample(
    plan: Plan, seconds: float | None, run_seconds: float | None, own_seconds: float | None, joins: bool
) -> None:
    head, tuning = plan.arms
    known = None if run_seconds is None else replace(COST, run_seconds=run_seconds)
    arms = (replace(head, cost=COST), replace(tuning, cost=known))
    late = replace(tuning, name="contrastive", trainer="contrastive")

    def answer(arguments: Mapping[str, Any]) -> Ended:
        if own_seconds is None:
            return Ended("", "failed", message="it fails here")
        return Ended("", "complete", replace(COST, run_seconds=own_seconds))

    runner: Any = Answering(answer)
    prepared: Any = SimpleNamespace(task=plan.task, data=plan.data)
    found, reasons = time_latecomers([late], arms, prepared, runner, plan.resources, SimulatedClock(seconds))
    assert [arm.name for arm in found] == ["contrastive"] * joins
    assert [reason.partition(":")[0] for reason in reasons] == ["contrastive joins in"] * joins


class Timing(Answering):
    """A runner that times every arm, and whose other jobs fail."""

    def __init__(self) -> None:
        super().__init__(lambda arguments: Ended("", "failed", message="not here"))

    def machine(self) -> Machine:
        return Machine(2)

    def run(self, function: str, arguments: Mapping[str, Any], **job: Any) -> Ended:
        return Ended("", "complete", COST) if function.endswith(":measure") else super().run(function, arguments)


@pytest.mark.parametrize(
    ("changed", "joins"),
    [
        ({}, True),
        ({"trainer": ["frozen_head", "transformers"]}, False),
        ({"budget": Budget(seconds=1200, num_trials=20)}, False),
        ({"timing": False}, False),
        ({"space": "search_spaces/transformers"}, False),
    ],
    ids=["time is ample", "others are named", "trials are counted", "nothing is timed", "a space is given"],
)
def test_the_plan_lets_another_way_join_unless_it_was_said_what_races(
    plan: Plan, tmp_path: Path, changed: dict[str, Any], joins: bool
) -> None:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    question = Question("Route each message", rows)
    prepared = check(question, *understand(question))
    model = plan.arms[0].folder
    if "space" in changed:
        shutil.copy(Path(autosft.__file__).parents[1] / changed["space"] / "text-label.yaml", tmp_path / "space.yaml")
        changed = {"space": tmp_path / "space.yaml"}
    options = replace(Options(Budget(seconds=1200), models=[model]), **changed)
    runner: Any = Timing()
    made = api._plan(question, options, prepared, runner, Clock(), Tracker())
    assert any(arm.trainer == "contrastive" for arm in made.arms) == joins
    assert any("joins in" in reason for reason in made.reasons) == joins


@pytest.mark.parametrize(("took", "is_kept"), [(10.0, False), (30.0, True)])
def test_an_arm_that_failed_is_told_from_one_whose_time_was_up(plan: Plan, took: float, is_kept: bool) -> None:
    clock = SimulatedClock(100.0)
    # Of the 25 s for timing 3 are left, and 25 more for loading: a job is ended after 28.
    clock.simulated = 22.0

    def answer(arguments: Mapping[str, Any]) -> Ended:
        clock.simulated += took
        return Ended("", "failed", message="it ran out of memory")

    first, second = plan.arms
    arms, reasons = timed(plan, answer, clock)
    assert [arm.name for arm in arms] == [first.name] * is_kept + [second.name], "there is no time for the second"
    assert [reason.partition(" ")[0] for reason in reasons] == ([] if is_kept else [first.name])


def test_where_no_arm_can_be_timed_the_last_lines_are_shown(plan: Plan) -> None:
    with pytest.raises(SearchFailed, match="its place"):
        timed(plan, lambda arguments: Ended("", "fatal", message="KeyError('head')\n  its place"))


def test_what_the_caller_must_change_stops_the_timing(plan: Plan) -> None:
    with pytest.raises(BaseModelError, match="damaged"):
        timed(plan, lambda arguments: Ended("", "fatal", BaseModelError("the weights are damaged")))


def refitted(plan: Plan, folder: Path, answer: Callable[[Mapping[str, Any]], Ended], *, reached: float = 1.0) -> Refit:
    arm = plan.arms[0]
    winner = Trial(0, arm.name, arm.default, reached, 0, 0, True, "complete", 0.9)
    runner: Any = Answering(answer)
    bench = Workbench(plan, runner, folder / "cache", Interrupt(), {})
    return refit(bench, winner, folder / "refit", seconds_left=None)


def test_a_refit_that_does_not_read_back_alike_is_not_shipped(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "RELOAD_TOLERANCE", -1.0)
    monkeypatch.setattr(job, "_prepare", lambda job: None)
    sent: list[Any] = []

    def here(arguments: Mapping[str, Any]) -> Ended:
        execute(Job("refit", "autosft.search.work:train", arguments), sent.append)
        return sent[-1]

    done = refitted(plan, tmp_path, here)
    assert done.model is None
    assert "gives other predictions" in done.reason and "the model of the search is shipped" in done.reason


def test_a_refit_that_breaks_leaves_the_model_of_the_search(plan: Plan, tmp_path: Path) -> None:
    done = refitted(plan, tmp_path, lambda arguments: Ended("", "fatal", message="KeyError('head')\n  its place"))
    assert done == Refit(None, "the refit failed (KeyError('head')); the model of the search is shipped")


@pytest.mark.parametrize(
    ("reached", "told"),
    [
        (1.0, "retrained on all 60 training and validation rows"),
        (0.7, "retrained on 42 of 60 training and validation rows, for which there was time"),
        (
            0.2,
            "the refit came to 20% of a full run, and the winner's training to 100%; the model of the search is "
            "shipped",
        ),
    ],
)
def test_a_refit_says_what_it_was_trained_on(plan: Plan, tmp_path: Path, reached: float, told: str) -> None:
    value = {"fidelity": reached, "reload_difference": 0.0}
    done = refitted(plan, tmp_path, lambda arguments: Ended("", "complete", value))
    assert done.reason == told
    assert (done.model is None) == (reached < 0.5)


def test_a_refit_is_not_as_short_as_time_made_its_trial(plan: Plan, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def answer(arguments: Mapping[str, Any]) -> Ended:
        asked.update(arguments)
        return Ended("", "complete", {"fidelity": 1.0, "reload_difference": 0.0})

    assert "all" in refitted(plan, tmp_path, answer, reached=0.1).reason
    assert asked["fidelity"] == 1.0 and asked["fold"] is None


_BLOCKED = """
import sys
sys.modules[sys.argv[1]] = None
sys.argv = ["autosft", *sys.argv[2:]]
from autosft.cli import main
main()
"""


@pytest.mark.parametrize(("package", "extra"), [("trl", "llm"), ("peft", "llm"), ("PIL", "image")])
def test_an_extra_that_is_missing_is_named_by_the_plan(tmp_path: Path, package: str, extra: str) -> None:
    if extra == "image":
        data, task = write_tiny_images(tmp_path / "images", 12), "Which class is in the image?"
    else:
        data, task = tmp_path / "train.jsonl", "Write the completion"
        texts, _ = tiny_texts(60)
        rows = [{"prompt": text, "completion": f"this is number {at}"} for at, text in enumerate(texts)]
        data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    models = ["--models", str(write_tiny_decoder(tmp_path / "base"))] if extra == "llm" else []
    ended = subprocess.run(
        [sys.executable, "-c", _BLOCKED, package, "plan", str(data), "--task", task, "--no-timing", *models],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
        env={**os.environ, "AUTOSFT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert f"pip install 'autosft[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr
