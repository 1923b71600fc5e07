"""A node is removed from a cluster of Ray's own `cluster_utils` under a whole `fit`, while a trial runs on it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clusters import with_children, write_base_model

from autosft.testing.tiny_data import LABELS, tiny_texts

pytestmark = pytest.mark.faults

DRIVER = """
import json, sys, threading, time

import ray
from ray.cluster_utils import Cluster

import autosft
from autosft.tracking.base import Tracker

class Notes(Tracker):
    def __init__(self):
        self.heard, self.begun = [], threading.Event()

    def note(self, message):
        self.heard.append(message)

    def phase(self, name):
        if name == "search":
            self.begun.set()

def is_busy(node):
    # Whether a method of an actor runs there: Ray writes its name over that of the process.
    import psutil
    [raylet] = node.all_processes["raylet"]
    found = [process.info for process in psutil.process_iter(["ppid", "cmdline"])]
    titles = ["".join(row["cmdline"] or ()) for row in found if row["ppid"] == raylet.process.pid]
    return any(title.startswith("ray::ImplicitFunc.") for title in titles)

def remove(cluster, node, tracker):
    tracker.begun.wait()
    while not is_busy(node):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)

if __name__ == "__main__":
    rows, model, run = sys.argv[1:]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node, tracker = cluster.add_node(num_cpus=1), Notes()
    cluster.wait_for_nodes()
    threading.Thread(target=remove, args=(cluster, node, tracker), daemon=True).start()
    result = autosft.fit(
        "sort messages by topic", rows, models=model, trainer="transformers", scheduler="none", folder=run,
        budget=autosft.Budget(num_trials=6, refit=False), cluster=cluster.address, tracker=tracker,
    )
    found = {"fates": [trial.fate for trial in result.trials], "notes": tracker.heard}
    found |= {"nodes": len(cluster.list_all_nodes())}
    print(json.dumps(found), flush=True)
    ray.shutdown()
    cluster.shutdown()
"""


def test_a_node_that_is_removed_from_a_cluster_of_two_costs_no_trial(tmp_path: Path) -> None:
    model = write_base_model(tmp_path / "tiny", hidden_size=64)
    texts, targets = tiny_texts(1000)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    (tmp_path / "driver.py").write_text(DRIVER)
    places = (tmp_path / "driver.py", tmp_path / "rows.csv", model, tmp_path / "run")
    # A place of its own, as the head says where it is found; with a short name, for Ray's sockets.
    sessions = tempfile.mkdtemp(prefix="r", dir="/tmp")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"AUTOSFT_CACHE": str(tmp_path / "cache"), "RAY_TMPDIR": sessions}
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *map(str, places)], env=environment, stdout=subprocess.PIPE, stderr=err,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = process.communicate(timeout=300)
        finally:
            with_children(process.pid, signal.SIGKILL)
            shutil.rmtree(sessions, ignore_errors=True)
    said = (tmp_path / "err").read_text()
    assert process.returncode == 0, said
    found = json.loads(out.splitlines()[-1])
    assert found["fates"] == ["complete"] * 6 and found["nodes"] == 1
    assert len([note for note in found["notes"] if "is gone" in note and "begins again" in note]) == 1, found["notes"]
    assert (tmp_path / "run" / "model" / "autosft.json").exists()
