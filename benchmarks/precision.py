"""What do bfloat16 in training and oneDNN in predictions gain in time, and at what cost? No test file is read.

    python benchmarks/precision.py --data ROOT --set banking77 --rows 10 --cuts 3
    python benchmarks/precision.py --data ROOT --kinds wikigold goemotions fashion_mnist gsm8k

The first fine-tunes MiniLM on so many rows a class in either precision, drawn from the training file anew in every cut,
and scores it on 3,000 other rows of the same file. The second times a run of the untuned default of every fine-tuning
trainer on sets of other kinds, and its predictions, as plans do, in turns. "float32" is what torch does by itself, with
MKL; "bfloat16" what autosft does, whose predictions are in float32 too. Appends lines to results/precision.jsonl.
What is measured is a CPU that computes in bfloat16; on another one it ends with a word.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from few_rows import Bench, keep, parser, rows_of
from kinds import SETS as KINDS
from text_classification import commit

import autosft
from autosft.search import work
from autosft.trainers import precision, trainer_class
from autosft.trainers.base import Limits, unheard
from autosft.trainers.precision import trains_in_bf16

RESULTS = Path(__file__).parent / "results" / "precision.jsonl"

WAYS = ("float32", "bfloat16")


@contextlib.contextmanager
def computing_in(way: str) -> Iterator[None]:
    """Has trainings of this process compute in one precision."""
    is_ours, is_slow = way == "bfloat16", precision._mkl_is_slow()
    with (
        patch.object(torch.cpu, "_is_avx512_bf16_supported", lambda: is_ours),
        patch.object(precision, "_mkl_is_slow", lambda: is_ours and is_slow),
    ):
        yield


def accuracies(arguments: argparse.Namespace) -> None:
    """Trains and scores in both precisions, in changing order."""
    started, by_cut = time.monotonic(), []
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data, found = bench.draw(arguments.rows, cut), {}
            for way in WAYS[:: -1 if cut % 2 else 1]:
                begun = time.monotonic()
                with computing_in(way):
                    found[way] = bench.train("transformers", data, seed=cut)[1]
                seconds[way].append(round(time.monotonic() - begun, 1))
            by_cut.append([found[way] for way in WAYS])
            print(cut, found, seconds, flush=True)
    keep(RESULTS, arguments, by_cut, names=WAYS, started=started, threads=arguments.threads, seconds_each=seconds)


def speeds(name: str, arguments: argparse.Namespace) -> None:
    """Times the untuned defaults of a set's arms in both precisions, in turns."""
    chosen, root = KINDS[name], arguments.data.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUTOSFT_CACHE"] = f"{folder}/cache"
        plan = autosft.plan(chosen.sentence, chosen.split(root)[0], timing=False, **chosen.options(root))
        limits = Limits(arguments.threads, Path(folder))
        for arm in plan.arms:
            if not trainer_class(arm.trainer).reports_rungs:
                continue
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            rates: dict[str, list[float]] = {way: [] for way in WAYS}
            for turn in range(arguments.turns):
                for way in WAYS[:: -1 if turn % 2 else 1]:
                    with computing_in(way):
                        cost = work.measure(
                            unheard, trainer=arm.trainer, base_model=arm.base_model, folder=arm.folder,
                            config=arm.default, task=plan.task, data=plan.data.for_search(), limits=limits,
                        )  # fmt: skip
                    seconds[way].append(round(cost.run_seconds, 1))
                    rates[way].append(round(cost.predict_rows_per_second, 1))
            before, after = (statistics.median(seconds[way]) for way in WAYS)
            slow, fast = (statistics.median(rates[way]) for way in WAYS)
            result = {"set": name, "arm": arm.name, "threads": arguments.threads, "run_seconds": seconds}
            result |= {"times_faster": round(before / after, 2), "predicted_rows_per_second": rates}
            result |= {"predicts_times_faster": round(fast / slow, 2), "commit": commit()}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result).replace(str(root.parent), "ROOT/..") + "\n")
            print(json.dumps(result), flush=True)


def main() -> None:
    reader: Any = parser(__doc__, cuts=3, required=False)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    reader.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=())
    reader.add_argument("--turns", type=int, default=3)
    arguments = reader.parse_args()
    if not trains_in_bf16():
        raise SystemExit("this machine does not compute in bfloat16 faster than in float32")
    if arguments.set:
        accuracies(arguments)
    for name in arguments.kinds:
        speeds(name, arguments)


if __name__ == "__main__":
    main()
