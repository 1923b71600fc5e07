"""A node that joins a run with another autosft than the driver's: for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import can_hide_folders, free_port, real_cluster

import autosft

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not can_hide_folders(), reason="needs a mount namespace of its own (`unshare -m`)"),
]

DRIVER = """
import json, sys, time
from pathlib import Path

from autosft.cluster.nodes import own_id
from autosft.search.runner import Runner

def where(report):
    import ray
    time.sleep(0.2)
    return str(ray.get_runtime_context().get_node_id())

if __name__ == "__main__":
    heard = []
    with Runner(scratch=Path(sys.argv[2]), cluster=sys.argv[1], note=heard.append) as runner:
        runner.machine()
        print("READY", flush=True)
        until = time.time() + 120
        while not heard and time.time() < until:
            runner.wait(1.0)
        until, places = time.time() + 15, []
        while time.time() < until:
            for _ in range(4):
                runner.submit("driver:where", {})
            while len(places) % 4 or not places:
                event = runner.wait(60.0)
                if type(event).__name__ == "Ended":
                    places.append(event.value)
        print(json.dumps([heard, sorted(set(places)), own_id(), runner.num_at_once(1.0, 0.0)]), flush=True)
"""


def other_autosft(folder: Path) -> Path:
    """Writes an installed autosft of another version, of which nothing is where it is in this one."""
    about = folder / "autosft-99.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: autosft\nVersion: 99.0\n")
    (folder / "autosft").mkdir()
    (folder / "autosft" / "__init__.py").touch()
    return folder


def test_it_gets_no_trials_and_is_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    with real_cluster(tmp_path, RAY_AUTH_MODE="disabled") as cluster:
        port = free_port()
        path = os.pathsep.join([str(tmp_path), *sys.path])
        cluster.start("head", f"--port={port}", "--include-dashboard=false", PYTHONPATH=path)
        cluster.address = f"127.0.0.1:{port}"
        driver = subprocess.Popen(
            [sys.executable, str(tmp_path / "driver.py"), cluster.address, str(tmp_path / "ray")],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": path},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert driver.stdout is not None and "READY" in driver.stdout.readline()
            there = os.pathsep.join([str(other_autosft(tmp_path / "there")), str(tmp_path)])
            cluster.start("other", hidden=[Path(autosft.__file__).parent], PYTHONPATH=there)
            out = driver.communicate(timeout=240)[0]
        finally:
            driver.kill()
    heard, places, own, at_once = json.loads(out.splitlines()[-1])
    assert len(heard) == 1 and "runs autosft 99.0, and " in heard[0] and heard[0].endswith("it gets no trials")
    assert places == [own] and at_once == 1
