"""Columns that came with the rows and that no model reads: kept where they have few values, to compare scores by."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.texts import as_text
from autosft.task import Task

#: Of more values, each has too few rows to say anything.
MOST_VALUES = 12

#: Beyond these, what is found is found by chance.
MOST_COLUMNS = 8


def given_columns(task: Task, table: pa.Table) -> list[str]:
    """Returns the columns that divide the rows into a few groups, inputs and targets aside."""
    taken = {*task.input_columns, *task.target_columns, task.target_column, task.time_column}
    names = [name for name in table.column_names if name not in taken and _is_plain(table.schema.field(name).type)]
    few = (name for name in names if 2 <= pc.count_distinct(_texts(table, name)).as_py() <= MOST_VALUES)
    return list(itertools.islice(few, MOST_COLUMNS))


def given_texts(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Returns these columns as text, null where a cell is missing."""
    return pa.table({name: _texts(table, name) for name in names})


def _texts(table: pa.Table, name: str) -> pa.Array:
    texts = pc.utf8_trim_whitespace(as_text(table.column(name)))
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _is_plain(column_type: pa.DataType) -> bool:
    kind = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
    )
