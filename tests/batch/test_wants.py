"""What jobs want of a batch's time, and who may go on with what others leave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autosft.batch.division import Candidate
from autosft.batch.folder import Past
from autosft.batch.job import Job
from autosft.batch.wants import Begun, begun, candidates, missing_seconds, wanted_seconds
from autosft.budget import Budget
from autosft.run_folder import RunFolder
from autosft.search.trial import Trial, TrialLog

FINISHED = Begun(1200.0, 1200.0, has_training=True, has_result=True, gain=0.5)


@pytest.mark.parametrize(
    ("has_training", "spent", "wanted", "missing"),
    [
        (True, 20.0, 80.0, None),  # What its plan has left.
        (True, 95.0, 30.0, 25.0),  # A killed sitting left too little to be of use.
        (True, 130.0, 30.0, 30.0),
        (False, 95.0, 1200.0, 1195.0),  # It has nothing to go on from, so it gets its own budget again.
    ],
)
def test_a_begun_job_wants_what_it_has_left_and_enough_to_be_of_use(
    has_training: bool, spent: float, wanted: float, missing: float | None
) -> None:
    budget, run = Budget(seconds=1200.0), Begun(100.0, spent, has_training)
    assert wanted_seconds(budget, run) == wanted
    assert missing_seconds(budget, run) == missing


def test_a_job_that_has_not_begun_wants_its_budget_and_lacks_nothing() -> None:
    assert wanted_seconds(Budget(seconds=60.0), None) == 60
    assert missing_seconds(Budget(seconds=60.0), None) is None


def test_a_job_without_a_time_takes_as_long_as_it_takes() -> None:
    budget = Budget(num_trials=3)
    assert wanted_seconds(budget, None) is None
    assert wanted_seconds(budget, Begun(None, 40.0)) is None
    assert missing_seconds(budget, Begun(None, 40.0)) is None


def test_who_asked_for_a_little_is_not_given_more_to_go_on() -> None:
    assert wanted_seconds(Budget(seconds=10.0), Begun(10.0, 9.0, has_training=True)) == 10


def asked(words: str, past: Past, run: Begun | None) -> list[Candidate]:
    job = Job("one", {}, budget=Budget.parse(words))
    return candidates([job], {"one": past}, {"one": run})


def test_a_finished_job_with_a_time_may_go_on() -> None:
    past = Past(given_seconds=600.0, num_extensions=2)
    assert asked("20m", past, FINISHED) == [Candidate("one", 1200.0, 0.5, was_cut=True, num_extensions=2)]
    [whole] = asked("20m", Past(given_seconds=1199.0), FINISHED)
    assert not whole.was_cut
    job = Job("kept", {}, budget=Budget(seconds=60.0))
    assert candidates([job], {}, {"kept": FINISHED}) == [Candidate("kept", 60.0, 0.5)]


@pytest.mark.parametrize("words", ["20m, 3 trials", "20m, 2 gpu-hours", "3 trials", "2 gpu-hours"])
def test_a_job_that_names_trials_or_gpu_hours_has_all_it_asked_for(words: str) -> None:
    assert asked(words, Past(), FINISHED) == []
    assert asked(words, Past(fate="failed", error="SearchFailed"), replace(FINISHED, has_result=False)) == []


def test_of_jobs_without_a_model_those_may_go_on_whose_time_was_too_short_for_one() -> None:
    unfinished = replace(FINISHED, has_training=False, has_result=False, gain=None)
    short = Past(fate="failed", error="SearchFailed")
    assert asked("60s", short, unfinished) == [Candidate("one", 60.0, None, has_model=False)]
    assert asked("60s", short, None) == []
    assert asked("60s", Past(fate="failed", error="DataError"), unfinished) == []


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert begun(run) is None
    run.plan.write_text(json.dumps({"format": 1, "budget": {"seconds": 100.0}}))
    assert begun(run) == Begun(100.0, 0.0)
    log = TrialLog(run.trials)
    for number, score in enumerate([0.5, 0.5, 0.5, 0.5, 0.7]):
        trial = Trial(number, "arm", {}, 1.0, 0, 0, False, fate="complete", score=score, interval=(0.5, 0.9))
        log.append("started", trial=trial.to_json(), spent_seconds=10.0 * number)
        log.append("ended", trial=trial.to_json(), spent_seconds=10.0 * number + 9)
    assert begun(run) == Begun(100.0, 49.0, has_training=True)
    run.result.write_text(json.dumps({"format": 1, "greater_is_better": True}))
    assert begun(run) == Begun(100.0, 49.0, has_training=True, has_result=True, gain=pytest.approx(1.0))
