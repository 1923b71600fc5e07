"""The runner on a real Ray: what comes back from jobs that end well, fail, die or hang, and how soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autosft.errors import DataError, TrialFailed
from autosft.interrupt import Interrupt
from autosft.search.job import Ended
from autosft.search.runner import Runner

pytestmark = pytest.mark.usefixtures("ray_session")


def add(report: Callable[..., None], *, left: int, right: int) -> int:
    return left + right


def process(report: Callable[..., None]) -> int:
    return os.getpid()


def fail_alone(report: Callable[..., None]) -> None:
    raise TrialFailed("the loss became NaN")


def fail_all(report: Callable[..., None], *, kind: str) -> None:
    if kind == "ours":
        raise DataError("column 'label' is missing")
    raise ZeroDivisionError("in the depths of a library")


def die(report: Callable[..., None]) -> None:
    report(0.5, 0.25)
    time.sleep(0.5)
    os._exit(1)


def rest(report: Callable[..., None], *, seconds: float, marker: str = "") -> int:
    if marker:
        Path(marker).write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def until_told(report: Callable[..., None], *, stop_file: Path) -> str:
    while not stop_file.exists():
        time.sleep(0.05)
    return "ended early"


def here(function: Callable[..., Any]) -> str:
    return f"test_runner:{function.__name__}"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(scratch=tmp_path_factory.mktemp("runner") / "ray") as started:
        yield started


def test_jobs_run_return_and_reuse_their_worker(runner: Runner) -> None:
    assert runner.run(here(add), {"left": 2, "right": 3}).value == 5
    pids = {runner.run(here(process), {}).value for _ in range(3)}
    assert len(pids) == 1 and pids != {os.getpid()}
    started = time.monotonic()
    for at in range(4):
        assert runner.run(here(add), {"left": at, "right": 1}).value == at + 1
    assert (time.monotonic() - started) / 4 < 2.0, "a trivial job must not wait for anything"


def test_a_worker_gets_to_work_though_jobs_end_sooner_than_it_starts(runner: Runner) -> None:
    """Tune gives a free worker to a trial that waits for one of its own, and ends the one that starts for it."""
    runner.run(here(process), {})
    pids: list[int] = []
    running = {runner.submit(here(rest), {"seconds": 0.2}) for _ in range(2)}
    until = time.monotonic() + 20
    while len(set(pids)) < 2 and time.monotonic() < until:
        event = runner.wait(10.0)
        if isinstance(event, Ended):
            running.remove(event.job_id)
            assert event.fate == "complete"
            pids.append(event.value)
            running.add(runner.submit(here(rest), {"seconds": 0.2}))
    while running:
        event = runner.wait(10.0)
        running -= {event.job_id} if isinstance(event, Ended) else set()
    assert len(set(pids)) == 2, f"{len(pids)} jobs ran on one worker, and the other was never there"


def test_what_fails_alone_fails_alone_and_keeps_the_worker(runner: Runner) -> None:
    pid = runner.run(here(process), {}).value
    ended = runner.run(here(fail_alone), {})
    assert (ended.fate, ended.message) == ("failed", "the loss became NaN")
    assert runner.run(here(process), {}).value == pid


def test_an_error_of_our_own_arrives_as_it_was_raised(runner: Runner) -> None:
    with pytest.raises(DataError, match="column 'label' is missing"):
        runner.run(here(fail_all), {"kind": "ours"}).or_raise()


def test_any_other_error_is_fatal_and_shows_its_place(runner: Runner) -> None:
    ended = runner.run(here(fail_all), {"kind": "any"}).or_raise()
    assert ended.fate == "fatal"
    assert "in the depths of a library" in ended.reason and "fail_all" not in ended.reason
    assert "fail_all" in ended.message


def test_a_worker_that_dies_fails_its_job_and_the_next_one_gets_another(runner: Runner) -> None:
    ended = runner.run(here(die), {})
    assert ended.fate == "failed"
    assert "worker died" in ended.message
    assert runner.run(here(add), {"left": 1, "right": 1}).value == 2


def test_a_job_that_overruns_is_ended_and_says_so(runner: Runner) -> None:
    runner.run(here(process), {})
    started = time.monotonic()
    ended = runner.run(here(rest), {"seconds": 60.0}, kill_after_seconds=1.5)
    assert time.monotonic() - started < 15
    assert ended.fate == "failed"
    assert "did not end" in ended.message
    ended = runner.run(here(add), {"left": 1, "right": 1}, kill_after_seconds=30)
    assert ended.value == 2


def test_jobs_with_different_needs_run_one_after_the_other_and_side_by_side(runner: Runner, tmp_path: Path) -> None:
    assert runner.run(here(add), {"left": 1, "right": 1}, cpus=2.0).value == 2
    jobs = [runner.submit(here(rest), {"seconds": 3.0, "marker": str(tmp_path / str(at))}, cpus=1.0) for at in range(2)]
    ended: list[str] = []
    while len(ended) < 2:
        event = runner.wait(60)
        assert isinstance(event, Ended) and event.fate == "complete"
        ended.append(event.job_id)
    assert sorted(ended) == sorted(jobs)
    assert len({(tmp_path / str(at)).read_text() for at in range(2)}) == 2, "each has a worker of its own"
    assert runner.run(here(add), {"left": 2, "right": 2}, cpus=2.0).value == 4


def test_seconds_are_kept_by_phase_and_weighed_by_cpus(runner: Runner) -> None:
    runner.run(here(process), {}, cpus=2.0)
    before = dict(runner.cpu_seconds)
    runner.run(here(rest), {"seconds": 1.0}, cpus=2.0)
    assert 2.0 <= runner.cpu_seconds["total"] - before["total"] < 3.0
    assert runner.cpu_seconds["start_up"] > before["start_up"]


def places(report: Callable[..., None], *, folder: str, scratch: Path) -> tuple[str, Path]:
    return folder, scratch


def test_on_one_machine_nothing_is_moved_or_asked_for(runner: Runner, tmp_path: Path) -> None:
    given = {"folder": str(tmp_path / "model"), "scratch": tmp_path / "scratch"}
    assert runner.run(here(places), given).value == (given["folder"], given["scratch"])
    assert runner.num_at_once(1.0, 0.0) is None and runner._depot is None


def test_ctrl_c_reaches_a_job_whose_folder_is_not_there_yet(runner: Runner, tmp_path: Path) -> None:
    stop_file, interrupt = tmp_path / "again" / "stop", Interrupt()
    interrupt.requested = True
    job = {"stop_file": stop_file, "kill_after_seconds": 60}
    ended = runner.run(here(until_told), {"stop_file": stop_file}, interrupt=interrupt, **job)
    assert ended.value == "ended early"
