"""Several trials on one GPU, as Ray places them: the node only says that it has one, since no trial here uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import RealCluster, head_for

DRIVER = """
import json, os, sys, time
from pathlib import Path

from autosft.search.job import Ended
from autosft.search.runner import Runner

def meet(report, *, marks, num):
    # Ends once so many are here at the same time, however long their workers take to start.
    Path(marks, str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(os.listdir(marks)) < num and time.monotonic() < until:
        time.sleep(0.05)
    return len(os.listdir(marks)), os.environ.get("CUDA_VISIBLE_DEVICES")

def alone(report, *, mark):
    others = Path(mark).exists()
    Path(mark).touch()
    time.sleep(0.5)
    Path(mark).unlink()
    return others

if __name__ == "__main__":
    address, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "marks").mkdir()
    with Runner(scratch=folder / "ray", cluster=address) as runner:
        def values(function, arguments, gpus):
            running = {runner.submit(f"driver:{function}", arguments, cpus=1.0, gpus=gpus) for _ in range(2)}
            found = []
            while running:
                event = runner.wait(60.0)
                if isinstance(event, Ended):
                    running.remove(event.job_id)
                    found.append(event.value)
            return found
        machine = runner.machine()
        halves = values("meet", {"marks": str(folder / "marks"), "num": 2}, 0.5)
        wholes = values("alone", {"mark": str(folder / "mark")}, 1.0)
    print(json.dumps({"gpus": machine.gpus, "halves": halves, "wholes": wholes}), flush=True)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """One node of four CPUs that says it has a GPU."""
    with head_for(DRIVER, tmp_path, "--num-cpus=4", "--num-gpus=1") as started:
        yield started


def test_two_halves_of_a_gpu_run_at_once_and_two_wholes_do_not(tmp_path: Path, cluster: RealCluster) -> None:
    command = [sys.executable, str(tmp_path / "code" / "driver.py"), cluster.address, str(tmp_path)]
    environment = {**os.environ, **cluster.environment, "AUTOSFT_CACHE": str(tmp_path / "cache")}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=True).stdout
    found = json.loads(out.splitlines()[-1])
    assert found["gpus"] == 1
    assert found["halves"] == [[2, "0"], [2, "0"]], "both on that GPU at the same time"
    assert found["wholes"] == [False, False], "one after the other"
