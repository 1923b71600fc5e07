"""Twelve small real jobs of seven kinds as one `autosft batch`, killed twice with -9 in the middle and begun again.

    python benchmarks/batch.py --data ROOT --folder F --budget 24m

ROOT is laid out as `benchmarks/data.md` says. Checks that nothing was lost: every trial that had ended is still there,
no trial ran twice, what was finished still is, all jobs have a model, no process is left, and the budget holds. Prints
the batch's table and appends a line to results/batch.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kinds import SETS
from text_classification import commit

from autosft.base_models import MINILM
from autosft.budget import Budget
from autosft.data.read import read

RESULTS = Path(__file__).parent / "results" / "batch.jsonl"

#: Rows that are kept of each set, so that a minute or two of two cores is enough.
TRAIN_ROWS, TEST_ROWS = 1200, 600

#: Files that are one table as they stand: name of the job, its place, what is wanted, and the column.
TABLES = (
    ("banking77", "intent/banking77/train_10_per_class.csv", "intent/banking77/test.csv",
     "Route each message to the banking intent it is about", "category"),
    ("amazon", "text-classification/sentence_polarity_uci/amazon_cells_labelled.txt", None,
     "Is this review positive?", None),
    ("yelp", "text-classification/sentence_polarity_uci/yelp_labelled.txt", None, "Is this review positive?", None),
    ("sms_spam", "text-classification/sms_spam/SMSSpamCollection", None, "Is this message spam?", None),
)  # fmt: skip
OTHERS = ("goemotions", "emobank", "pubmedqa", "jsts", "wnut17", "wikigold")
IMAGES = (("fashion_mnist", "fashion_mnist_png/train", "fashion_mnist_png/test"),
          ("sign_language", "sign_language_digits_0to4", None))  # fmt: skip

#: Kills at these shares of the budget.
KILLS = (0.25, 0.55)


def some(table: pa.Table, num_rows: int) -> pa.Table:
    """Returns that many rows, always the same ones, in their order."""
    if table.num_rows <= num_rows:
        return table
    return table.take(np.sort(np.random.default_rng(20).permutation(table.num_rows)[:num_rows]))


def prepared(root: Path, folder: Path) -> Path:
    """Writes cut data and a file of jobs; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[dict[str, Any]] = []

    def write(name: str, data: object, test: object | None) -> dict[str, str]:
        place = folder / name
        place.mkdir(exist_ok=True)
        splits = read(data).splits
        for split, table in splits.items():
            if split != "test":
                pq.write_table(some(table, TRAIN_ROWS if split == "train" else TEST_ROWS), place / f"{split}.parquet")
        found = {"data": f"{name}" if len(splits) > 1 else f"{name}/train.parquet"}
        if test is not None:
            pq.write_table(some(read(test).train, TEST_ROWS), folder / f"{name}_test.parquet")
            found["test"] = f"{name}_test.parquet"
        return found

    for name, data, test, sentence, target in TABLES:
        row = {"name": name, "task": sentence, **write(name, root / data, None if test is None else root / test)}
        jobs.append(row | ({"target": target} if target else {}))
    for name in OTHERS:
        chosen = SETS[name]
        jobs.append({"name": name, "task": chosen.sentence, **write(name, *chosen.split(root))})
    for name, data, test in IMAGES:
        place = root / "image-classification"
        row = {"name": name, "task": SETS[name].sentence, "data": str(place / data)}
        jobs.append(row | ({"test": str(place / test)} if test else {}))
    for job in jobs:
        if job["name"] not in ("fashion_mnist", "sign_language"):
            job["models"] = MINILM
    path = folder / "jobs.json"
    path.write_text(json.dumps({"defaults": {"budget": "110s"}, "jobs": jobs}, indent=1), encoding="utf-8")
    return path


