"""Where the jobs of a batch run: what its host says of it, and that a host whose Ray is gone is started again."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autosft.batch import processes
from autosft.batch.processes import Host
from autosft.planning.machine import resources_on


class Told:
    """A host's process that says at once what it found, and lives on whatever becomes of its Ray."""

    is_alive = True
    killed: ClassVar[list[Told]] = []

    def __init__(
        self, module: str, order: Mapping[str, Any], *, hear: Callable[[dict[str, Any] | None], None], **_: Any
    ) -> None:
        hear(self.found)

    def kill(self) -> None:
        self.killed.append(self)

    found: ClassVar[dict[str, Any]] = {}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(processes, "Process", Told)
    monkeypatch.setattr(Told, "killed", [])
    return Host(None, log=tmp_path / "ray.log")


def test_a_host_whose_ray_is_gone_is_ended_and_started_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = ("127.0.0.1", int(server.getsockname()[1]))
        found = {"address": "here:1", "environment": {}, "cpus": 2, "gpus": 0, "nodes": [], "places": [place]}
        monkeypatch.setattr(Told, "found", found)
        first = host.offer()
        assert host.offer() is first
    assert not host.is_alive
    monkeypatch.setattr(Told, "found", {**found, "address": "here:2", "places": []})
    assert host.offer().address == "here:2"
    assert len(Told.killed) == 1, "it may outlive its Ray, and jobs would be sent where nobody answers"


def test_slots_of_a_cluster_are_those_of_its_nodes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"cpus": 2, "gpus": 0, "memory_bytes": 0, "gpu_memory_bytes": 0}] * 4
    found = {"address": "there:1", "environment": {}, "cpus": 8, "gpus": 0, "nodes": nodes, "places": []}
    monkeypatch.setattr(Told, "found", found)
    machine = host.offer().machine
    assert resources_on(machine, gpus_per_trial=None, max_concurrent=None).max_concurrent == 4
