"""What the benchmarks on few rows share: rows of a training file, cuts of so many a class, one training on them.

No test file is read: what is not drawn into a cut is what a cut is scored on.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from text_classification import SETS, commit, sentence_polarity

from autosft.arrays import to_numbers
from autosft.base_models import MINILM, describe, locate
from autosft.data.data import Rows, materialise
from autosft.data.read import read
from autosft.data.source import Source
from autosft.infer import infer
from autosft.task import Input, Output
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import FittedModel, Limits, TrainingData

NUM_VALIDATION = 3_000


def parser(description: str | None, *, cuts: int, required: bool = True) -> argparse.ArgumentParser:
    """Returns what reads the arguments that these benchmarks have in common."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--set", required=required, choices=sorted({*SETS, "goemotions"} - {"banking77_few"}))
    made.add_argument("--cuts", type=int, default=cuts)
    made.add_argument("--threads", type=int, default=1)
    return made


def rows_of(root: Path, name: str) -> pa.Table:
    """Returns the columns "text" and "label" of a training file, copies of a text left out."""
    if name == "goemotions":
        table = _goemotions(root)
    elif name == "sentence_polarity":
        table = sentence_polarity(root)[0]
        words = {0: "negative", 1: "positive"}
        table = pa.table({"text": table["text"], "label": [words[int(label)] for label in table["label"].to_pylist()]})
    else:
        found = SETS[name][0](root)[0]
        table = found if isinstance(found, pa.Table) else read(found).train
    label = next(column for column in table.column_names if column != "text")
    _, first = np.unique(table.column("text").to_pylist(), return_index=True)
    return table.select(["text", label]).rename_columns(["text", "label"]).take(np.sort(first))


def _goemotions(root: Path) -> pa.Table:
    """Rows with one label alone, of labels that at least 100 rows have; 12,000 of them."""
    folder = root / "multilabel/goemotions"
    names = next(folder.rglob("labels.txt")).read_text(encoding="utf-8").split()
    with next(folder.rglob("train.tsv")).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if "," not in row[1]]
    counts = Counter(row[1] for row in rows)
    rows = [row for row in rows if counts[row[1]] >= 100]
    chosen = np.random.default_rng(0).permutation(len(rows))[:12_000]
    return pa.table({"text": [rows[at][0] for at in chosen], "label": [names[int(rows[at][1])] for at in chosen]})


def keep(
    results: Path,
    arguments: argparse.Namespace,
    by_cut: Sequence[Sequence[float]],
    *,
    names: Sequence[str] | None = None,
    started: float,
    **more: Any,
) -> None:
    """Appends a line to a file of results: mean accuracies over the cuts, and gains over the first way.

    Args:
        by_cut: Of each cut the accuracy of each way.
        names: Of the ways; None counts them.
        started: Monotonic time.
        more: What else the line is to say.
    """
    found = np.array(by_cut)
    gains = found[:, 1:] - found[:, :1]
    errors = gains.std(axis=0, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else [None] * gains.shape[1]

    def named(values: Any, names: Sequence[str] | None) -> Any:
        rounded = [None if value is None else round(float(value), 4) for value in values]
        return rounded if names is None else dict(zip(names, rounded, strict=True))

    others = None if names is None else names[1:]
    result = {
        "set": arguments.set,
        "rows_per_class": arguments.rows,
        "cuts": arguments.cuts,
        **more,
        "accuracy": named(found.mean(axis=0), names),
        "gain": named(gains.mean(axis=0), others),
        "standard_error": named(errors, others),
        "seconds": round(time.monotonic() - started, 1),
        "commit": commit(),
    }
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result), flush=True)


class Bench:
    """A set's rows with the names of its classes after them."""

    def __init__(self, table: pa.Table, folder: Path, num_threads: int) -> None:
        source = Source({"train": table}, "")
        self._task = infer("", source, target="label", inputs=["text"], metric="accuracy")
        self._kind = task_kind(self._task.kind)
        data, _ = materialise(self._kind, self._task, source, folder=folder / "data", seed=0)
        rows = data.training(None)[0]
        self._targets = to_numbers(rows.targets())
        names = self._kind.class_rows(self._task)
        assert names is not None, "the names of these classes are no words"
        table = rows.table().select(["text", "target"])
        path = folder / "named.arrow"
        table = pa.concat_tables([table, names.cast(table.schema)]).combine_chunks()
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        self._rows, self._folder = Rows(path), folder
        self._limits = Limits(num_threads, folder / "cache")

    def draw(self, num_rows: int, cut: int, *, as_they_come: bool = False) -> TrainingData:
        """Returns so many rows a class to train on, the same for the same cut, and others to validate on.

        Args:
            as_they_come: Whether classes have as many of them as they have in the file; else all have equally many.
        """
        rng = np.random.default_rng(cut)
        of_class = [np.flatnonzero(self._targets == label) for label in range(len(self._task.labels))]
        if as_they_come:
            train = np.sort(rng.permutation(len(self._targets))[: num_rows * len(of_class)])
        else:
            train = np.sort(np.concatenate([rng.choice(rows, num_rows, replace=False) for rows in of_class]))
        others = np.setdiff1d(np.concatenate(of_class), train)
        validation = np.sort(rng.permutation(others)[:NUM_VALIDATION])
        names = np.arange(len(self._targets), len(self._rows))
        return TrainingData(Input.TEXT, Output.LABEL, self._rows, train, validation, "class names", names)

    def train(self, trainer: str, data: TrainingData, *, seed: int, **changed: Any) -> tuple[FittedModel, float]:
        """Trains the untuned default once; returns the model and its accuracy on the validation rows."""
        model, outputs = self.outputs(trainer, data, seed=seed, **changed)
        return model, self._score(data, outputs)

    def outputs(self, trainer: str, data: TrainingData, *, seed: int, **changed: Any) -> tuple[FittedModel, pa.Array]:
        """Trains the untuned default once; returns the model and its outputs for the validation rows."""
        made = trainer_class(trainer)
        subject = made(describe(MINILM), locate(MINILM)) if made.only_base is None else made(made.only_base, Path())
        config = subject.default_config(subject.base_model, len(data.train), Input.TEXT, Output.LABEL)
        reports: list[pa.Array] = []
        (self._folder / "scratch").mkdir(exist_ok=True)
        model = subject.fit(
            replace(config, **changed), self._task, data, fidelity=1.0, seed=seed,
            folder=self._folder / "scratch", report=lambda share, outputs: reports.append(outputs), limits=self._limits,
        )  # fmt: skip
        return model, reports[-1]

    def accuracy(self, model: FittedModel, data: TrainingData) -> float:
        """Returns a model's accuracy on the validation rows."""
        return self._score(data, model.predict(Rows(data.all.path, data.validation).table()))

    def _score(self, data: TrainingData, outputs: pa.Array) -> float:
        return self._kind.score(self._task, data.all.targets().take(pa.array(data.validation)), outputs)
