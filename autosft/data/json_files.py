"""JSON in its usual shapes: an array of objects, an object of columns, rows or splits, {"data": [...]}, and JSON Lines.

What lives here: telling the shapes apart and reading them. Encodings are settled before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.json

from autosft.data.annotations import as_rows
from autosft.data.column_types import check_names
from autosft.data.objects import table_from_columns, table_from_rows
from autosft.data.split_names import canonical_split, name_splits
from autosft.errors import DataError, explain

_BLOCK_BYTES = 1 << 25  # a row must fit in one block


def read_json(text: pa.Buffer, *, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads JSON or JSON Lines in UTF-8. Strings that look like dates stay strings.

    Returns:
        The table; where the file holds splits, their rows with a first column that names the split of each. And notes
        on what was decided.

    Raises:
        DataError: Empty, not JSON (with the line), another shape, or a column of mixed types.
    """
    head, _, rest = bytes(text).lstrip().partition(b"\n")
    if not head:
        raise DataError(
            explain(
                wrong=f"{place} is empty",
                expected="an array of objects, or one object a line",
                fix="check that the export finished, or point to another file",
            )
        )
    if head[:1] == b"{" and rest.strip() and _is_json(head):
        return _read_lines(text, place=place), ()
    try:
        value = json.loads(bytes(text))
    except json.JSONDecodeError as error:
        # An object in one piece, then more of them: JSON Lines, one of its objects spread over several lines.
        if head[:1] == b"{" and error.msg == "Extra data":
            return _read_lines(text, place=place), ()
        raise _broken(place, error.lineno, error.msg) from error
    except RecursionError as error:
        raise _broken(place, 1, "nested too deeply to be rows") from error
    if isinstance(value, Mapping) and _holds_splits(value):
        return _from_splits(value, place=place)
    return _from_value(value, place=place), ()


def _holds_splits(value: Mapping[str, Any]) -> bool:
    """Tells {"train": rows, "test": rows} from columns that are called so: rows are objects, or pairs of texts."""
    named = any(canonical_split(name) == "train" for name in value)
    return named and len(value) > 1 and all(isinstance(rows, list) and _are_rows(rows) for rows in value.values())


def _are_rows(rows: list[Any]) -> bool:
    return all(isinstance(row, Mapping) for row in rows) or _are_pairs(rows)


def _are_pairs(rows: list[Any]) -> bool:
    return all(isinstance(row, list) and len(row) == 2 and all(isinstance(cell, str) for cell in row) for row in rows)


def _from_splits(value: Mapping[str, list[Any]], *, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    splits, notes = name_splits({name: rows for name, rows in value.items() if rows}, place=place)
    names = [name for name, rows in splits.items() for _ in rows]
    rows = [row for part in splits.values() for row in part]
    if _are_pairs(rows):
        rows = [{"text": text, "label": label} for text, label in rows]
        notes = (*notes, f"{place}: pairs were read as the columns 'text' and 'label'.")
    table = table_from_rows(rows, place=place)
    column = next(name for name in ("split", "data_split", "dataset_split") if name not in table.column_names)
    return table.add_column(0, column, pa.array(names)), notes


def _from_value(value: Any, *, place: str) -> pa.Table:
    if isinstance(value, list):
        return table_from_rows(value, place=place)
    if isinstance(value, Mapping) and value:
        if _is_split_frame(value):
            check_names(list(map(str, value["columns"])), place=place)
            return table_from_rows(
                [dict(zip(value["columns"], row, strict=True)) for row in value["data"]], place=place
            )
        if isinstance(marked := value.get("annotations"), list):
            # Annotators of spaCy's data put a null for a text that was skipped.
            marked = [pair for pair in marked if pair is not None]
            if marked and as_rows(marked, place=place) is not marked:
                return table_from_rows(marked, place=place)
        rows = value.get("data", next(iter(value.values())) if len(value) == 1 else None)
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            return table_from_rows(rows, place=place)
        if all(isinstance(column, list) for column in value.values()):
            return table_from_columns(value, place=place)
        if all(isinstance(column, Mapping) for column in value.values()):
            if _is_rows_by_key(value):
                return table_from_rows([_with_key(key, row) for key, row in value.items()], place=place)
            # What pandas writes by default: each column an object from row number to value.
            return table_from_columns({name: list(column.values()) for name, column in value.items()}, place=place)
        return table_from_rows([value], place=place)
    raise DataError(
        explain(
            wrong=f"{place} holds a JSON {type(value).__name__}: {str(value)[:60]!r}",
            expected='rows: [{"text": "...", "label": "..."}, ...], or one such object a line',
            fix="write the rows as an array of objects",
        )
    )


def _is_split_frame(value: Mapping[str, Any]) -> bool:
    """Tells what pandas writes with orient="split": names of columns, and rows without them."""
    columns, rows = value.get("columns"), value.get("data")
    if not (isinstance(columns, list) and isinstance(rows, list) and set(value) <= {"columns", "index", "data"}):
        return False
    return bool(rows) and all(isinstance(row, list) and len(row) == len(columns) for row in rows)


def _is_rows_by_key(value: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tells rows under their keys from pandas' columns, whose own keys are row numbers."""
    inner = {name for row in value.values() for name in row}
    return not all(name.isdigit() for name in inner) and len(value) >= min(3, len(inner))


def _with_key(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": key, **row} if "key" not in row else dict(row)


def _read_lines(text: pa.Buffer, *, place: str) -> pa.Table:
    try:
        table = _parse_lines(text, schema=None)
        if any(_without_dates(field.type) != field.type for field in table.schema):
            schema = pa.schema([(field.name, _without_dates(field.type)) for field in table.schema])
            table = _parse_lines(text, schema=schema)
        return table
    except pa.ArrowException as error:
        return _read_line_by_line(text, place=place, reason=str(error))


def _parse_lines(text: pa.Buffer, *, schema: pa.Schema | None) -> pa.Table:
    return pyarrow.json.read_json(
        pa.BufferReader(text),
        read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema),
    )


def _without_dates(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(type_):
        return pa.string()
    if pa.types.is_list(type_):
        return pa.list_(_without_dates(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _without_dates(field.type)) for field in type_])
    return type_


def _read_line_by_line(text: pa.Buffer, *, place: str, reason: str) -> pa.Table:
    """Finds the line that Arrow could not read; reads it all where only Arrow was at a loss."""
    rows: list[Any] = []
    for number, line in enumerate(bytes(text).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if error.msg == "Extra data" and line.rstrip().endswith(b","):
                raise _with_commas(place, number) from error
            raise _broken(place, number, error.msg) from error
        if not isinstance(row, dict):
            raise _broken(place, number, f"this line is a {type(row).__name__}, not an object")
        rows.append(row)
    if not rows:
        raise _broken(place, 1, reason)
    return table_from_rows(rows, place=place)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _with_commas(place: str, line: int) -> DataError:
    return DataError(
        explain(
            wrong=f"{place}, line {line}: an object with a comma after it, which is neither JSON nor JSON Lines",
            expected="one object a line and nothing between them, or all of them in one array",
            fix="take off the commas at the ends of lines, or put '[' before the first line and ']' after the last",
        )
    )


def _broken(place: str, line: int, reason: str) -> DataError:
    return DataError(
        explain(
            wrong=f"{place}, line {line}: not valid JSON ({reason})",
            expected="an array of objects, or one object a line",
            fix="repair that line; a file cut off in the middle must be fetched again",
        )
    )
