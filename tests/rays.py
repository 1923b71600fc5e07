"""The Ray that tests of one process share."""

from __future__ import annotations

import os
import sys

import pytest


def start_ray() -> None:
    """Starts a Ray on two CPUs whose workers import functions of test modules by name."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
