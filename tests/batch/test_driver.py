"""What the driver makes of processes that end in ways nobody planned."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from autosft.batch.driver import Driver, _Running
from autosft.batch.folder import BatchFolder
from autosft.batch.job import checked
from autosft.batch.live import View
from autosft.search.trial import Trial, TrialLog

SUMMARY = {"format": 1, "metric": "accuracy", "test": {"score": 0.9, "interval": [0.8, 1.0]}}


class Gone:
    """A process that has ended."""

    def __init__(self, return_code: int) -> None:
        self.return_code = return_code


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n")
    row = {"name": "one", "task": "Sort", "data": "rows.csv"}
    jobs = checked([(row, 1)], base=tmp_path, place="the test")
    folder = BatchFolder.open(tmp_path / "batch")
    folder.enter(jobs, budget_seconds=None)
    view = View(["one"], io.StringIO())
    made = Driver(jobs, folder, budget_seconds=600.0, cluster=None, max_jobs=None, tracker=None, view=view)
    made._waiting.clear()
    return made


def end(driver: Driver, return_code: int, **told: Any) -> str:
    """Has job "one" end like this; returns the fate that the log keeps."""
    driver._folder.append("started", spent_seconds=0.0, name="one", seconds=60.0, more_seconds=None)
    process: Any = Gone(return_code)
    running = _Running(process, time.monotonic(), 60.0, **told)
    driver._running["one"] = running
    driver._ended("one", running)
    return driver._folder.past()["one"].fate


def test_a_job_whose_result_is_written_is_finished_whatever_ended_its_process(driver: Driver) -> None:
    (driver._folder.path / "one").mkdir()
    (driver._folder.path / "one" / "result.json").write_text(json.dumps(SUMMARY))
    assert end(driver, 130, fate="interrupted", reason="it was ended before there was a model") == "finished"
    assert driver._waiting == []
    assert driver._next_extension() is None, "it is not asked to go on again"


def test_a_process_that_dies_without_a_word_is_begun_again_a_few_times(driver: Driver) -> None:
    for _ in range(2):
        driver._tries["one"] = driver._tries.get("one", 0) + 1
        assert end(driver, -9) == "died"
        assert driver._waiting == ["one"]
        driver._waiting.clear()
    driver._tries["one"] += 1
    assert end(driver, -9) == "failed"
    assert driver._waiting == []
    assert "signal 9" in driver._folder.past()["one"].reason
    assert "the last of 3 times" in driver._folder.past()["one"].reason


def test_a_lost_ray_is_not_the_jobs_fault_but_an_error_in_words_is(driver: Driver) -> None:
    assert end(driver, 1, fate="failed", reason="Ray ended", error="RunnerLost") == "died"
    assert driver._waiting == ["one"]
    driver._waiting.clear()
    assert end(driver, 1, fate="failed", reason="no label\n  Expected: x.\n  To fix: y.", error="DataError") == "failed"
    assert driver._waiting == []
    assert driver._folder.past()["one"].reason == "no label To fix: y."


def test_a_job_that_hangs_says_that_it_needs_more_time(driver: Driver) -> None:
    fate = end(driver, 130, fate="interrupted", reason="ended", asked_at=time.monotonic())
    assert fate == "interrupted"
    assert "without a model; run the batch again with more time" in driver._folder.past()["one"].reason


@pytest.mark.parametrize(
    ("fate", "spent", "wanted", "missing"),
    [
        ("complete", 20.0, 80.0, None),  # What its plan has left.
        ("complete", 95.0, 30.0, 25.0),  # A killed sitting left too little to be of use.
        ("complete", 130.0, 30.0, 30.0),
        ("failed", 95.0, 1200.0, 1195.0),  # It has nothing to go on from, so it gets its own budget again.
    ],
)
def test_a_begun_job_wants_what_it_has_left_and_enough_to_be_of_use(
    driver: Driver, fate: str, spent: float, wanted: float, missing: float | None
) -> None:
    run = driver._folder.run("one")
    run.path.mkdir()
    run.plan.write_text(json.dumps({"format": 1, "budget": {"seconds": 100.0}}))
    trial = Trial(0, "arm", {}, 1.0, 0, 0, True, fate=fate, score=0.5)
    TrialLog(run.trials).append("ended", trial=trial.to_json(), spent_seconds=spent)
    assert driver._wanted("one") == wanted
    assert driver._missing_seconds("one") == missing
