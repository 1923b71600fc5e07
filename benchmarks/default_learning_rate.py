"""Chooses the untuned default of full fine-tuning by validation on training rows; test files are not read.

    python benchmarks/default_learning_rate.py --data ROOT [--rates 1e-4,2e-4,3e-4] [--epochs 8]

Trains MiniLM on ten rows a class of Banking77's training file and scores on 1,500 other rows of the same file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from autosft.base_models import MINILM, describe, locate
from autosft.data.data import materialise
from autosft.data.read import read
from autosft.data.source import Source
from autosft.infer import infer
from autosft.search.work import train
from autosft.tasks import kind as task_kind
from autosft.trainers.base import Limits
from autosft.trainers.with_transformers import TransformersConfig

RESULTS = Path(__file__).parent / "results" / "default_learning_rate.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rates", default="1e-4,2e-4,3e-4,5e-4")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    few = read(arguments.data / "intent/banking77/train_10_per_class.csv").train
    whole = read(arguments.data / "intent/banking77/train.csv").train
    chosen = set(few.column("text").to_pylist())
    others = [at for at, text in enumerate(whole.column("text").to_pylist()) if text not in chosen]
    validation = whole.take(np.random.default_rng(0).permutation(others)[:1500])
    source = Source({"train": few, "validation": validation}, "banking77")
    task = infer("intent", source, target="category")
    with tempfile.TemporaryDirectory() as folder:
        data, _ = materialise(task_kind(task.kind), task, source, folder=Path(folder), seed=0)
        for rate in map(float, arguments.rates.split(",")):
            config = TransformersConfig(learning_rate=rate, num_train_epochs=arguments.epochs)
            started = time.monotonic()
            outcome = train(
                lambda *reports, **values: None,
                trainer="transformers",
                base_model=replace(describe(MINILM)),
                folder=str(locate(MINILM)),
                config=vars(config),
                task=task,
                data=data,
                fold=0,
                fidelity=1.0,
                seed=0,
                scratch=Path(folder) / "scratch",
                rungs=(1.0,),
                limits=Limits(num_threads=arguments.threads, cache=Path(folder) / "cache"),
            )
            seconds = round(time.monotonic() - started)
            row = {"learning_rate": rate, "epochs": arguments.epochs, "accuracy": outcome["score"], "seconds": seconds}
            print(json.dumps(row), flush=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"interval": outcome["interval"], "threads": arguments.threads}) + "\n")


if __name__ == "__main__":
    main()
