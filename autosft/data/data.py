"""The Data: rows ready for training in memory-mapped Arrow files, of which the search is given no held-out one.

How rows are split lives in `autosft.data.split`; what the columns hold is decided by the kind of task.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import one_array, to_numbers
from autosft.data.given import given_columns, given_texts
from autosft.data.source import Source
from autosft.data.split import Part, Split, SplitPlan, split
from autosft.data.texts import as_text, codes
from autosft.errors import RunFolderError, explain
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

_ROWS_FILE = "rows.arrow"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one file, all or some of them, read when asked for.

    Attributes:
        path: Arrow IPC file with the kind's input columns, "target", "row" (int64, position in the original split) and
            "fold" (int8); where the task names groups also "group" (int64), a code for each, -1 for a row of none.
        indices: Positions in the file, in this order, shape (rows,); None for all.
    """

    path: Path
    indices: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices) if self.indices is not None else int(_mapped(self.path).num_rows)

    def table(self) -> pa.Table:
        """Returns the rows; memory-mapped where all are asked for."""
        table = _mapped(self.path)
        return table if self.indices is None else table.take(pa.array(self.indices))

    def targets(self) -> pa.Array:
        """Returns the encoded targets, one a row; null where a held-out row has none to be scored by."""
        return one_array(self._taken("target"))

    def numbers(self, name: str) -> NDArray[Any]:
        """Returns a column of numbers, shape (rows,)."""
        return to_numbers(self._taken(name))

    def column(self, name: str) -> list[Any]:
        """Returns one column as Python values."""
        values: list[Any] = self._taken(name).to_pylist()
        return values

    def groups(self) -> NDArray[np.int64] | None:
        """Returns what tells groups of rows apart, shape (rows,), the same over all rows of a file; None without any.

        A row of no group is one of its own.
        """
        if "group" not in _mapped(self.path).column_names:
            return None
        found = self.numbers("group")
        places = np.arange(len(found)) if self.indices is None else self.indices
        return np.where(found < 0, -1 - places, found)

    def _taken(self, name: str) -> pa.ChunkedArray:
        column = _mapped(self.path).column(name)
        return column if self.indices is None else column.take(pa.array(self.indices))


