"""Runners of their own on a real Ray: schedulers, closing, and a Ray that fails.

Apart from `test_runner`, whose runner keeps its idle worker, and that worker's CPUs, until its module ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autosft.errors import SearchFailed
from autosft.search.job import Ended, Report
from autosft.search.runner import Runner

pytestmark = pytest.mark.usefixtures("ray_session")


def process(report: Callable[..., None]) -> int:
    return os.getpid()


def climb(report: Callable[..., None], *, scores: tuple[float, ...]) -> str:
    """Reports at ninths of the run."""
    for at, score in enumerate(scores, start=1):
        report(at / len(scores), score)
    return "reached the end"


def linger(report: Callable[..., None], *, scores: tuple[float, ...], seconds: float) -> None:
    """Takes its time to leave when it is stopped."""
    try:
        climb(report, scores=scores)
    finally:
        time.sleep(seconds)


def rest(report: Callable[..., None], *, seconds: float, marker: str = "") -> None:
    if marker:
        Path(marker).write_text(str(os.getpid()))
    time.sleep(seconds)


def here(function: Callable[..., Any]) -> str:
    return f"test_runner_alone:{function.__name__}"


STEPS = 9
GOOD, POOR = (0.9,) * STEPS, (0.1,) * STEPS


@pytest.mark.parametrize(
    ("scheduler", "greater", "stopped"),
    [
        ("asha", True, True),
        ("median", True, True),
        ("none", True, False),
        ("asha", False, False),  # Where less is better, the low scores are the good ones.
    ],
)
def test_a_poor_trial_is_stopped_by_the_scheduler_asked_for_and_a_default_never(
    tmp_path: Path, scheduler: str, greater: bool, stopped: bool
) -> None:
    with Runner(scratch=tmp_path / "ray", scheduler=scheduler, greater_is_better=greater) as runner:
        for scores in (GOOD, GOOD, GOOD, GOOD, POOR):
            assert runner.run(here(climb), {"scores": scores}, may_be_stopped=False).fate == "complete"
        pid = runner.run(here(process), {}).value
        job = runner.submit(here(climb), {"scores": POOR}, may_be_stopped=True)
        events: list[Report | Ended] = []
        while not events or not isinstance(events[-1], Ended):
            event = runner.wait(60)
            assert event is not None and event.job_id == job
            events.append(event)
        reports = [event.score for event in events if isinstance(event, Report)]
        assert events[-1].fate == ("stopped" if stopped else "complete")
        assert (len(reports) < STEPS) == stopped
        assert runner.run(here(process), {}).value == pid, "stopping a trial must not cost its worker"


def test_a_job_behind_one_that_is_slow_to_leave_is_not_lost(tmp_path: Path) -> None:
    with Runner(scratch=tmp_path / "ray", scheduler="asha") as runner:
        for _ in range(4):
            assert runner.run(here(climb), {"scores": GOOD}, may_be_stopped=False).fate == "complete"
        # Longer than Tune waits for the worker, and than it tells anyone.
        slow = runner.run(here(linger), {"scores": POOR, "seconds": 4.0}, may_be_stopped=True)
        assert slow.fate == "stopped"
        job = runner.submit(here(process), {})
        event = runner.wait(60)
        assert isinstance(event, Ended) and event.job_id == job and event.fate == "complete"


@pytest.mark.faults
def test_closing_while_a_job_runs_takes_seconds_and_leaves_no_worker_behind(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    with Runner(scratch=tmp_path / "ray") as runner:
        runner.submit(here(rest), {"seconds": 600.0, "marker": str(marker)})
        while not marker.exists():
            assert runner.wait(0.2) is None
        time.sleep(0.5)
        started = time.monotonic()
    assert time.monotonic() - started < 12
    assert not (tmp_path / "ray").exists()
    deadline = time.monotonic() + 10
    while is_running(int(marker.read_text())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(int(marker.read_text())), "its CPUs would be lost to whoever uses this Ray next"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_ray_that_does_not_start_is_said_in_words(tmp_path: Path) -> None:
    with Runner(scratch=tmp_path / "file", scheduler="asha") as runner:
        (tmp_path / "file").write_text("in the way of Tune's folder")
        with pytest.raises(SearchFailed, match="doctor"):
            runner.run(here(process), {})


def test_a_job_that_no_node_could_ever_hold_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosft.search.runner._ROOM_SECONDS", 1.0)
    with Runner(scratch=tmp_path / "ray") as runner:
        runner.machine()
        started = time.monotonic()
        with pytest.raises(SearchFailed, match=r"64 CPUs and 0 GPUs.*2 CPUs"):
            runner.run(here(process), {}, cpus=64.0)
        assert time.monotonic() - started < 15


def test_a_job_that_only_waits_for_its_turn_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosft.search.runner._ROOM_SECONDS", 1.0)
    with Runner(scratch=tmp_path / "ray") as runner:
        runner.submit(here(rest), {"seconds": 5.0}, cpus=2.0)
        assert runner.run(here(process), {}, cpus=2.0).fate == "complete"
