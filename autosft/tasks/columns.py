"""The user's columns, as kinds of task read them: by name, and text columns as the canonical ones.

How targets are read lives with the outputs (`one_label` and its neighbours).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from autosft.errors import DataError, did_you_mean, explain
from autosft.task import Task
from autosft.tasks.label_values import plain


def one_text(task: Task, table: pa.Table) -> pa.Table:
    """Returns the column "text": the input columns joined by a line break, missing values as "".

    Raises:
        DataError: An input column is missing, or holds lists or other values without a text form.
    """
    return pa.table({"text": _joined(table, task.input_columns)})


def two_texts(task: Task, table: pa.Table) -> pa.Table:
    """Returns the columns "text" and "text_pair": the first input column, and the others joined by a line break.

    Raises:
        DataError: As in `one_text`.
    """
    first, *others = task.input_columns
    return pa.table({"text": _joined(table, [first]), "text_pair": _joined(table, others)})


def _joined(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    columns = [_as_text(name, user_column(table, name)) for name in names]
    return pc.binary_join_element_wise(*columns, "\n", null_handling="replace", null_replacement="")


def user_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Returns a column by its name; raises DataError where it is missing."""
    if name not in table.column_names:
        raise DataError(
            explain(
                wrong=f"column '{name}' is missing (found: {', '.join(table.column_names)})",
                expected="the columns that the task was set up with",
                fix=did_you_mean(name, table.column_names),
            )
        )
    return table.column(name)


def _as_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return plain(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            explain(
                wrong=f"column '{name}' of type {column.type} cannot be read as text ({error})",
                expected="text or single values in every input column",
                fix="turn the column into text, or leave it out with inputs=",
            )
        ) from error
