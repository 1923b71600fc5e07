"""Does the name of a class, as one more training row of it, help where rows are few? Test files are not read.

    python benchmarks/class_names.py --data ROOT --set banking77 --rows 1,2,5,10,20 --cuts 8
    python benchmarks/class_names.py --data ROOT --set banking77 --rows 10 --cuts 3 --trainer transformers

Trains MiniLM on so many rows a class, drawn from the training file anew in every cut, with the name of each class
counting as 0, 1 or 3 rows, and scores on 3,000 other rows of the same file. Appends a line a set and number of rows to
results/class_names.jsonl: mean accuracies over the cuts, and gains over no names with their standard errors.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
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

RESULTS = Path(__file__).parent / "results" / "class_names.jsonl"
NUM_VALIDATION = 3_000
TIMES = (0, 1, 3)


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

    def draw(self, num_rows: int, cut: int) -> TrainingData:
        """Returns so many rows a class to train on, the same for the same cut, and others to validate on."""
        rng = np.random.default_rng(cut)
        of_class = [np.flatnonzero(self._targets == label) for label in range(len(self._task.labels))]
        train = np.sort(np.concatenate([rng.choice(rows, num_rows, replace=False) for rows in of_class]))
        others = np.setdiff1d(np.concatenate(of_class), train)
        validation = np.sort(rng.permutation(others)[:NUM_VALIDATION])
        names = np.arange(len(self._targets), len(self._rows))
        return TrainingData(Input.TEXT, Output.LABEL, self._rows, train, validation, "class names", names)

    def train(self, trainer: str, data: TrainingData, *, seed: int, **changed: Any) -> tuple[FittedModel, float]:
        """Trains the untuned default once; returns the model and its accuracy on the validation rows."""
        subject = trainer_class(trainer)(describe(MINILM), locate(MINILM))
        config = subject.default_config(subject.base_model, len(data.train), Input.TEXT, Output.LABEL)
        reports: list[pa.Array] = []
        (self._folder / "scratch").mkdir(exist_ok=True)
        model = subject.fit(
            replace(config, **changed), self._task, data, fidelity=1.0, seed=seed,
            folder=self._folder / "scratch", report=lambda share, outputs: reports.append(outputs), limits=self._limits,
        )  # fmt: skip
        return model, self._score(data, reports[-1])

    def accuracy(self, model: FittedModel, data: TrainingData) -> float:
        """Returns a model's accuracy on the validation rows."""
        return self._score(data, model.predict(Rows(data.all.path, data.validation).table()))

    def _score(self, data: TrainingData, outputs: pa.Array) -> float:
        return self._kind.score(self._task, data.all.targets().take(pa.array(data.validation)), outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", required=True, choices=sorted({*SETS, "goemotions"} - {"banking77_few"}))
    parser.add_argument("--rows", default="1,2,5,10,20", help="rows a class")
    parser.add_argument("--cuts", type=int, default=8)
    parser.add_argument("--trainer", default="frozen_head", choices=["frozen_head", "transformers"])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for num_rows in map(int, arguments.rows.split(",")):
            started = time.monotonic()
            cuts = [bench.draw(num_rows, cut) for cut in range(arguments.cuts)]
            found = np.array(
                [
                    [bench.train(arguments.trainer, data, seed=cut, class_name_rows=times)[1] for times in TIMES]
                    for cut, data in enumerate(cuts)
                ]
            )
            gains = found[:, 1:] - found[:, :1]
            errors = gains.std(axis=0, ddof=1) / len(gains) ** 0.5
            row = {
                "set": arguments.set,
                "trainer": arguments.trainer,
                "rows_per_class": num_rows,
                "cuts": arguments.cuts,
                "accuracy": _by_times(TIMES, found.mean(axis=0)),
                "gain": _by_times(TIMES[1:], gains.mean(axis=0)),
                "standard_error": _by_times(TIMES[1:], errors),
                "seconds": round(time.monotonic() - started, 1),
                "commit": commit(),
            }
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _by_times(times: Sequence[int], values: NDArray[np.float64]) -> dict[str, float]:
    return {str(time): round(float(value), 4) for time, value in zip(times, values, strict=True)}


if __name__ == "__main__":
    main()
