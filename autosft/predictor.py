"""The Predictor: a trained model from its folder. Loads without the search stack: no Ray, no Optuna."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import to_matrix
from autosft.counting import counted
from autosft.data.bare_rows import named_columns
from autosft.data.files import data_suffix
from autosft.data.read import read_table
from autosft.disk import writing
from autosft.errors import AutosftError, DataError, RunFolderError, TaskError, explain, nearest
from autosft.task import Input, Output, Task
from autosft.tasks import kind as task_kind
from autosft.trainers.base import FittedModel
from autosft.trainers.ensemble import load_model

FORMAT = 2
_FILE = "autosft.json"

_AGAIN = "`autosft resume RUN --budget '+1 trials'`"

#: Rows that a message names one by one.
_NUM_NAMED = 5

#: Rows read and predicted at once, so that memory does not grow with them. Of texts around 60 tokens long 4,096 cost
#: 5 % in padding over all at once, 512 half as much again. Images are not padded, and 256 of 518 pixels are 200 MB.
_BLOCK_ROWS, _BLOCK_IMAGES = 4096, 256


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
            what = "is a file, not a model's folder" if path.is_file() else "does not exist"
            if path.is_dir():
                what = "holds no finished model"
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
            rows: Anything that `autosft.fit` reads: a path, a frame, a table, a list of dicts. Or one bare value a row:
                texts, pairs of texts, lists of words, conversations, images as paths, bytes, pictures or arrays.

        Raises:
            DataError: The rows cannot be read, or lack an input column; or rows hold files that cannot be read, and
                the first few are named.
        """
        return list(self._decoded(self._read(rows))["prediction"].to_pylist())

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
        blocks = [to_matrix(outputs) for _, outputs in self._blocks(self._read(rows))]
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self.task.labels)), np.float32)

    def predict_table(self, rows: object, *, progress: Callable[[int, int], None] | None = None) -> pa.Table:
        """Returns the rows with all their columns, in their order, and the columns "prediction" and "score" added.

        Where the rows have columns of those names already, the new ones are called "prediction_1" and so on.

        Args:
            progress: Called now and then with how many rows are predicted, and how many there are.
        """
        table = self._read(rows)
        for name, column in self._decoded(table, progress).items():
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
        columns = self.task.input_columns
        if isinstance(rows, list | tuple) and not rows:
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        named = named_columns(rows, task_kind(self.task.kind).input, columns)
        try:
            table = read_table(named, columns=columns)
        except DataError as error:
            # Without an ending of a data file it is rather a text, which somebody meant to be the only row.
            if not isinstance(rows, str) or os.path.exists(rows) or data_suffix(Path(rows)) is not None:
                raise
            told = f"{str(error).rstrip('.')}; a text to predict goes in a list, as in predict(['some words'])."
            raise DataError(told) from error
        _check_columns(table, columns)
        return table

    def _decoded(
        self, table: pa.Table, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, pa.ChunkedArray]:
        decode, parts, num_done = task_kind(self.task.kind).decode, [], 0
        for inputs, outputs in self._blocks(table):
            parts.append(decode(self.task, inputs, outputs))
            num_done += len(outputs)
            if progress is not None:
                progress(num_done, table.num_rows)
        if not parts:
            return {"prediction": pa.chunked_array([], pa.null())}
        return {name: pa.chunked_array([part[name] for part in parts]) for name in parts[0]}

    def _blocks(self, table: pa.Table) -> Iterator[tuple[pa.Table, pa.Array]]:
        """Yields canonical inputs and outputs block by block.

        Raises:
            DataError: There are rows that cannot be read; all are looked at before any is predicted.
        """
        kind = task_kind(self.task.kind)
        files = kind.input is Input.IMAGE
        size = _BLOCK_IMAGES if files else _BLOCK_ROWS
        starts = range(0, table.num_rows, size)
        unreadable: dict[int, str] = {}
        for start in starts:
            remarks = kind.unreadable_inputs(self.task, table.slice(start, size))
            unreadable |= {start + row: remark for row, remark in remarks.items()}
        if unreadable:
            raise DataError(_unreadable(self.task, unreadable, table.num_rows))
        # Texts are no larger as inputs than as they came; images may have come as bytes, whose copies would be.
        inputs = None if files else kind.encode_inputs(self.task, table)
        for start in starts:
            if inputs is None:
                block = kind.encode_inputs(self.task, table.slice(start, size))
            else:
                block = inputs.slice(start, size)
            yield block, self._outputs(block)

    def _outputs(self, inputs: pa.Table) -> pa.Array:
        if self._model is None:
            self._model = self._loaded()
        return self._model.predict(inputs)

    def _loaded(self) -> FittedModel:
        try:
            self._check_files()
            return load_model(self._trainer, self.folder)
        except AutosftError:
            raise
        except Exception as error:  # Every library has errors of its own for a file that is gone or damaged.
            said = str(error).strip().partition("\n")[0]
            wrong = f"the model in {self.folder} cannot be loaded ({type(error).__name__}: {said})"
            fix = f"restore its files; a run's model is written again by {_AGAIN}"
            raise RunFolderError(explain(wrong=wrong, expected="the folder as it was written", fix=fix)) from error

    def _check_files(self) -> None:
        """Raises RunFolderError where a file is gone or cut off: without its words a tokenizer loads in silence."""
        row = json.loads((self.folder / _FILE).read_text(encoding="utf-8"))
        for name, num_bytes in row.get("files", {}).items():
            file = self.folder / name
            there = file.stat().st_size if file.is_file() else None
            if there is not None and there >= num_bytes:
                continue
            what = "is missing" if there is None else f"has {there:,} bytes where {num_bytes:,} were written"
            fix = f"restore the file; a run's model is written again by {_AGAIN}"
            raise RunFolderError(
                explain(wrong=f"{file} {what}", expected="a model's folder as it was written", fix=fix)
            )

    def __repr__(self) -> str:
        return f"Predictor({str(self.folder)!r}: {', '.join(self.task.input_columns)} -> {self.task.target_column})"


