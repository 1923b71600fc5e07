"""Whom the driver begins, and what it makes of processes that end in ways nobody planned."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autosft.batch.driver import Driver, _Running
from autosft.batch.folder import BatchFolder
from autosft.batch.job import checked
from autosft.batch.live import View
from autosft.batch.processes import Offer
from autosft.batch.table import rows_of
from autosft.budget import Budget
from autosft.search.settings import Machine, Node
from autosft.search.trial import Trial, TrialLog

SUMMARY = {"format": 1, "metric": "accuracy", "test": {"score": 0.9, "interval": [0.8, 1.0]}}


class Gone:
    """A process that has ended."""

    def __init__(self, return_code: int) -> None:
        self.return_code = return_code


class Ready:
    """A Ray that is there."""

    def __init__(self, machine: Machine) -> None:
        self._offer = Offer("", machine, {})

        self.asked: list[list[Mapping[str, float]]] = []

    def offer(self) -> Offer:
        return self._offer

    def latest(self) -> Offer:
        return self._offer

    def ask_for(self, bundles: Sequence[Mapping[str, float]]) -> None:
        self.asked.append(list(bundles))


def driver_of(place: Path, *names: str, machine: Machine, **arguments: Any) -> Driver:
    """The driver of jobs with these names and arguments, none of which waits, on a Ray that is there."""
    (place / "rows.csv").write_text("text,label\na,x\nb,y\n")
    rows = [{"name": name, "task": "Sort", "data": "rows.csv", **arguments} for name in names]
    jobs = checked([(row, None) for row in rows], base=place, place="the test")
    folder = BatchFolder.open(place / "batch")
    folder.enter(jobs, budget_seconds=None)
    view = View(names, io.StringIO())
    made = Driver(jobs, folder, budget_seconds=600.0, cluster=None, max_jobs=None, tracker=None, view=view)
    made._waiting.clear()
    host: Any = Ready(machine)
    made._host = host
    return made


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return driver_of(tmp_path, "one", machine=Machine(4))


def finished(driver: Driver, words: str, *, name: str = "one") -> None:
    """Has a job be finished with this budget, of which half is spent, and its search too short to tell."""
    run = driver._folder.run(name)
    run.path.mkdir(exist_ok=True)
    budget = Budget.parse(words)
    driver._jobs[name] = replace(driver._jobs[name], budget=budget)
    run.plan.write_text(json.dumps({"format": 1, "budget": budget.to_json()}))
    run.result.write_text(json.dumps(SUMMARY | {"greater_is_better": True}))
    trial = Trial(0, "arm", {}, 1.0, 0, 0, True, fate="complete", score=0.5)
    TrialLog(run.trials).append("ended", trial=trial.to_json(), spent_seconds=60.0)


@pytest.mark.parametrize(("words", "goes_on"), [("2m", True), ("2m, 3 trials", False), ("2m, 1 gpu-hours", False)])
def test_a_job_that_names_trials_or_gpu_hours_has_all_it_asked_for(driver: Driver, words: str, goes_on: bool) -> None:
    finished(driver, words)
    assert (driver._next_extension() is not None) == goes_on


def test_the_first_to_go_on_in_a_batch_that_is_run_again_knows_how_many_do_beside_it(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", "two", machine=Machine(16))
    for name in ("one", "two"):
        finished(driver, "8m", name=name)
    found = driver._next_extension()
    assert found is not None
    assert found[1] == 480, "both have room at once, so neither leaves half of the time to the other"


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


def test_jobs_whose_trials_take_two_gpus_run_two_at_a_time_on_four(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", "two", "three", machine=Machine(32, 4), gpus_per_trial=2, budget="1m")
    driver._waiting = ["one", "two", "three"]
    driver._say_if_scaled()
    process: Any = Gone(0)
    allowed = []
    while (found := driver._next()) is not None:
        driver._running[found[0]] = _Running(process, time.monotonic(), found[1])
        driver._share_slots()
        allowed.append({name: driver._folder.slots_file(name).read_text() for name in driver._running})
    assert allowed == [{"one": "2"}, {"one": "1", "two": "1"}]
    assert driver._waiting == ["three"]


def test_a_batch_whose_budget_is_spent_says_so_and_what_was_not_tried(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", machine=Machine(4))
    driver._folder.append("started", spent_seconds=0.0, name="one", seconds=60.0, more_seconds=None)
    driver._folder.append("ended", spent_seconds=73.0, name="one", fate="failed", reason="no such file", error="")
    driver._before, driver._budget_seconds, driver._waiting = 73.0, 60.0, ["one"]
    driver._say_if_scaled()
    told = driver._view._stream.getvalue()  # type: ignore[attr-defined]
    assert "the batch's budget of 1m is spent: 1m 13s went by, 13s more than it; give it more" in told
    assert "0%" not in told and "ask" not in told
    assert driver._next() is None
    [row] = rows_of(driver._folder, [job.to_json() for job in driver._jobs.values()], reasons=driver.reasons)
    assert row["state"] == "not started"
    assert (
        row["reason"].startswith("not tried: the batch's budget of 1m is spent") and "no such file" not in row["reason"]
    )


def rows(driver: Driver) -> dict[str, tuple[str, str]]:
    """The state and reason of each job, as the table has them."""
    found = rows_of(driver._folder, [job.to_json() for job in driver._jobs.values()], reasons=driver.reasons)
    return {row["name"]: (row["state"], row["reason"]) for row in found}


def damage(driver: Driver, name: str, file: str = "plan.json") -> None:
    """Leaves half of a file in a job's folder, as a disk that fails does."""
    run = driver._folder.run(name)
    run.path.mkdir(exist_ok=True)
    (run.path / file).write_text('{"format": 1, "budg')


