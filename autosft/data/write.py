"""Writing a table to the file type that a path's ending names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from autosft.disk import writing
from autosft.errors import DataError, did_you_mean, explain


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a table to the type that its ending names, so that the file is either whole or not there.

    Raises:
        DataError: The path has another ending.
        RunFolderError: It cannot be written.
    """
    suffix = check_ending(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        _WRITERS[suffix](table, unfinished)
        unfinished.replace(path)


def check_ending(path: Path) -> str:
    """Returns the ending that names the type of file to write.

    Raises:
        DataError: No type has this ending.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        wrong = f"{path} has the ending '{suffix}'" if suffix else f"{path} has no ending"
        raise DataError(explain(wrong=wrong, expected="a file type to write", fix=did_you_mean(suffix, _WRITERS)))
    return suffix


def _delimited(delimiter: str) -> Callable[[pa.Table, Path], None]:
    def write(table: pa.Table, path: Path) -> None:
        from pyarrow import csv

        csv.write_csv(_flat(table), path, csv.WriteOptions(delimiter=delimiter))

    return write


def _flat(table: pa.Table) -> pa.Table:
    """Returns the table with lists and structs as JSON, which a cell can hold and the readers of labels read again."""
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table.column(index).to_pylist()
            cells = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values]
            table = table.set_column(index, field.name, pa.array(cells, pa.large_string()))
    return table


def _parquet(table: pa.Table, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


def _arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def _json_lines(table: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
