"""How a machine is divided among trials, and what is refused because it does not carry it."""

from __future__ import annotations

import os

import psutil
import pytest

from autosft.errors import PlanError
from autosft.planning.machine import machine_here, resources_on
from autosft.search.settings import Machine


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


def test_this_machine_has_no_more_cores_than_this_process_may_use() -> None:
    here = machine_here()
    assert 1 <= here.cpus <= (os.cpu_count() or 1)
    os.sched_setaffinity(0, before := os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine_here().cpus == 1
    finally:
        os.sched_setaffinity(0, before)


def test_its_memory_is_known_and_a_training_has_that_of_its_device() -> None:
    here = machine_here()
    assert 2**28 < here.memory_bytes <= psutil.virtual_memory().total
    assert Machine(2, memory_bytes=7).training_memory_bytes == 7
    assert Machine(2, 1, 5, ("0",), memory_bytes=7).training_memory_bytes == 5