def test_a_damaged_folder_fails_its_own_job_and_the_others_go_on(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "bad", "worse", "good", machine=Machine(16), budget="1m")
    damage(driver, "bad")
    driver._folder.run("worse").path.mkdir()
    driver._folder.run("worse").plan.write_text('{"format": 1}')
    driver._waiting = ["bad", "worse", "good"]
    driver._say_if_scaled()
    assert begin_what_can(driver) == ["good"]
    told = driver._view._stream.getvalue()  # type: ignore[attr-defined]
    assert f"bad: failed: {driver._folder.run('bad').plan} cannot be read" in told
    assert f"worse: failed: {driver._folder.run('worse').plan} cannot be read" in told
    found = rows(driver)
    assert [found[name][0] for name in ("bad", "worse", "good")] == ["failed", "failed", "not started"]
    assert "its folder cannot be read: " in found["bad"][1]


def test_a_folder_that_is_damaged_while_its_job_waits_fails_it_too(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "bad", "good", machine=Machine(16), budget="1m")
    driver._waiting = ["bad", "good"]
    driver._say_if_scaled()
    damage(driver, "bad")
    assert begin_what_can(driver) == ["good"]
    damage(driver, "good")
    del driver._running["good"]
    driver._start("good", 60.0, None)
    assert not driver._running
    assert "good: failed: " in driver._view._stream.getvalue()  # type: ignore[attr-defined]


def test_where_all_that_wait_are_damaged_another_goes_on_with_their_time(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "bad", "one", machine=Machine(4))
    finished(driver, "2m")
    damage(driver, "bad")
    driver._waiting = ["bad"]
    found = driver._next()
    assert found is not None and found[0] == "one"


@pytest.mark.parametrize("file", ["plan.json", "result.json", "trials.jsonl"])
def test_a_finished_job_whose_folder_is_damaged_does_not_keep_another_from_going_on(tmp_path: Path, file: str) -> None:
    driver = driver_of(tmp_path, "bad", "one", machine=Machine(4))
    for name in ("bad", "one"):
        finished(driver, "2m", name=name)
    damage(driver, "bad", file)
    if file == "trials.jsonl":
        (driver._folder.run("bad").trials).write_text("{\n")
    found = driver._next_extension()
    assert found is not None and found[0] == "one"
    told = driver._view._stream.getvalue()  # type: ignore[attr-defined]
    assert told.count("bad: failed: ") == 1
    driver._may_extend = True
    driver._next_extension()
    assert driver._view._stream.getvalue() == told, "it is said once"  # type: ignore[attr-defined]


