"""The Predictor: a trained model from its folder. Loads without the search stack: no Ray, no Optuna."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import to_matrix
from autosft.data.read import read_table
from autosft.disk import writing
from autosft.errors import RunFolderError, TaskError, explain
from autosft.task import Output, Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import FittedModel

FORMAT = 2
_FILE = "autosft.json"


class Predictor:
    """A trained model that takes rows as the user has them and gives labels back in their original type.

    Attributes:
        folder: Where it was loaded from.
        task: What it predicts.
    """

    def __init__(self, folder: Path, task: Task, trainer: str) -> None:
        self.folder = folder
        self.task = task
        self._trainer = trainer
        self._model: FittedModel | None = None

    @staticmethod
    def load(folder: str | Path) -> Predictor:
        """Opens a model's folder, or a run's. The weights are read at the first prediction.

        Raises:
            RunFolderError: It is neither, or is of a newer format.
        """
        path = Path(folder)
        if (path / "model" / _FILE).is_file():
            path = path / "model"
        if not (path / _FILE).is_file():
            what = "holds no finished model" if path.is_dir() else "does not exist"
            fix = "name a folder that `result.predictor.save` or `autosft fit` wrote"
            raise RunFolderError(
                explain(wrong=f"{path} {what}", expected="a model's or a finished run's folder", fix=fix)
            )
        try:
            row = json.loads((path / _FILE).read_text(encoding="utf-8"))
            if row["format"] == FORMAT:
                # Predicting scores nothing, and a model's folder must not say what is imported here.
                metric = {**row["task"]["metric"], "function": None}
                task = Task.from_json({**row["task"], "metric": metric, "answer": None})
                return Predictor(path, task, row["trainer"])
            wrong = f"{path} has model format {row['format']!r}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong = f"{path / _FILE} cannot be read ({type(error).__name__}: {error})"
        raise RunFolderError(explain(wrong=wrong, expected=f"format {FORMAT}", fix="use the autosft that wrote it"))

    def predict(self, rows: object) -> list[Any]:
        """Returns one prediction a row: as the data writes targets (labels in their original type).

        Args:
            rows: A list of texts, or anything that `autosft.fit` reads: a path, a frame, a table, a list of dicts.

        Raises:
            DataError: The rows cannot be read, or lack an input column.
        """
        return self._decoded(self._read(rows))["prediction"].to_pylist()  # type: ignore[no-any-return]

    def predict_proba(self, rows: object) -> NDArray[np.float32]:
        """Returns probabilities, shape (rows, labels), in the order of `self.task.labels`.

        Raises:
            TaskError: The task has no labels of whole rows.
        """
        output = task_kind(self.task.kind).output
        if output not in (Output.LABEL, Output.LABELS):
            wrong = f"{self.task.kind} gives no probabilities of labels"
            fix = "use predict, or predict_table for scores"
            raise TaskError(explain(wrong=wrong, expected="a task with labels", fix=fix))
        return to_matrix(self._outputs(self._encoded(self._read(rows))))

    def predict_table(self, rows: object) -> pa.Table:
        """Returns the rows with all their columns, in their order, and the columns "prediction" and "score" added.

        Where the rows have columns of those names already, the new ones are called "prediction_1" and so on.
        """
        table = self._read(rows)
        for name, column in self._decoded(table).items():
            free = next(
                f"{name}{end}"
                for end in ("", *(f"_{n}" for n in range(1, 1000)))
                if f"{name}{end}" not in table.column_names
            )
            table = table.append_column(free, column)
        return table

    def save(self, folder: str | Path) -> Path:
        """Copies the model to a new folder, which is either whole or not there; returns it.

        Raises:
            RunFolderError: The folder exists and is not empty, or cannot be written.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunFolderError(
                explain(wrong=f"{path} exists", expected="a new or empty folder", fix="name another one")
            )
        with writing(path):
            copy_model(self.folder, path)
        return path

    def _read(self, rows: object) -> pa.Table:
        return read_table(rows, columns=self.task.input_columns)

    def _encoded(self, table: pa.Table) -> pa.Table:
        return task_kind(self.task.kind).encode_inputs(self.task, table)

    def _decoded(self, table: pa.Table) -> dict[str, pa.Array]:
        inputs = self._encoded(table)
        return task_kind(self.task.kind).decode(self.task, inputs, self._outputs(inputs))

    def _outputs(self, inputs: pa.Table) -> pa.Array:
        if self._model is None:
            self._model = trainer_class(self._trainer).load(self.folder)
        return self._model.predict(inputs)

    def __repr__(self) -> str:
        return f"Predictor({str(self.folder)!r}: {', '.join(self.task.input_columns)} -> {self.task.target_column})"


def describe_model(folder: Path, task: Task, trainer: str, *, card: str, versions: dict[str, str]) -> None:
    """Writes what a Predictor needs to know beside a saved model, and its card."""
    row = {"format": FORMAT, "kind": task.kind, "trainer": trainer, "task": task.to_json(), "versions": versions}
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / _FILE).write_text(json.dumps(row, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_model(source: Path, target: Path) -> None:
    """Copies a model's folder so that the target is either whole or not there."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, unfinished)
    if target.exists():
        target.rmdir()
    unfinished.replace(target)
