"""What are workers that stay warm between trainings worth? The same search with them, and with a new worker each time.

    python benchmarks/workers.py --data ROOT --trials 16 --repeats 3

A search over frozen heads of about a second each, where a start is most of what there is. Every search is a process of
its own, the two ways in turn. Appends a JSON line a search to results/workers.jsonl: wall seconds, where the worker's
seconds went, and the medians over trainings of what one takes and of what passes beside that until the next one ends.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
from text_classification import commit

import autosft
from autosft.search import runner

RESULTS = Path(__file__).parent / "results" / "workers.jsonl"


def search(data: Path, way: str, num_trials: int) -> dict[str, object]:
    """Runs one search here."""
    plain = runner.tune.TuneConfig
    anew = mock.patch.object(runner.tune, "TuneConfig", lambda **given: plain(**{**given, "reuse_actors": False}))
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, AUTOSFT_CACHE=f"{folder}/cache"):
        if way == "cold":
            anew.start()
        budget = autosft.Budget(num_trials=num_trials, refit=False)
        result = autosft.fit(
            "intent", str(data), target="category", models="minilm", trainer="frozen_head", budget=budget,
            max_concurrent=1, folder=f"{folder}/run",
        )  # fmt: skip
        lines = [json.loads(line) for line in Path(f"{folder}/run/trials.jsonl").read_text().splitlines()]
    ended = [line for line in lines if line["event"] == "ended"]
    totals = [line["trial"]["seconds"]["total"] for line in ended[1:]]
    passed = [after["spent_seconds"] - before["spent_seconds"] for before, after in pairwise(ended)]
    return {
        "way": way,
        "num_trials": len(ended),
        "wall_seconds": result.summary["seconds"]["wall"],
        "trial_seconds": round(statistics.median(totals), 3),
        "turn_around_seconds": round(statistics.median(np.subtract(passed, totals)), 3),
        "seconds": result.summary["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=["warm", "cold"], help="run one search in this process, and keep nothing")
    arguments = parser.parse_args()
    data = arguments.data / "intent/banking77/train_10_per_class.csv"
    if arguments.way:
        print(json.dumps(search(data, arguments.way, arguments.trials)))
        return
    rows = []
    for _ in range(arguments.repeats):
        for way in ("warm", "cold"):
            command = [sys.executable, __file__, "--data", str(arguments.data), "--trials", str(arguments.trials)]
            done = subprocess.run([*command, "--way", way], capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]) | {"commit": commit(), "cores": os.cpu_count()})
            print(json.dumps(rows[-1]), flush=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    for key in ("wall_seconds", "trial_seconds", "turn_around_seconds"):
        warm, cold = (statistics.median(row[key] for row in rows if row["way"] == way) for way in ("warm", "cold"))
        print(f"{key}: warm {warm:.3g}, cold {cold:.3g}, ratio {cold / warm:.2f}")


if __name__ == "__main__":
    main()
