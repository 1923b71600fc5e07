"""`autosft.fit` on real text classification within a time budget, scored once on each test file.

    python benchmarks/text_classification.py --data ROOT --set banking77_few --budget 5m --seeds 0,1,2

ROOT is laid out as `benchmarks/data.md` says. Appends a JSON line a run to results/text_classification.jsonl.
Sets: banking77_few (ten rows a class), banking77, snips, sms_spam, sentence_polarity. The last two have no test file: a
third of their distinct texts is held back, the same third for every seed. `--cut N` draws other ten rows a class.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

import autosft
from autosft.base_models import MINILM
from autosft.budget import Budget
from autosft.data.read import read

RESULTS = Path(__file__).parent / "results" / "text_classification.jsonl"
Split = tuple[object, object]


def banking77_few(root: Path, cut: int = 0) -> Split:
    test = root / "intent/banking77/test.csv"
    if not cut:
        return root / "intent/banking77/train_10_per_class.csv", test
    table = read(root / "intent/banking77/train.csv").train
    order = np.random.default_rng(cut).permutation(len(table))
    labels = np.array(table.column("category").to_pylist())[order]
    chosen = [order[labels == label][:10] for label in np.unique(labels)]
    return table.take(np.sort(np.concatenate(chosen))), test


def banking77(root: Path, cut: int = 0) -> Split:
    return root / "intent/banking77/train.csv", root / "intent/banking77/test.csv"


def snips(root: Path, cut: int = 0) -> Split:
    return tuple(_snips(root, name) for name in ("train", "validate"))


def _snips(root: Path, name: str) -> pa.Table:
    rows = []
    for folder in sorted(path for path in (root / "intent/snips").iterdir() if path.is_dir()):
        content = (folder / f"{name}_{folder.name}.json").read_text(encoding="utf-8", errors="replace")
        rows += [
            {"text": "".join(part["text"] for part in row["data"]), "intent": folder.name}
            for row in json.loads(content)[folder.name]
        ]
    return pa.Table.from_pylist(rows)


def sms_spam(root: Path, cut: int = 0) -> Split:
    table = read(root / "text-classification/sms_spam/SMSSpamCollection").train
    return held_back(table.rename_columns(["label", "text"]))


def sentence_polarity(root: Path, cut: int = 0) -> Split:
    folder = root / "text-classification/sentence_polarity_uci"
    tables = [read(path).train.rename_columns(["text", "label"]) for path in sorted(folder.glob("*_labelled.txt"))]
    return held_back(pa.concat_tables(tables))


def held_back(table: pa.Table) -> Split:
    """Holds back a third of the distinct texts, chosen by their hash, so that no text stands on both sides."""
    import hashlib

    texts = [" ".join(text.lower().split()) for text in table.column("text").to_pylist()]
    is_test = pa.array([hashlib.sha256(text.encode()).digest()[0] % 3 == 0 for text in texts])
    return table.filter(pa.compute.invert(is_test)), table.filter(is_test)


SETS = {
    "banking77_few": (banking77_few, "Route each customer message to the banking intent it is about"),
    "banking77": (banking77, "Route each customer message to the banking intent it is about"),
    "snips": (snips, "What does the speaker want?"),
    "sms_spam": (sms_spam, "Is this message spam?"),
    "sentence_polarity": (sentence_polarity, "Is this sentence positive or negative?"),
}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cut", type=int, default=0, help="which ten rows a class; 0 are those of the file")
    parser.add_argument("--ensemble", action="store_true", help="with other methods beside the winner")
    arguments = parser.parse_args()
    budget = Budget.parse(arguments.budget, ensemble=arguments.ensemble)
    make, sentence = SETS[arguments.set]
    for seed in map(int, arguments.seeds.split(",")):
        data, test = make(arguments.data, arguments.cut)
        started, load = time.monotonic(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["AUTOSFT_CACHE"] = f"{folder}/cache"  # Every run pays for its own tokens and features.
            result = autosft.fit(
                sentence, data, test=test, models=[MINILM], budget=budget, folder=f"{folder}/run", seed=seed
            )
        wall = time.monotonic() - started
        summary = result.summary
        finished = [
            trial for trial in result.trials if trial.arm.startswith("transformers") and trial.fate == "complete"
        ]
        row = {
            "set": arguments.set,
            "budget": arguments.budget,
            "seed": seed,
            "cut": arguments.cut,
            "wall_seconds": round(wall, 1),
            **{key: summary[key] for key in ("metric", "validation", "test", "default", "gain_over_default", "best")},
            **{key: summary[key] for key in ("refit", "ensemble", "num_trials", "seconds", "versions")},
            "num_finished_transformers": len(finished),
            "commit": commit(),
            "cores": os.cpu_count(),
            "load_before": round(load, 2),
        }
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(result, file=sys.stderr)
        print(
            f"{arguments.set} {arguments.budget} seed {seed}: test {summary['test']['score']:.4f} in {wall:.0f}s",
            flush=True,
        )


if __name__ == "__main__":
    main()