class Batch:
    """`autosft batch` in a process of its own, and what stands in its folder."""

    def __init__(self, jobs: Path, folder: Path, budget: str, cache: Path) -> None:
        self.folder = folder
        self.names = [job["name"] for job in json.loads(jobs.read_text(encoding="utf-8"))["jobs"]]
        self._mark = uuid.uuid4().hex
        self._environment = {**os.environ, "AUTOSFT_CACHE": str(cache), "AUTOSFT_BENCHMARK_MARK": self._mark}
        self._command = ["batch", str(jobs), "--folder", str(folder), "--budget", budget]

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "autosft", *self._command, *options]
        return subprocess.Popen(command, env=self._environment, text=True, stdout=subprocess.PIPE)

    def spent_seconds(self) -> float:
        try:
            return float((self.folder / ".spent").read_text())
        except (OSError, ValueError):
            return 0.0

    def ended_lines(self, name: str) -> list[str]:
        """Returns the lines of trials that ended."""
        path = self.folder / name / "trials.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [line for line in lines if json.loads(line)["event"] == "ended"]

    def finished(self) -> list[str]:
        return [name for name in self.names if (self.folder / name / "result.json").exists()]

    def in_the_middle(self) -> bool:
        """Whether a job has trials and no result yet."""
        return any(self.ended_lines(name) for name in self.names if name not in self.finished())

    def left_behind(self) -> list[str]:
        """Returns processes of this batch that still run, given some time to end."""
        until = time.monotonic() + 60
        while (found := self._processes()) and time.monotonic() < until:
            time.sleep(0.5)
        return found

    def _processes(self) -> list[str]:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (place / "environ").read_bytes():
                    line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    # Ray's own agents look for a node that was killed only now and then, and then go by themselves.
                    found += [line] if line and "Agent" not in line else []
            except OSError:
                continue
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--budget", default="24m")
    parser.add_argument("--kill-at", default="", help="seconds of the batch, separated by commas")
    arguments = parser.parse_args()
    budget_seconds = Budget.parse(arguments.budget).seconds
    assert budget_seconds is not None, "the budget is a time"
    kills = [float(at) for at in arguments.kill_at.split(",") if at] or [share * budget_seconds for share in KILLS]
    base = arguments.folder.absolute()
    jobs = prepared(arguments.data.absolute(), base / "data")
    batch, load = Batch(jobs, base / "batch", arguments.budget, base / "cache"), os.getloadavg()[0]
    began = time.monotonic()

    told = []
    for at in kills:
        process = batch.start()
        while process.poll() is None and not (batch.spent_seconds() >= at and batch.in_the_middle()):
            time.sleep(0.5)
        assert process.poll() is None, f"the batch ended before it could be killed at {at:.0f} s"
        process.kill()
        process.communicate()
        killed = time.monotonic()
        assert not (left := batch.left_behind()), f"processes outlived the batch: {left}"
        gone = time.monotonic() - killed
        lines = {name: batch.ended_lines(name) for name in batch.names}
        told.append({"at_seconds": round(batch.spent_seconds(), 1), "finished": len(batch.finished()),
                     "ended_trials": sum(map(len, lines.values())), "all_gone_after_seconds": round(gone, 1),
                     "lines": lines, "names": batch.finished()})  # fmt: skip
        print(f"killed at {told[-1]['at_seconds']} s: {told[-1]['finished']} jobs were finished, "
              f"{told[-1]['ended_trials']} trials had ended", file=sys.stderr, flush=True)  # fmt: skip

    process = batch.start("--json")
    out, _ = process.communicate()
    assert not (left := batch.left_behind()), f"processes outlived the batch: {left}"
    found = json.loads(out)
    for kill in told:
        for name, lines in kill.pop("lines").items():
            assert batch.ended_lines(name)[: len(lines)] == lines, f"{name} lost trials that had ended"
        assert set(kill.pop("names")) <= set(batch.finished()), "a finished job is no longer finished"
    for name in batch.names:
        numbers = [json.loads(line)["trial"]["number"] for line in batch.ended_lines(name)]
        assert len(set(numbers)) == len(numbers), f"{name} ran a trial twice"
    states = {row["name"]: (row["state"], row["reason"]) for row in found["jobs"]}
    assert all(state == "finished" for state, _ in states.values()), f"not all are finished: {states}"
    assert process.returncode == 0
    assert found["spent_seconds"] <= 1.1 * budget_seconds, f"{found['spent_seconds']} s of {budget_seconds} s"

    row = {
        "budget": arguments.budget,
        "spent_seconds": found["spent_seconds"],
        "real_seconds": round(time.monotonic() - began, 1),
        "kills": told,
        "jobs": found["jobs"],
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 2),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    table, _ = batch.start().communicate()  # Once more: everything is kept, and the table is printed.
    print(table)
    print(f"nothing was lost over {len(kills)} kills", flush=True)


if __name__ == "__main__":
    main()
