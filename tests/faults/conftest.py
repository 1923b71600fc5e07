"""What the tests of faults share: one Ray whose workers die on demand, and one plan of a race with finals and refit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from harm import SABOTEUR, fault
from prepared import PLUGIN, Head, planned
from rays import start_ray
from shell import Shell

from autosft.budget import Budget
from autosft.planning.plan import Plan
from autosft.trainers.base import Cost


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    import ray

    folder = tmp_path_factory.mktemp("armed")
    functions = ("measure", "train", "predict", "scale")
    faults = [
        fault(f"autosft.search.work:{name}", "SIGKILL", nth=None, armed=str(folder / f"{name}{at}"))
        for name in functions
        for at in range(2)
    ]
    # Tests of other folders may share a Ray in this process, and find it again.
    is_shared = ray.is_initialized()
    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        orders = tmp_path_factory.mktemp("orders")
        patch.setenv("MISBEHAVING_ORDERS", str(orders))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SABOTEUR), *sys.path]))
        patch.setenv("AUTOSFT_TEST_FAULTS", json.dumps(faults))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield Head(ray.get_runtime_context().gcs_address, folder)
        ray.shutdown()
    if is_shared:
        start_ray()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def quick(shell: Shell) -> Plan:
    """Four trials of a fraction of a second each."""
    return planned(shell)


@pytest.fixture(scope="module")
def race(shell: Shell) -> Plan:
    """Trainings of three lengths, then finals, then a refit."""
    made = planned(shell, budget="150s")
    arm = replace(made.arms[0], rungs=(1 / 9, 1 / 3, 1.0), fidelity=1.0, cost=Cost(0.1, 1.0, 1000.0, None, 24, 0.0))
    return replace(made, arms=(arm,), finals_share=0.3, refit=True, sampler="random", budget=Budget(600.0, 8))