def _check_columns(table: pa.Table, needed: Sequence[str]) -> None:
    """Raises DataError where rows lack a column that the model reads; a model's columns cannot be chosen anew."""
    missing = next((name for name in needed if name not in table.column_names), None)
    if missing is None:
        return
    alike = nearest(missing, [name for name in table.column_names if name not in needed])
    raise DataError(
        explain(
            wrong=f"column '{missing}' is missing (found: {', '.join(table.column_names)})",
            expected=f"the columns that the model reads: {', '.join(needed)}",
            fix=f"add a column '{missing}', or rename one to '{missing}'" + (f", such as '{alike}'" if alike else ""),
        )
    )


def _unreadable(task: Task, remarks: Mapping[int, str], num_rows: int) -> str:
    few = "; ".join(f"row {row}: {remark}" for row, remark in islice(remarks.items(), _NUM_NAMED))
    more = f"; and {len(remarks) - _NUM_NAMED:,} more" if len(remarks) > _NUM_NAMED else ""
    return explain(
        wrong=f"{len(remarks):,} of {counted(num_rows, 'row')} cannot be read in column '{task.input_columns[0]}' "
        f"({few}{more})",
        expected="a file that can be read in every row to predict (rows are counted from 0)",
        fix="put these files right, or leave those rows out",
    )


def describe_model(folder: Path, task: Task, trainer: str, *, card: str, versions: dict[str, str]) -> None:
    """Writes what a Predictor needs to know beside a saved model, and its card."""
    saved = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (_FILE, "README.md"))
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in saved}
    row = {"format": FORMAT, "kind": task.kind, "trainer": trainer, "task": task.to_json(), "versions": versions}
    row |= {"files": files}
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / _FILE).write_text(json.dumps(row, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_model(source: Path, target: Path, *, then: Callable[[Path], None] | None = None) -> None:
    """Copies a model's folder so that the target is whole or not there; one that is there goes once the copy is whole.

    Args:
        then: What else is to be written into the copy.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, unfinished)
        if then is not None:
            then(unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(target)
    unfinished.replace(target)
