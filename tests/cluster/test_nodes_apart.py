"""Nodes that share no disk with the driver, that join while a run goes on, and that are lost under it: for real."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clusters import RealCluster, can_hide_folders, free_port, real_cluster, with_children, write_base_model

from autosft.tasks.image_classification import IMAGE_TYPE
from autosft.testing.tiny_data import LABELS, tiny_texts

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not can_hide_folders(), reason="needs a mount namespace of its own (`unshare -m`)"),
]

RUNS_JOBS = """
import json, os, sys, time
from dataclasses import replace
from pathlib import Path

from autosft.cluster.nodes import own_id
from autosft.search.runner import Runner

def copy(report, *, folder, scratch, seconds):
    time.sleep(seconds)
    import ray
    scratch.mkdir(parents=True, exist_ok=True)
    content = (Path(folder) / "deep" / "weights").read_bytes()
    (scratch / "outputs.arrow").write_bytes(content[:10])
    (scratch / "model").mkdir(exist_ok=True)
    (scratch / "model" / "weights").write_bytes(content)
    return str(ray.get_runtime_context().get_node_id()), str(folder)

def where(report):
    import ray
    time.sleep(0.5)
    return str(ray.get_runtime_context().get_node_id())

def die(report, *, log):
    with open(log, "a") as file:
        file.write("begun\\n")
    time.sleep(1.0)
    os._exit(1)

def look(report, *, rows, marks):
    import ray
    from autosft.data.pixels import content_of
    # None is done before one runs on the other node too, however long its worker takes to start.
    Path(f"{marks}-{ray.get_runtime_context().get_node_id()}").touch()
    until = time.time() + 60
    while len([*Path(marks).parent.glob(f"{Path(marks).name}-*")]) < 2 and time.time() < until:
        time.sleep(0.1)
    images = rows.table().column("image").to_pylist()
    return [content_of(image["path"], image["bytes"]).decode() for image in images], str(rows.path)

if __name__ == "__main__":
    from autosft.data.data import Rows
    address, base, run = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    found = {"jobs": []}
    with Runner(scratch=run / "ray", cluster=address) as runner:
        runner.machine()
        found["before"] = runner.num_at_once(1.0, 0.0)
        ids = {
            runner.submit("jobs:copy", {"folder": base, "scratch": run / str(at), "seconds": 2.0},
                          leaves=("outputs.arrow",) if at % 2 else None): at
            for at in range(6)
        }
        left = set(ids)
        while left:
            event = runner.wait(60.0)
            if type(event).__name__ == "Ended":
                left.remove(event.job_id)
                node, folder = event.value or (None, None)
                found["jobs"].append([ids[event.job_id], event.fate, node, folder, event.message])
        dying = [runner.submit("jobs:die", {"log": sys.argv[4]}) for _ in range(3)]
        while len(found.setdefault("died", [])) < len(dying):
            event = runner.wait(60.0)
            if type(event).__name__ == "Ended":
                found["died"].append([event.fate, event.message])
        own = own_id()
        for node_id, member in [*runner._nodes._members.items()]:
            small = replace(member.node, memory_bytes=5 if node_id == own else 100)
            runner._nodes._members[node_id] = replace(member, node=small)
        large = [runner.submit("jobs:where", {}, memory_bytes=50) for _ in range(4)]
        while len(found.setdefault("large", [])) < len(large):
            event = runner.wait(60.0)
            if type(event).__name__ == "Ended":
                found["large"].append(event.value)
        look = {"rows": Rows(run.parent / "rows.arrow"), "marks": sys.argv[4]}
        looks = [runner.submit("jobs:look", look) for _ in range(3)]
        while len(found.setdefault("looks", [])) < len(looks):
            event = runner.wait(60.0)
            if type(event).__name__ == "Ended":
                found["looks"].append(event.value)
        import ray
        found["own"] = own_id()
        found["fetched"] = [[*key, count] for key, count in ray.get(runner._depot.fetched.remote()).items()]
        print("READY", flush=True)
        until = time.time() + 60
        while runner.num_at_once(1.0, 0.0) == found["before"] and time.time() < until:
            runner.wait(1.0)
        found["after"] = runner.num_at_once(1.0, 0.0)
    print(json.dumps(found), flush=True)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The folder that the driver's machine has and no other sees."""
    folder = tmp_path / "driver"
    folder.mkdir()
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """A head of one CPU, whose workers find the functions of `RUNS_JOBS`."""
    for name in ("home", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "jobs.py").write_text(RUNS_JOBS)
    path = os.pathsep.join([str(tmp_path / "code"), *sys.path])
    with real_cluster(tmp_path, RAY_AUTH_MODE="disabled", HOME=str(tmp_path / "home"), PYTHONPATH=path) as started:
        port = free_port()
        started.start("head", f"--port={port}", "--include-dashboard=false")
        started.address = f"127.0.0.1:{port}"
        yield started


