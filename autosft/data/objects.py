"""Tables that are already in memory: rows, columns, pandas, Arrow.

What lives here: one table from one Python object. Splits are the business of `read`, Hugging Face datasets of `hub`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from autosft.data.annotations import as_rows, spans_with_fields
from autosft.data.column_types import check_names
from autosft.errors import DataError, explain


def is_pandas(data: object) -> bool:
    """Whether `data` is a pandas.DataFrame; pandas is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def table_from_rows(rows: Sequence[object], *, place: str) -> pa.Table:
    """Builds a table from a list of dicts. Columns are in the order in which they first appear; absent keys are null.

    Pairs of spaCy and tasks of Label Studio are rows too; see `annotations`.

    Raises:
        DataError: No rows, a row that is not a dict, or a column of mixed types.
    """
    if not rows:
        raise DataError(
            explain(
                wrong=f"{place} is empty",
                expected="at least one row such as {'text': '...', 'label': '...'}",
                fix="pass at least one row",
            )
        )
    rows = as_rows(rows, place=place)
    names: dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(
                explain(
                    wrong=f"row {at} of {place} is {type(row).__name__}, not a dict: {str(row)[:60]!r}",
                    expected="every row a dict from column name to value, such as {'text': '...', 'label': '...'}",
                    fix="name the values, for example [{'text': text, 'label': label} for text, label in rows]",
                )
            )
        names.update(dict.fromkeys(row))
    return table_from_columns({name: [row.get(name) for row in rows] for name in names}, place=place)  # type: ignore[attr-defined]


def table_from_columns(columns: Mapping[Any, Any], *, place: str) -> pa.Table:
    """Builds a table from a dict of columns: lists, tuples, NumPy or Arrow arrays, or pandas.Series of equal length.

    Raises:
        DataError: No columns, a value that is no column, columns of different lengths, or of mixed types.
    """
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise DataError(
                explain(
                    wrong=f"column '{name}' of {place} is a {type(values).__name__}, not a list: {str(values)[:60]!r}",
                    expected="a dict from column name to a list of values",
                    fix="pass {'text': [...], 'label': [...]}, or a list of dicts with one dict a row",
                )
            )
    lengths = {str(name): len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(
            explain(
                wrong=f"the columns of {place} have different lengths ({listed})",
                expected="as many values in every column",
                fix="fill the shorter columns with None, or correct them",
            )
        )
    check_names(list(lengths), place=place)
    return pa.table({str(name): _array(str(name), values, place=place) for name, values in columns.items()})


def table_from_pandas(frame: Any, *, place: str) -> pa.Table:
    """Converts a DataFrame; its index is left out and categories become their values.

    Raises:
        DataError: Repeated column names, or a column of mixed types.
    """
    check_names([str(name) for name in frame.columns], place=place)
    columns = {str(name): frame[name] for name in frame.columns}
    return pa.table({name: _array(name, series, place=place) for name, series in columns.items()})


def _array(name: str, values: Any, *, place: str) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        # Arrow has no list of numbers and texts, and [start, end, label] is what most tools write.
        if (spans := spans_with_fields(list(values))) is not None:
            return pa.array(spans)
        raise _mixed(name, list(values), place=place, reason=str(error)) from error


def _mixed(name: str, values: list[Any], *, place: str, reason: str) -> DataError:
    first_of: dict[str, int] = {}
    for at, value in enumerate(values):
        if value is not None and value == value:
            first_of.setdefault(type(value).__name__, at)
    kinds = " and ".join(f"{kind} (row {at}: {str(values[at])[:30]!r})" for kind, at in list(first_of.items())[:3])
    complaint = f" mixes {kinds}" if len(first_of) > 1 else f": {reason}"
    return DataError(
        explain(
            wrong=f"column '{name}' of {place}{complaint}",
            expected="values of one type in a column: text, numbers, booleans, or lists of these",
            fix="convert the column, for example with str()",
        )
    )
