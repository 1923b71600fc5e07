"""Values with fields of their own: examples listed in a row are taken apart, of others it is said how to do it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autosft.counting import counted
from autosft.data.texts import shortened

_FIELDS = frozenset({"input", "output"})


def taken_apart(table: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Returns one row an instance where a column lists {"input", "output"}, its fields as columns, and a note.

    Rows without any instance keep their place, with nulls. Other tables come back as they are.
    """
    listed = [field.name for field in table.schema if _lists_instances(field.type)]
    if len(listed) != 1:
        return table, ()
    name = listed[0]
    lists = table.column(name).combine_chunks()
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    fields = [field.name for field in lists.type.value_type]
    if set(fields) & (set(table.column_names) - {name}):
        return table, ()
    rows = np.repeat(np.arange(len(lists)), np.maximum(counts, 1))
    places = np.full(len(rows), -1)
    places[np.repeat(counts > 0, np.maximum(counts, 1))] = np.arange(counts.sum())
    taken = pc.list_flatten(lists).take(pa.array(places, mask=places < 0))
    made = table.drop_columns([name]).take(pa.array(rows))
    for field in fields:
        made = made.append_column(field, pc.struct_field(taken, field))
    return made, (
        f"Column '{name}' lists several examples a row: each is a row of its own ({counted(made.num_rows, 'row')}).",
    )


def _lists_instances(column_type: pa.DataType) -> bool:
    if not (pa.types.is_list(column_type) or pa.types.is_large_list(column_type)):
        return False
    inner = column_type.value_type
    return pa.types.is_struct(inner) and {field.name for field in inner} >= _FIELDS


def how_to_flatten(name: str, column_type: pa.DataType) -> str:
    """Says what to do with a column whose values have fields, and which these are; "" where they have none."""
    listed = pa.types.is_list(column_type) or pa.types.is_large_list(column_type)
    inner = column_type.value_type if listed else column_type
    if not pa.types.is_struct(inner):
        return ""
    fields = shortened(", ".join(f"{field.name}: {field.type}" for field in inner), limit=200)
    rows = "make a row of each of its entries and " if listed else ""
    return f"flatten it first: {rows}give each field that you need of {{{fields}}} in '{name}' a column of its own"