@dataclass
class Driver:
    """A process that uses the cluster, and what it has written so far."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait_for(self, what: Callable[[], bool], *, within_seconds: float = 120.0) -> None:
        until = time.monotonic() + within_seconds
        while not what():
            assert self.process.poll() is None, f"it ended before that:\n{self.err.read_text()}"
            assert time.monotonic() < until, f"it is not there yet:\n{self.out.read_text()}\n{self.err.read_text()}"
            time.sleep(0.05)

    def ended(self, *, within_seconds: float) -> tuple[str, str]:
        """Waits for its end, which has to be a good one; returns what it wrote to both streams."""
        try:
            code = self.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, f"{code}: {self.err.read_text()}"
        return self.out.read_text(), self.err.read_text()


@pytest.fixture
def start(cluster: RealCluster, driver: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers, whose streams go to files: a pipe that nobody reads would hold them when it is full."""
    started: list[Driver] = []

    def start_one(*command: str) -> Driver:
        out, err = driver / f"out-{len(started)}", driver / f"err-{len(started)}"
        environment = {**os.environ, **cluster.environment, "AUTOSFT_CACHE": str(driver / "cache")}
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [sys.executable, *command], env=environment, cwd=driver,
                stdout=to_out, stderr=to_err, start_new_session=True,
            )  # fmt: skip
        started.append(Driver(process, out, err))
        return started[-1]

    yield start_one
    for one in started:
        with_children(one.process.pid, signal.SIGKILL)
        one.process.wait(30)


def test_files_reach_a_node_once_and_come_back_from_it_and_a_new_node_gets_work(
    tmp_path: Path, driver: Path, cluster: RealCluster, start: Callable[..., Driver]
) -> None:
    base, run, log = driver / "base", driver / "run", tmp_path / "code" / "log"
    (base / "deep").mkdir(parents=True)
    content = os.urandom(70_000_000)  # It travels in three parts.
    (base / "deep" / "weights").write_bytes(content)
    (base / "config.json").write_text("{}")
    (driver / "0.png").write_bytes(b"zero")
    images = pa.array([{"path": str(driver / "0.png"), "bytes": None}, {"path": None, "bytes": b"one"}], IMAGE_TYPE)
    table = pa.table({"image": images, "content": ["a", "b"]})
    with pa.ipc.new_file(str(driver / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    cluster.start("second", "--num-cpus=2", hidden=[driver])
    process = start(str(tmp_path / "code" / "jobs.py"), cluster.address, str(base), str(run), str(log))
    process.wait_for(lambda: "READY\n" in process.out.read_text(), within_seconds=300)
    cluster.start("third", hidden=[driver])
    out, _ = process.ended(within_seconds=120)
    found = json.loads(out.splitlines()[-1])
    jobs = {at: (fate, node, folder) for at, fate, node, folder, _ in found["jobs"]}
    assert {fate for fate, _, _ in jobs.values()} == {"complete"}, found["jobs"]

    own = [at for at, (_, node, _) in jobs.items() if node == found["own"]]
    away = [at for at, (_, node, _) in jobs.items() if node != found["own"]]
    assert own and len(away) >= 2, "two workers of the other node ran at the same time"
    assert {jobs[at][2] for at in own} == {str(base)}, "on the driver's machine nothing is copied"
    assert {jobs[at][2] for at in away} != {str(base)}
    assert [count for _, path, count in found["fetched"] if path == str(base)] == [1]
    for at in jobs:
        assert (run / str(at) / "outputs.arrow").read_bytes() == content[:10]
    for at in away:
        wanted = at % 2 == 0
        assert (run / str(at) / "model" / "weights").exists() == wanted, "what is not needed stays away"
        assert not wanted or (run / str(at) / "model" / "weights").read_bytes() == content
    assert {fate for fate, _ in found["died"]} == {"failed"} and "worker died" in found["died"][0][1]
    assert found["own"] not in found["large"] and len(found["large"]) == 4, "that node is too small for them"
    assert log.read_text() == 3 * "begun\n", "a worker that dies by itself is no lost node"
    assert [seen for seen, _ in found["looks"]] == [["zero", "one"]] * 3
    assert len({path for _, path in found["looks"]}) == 2, "the driver's own rows there, rows with bytes here"
    assert [count for _, path, count in found["fetched"] if path == str(driver / "images")] == [1]
    assert not [*run.glob(".*")], "no marks or unfinished folders are left"
    assert (found["before"], found["after"]) == (3, 4)


def test_a_node_that_is_lost_costs_no_trial(driver: Path, cluster: RealCluster, start: Callable[..., Driver]) -> None:
    model = write_base_model(driver / "tiny", hidden_size=64)
    texts, targets = tiny_texts(600)
    with (driver / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    cluster.start("second", hidden=[driver])
    process = start(
        "-m", "autosft", "fit", str(driver / "rows.csv"), "--task", "sort messages by topic",
        "--models", str(model), "--folder", str(driver / "run"), "--cluster", cluster.address,
        "--trainer", "transformers", "--budget", "12 trials", "--scheduler", "none", "--json",
    )  # fmt: skip
    # A trial that is said to run may still wait for a worker: over there one runs for sure once it has fetched files.
    fetched = cluster.folder / "second" / "cache" / "fetched"
    process.wait_for(lambda: fetched.exists() and len(running(driver / "run")) == 2)
    cluster.kill("second")
    started = time.monotonic()
    out, err = process.ended(within_seconds=300)
    assert "is gone" in err and "begins again elsewhere" in err and "Traceback" not in err
    assert json.loads(out)["num_trials"] == 12
    log = events(driver / "run")
    again = [event["trial"]["number"] for event in log if event["event"] == "again"]
    assert len(again) == 1 and ended(driver / "run") == dict.fromkeys(range(12), "complete")
    assert (driver / "run" / "model" / "autosft.json").exists()
    assert time.monotonic() - started < 240


def events(run: Path) -> list[dict[str, Any]]:
    log = run / "trials.jsonl"
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []


def ended(run: Path) -> dict[int, str]:
    return {event["trial"]["number"]: event["trial"]["fate"] for event in events(run) if event["event"] == "ended"}


def running(run: Path) -> set[int]:
    begun = {event["trial"]["number"] for event in events(run) if event["event"] == "started"}
    return begun - {*ended(run)}
