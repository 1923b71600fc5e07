"""How a machine is divided among trials, and what is refused because it does not carry it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from autosft.errors import PlanError
from autosft.planning.machine import fitted, gpu_memory_bytes, machine_here, resources_on
from autosft.search.settings import Machine, Node


@pytest.mark.parametrize(
    ("machine", "options", "cpus", "gpus", "at_once"),
    [
        (Machine(2), {}, 2, 0, 1),
        (Machine(16), {}, 4, 0, 4),
        (Machine(16), {"max_concurrent": 2}, 8, 0, 2),
        (Machine(2), {"max_concurrent": 8}, 1, 0, 2),
        (Machine(1), {}, 1, 0, 1),
        (Machine(16, gpus=2), {}, 8, 1, 2),
        (Machine(16, gpus=2), {"gpus_per_trial": 0.5}, 4, 0.5, 4),
        (Machine(16, gpus=2), {"gpus_per_trial": 2}, 16, 2, 1),
        (Machine(16, gpus=2), {"max_concurrent": 9}, 8, 1, 2),
    ],
)
def test_as_many_trials_at_once_as_the_machine_carries(
    machine: Machine, options: dict[str, float], cpus: int, gpus: float, at_once: int
) -> None:
    found = resources_on(machine, **{"gpus_per_trial": None, "max_concurrent": None, **options})  # type: ignore[arg-type]
    assert (found.cpus_per_trial, found.gpus_per_trial, found.max_concurrent) == (cpus, gpus, at_once)
    assert found.cpus_per_trial * found.max_concurrent <= machine.cpus
    assert found.gpus_per_trial * found.max_concurrent <= machine.gpus


@pytest.mark.parametrize(
    ("machine", "options", "said"),
    [
        (Machine(4), {"gpus_per_trial": 1.0}, "0 are free"),
        (Machine(4, gpus=1), {"gpus_per_trial": 2.0}, "1 are free"),
        (Machine(4, gpus=1), {"gpus_per_trial": -1.0}, "gpus_per_trial"),
        (Machine(4), {"max_concurrent": 0}, "max_concurrent is 0"),
    ],
)
def test_what_the_machine_does_not_carry_is_refused(machine: Machine, options: dict[str, float], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        resources_on(machine, **{"gpus_per_trial": None, "max_concurrent": None, **options})  # type: ignore[arg-type]


def test_one_core_and_one_gpu_are_one() -> None:
    made = resources_on(Machine(1, gpus=1), gpus_per_trial=None, max_concurrent=None)
    with pytest.raises(PlanError, match="take 1 CPU and 1 GPU, and 1 and 0 are free here"):
        fitted(made, Machine(1))


def test_this_machine_has_no_more_cores_than_this_process_may_use() -> None:
    here = machine_here()
    assert 1 <= here.cpus <= (os.cpu_count() or 1)
    os.sched_setaffinity(0, before := os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine_here().cpus == 1
    finally:
        os.sched_setaffinity(0, before)


def test_memory_of_gpus_is_known_while_they_are_in_use_or_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-a, 24000, 24576'\necho '1, GPU-b, 100, 16384'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    here = machine_here()
    assert (here.gpu_ids, here.gpu_memory_bytes) == (("0",), 24000 * 2**20)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_here().gpus == 0
    assert gpu_memory_bytes(None) == 16384 * 2**20
    assert gpu_memory_bytes(["GPU-a"]) == 24576 * 2**20
    assert gpu_memory_bytes([]) == 0


def test_its_memory_is_known_and_a_training_has_that_of_its_device() -> None:
    here = machine_here()
    assert 2**28 < here.memory_bytes <= psutil.virtual_memory().total
    assert Machine(2, memory_bytes=7).training_memory_bytes == 7
    assert Machine(2, 1, 5, ("0",), memory_bytes=7).training_memory_bytes == 5


def cluster(*nodes: tuple[int, int]) -> Machine:
    made = tuple(Node(cpus, gpus) for cpus, gpus in nodes)
    return Machine(sum(node.cpus for node in made), sum(node.gpus for node in made), nodes=made)


@pytest.mark.parametrize(
    ("nodes", "options", "cpus", "gpus", "at_once"),
    [
        ([(8, 0), (8, 0)], {}, 4, 0, 4),
        ([(8, 0), (2, 0)], {}, 2, 0, 5),  # Four cores each would leave the small node idle.
        ([(1, 0), *[(8, 0)] * 8], {}, 4, 0, 16),  # One core of 65 may.
        ([(1, 0), (1, 0)], {}, 1, 0, 2),
        ([(3, 0), (3, 0)], {}, 3, 0, 2),  # Never two cores of one node and one of another.
        ([(8, 0), (8, 0)], {"max_concurrent": 2}, 8, 0, 2),
        ([(8, 0), (8, 0)], {"max_concurrent": 3}, 4, 0, 3),
        ([(2, 0), (2, 0)], {"max_concurrent": 9}, 1, 0, 4),
        ([(16, 0), (8, 1), (8, 1)], {}, 8, 1, 2),  # Nodes without a GPU hold no trial that takes one.
        ([(4, 0), (8, 2)], {"gpus_per_trial": 0.5}, 2, 0.5, 4),
        ([(8, 2), (8, 2)], {"gpus_per_trial": 0.4}, 2, 0.4, 8),  # Two on a GPU: a fraction lies on one.
        ([(8, 2), (8, 2)], {"gpus_per_trial": 2}, 8, 2, 2),
        ([(0, 0), (4, 0)], {}, 4, 0, 1),
    ],
)
def test_each_trial_of_a_cluster_fits_on_a_node(
    nodes: list[tuple[int, int]], options: dict[str, float], cpus: int, gpus: float, at_once: int
) -> None:
    machine = cluster(*nodes)
    found = resources_on(machine, **{"gpus_per_trial": None, "max_concurrent": None, **options})  # type: ignore[arg-type]
    assert (found.cpus_per_trial, found.gpus_per_trial, found.max_concurrent) == (cpus, gpus, at_once)
    assert found.max_concurrent <= machine.carries(found.cpus_per_trial, found.gpus_per_trial)
    assert found.follows_nodes == ("max_concurrent" not in options)


def test_gpus_of_two_nodes_are_not_those_of_one_trial() -> None:
    with pytest.raises(PlanError, match="no node has more than 1 free"):
        resources_on(cluster((8, 1), (8, 1)), gpus_per_trial=2, max_concurrent=None)


def test_a_plan_made_elsewhere_is_fitted_to_the_nodes_that_are_here() -> None:
    made = resources_on(cluster((8, 0), (8, 0)), gpus_per_trial=None, max_concurrent=None)
    assert fitted(made, cluster((4, 0), (7, 0), (8, 0))).max_concurrent == 4
    with pytest.raises(PlanError, match="no node has as many"):
        fitted(made, cluster((3, 0), (3, 0)))


def test_a_number_that_was_given_for_a_cluster_is_kept_for_when_it_has_grown() -> None:
    made = resources_on(cluster((8, 1), (8, 1)), gpus_per_trial=None, max_concurrent=4)
    assert (made.max_concurrent, made.most_concurrent) == (2, 4)
    assert fitted(made, cluster((8, 1))).max_concurrent == 1
    grown = fitted(fitted(made, cluster((8, 1))), cluster(*[(8, 1)] * 6))
    assert (grown.max_concurrent, grown.most_concurrent) == (4, 4)


def test_one_gpu_is_named_as_one() -> None:
    with pytest.raises(PlanError, match="would take 1 GPU, and"):
        resources_on(Machine(4), gpus_per_trial=1.0, max_concurrent=None)