def test_a_result_that_cannot_be_read_fails_its_job(driver: Driver) -> None:
    damage(driver, "one", "result.json")
    assert end(driver, 0, fate="finished") == "failed"
    assert "cannot be read" in driver._folder.past()["one"].reason
    assert rows(driver)["one"][0] == "failed"


def test_no_job_writes_to_the_log_of_ray(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "ray", "ray.txt", machine=Machine(4))
    assert driver._folder.ray_log not in [driver._folder.job_log(name) for name in driver._jobs]


def test_one_job_asks(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", machine=Machine(4), budget="20m")
    driver._waiting = ["one"]
    driver._say_if_scaled()
    assert "1 job asks for 20m in all" in driver._view._stream.getvalue()  # type: ignore[attr-defined]


def cluster(*cpus: int) -> Machine:
    return Machine(sum(cpus), nodes=tuple(Node(each) for each in cpus))


def begin_what_can(driver: Driver) -> list[str]:
    """Begins jobs as the driver does, but for their processes; returns who runs."""
    process: Any = Gone(0)
    while driver._waiting and (found := driver._next()) is not None:
        driver._running[found[0]] = _Running(process, time.monotonic(), found[1])
        driver._share_slots()
    return [*driver._running]


def allowed(driver: Driver) -> list[int]:
    return [int(driver._folder.slots_file(name).read_text()) for name in driver._running]


def test_slots_follow_nodes_that_come_and_go(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", "two", "three", machine=cluster(4, 4), budget="1m")
    driver._waiting = ["one", "two", "three"]
    driver._offer()
    assert begin_what_can(driver) == ["one", "two"] and allowed(driver) == [1, 1]

    host: Any = driver._host
    host._offer = Offer("", cluster(4, 4, 4, 4, 4), {})
    driver._follow_nodes()
    assert sorted(allowed(driver)) == [2, 3], "who runs has more at once"
    assert begin_what_can(driver) == ["one", "two", "three"], "and who waits begins"
    assert sorted(allowed(driver)) == [1, 2, 2]

    host._offer = Offer("", cluster(4, 4, 4), {})
    driver._follow_nodes()
    assert allowed(driver) == [1, 1, 1]
    told = driver._view._stream.getvalue()  # type: ignore[attr-defined]
    assert "nodes came or went: 5 slots now, 2 before" in told and "3 slots now, 5 before" in told
    driver._follow_nodes()
    assert driver._view._stream.getvalue() == told, "it is said once"  # type: ignore[attr-defined]


def test_a_trial_keeps_its_size_when_nodes_come_that_others_would_fit_better(tmp_path: Path) -> None:
    driver = driver_of(tmp_path, "one", "two", machine=cluster(4, 4), budget="1m")
    driver._waiting = ["one", "two"]
    driver._offer()
    begin_what_can(driver)
    for name in driver._running:
        driver._messages.put((name, {"event": "opened", "cpus": 4, "gpus": 0.0}))
        driver._hear()
    host: Any = driver._host
    host._offer = Offer("", cluster(4, 4, 6), {})
    driver._follow_nodes()
    assert driver._room.num_slots == 7, "of two cores each, for what begins now"
    assert sum(allowed(driver)) <= 3, "no more than the nodes carry of four cores"


@pytest.mark.parametrize(
    ("most_jobs", "max_concurrent", "asked"),
    [(None, None, 0), (None, 3, 3), (2, None, 2), (2, 3, 6), (8, None, 3)],
)
def test_a_cluster_that_grows_is_asked_for_what_the_batch_was_told_to_run_at_once(
    tmp_path: Path, most_jobs: int | None, max_concurrent: int | None, asked: int
) -> None:
    given = {} if max_concurrent is None else {"max_concurrent": max_concurrent}
    driver = driver_of(tmp_path, "one", "two", "three", machine=cluster(4), budget="1m", **given)
    driver._waiting, driver._room._max_jobs = ["one", "two", "three"], most_jobs
    driver._offer()
    assert begin_what_can(driver) == ["one"]
    host: Any = driver._host
    assert host.asked[-1] == asked * [{"CPU": 4.0}]
    driver._waiting.clear()
    driver._ended("one", driver._running["one"])
    driver._waiting.clear()
    driver._share_slots()
    assert host.asked[-1] == []
