"""A table of trials, a row each, as somebody logged them by hand or exported them, as a sweep."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from autosft.data.files import data_suffix, read_file
from autosft.errors import DataError, explain
from autosft.reviewing.records import split_row, sweep_of
from autosft.reviewing.sweep import Sweep, flat

_LINES = (".jsonl", ".ndjson")

#: A csv file has no type for what is so or not, and the next space must not turn it into a word.
_FLAGS = {"True": True, "False": False, "true": True, "false": False}


def from_table(path: str | Path, *, metric: str | None, goal: str | None) -> Sweep:
    """Reads a csv, tsv, json, jsonl, parquet or arrow file of trials.

    Raises:
        DataError: It cannot be read, holds no trial, or has no such metric.
    """
    place = Path(path)
    rows = [flat(_opened(row)) for row in (_lines(place) if place.suffix.lower() in _LINES else _table(place))]
    records = [split_row(row, metric) for row in rows]
    return sweep_of(records, name=str(path), source="table", metric=metric, goal=goal)


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of a run's own `trials.parquet` with what that holds as JSON; others as they are."""
    opened = dict(row)
    for name in ("config", "seconds"):
        if isinstance(row.get(name), str) and row[name].startswith("{"):
            with contextlib.suppress(ValueError):
                opened[name] = json.loads(row[name])
    if isinstance(opened.get("seconds"), dict):
        opened["seconds"] = opened["seconds"].get("total")
    return opened


def _table(path: Path) -> list[dict[str, Any]]:
    if data_suffix(path) is None:
        wrong = f"{path} is not a table that can be read"
        raise DataError(
            explain(wrong=wrong, expected="a csv, tsv, json, jsonl, parquet or arrow file", fix="export one")
        )
    table, _ = read_file(path)
    rows: list[dict[str, Any]] = table.to_pylist()
    words = [field.name for field in table.schema if pa.types.is_string(field.type)]
    flags = [name for name in words if {row[name] for row in rows} - {None} <= _FLAGS.keys()]
    return [{**row, **{name: _FLAGS.get(row[name]) for name in flags}} for row in rows]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines by themselves: a log by hand mixes numbers and words in one field, as Arrow does not."""
    rows = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(explain(wrong=f"{path} cannot be read ({error})", expected="UTF-8", fix="check it")) from error
    for at, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            wrong = f"{path}, line {at} is not JSON ({error})"
            raise DataError(explain(wrong=wrong, expected="a JSON object a line", fix="mend or remove it")) from error
        if not isinstance(row, dict):
            raise DataError(explain(wrong=f"{path}, line {at} is no object", expected="a trial", fix="remove it"))
        rows.append(row)
    return rows
