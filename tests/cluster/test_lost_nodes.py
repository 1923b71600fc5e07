"""Which jobs are begun again when their worker dies: those whose node went with it, and those not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autosft.cluster import membership
from autosft.cluster.membership import Membership
from autosft.cluster.nodes import Member, cluster_machine
from autosft.errors import PlanError, RunnerLost
from autosft.search.job import Delayed, Ended, Home, Job, Moved
from autosft.search.runner import Runner
from autosft.search.settings import Node

#: Where nothing listens.
GONE = ("127.0.0.1", 1)


@pytest.fixture
def place() -> Iterator[tuple[str, int]]:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield ("127.0.0.1", int(server.getsockname()[1]))


def runner_with(place: tuple[str, int], tmp_path: Path) -> tuple[Runner, str]:
    """A runner that has not begun, and a job of its that is on another node."""
    runner = Runner(scratch=tmp_path)
    runner._home = Home("own", "depot")
    runner._nodes = Membership({"other": Member("other", place, Node(2))})
    job_id = runner.submit("module:name", {}, stop_file=tmp_path / "stop")
    assert runner._of_moved(Moved(job_id, "other", 0.0)) is None
    return runner, job_id


def died(job_id: str) -> Ended:
    return Ended(job_id, "failed", message="its worker died", worker_died=True)


def test_a_job_whose_node_is_gone_begins_again_twice_and_then_fails(tmp_path: Path) -> None:
    runner, job_id = runner_with(GONE, tmp_path)
    for _ in range(2):
        again = runner._again(died(job_id))
        assert isinstance(again, Delayed) and again.job_id == job_id and "127.0.0.1 is gone" in again.why
        runner._nodes = Membership({"other": Member("other", GONE, Node(2))})
        runner._of_moved(Moved(job_id, "other", 0.0))
    assert runner._again(died(job_id)) is None
    submitted = [runner._channel.submitted.get_nowait() for _ in range(3)]
    assert [job.num_lost for job in submitted if job] == [0, 1, 2]
    assert {job.id for job in submitted if job} == {job_id}


def test_all_jobs_of_a_lost_node_begin_again_however_it_was_noticed(tmp_path: Path) -> None:
    runner, first = runner_with(GONE, tmp_path)
    second = runner.submit("module:name", {})
    third = runner.submit("module:name", {})
    runner._of_moved(Moved(second, "other", 0.0))
    for job_id in (first, second, third):  # The third was still to say where it is.
        assert isinstance(runner._again(died(job_id)), Delayed)
    later = runner.submit("module:name", {})
    assert runner._again(died(later)) is None, "what begins afterwards did not go with that node"


def test_a_job_whose_node_still_answers_failed_by_itself(tmp_path: Path, place: tuple[str, int]) -> None:
    runner, job_id = runner_with(place, tmp_path)
    assert runner._again(died(job_id)) is None


def test_a_job_that_was_told_to_stop_is_not_begun_again(tmp_path: Path) -> None:
    runner, job_id = runner_with(GONE, tmp_path)
    (tmp_path / "stop").touch()
    assert runner._again(died(job_id)) is None


def test_time_that_files_took_is_given_back(tmp_path: Path) -> None:
    runner, job_id = runner_with(GONE, tmp_path)
    assert runner._of_moved(Moved(job_id, "other", 7.5)) == Delayed(job_id, 7.5)


def test_a_node_that_is_gone_and_still_listed_is_not_waited_for(
    place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"gone": Member("gone", GONE, Node(2)), "new": Member("new", place, Node(2))}
    monkeypatch.setattr(membership, "members", lambda: listed)
    monkeypatch.setattr(membership, "examined", lambda asked: ({member.id: member for member in asked}, {}))
    monkeypatch.setattr(membership, "_COUNT_SECONDS", 0.0)
    nodes = Membership({})
    nodes.count()
    assert nodes.avoided(Job("", "", {})) == () and len(nodes) == 1


def test_a_node_that_joins_with_another_version_gets_no_job_and_is_told_of_once(
    place: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "The node 10.0.0.7 runs autosft 99.0, and 0.1.0 is here."
    monkeypatch.setattr(membership, "members", lambda: {"new": Member("new", place, Node(2))})
    monkeypatch.setattr(membership, "examined", lambda asked: ({}, {at.id: PlanError(said) for at in asked}))
    monkeypatch.setattr(membership, "_COUNT_SECONDS", 0.0)
    monkeypatch.setattr("autosft.search.runner._LOOK_SECONDS", 0.0)
    heard: list[str] = []
    runner = Runner(scratch=tmp_path, note=heard.append)
    runner._nodes, runner._places = Membership({}), (place,)
    for _ in range(3):
        runner._look(None)
    assert heard == ["the node 10.0.0.7 runs autosft 99.0, and 0.1.0 is here; it gets no trials"]
    assert runner._nodes.avoided(Job("", "", {})) == ("new",) and not len(runner._nodes)


def test_a_node_with_too_little_memory_is_kept_free_of_a_job() -> None:
    found = {
        "own": Member("own", GONE, Node(2, 0, memory_bytes=64_000)),
        "small": Member("small", GONE, Node(2, 0, memory_bytes=8_000)),
        "unknown": Member("unknown", GONE, Node(2)),
        "gpu": Member("gpu", GONE, Node(8, 1, memory_bytes=64_000, gpu_memory_bytes=8_000)),
    }
    nodes = Membership(found)
    assert nodes.avoided(Job("", "", {}, memory_bytes=16_000)) == ("small",)
    assert set(nodes.avoided(Job("", "", {}, memory_bytes=10**6))) == {"own", "small", "gpu"}
    assert nodes.avoided(Job("", "", {}, memory_bytes=16_000, gpus=0.5)) == (), "the only one with a GPU may try"
    assert nodes.num_at_once(1.0, 0.0) == 14 and nodes.num_at_once(1.0, 0.5) == 2
    machine = cluster_machine(found)
    assert (machine.cpus, machine.gpus, machine.memory_bytes, machine.gpu_memory_bytes) == (14, 1, 64_000, 8_000)


def test_nodes_are_asked_for_again_as_long_as_they_are_wanted_and_then_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr(membership, "members", dict)
    monkeypatch.setattr(membership, "_COUNT_SECONDS", 0.0)
    runner = Runner(scratch=tmp_path)
    with runner.asking_for(3, 4, 0.5):
        assert not asked, "this machine is all there is"
    runner._nodes = Membership({})
    with pytest.raises(KeyboardInterrupt), runner.asking_for(2, 4, 0.5):
        assert asked == [2 * [{"CPU": 4.0, "GPU": 0.5}]]
        runner._nodes.count()
        assert asked == 2 * [2 * [{"CPU": 4.0, "GPU": 0.5}]], "a run beside this one may have taken it back"
        raise KeyboardInterrupt
    assert asked.pop() == []
    runner._nodes.count()
    assert len(asked) == 2
    with pytest.raises(RunnerLost), runner.asking_for(2, 4, 0.5):
        runner._is_lost = True
        raise RunnerLost("Ray ended")
    assert len(asked) == 3 and asked[-1], "a Ray that is gone is not asked"
