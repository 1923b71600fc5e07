"""Where the jobs of a batch run: what its host says of it, and that a host whose Ray is gone is started again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autosft.batch import processes
from autosft.batch.processes import Host
from autosft.batch.shares import slots_on
from autosft.planning.machine import resources_on


class Told:
    """A host's process that says at once what it found, and lives on whatever becomes of its Ray."""

    is_alive = True
    begun: ClassVar[list[Told]] = []
    killed: ClassVar[list[Told]] = []

    def __init__(
        self, module: str, order: Mapping[str, Any], *, hear: Callable[[dict[str, Any] | None], None], **_: Any
    ) -> None:
        self.said = hear
        self.told: list[Mapping[str, Any]] = []
        self.begun.append(self)
        hear(self.found)

    def tell(self, message: Mapping[str, Any]) -> None:
        self.told.append(message)

    def kill(self) -> None:
        self.killed.append(self)

    found: ClassVar[dict[str, Any]] = {}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(processes, "Process", Told)
    monkeypatch.setattr(Told, "begun", [])
    monkeypatch.setattr(Told, "killed", [])
    return Host(None, log=tmp_path / "ray.log")


def test_a_host_whose_ray_is_gone_is_ended_and_started_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = ("127.0.0.1", int(server.getsockname()[1]))
        machine = {"cpus": 2, "gpus": 0, "nodes": []}
        found = {"address": "here:1", "environment": {}, "machine": machine, "places": [place]}
        monkeypatch.setattr(Told, "found", found)
        first = host.offer()
        assert host.offer() is first
    assert not host.is_alive
    monkeypatch.setattr(Told, "found", {**found, "address": "here:2", "places": []})
    assert host.offer().address == "here:2"
    assert len(Told.killed) == 1, "it may outlive its Ray, and jobs would be sent where nobody answers"


def test_slots_of_a_cluster_are_those_of_its_nodes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Told, "found", found_with(4))
    machine = host.offer().machine
    assert resources_on(machine, gpus_per_trial=None, max_concurrent=None).max_concurrent == 4


def found_with(num_nodes: int) -> dict[str, Any]:
    nodes = [{"cpus": 2, "gpus": 0, "memory_bytes": 0, "gpu_memory_bytes": 0}] * num_nodes
    machine = {"cpus": 2 * num_nodes, "gpus": 0, "nodes": nodes}
    return {"address": "there:1", "environment": {}, "machine": machine, "places": []}


def test_what_jobs_run_on_is_the_latest_word_of_the_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.latest() is None, "nobody asked for it yet"
    monkeypatch.setattr(Told, "found", found_with(1))
    assert slots_on(host.offer().machine) == 1
    [process] = Told.begun
    for num_nodes in (2, 3):
        process.said({"machine": found_with(num_nodes)["machine"]})
    process.said(None)
    latest = host.latest()
    assert latest is not None and slots_on(latest.machine) == 3 and latest.address == "there:1"
    assert host.offer() == latest


def test_a_cluster_is_asked_for_nodes_once_and_by_a_host_that_began_anew_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.ask_for([{"CPU": 2.0}])
    monkeypatch.setattr(Told, "found", found_with(1))
    host.offer()
    for bundles in ([{"CPU": 2.0}], [{"CPU": 2.0}], []):
        host.ask_for(bundles)
    [process] = Told.begun
    assert process.told == [{"wanted": [{"CPU": 2.0}]}, {"wanted": []}]
    host.ask_for([{"CPU": 2.0}])
    monkeypatch.setattr(Told, "is_alive", False)
    host.offer()
    host.ask_for([{"CPU": 2.0}])
    assert Told.begun[1].told == [{"wanted": [{"CPU": 2.0}]}]
