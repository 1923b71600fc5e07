"""The user's columns, as kinds of task read them: by name, and text columns as the canonical ones.

How targets are read lives with the outputs (`one_label` and its neighbours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.checks.subject import NUM_EXAMPLES, Check, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.nested import how_to_flatten
from autosft.data.texts import shortened
from autosft.errors import DataError, did_you_mean, explain
from autosft.task import Task
from autosft.tasks.label_values import plain


def one_text(task: Task, table: pa.Table) -> pa.Table:
    """Returns the column "text": the input columns joined by a line break, missing values as "".

    Of a list of texts in a row (words, sentences, paragraphs) its texts are joined by a space, which all of these bear:
    the sentences of a text stand on one line, and encoders read a line break as a space anyway. Missing and blank
    texts of a list are left out. The task's target is no such list, even where it is asked for as text: several
    references are not one text to learn.

    Raises:
        DataError: An input column is missing, or holds values without a text form.
    """
    return pa.table({"text": _joined(task, table, task.input_columns)})


def two_texts(task: Task, table: pa.Table) -> pa.Table:
    """Returns the columns "text" and "text_pair": the first input column, and the others joined by a line break.

    Raises:
        DataError: As in `one_text`.
    """
    first, *others = task.input_columns
    return pa.table({"text": _joined(task, table, [first]), "text_pair": _joined(task, table, others)})


def missing_sides(subject: Subject) -> Outcome | None:
    """Finds pairs with one side missing. Reported only: the missing side is read as an empty text."""
    remarks: list[str] = []
    for name, table in subject.source.splits.items():
        pairs = two_texts(subject.task, table)
        blank = [
            pc.equal(pc.utf8_trim_whitespace(pairs[side]), "").to_numpy(zero_copy_only=False)
            for side in pairs.schema.names
        ]
        for row in np.flatnonzero(blank[0] ^ blank[1]).tolist():
            side = subject.task.input_columns[0] if blank[0][row] else ", ".join(subject.task.input_columns[1:])
            remarks.append(f"{subject.place(name, row)}: no {side} ({subject.texts[name][row].as_py()})")
    if not remarks:
        return None
    return Outcome(
        Severity.WARNING,
        f"Pairs with one side missing: {len(remarks):,}.",
        len(remarks),
        examples=tuple(map(shortened, remarks[:NUM_EXAMPLES])),
        advice="it is read as an empty text; fill it in, or leave those rows out",
    )


#: What the kinds that read pairs look for.
PAIR_CHECKS: Mapping[str, Check] = MappingProxyType({"missing-sides": missing_sides})


def _joined(task: Task, table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    columns = [_as_text(name, user_column(table, name), lists=name != task.target_column) for name in names]
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


def _as_text(name: str, column: pa.ChunkedArray, *, lists: bool) -> pa.ChunkedArray:
    if lists and _holds_texts(column.type):
        rows = ([text for text in row or () if text and not text.isspace()] for row in column.to_pylist())
        return pa.chunked_array([pa.array([" ".join(row) for row in rows], pa.string())])
    try:
        return plain(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # Lists are read, but not written: of a target nobody knows which of its texts is meant.
        expected = "text, lists of texts or single values in every input column"
        other = "leave it out with inputs="
        if not lists:
            expected, other = "a text or another single value in every row of the target", "name another with target="
        raise DataError(
            explain(
                wrong=f"column '{name}' of type {column.type} cannot be read as text ({error})",
                expected=expected,
                fix=f"{how_to_flatten(name, column.type) or 'turn the column into text'}; or {other}",
            )
        ) from error


def _holds_texts(column_type: pa.DataType) -> bool:
    types = pa.types
    if not (types.is_list(column_type) or types.is_large_list(column_type) or types.is_fixed_size_list(column_type)):
        return False
    inner = column_type.value_type
    inner = inner.value_type if types.is_dictionary(inner) else inner
    # Lists that are empty in every row have no type of their own.
    return bool(
        types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner) or types.is_null(inner)
    )
