"""Jobs beside each other on a Ray with room for several trials, and slots that move to who still runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder

pytestmark = pytest.mark.slow

#: Ray counts CPUs as it is told, so eight of them make two slots on any machine.
PROGRAM = """
import json, sys
import ray
import autosft
jobs, folder = json.load(open(sys.argv[1])), sys.argv[2]
ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
found = autosft.fit_many(jobs, folder=folder)
print(json.dumps([job.state for job in found]))
"""


def test_two_slots_run_two_jobs_at_a_time_on_the_ray_of_this_process(tmp_path: Path) -> None:
    model = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(*tiny_texts(120), strict=True)]
    question = {"task": "Sort by topic", "data": rows, "models": [str(model)], "trainer": "frozen_head"}
    budgets = {"long": "4 trials", "short": "1 trial", "last": "1 trial"}
    jobs = [{"name": name, "budget": budget, **question} for name, budget in budgets.items()]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "jobs.json"), str(tmp_path / "batch")]
    environment = {**os.environ, "AUTOSFT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["finished"] * 3

    running, most, order = set(), 0, []
    for line in (tmp_path / "batch" / "batch.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "started":
            running.add(event["name"])
            order.append(event["name"])
        elif event["event"] == "ended":
            running.discard(event["name"])
        most = max(most, len(running))
    assert most == 2
    assert order == ["long", "short", "last"]
    # A trial is as large as it is without a batch: four of the eight cores, whoever else runs.
    plans = [json.loads((tmp_path / "batch" / name / "plan.json").read_text()) for name in budgets]
    assert [plan["resources"]["cpus_per_trial"] for plan in plans] == [4, 4, 4]
    # The last one has both slots where it plans after the others have ended.
    assert [plan["resources"]["max_concurrent"] for plan in plans[:2]] == [1, 1]