@dataclass(frozen=True)
class Data:
    """Checked rows in parts, on disk. Small and picklable: it holds paths.

    Attributes:
        folder: Where the search part lies.
        num_folds: Folds of the search part; fold 0 is the validation set.
        parts: Number of rows by part: "search", and "test" or "proof".
        fingerprint: Hash of the search part's content, 16 hexadecimal digits.
        read_fingerprint: Hash of what models read of the rows that a training sees, likewise: other targets, folds or
            numbers of the same rows leave it as it is, so that tokens and features of them serve again.
        held_out_folder: Where test or proof rows lie; None in what the search is given.
        given: Files of columns that no model reads, by part: a row for each row of the part, to compare scores by.
        named: File of the search part's rows and, after them, the names of its classes, where these are worth training
            on; it is called after its own fingerprint.
        most_validation: Rows of a fold that validate at most, drawn at random; the others do neither. None for all.
    """

    folder: Path
    num_folds: int
    parts: Mapping[str, int]
    fingerprint: str
    read_fingerprint: str
    held_out_folder: Path | None = None
    given: Mapping[str, Path] = field(default_factory=dict)
    named: Path | None = None
    most_validation: int | None = None

    def training(self, fold: int | None) -> tuple[Rows, Rows | None]:
        """Returns rows to train on and rows to validate on.

        Args:
            fold: The fold that validates, all other rows training; None to train on all rows and validate on none.

        Raises:
            ValueError: There is no such fold.
        """
        path = self.folder / _ROWS_FILE
        if fold is None:
            return Rows(path), None
        if not 0 <= fold < self.num_folds:
            raise ValueError(f"fold {fold} is not one of the {self.num_folds} folds")
        validates = Rows(path).numbers("fold") == fold
        chosen = np.flatnonzero(validates)
        if self.most_validation is not None:
            chosen = np.sort(np.random.default_rng(fold).permutation(chosen)[: self.most_validation])
        return Rows(path, np.flatnonzero(~validates)), Rows(path, chosen)

    def held_out(self) -> tuple[str, Rows] | None:
        """Returns "test" or "proof" with its rows, or None. Rows whose target is null are not scored."""
        name = next((name for name in ("test", "proof") if name in self.parts), None)
        if name is None or self.held_out_folder is None:
            return None
        return name, Rows(self.held_out_folder / f"{name}.arrow")

    def is_sound(self) -> bool:
        """Whether the rows lie there as they were written, which their own hash tells: read whole, once a sitting."""
        files = {self.folder / _ROWS_FILE: self.fingerprint}
        if (held_out := self.held_out()) is not None:
            files[held_out[1].path] = held_out[1].path.parent.name
        if self.named is not None:
            files[self.named] = self.named.stem
        return all(path.is_file() and _file_digest(path) == digest for path, digest in files.items())

    def for_search(self) -> Data:
        """Returns the same data without any path to the held-out rows, or their number."""
        return replace(self, parts={"search": self.parts["search"]}, held_out_folder=None, given={})

    def given_table(self, rows: Rows) -> pa.Table | None:
        """Returns the columns that came with these rows and that no model reads, as text; None where there are none."""
        part = "search" if rows.path.parent == self.folder else rows.path.stem
        path = self.given.get(part)
        if path is None or not path.exists():
            return None
        return Rows(path, rows.indices).table()

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back."""
        return {
            "folder": str(self.folder),
            "num_folds": self.num_folds,
            "parts": dict(self.parts),
            "fingerprint": self.fingerprint,
            "read_fingerprint": self.read_fingerprint,
            "held_out_folder": None if self.held_out_folder is None else str(self.held_out_folder),
            "given": {name: str(path) for name, path in self.given.items()},
            "named": None if self.named is None else str(self.named),
            "most_validation": self.most_validation,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Data:
        """Rebuilds Data from `to_json`."""
        held_out, named = row["held_out_folder"], row.get("named")
        return Data(
            Path(row["folder"]),
            row["num_folds"],
            dict(row["parts"]),
            row["fingerprint"],
            # A plan of an earlier version shares with nobody but itself.
            row.get("read_fingerprint", row["fingerprint"] if named is None else Path(named).stem),
            None if held_out is None else Path(held_out),
            {name: Path(path) for name, path in row.get("given", {}).items()},
            None if named is None else Path(named),
            row.get("most_validation"),
        )


def materialise(
    kind: TaskKind, task: Task, source: Source, *, folder: Path, seed: int, named: bool = False
) -> tuple[Data, SplitPlan]:
    """Splits the rows and writes each part once.

    The search part goes to `folder/<fingerprint>/search`, test or proof rows to
    `folder/<fingerprint>/held_out/<their own fingerprint>`. Files that already hold the same rows are left alone;
    others appear whole or not at all.

    Args:
        kind: The task's kind, which encodes inputs and targets.
        task: The task, as the audit left it.
        source: The data, as the audit left it.
        folder: Made if it is missing.
        seed: Of the split.
        named: Whether the names of classes are written too, after the search part's rows.

    Raises:
        DataError: The rows cannot be split, or a target cannot be encoded.
        RunFolderError: The folder cannot be written: read-only, full, or in the way of a file.
    """
    parts = split(kind, task, source, seed=seed)
    search = _encoded(kind, task, parts.search, held_out=False)
    fingerprint = _digest(search)
    home = folder / fingerprint
    counts = {"search": search.num_rows}
    _write(search, home / "search" / _ROWS_FILE)
    held_out_folder = None
    if parts.held_out is not None:
        name, part = parts.held_out
        held_out = _encoded(kind, task, part, held_out=True)
        # Runs with the same training rows and another test set share `home`.
        held_out_folder = home / "held_out" / _digest(held_out)
        counts[name] = held_out.num_rows
        _write(held_out, held_out_folder / f"{name}.arrow")
    given = _write_given(task, parts, home / "search", held_out_folder)
    names, with_names, seen = kind.class_rows(task) if named else None, None, search
    if names is not None:
        seen = _with_names(search, names)
        with_names = home / "search" / f"{_digest(seen)}.arrow"
        _write(seen, with_names)
    # What is to be written is read as well, token by token.
    unread = {"row", "fold", "group"} | ({"target"} if kind.output is not Output.TEXT else set())
    read = _digest(seen.select([name for name in seen.column_names if name not in unread]))
    data = Data(home / "search", parts.plan.num_folds, counts, fingerprint, read, held_out_folder, given, with_names)
    return data, parts.plan


def _with_names(search: pa.Table, names: pa.Table) -> pa.Table:
    """Returns the rows with the names of the classes after them."""
    for place in [name for name in ("row", "fold", "group") if name in search.column_names]:
        names = names.append_column(place, pa.array([-1] * names.num_rows, search.schema.field(place).type))
    return pa.concat_tables([search, names.select(search.column_names).cast(search.schema)]).combine_chunks()


def _write_given(task: Task, parts: Split, search: Path, held_out: Path | None) -> dict[str, Path]:
    """Writes beside the rows the columns that no model reads; returns the files by part."""
    names = given_columns(task, parts.search.table)
    if not names:
        return {}
    tables = {"search": (search, parts.search.table)}
    if parts.held_out is not None and held_out is not None:
        tables[parts.held_out[0]] = (held_out, parts.held_out[1].table)
    found = {}
    for part, (folder, table) in tables.items():
        if not set(names) <= set(table.column_names):
            continue
        texts = given_texts(table, names)
        # The same rows may come with other columns another time.
        found[part] = folder / f"given-{_digest(texts)}.arrow"
        _write(texts, found[part])
    return found


def _encoded(kind: TaskKind, task: Task, part: Part, *, held_out: bool) -> pa.Table:
    table = kind.encode_inputs(task, part.table)
    table = table.append_column("target", kind.encode_targets(task, part.table, strict=not held_out))
    table = table.append_column("row", pa.array(part.rows, pa.int64()))
    table = table.append_column("fold", pa.array(part.folds, pa.int8()))
    if task.group_column is not None and task.group_column in part.table.column_names:
        groups = codes(as_text(part.table.column(task.group_column)))
        table = table.append_column("group", pa.array(groups, pa.int64()))
    # One chunk a column, whatever files the rows came from, so that equal rows make equal bytes.
    return table.replace_schema_metadata(None).combine_chunks()


def _digest(table: pa.Table) -> str:
    return hashlib.sha256(_as_bytes(table)).hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _as_bytes(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue()).cast("B")


def _mapped(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _write(table: pa.Table, path: Path) -> None:
    content = _as_bytes(table)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        _remove(unfinished)
        raise RunFolderError(
            explain(
                wrong=f"the rows cannot be written to {path.parent} ({error.strerror or error})",
                expected=f"a writable folder with {len(content) / 1e6:.0f} MB to spare",
                fix="pass another folder=, or free space there",
            )
        ) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Where nothing could be written there is nothing to remove.
        return
