"""A cluster whose autoscaler adds nodes that are asked for and takes those away that idle: for real, on one machine."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import RealCluster, free_port, real_cluster, with_children, write_base_model

from autosft.batch.processes import Host
from autosft.batch.shares import slots_on
from autosft.testing.tiny_data import LABELS, tiny_texts

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: The most nodes beside the head, each of one CPU as it is.
MOST_NODES = 2


def config(address: str) -> dict[str, Any]:
    """What `ray up` would be given, for Ray's provider of nodes that are processes of this machine."""
    worker = {"resources": {"CPU": 1, "object_store_memory": 200_000_000}, "node_config": {}, "min_workers": 0}
    nothing = {"auth": {}, "file_mounts": {}, "docker": {}}
    commands = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
                "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files")  # fmt: skip
    return {
        "cluster_name": "growing",
        "max_workers": MOST_NODES,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "worker": {**worker, "max_workers": MOST_NODES},
        },
        "head_node_type": "ray.head.default",
        **nothing,
        **{name: [] for name in commands},
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """A head of one CPU, with an autoscaler that looks every second."""
    (tmp_path / "home").mkdir()
    path = os.pathsep.join(sys.path)
    with real_cluster(tmp_path, RAY_AUTH_MODE="disabled", HOME=str(tmp_path / "home"), PYTHONPATH=path) as started:
        port = free_port()
        file = tmp_path / "autoscaling.json"
        file.write_text(json.dumps(config(f"127.0.0.1:{port}")))
        started.start(
            "head", f"--port={port}", f"--autoscaling-config={file}", "--include-dashboard=false",
            RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1",
        )  # fmt: skip
        started.address = f"127.0.0.1:{port}"
        yield started


@pytest.fixture
def host(cluster: RealCluster, tmp_path: Path) -> Iterator[Host]:
    """The process that holds a batch's Ray, on that cluster."""
    started = Host(cluster.address, log=tmp_path / "ray.log")
    started.offer()
    yield started
    started.close()


def slots(host: Host) -> int:
    latest = host.latest()
    assert latest is not None and host.is_alive
    return slots_on(latest.machine)


def wait_for(what: Callable[[], bool], *, within_seconds: float = 90.0) -> None:
    until = time.monotonic() + within_seconds
    while not what():
        assert time.monotonic() < until, "it is not so yet"
        time.sleep(0.2)


def test_the_slots_of_a_batch_follow_the_nodes_that_it_asks_for_and_lets_go_of(
    cluster: RealCluster, host: Host, tmp_path: Path
) -> None:
    assert slots(host) == 1
    host.ask_for(3 * [{"CPU": 1.0}])
    wait_for(lambda: slots(host) == 3)
    host.ask_for([])
    wait_for(lambda: slots(host) == 1)

    leaving = Host(cluster.address, log=tmp_path / "leaving.log")
    leaving.offer()
    leaving.ask_for(2 * [{"CPU": 1.0}])
    wait_for(lambda: slots(host) == 2)
    leaving.close()
    wait_for(lambda: slots(host) == 1)


def test_a_search_has_the_nodes_that_its_max_concurrent_needs_until_it_is_interrupted(
    cluster: RealCluster, host: Host, tmp_path: Path
) -> None:
    model = write_base_model(tmp_path / "tiny", hidden_size=64)
    texts, targets = tiny_texts(600)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    run, err = tmp_path / "run", tmp_path / "err"
    command = [
        sys.executable, "-m", "autosft", "fit", str(tmp_path / "rows.csv"), "--task", "sort messages by topic",
        "--models", str(model), "--folder", str(run), "--cluster", cluster.address, "--trainer", "transformers",
        "--budget", "30 trials", "--scheduler", "none", "--max-concurrent", "3", "--json",
    ]  # fmt: skip
    environment = {**os.environ, **cluster.environment, "AUTOSFT_CACHE": str(tmp_path / "cache")}
    with err.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True
        )
    try:
        wait_for(lambda: process.poll() is not None or len(running(run)) == 3, within_seconds=240)
        assert process.poll() is None, err.read_text()
        wait_for(lambda: slots(host) == 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, err.read_text()
    finally:
        with_children(process.pid, signal.SIGKILL)
        process.wait(30)
    wait_for(lambda: slots(host) == 1)


def test_a_batch_has_the_nodes_that_its_max_jobs_need(cluster: RealCluster, host: Host, tmp_path: Path) -> None:
    model = write_base_model(tmp_path / "tiny")
    texts, targets = tiny_texts(200)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    question = {"task": "sort messages by topic", "data": "rows.csv", "models": str(model), "trainer": "transformers"}
    jobs = [{"name": name, "budget": "25 trials", **question} for name in ("one", "two")]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": jobs}))
    done = subprocess.run(
        [sys.executable, "-m", "autosft", "batch", str(tmp_path / "jobs.json"), "--folder", str(tmp_path / "batch"),
         "--cluster", cluster.address, "--max-jobs", "2"],
        env={**os.environ, **cluster.environment, "AUTOSFT_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nodes came or went: 2 slots now, 1 before" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "batch" / "batch.jsonl").read_text().splitlines()]
    order = [(row["event"], row["name"]) for row in rows if row["event"] in ("started", "ended")]
    assert order[:2] == [("started", "one"), ("started", "two")]
    wait_for(lambda: slots(host) == 1)


def running(run: Path) -> set[int]:
    log = run / "trials.jsonl"
    rows = [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []
    begun, ended = ({row["trial"]["number"] for row in rows if row["event"] == event} for event in ("started", "ended"))
    return begun - ended
