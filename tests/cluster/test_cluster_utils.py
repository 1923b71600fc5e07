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
from harm import SABOTEUR, fault

from autosft.testing.tiny_data import LABELS, tiny_texts

pytestmark = pytest.mark.faults

DRIVER = """
import json, os, sys, threading, time

import ray
from ray.cluster_utils import Cluster

import autosft
from autosft.tracking.base import Tracker

class Notes(Tracker):
    def __init__(self):
        self.heard = []

    def note(self, message):
        self.heard.append(message)

def remove(cluster, node, armed):
    while os.path.exists(armed):
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)

if __name__ == "__main__":
    rows, model, run, armed, of_head, of_node = sys.argv[1:]
    head = {"num_cpus": 1, "include_dashboard": False, "env_vars": {"AUTOSFT_TEST_FAULTS": of_head}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1, env_vars={"AUTOSFT_TEST_FAULTS": of_node})
    cluster.wait_for_nodes()
    tracker = Notes()
    threading.Thread(target=remove, args=(cluster, node, armed), daemon=True).start()
    result = autosft.fit(
        "sort messages by topic", rows, models=model, trainer="frozen_head", scheduler="none", folder=run,
        budget=autosft.Budget(num_trials=4, refit=False), cluster=cluster.address, tracker=tracker,
    )
    found = {"fates": [trial.fate for trial in result.trials], "notes": tracker.heard}
    found |= {"nodes": len(cluster.list_all_nodes())}
    print(json.dumps(found), flush=True)
    ray.shutdown()
    cluster.shutdown()
"""


def test_a_node_that_is_removed_from_a_cluster_of_two_costs_no_trial(tmp_path: Path) -> None:
    model = write_base_model(tmp_path / "tiny")
    texts, targets = tiny_texts(240)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    (tmp_path / "driver.py").write_text(DRIVER)
    armed = tmp_path / "armed"
    armed.touch()
    # The first trial of the second node takes the file away, and does nothing more until it is killed with its node.
    # Those of the head wait for that, however quick they are.
    train = {"at": "autosft.search.work:train", "nth": None}
    faults = ([fault(do=f"wait:{armed}", **train)], [fault(do="hang", armed=str(armed), **train)])
    told = (tmp_path / "driver.py", tmp_path / "rows.csv", model, tmp_path / "run", armed, *map(json.dumps, faults))
    # A place of its own, as the head says where it is found; with a short name, for Ray's sockets.
    sessions = tempfile.mkdtemp(prefix="r", dir="/tmp")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(SABOTEUR), *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment |= {"AUTOSFT_CACHE": str(tmp_path / "cache"), "RAY_TMPDIR": sessions}
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *map(str, told)], env=environment, stdout=subprocess.PIPE, stderr=err,
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
    assert found["fates"] == ["complete"] * 4 and found["nodes"] == 1
    assert len([note for note in found["notes"] if "is gone" in note and "begins again" in note]) == 1, found["notes"]
    assert (tmp_path / "run" / "model" / "autosft.json").exists()
