"""What does a linear model of words and letters reach beside one on a frozen encoder? Test files are not read.

    python benchmarks/tfidf.py --data ROOT --set snips,pubmedqa --cuts 3

Fits the untuned default of `tfidf` and of `frozen_head` with MiniLM on rows of the training file, drawn anew in every
cut, and scores both on other rows of the same file. Appends a line a set to results/tfidf.jsonl: mean scores in the
kind's deciding metric, and the difference with its standard error over the cuts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pyarrow as pa
import text_classification
from few_rows import rows_of
from text_classification import commit

from autosft.base_models import MINILM, NO_MODEL, describe, locate
from autosft.data.data import materialise
from autosft.data.read import read
from autosft.data.source import Source
from autosft.infer import infer
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData

RESULTS = Path(__file__).parent / "results" / "tfidf.jsonl"
ONE_LABEL = sorted({*text_classification.SETS} - {"banking77_few"})
OTHERS = ["emobank", "goemotions", "jsts", "pubmedqa"]
NUM_TRAIN, NUM_VALIDATION = 2_500, 2_000

TRAINERS = {"tfidf": (NO_MODEL, Path()), "frozen_head": (describe(MINILM), locate(MINILM))}


class Bench:
    """A set's training rows, and what is to be predicted from them."""

    def __init__(self, root: Path, name: str, folder: Path, num_threads: int) -> None:
        if name in ONE_LABEL:
            source = Source({"train": rows_of(root, name)}, "")
            self._task = infer("", source, target="label", inputs=["text"], metric="accuracy")
        else:
            found = kinds.SETS[name]
            source = Source({"train": read(found.split(root)[0]).train}, "")
            self._task = infer(found.sentence, source)
        self._kind = task_kind(self._task.kind)
        data, _ = materialise(self._kind, self._task, source, folder=folder / "data", seed=0)
        self._rows, self._folder = data.training(None)[0], folder
        self._limits = Limits(num_threads, folder / "cache")

    def draw(self, cut: int) -> TrainingData:
        """Returns rows to train on, the same for the same cut, and others, a third of all at most, to validate on."""
        order = np.random.default_rng(cut).permutation(len(self._rows))
        num_validation = min(NUM_VALIDATION, len(order) // 3)
        validation, train = order[:num_validation], order[num_validation:][:NUM_TRAIN]
        kind = self._kind
        return TrainingData(kind.input, kind.output, self._rows, np.sort(train), np.sort(validation), "tfidf")

    def score(self, trainer: str, data: TrainingData) -> float:
        """Fits the untuned default; returns its score on the validation rows."""
        targets = data.all.targets().take(pa.array(data.validation))
        return self._kind.score(self._task, targets, self.outputs(trainer, data))

    def outputs(self, trainer: str, data: TrainingData) -> pa.Array:
        """Fits the untuned default; returns its outputs for the validation rows."""
        subject = trainer_class(trainer)(*TRAINERS.get(trainer, TRAINERS["frozen_head"]))
        config = subject.default_config(subject.base_model, len(data.train), data.input, data.output)
        reports: list[pa.Array] = []
        (self._folder / "scratch").mkdir(exist_ok=True)
        subject.fit(
            config, self._task, data, fidelity=1.0, seed=0, folder=self._folder / "scratch",
            report=lambda share, outputs: reports.append(outputs), limits=self._limits,
        )  # fmt: skip
        return reports[-1]

    @property
    def metric(self) -> str:
        """What decides."""
        return self._task.metric.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", type=lambda text: text.split(","), default=[*ONE_LABEL, *OTHERS])
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.set:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            row = {
                "set": name,
                **measured(Bench(arguments.data, name, Path(folder), arguments.threads), arguments.cuts),
            }
        row |= {"seconds": round(time.monotonic() - started, 1), "commit": commit()}
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def measured(bench: Bench, num_cuts: int) -> dict[str, Any]:
    """Returns the scores of both trainers over cuts, and their difference."""
    cuts = [bench.draw(cut) for cut in range(num_cuts)]
    found = np.array([[bench.score(trainer, data) for trainer in TRAINERS] for data in cuts])
    gains = found[:, 0] - found[:, 1]
    return {
        "metric": bench.metric,
        "rows": len(cuts[0].train),
        "cuts": num_cuts,
        **dict(zip(TRAINERS, (round(float(value), 4) for value in found.mean(axis=0)), strict=True)),
        "gain": round(float(gains.mean()), 4),
        "standard_error": round(float(gains.std(ddof=1) / num_cuts**0.5), 4),
    }


if __name__ == "__main__":
    main()
