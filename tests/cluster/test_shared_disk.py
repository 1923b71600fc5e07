"""A node that shares a disk with the driver: a job there works in the driver's own folders, and nothing is copied."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clusters import RealCluster, head_for, with_children

from autosft.tasks.image_classification import IMAGE_TYPE

pytestmark = pytest.mark.faults

DRIVER = """
import json, sys, time
from pathlib import Path

from autosft.cluster.nodes import own_id
from autosft.data.data import Rows
from autosft.data.pixels import content_of
from autosft.search.job import Ended
from autosft.search.runner import Runner
from autosft.trainers.base import Limits

def wait_until(what):
    until = time.monotonic() + 60
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.05)
    return found

def node():
    import ray
    return str(ray.get_runtime_context().get_node_id())

def work(report, *, folder, rows, scratch, models, limits):
    [(base, scaled)] = models.items()
    read = (Path(folder) / "deep" / "weights").read_bytes()
    images = [content_of(image["path"], image["bytes"]).decode() for image in rows.table().column("image").to_pylist()]
    for written in (scratch, scaled):
        written.mkdir(parents=True, exist_ok=True)
        (written / "unfinished").write_bytes(read)
        (written / "unfinished").rename(written / "weights")
    is_told = wait_until(limits.stop_file.exists)
    places = folder, rows.path, scratch, base, scaled, limits.stop_file
    return node(), [str(place) for place in places], images, is_told

def linger(report, *, scratch, limits):
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / node()).touch()
    return wait_until(limits.stop_file.exists)

def ended(runner, said):
    while not isinstance(event := runner.wait(60.0), Ended):
        said += [event.why] if getattr(event, "why", "") else []
    return {"fate": event.fate, "message": event.message, "value": event.value, "said": said, "own": own_id()}

if __name__ == "__main__":
    address, function, run, base = *sys.argv[1:3], Path(sys.argv[3]), Path(sys.argv[4])
    scratch, scaled, stop_file, rows = run / "trial", run / "scaled", run / "trial.stop", run / "rows.arrow"
    arguments = {"scratch": scratch, "limits": Limits(1, run / "cache", stop_file=stop_file)}
    with Runner(scratch=run / "ray", cluster=address) as runner:
        runner.machine()
        if function == "linger":
            runner.submit("driver:linger", arguments)
            found = ended(runner, [])
        else:
            files = [folder / "weights" for folder in (scratch, scaled)]
            arguments |= {"folder": str(base), "rows": Rows(rows), "models": {base: scaled}}
            runner.submit("driver:work", arguments)
            # The job ends when it is told to, so what is seen before has not been brought back at its end.
            seen = wait_until(lambda: all(file.exists() for file in files) and [file.stat().st_ino for file in files])
            stop_file.touch()
            found = ended(runner, [])
            import ray
            found |= {"seen": seen, "left": [file.stat().st_ino for file in files]}
            found |= {"places": [str(place) for place in (base, rows, scratch, base, scaled, stop_file)]}
            found |= {"fetched": len(ray.get(runner._depot.fetched.remote()))}
        print(json.dumps(found), flush=True)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """A head without a CPU to give, so that jobs are on the other node, which sees the same disk."""
    with head_for(DRIVER, tmp_path, "--num-cpus=0") as started:
        started.start("second")
        yield started


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def start(cluster: RealCluster, tmp_path: Path, run: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts the driver with one of its jobs."""
    started: list[subprocess.Popen[str]] = []

    def start_one(function: str) -> subprocess.Popen[str]:
        command = [str(tmp_path / "code" / "driver.py"), cluster.address, function, str(run), str(tmp_path / "base")]
        environment = {**os.environ, **cluster.environment, "AUTOSFT_CACHE": str(tmp_path / "cache")}
        started.append(
            subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        )
        return started[-1]

    yield start_one
    for one in started:
        with_children(one.pid, signal.SIGKILL)
        one.wait(30)


def found_by(driver: subprocess.Popen[str]) -> dict[str, Any]:
    """Waits for a driver's end; returns what it found."""
    out = driver.communicate(timeout=240)[0]
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert found["fate"] == "complete", found["message"]
    return found


def test_a_job_there_works_in_the_drivers_folders_and_nothing_is_copied(
    tmp_path: Path, run: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    content = os.urandom(1000)
    (tmp_path / "base" / "deep").mkdir(parents=True)
    (tmp_path / "base" / "deep" / "weights").write_bytes(content)
    (run / "0.png").write_bytes(b"zero")
    images = pa.array([{"path": str(run / "0.png"), "bytes": None}, {"path": None, "bytes": b"one"}], IMAGE_TYPE)
    table = pa.table({"image": images, "content": ["a", "b"]})
    with pa.ipc.new_file(str(run / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)

    found = found_by(start("work"))
    node, places, seen_images, is_told = found["value"]
    assert node != found["own"] and places == found["places"], "the same folders on another node"
    assert seen_images == ["zero", "one"] and is_told
    assert found["seen"] and found["left"] == found["seen"], "written in their places, and left there"
    for name in ("trial", "scaled"):
        assert {file.name: file.read_bytes() for file in (run / name).iterdir()} == {"weights": content}
    assert found["fetched"] == 0 and not (tmp_path / "second" / "cache" / "fetched").exists()
    assert not [*run.glob(".*")], "no mark by which the disk was known stays"


def test_a_job_whose_node_is_lost_begins_again_on_another_one(
    run: Path, cluster: RealCluster, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    driver = start("linger")

    def wait_for_nodes(num: int) -> None:
        until = time.monotonic() + 120
        while len(nodes := [*(run / "trial").glob("*")]) < num:
            assert driver.poll() is None and time.monotonic() < until, f"it has been on {len(nodes)} of {num} nodes"
            time.sleep(0.05)

    wait_for_nodes(1)
    cluster.kill("second")
    cluster.start("third")
    wait_for_nodes(2)
    (run / "trial.stop").touch()
    found = found_by(driver)
    assert found["value"] is True and found["own"] not in {node.name for node in (run / "trial").iterdir()}
    assert len(found["said"]) == 1 and "is gone, and what ran on it begins again elsewhere" in found["said"][0]
