"""Several labels a row, as users write them: lists, one text with separators, or a column a label.

How they are scored lives in `autosft.tasks.label_set_metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autosft.arrays import one_array, to_numbers
from autosft.data.texts import label_texts
from autosft.errors import DataError, explain
from autosft.task import Task
from autosft.tasks.columns import user_column
from autosft.tasks.label_values import label_type, plain, sorted_labels

#: What stands between the labels of one text.
SEPARATORS = (",", ";", "|")

_LIST = re.compile(r"\[(.*)\]", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def read_labels(task: Task, table: pa.Table) -> pa.Array:
    """Returns the labels of each row as list<large_string>; an empty list has none, null says nothing about them.

    * A list column: null is null, an empty list has no labels.
    * A text such as "joy; fear" or "['joy', 'fear']": blank says nothing, since most tables leave blank what they do
      not know; "[]" has no labels. It is cut at the separator whose parts are labels of the task, so that a label may
      hold a comma itself.
    * A column a label with 0 and 1, true and false: a row where all are missing says nothing; beside a value, a missing
      one is a 0.

    Raises:
        DataError: A column is missing, or holds something else.
    """
    if task.target_columns:
        return _from_columns(table, task.target_columns)
    column = plain(user_column(table, task.target_column))
    return _from_lists(column) if is_list(column.type) else _from_texts(column, frozenset(task.labels))


def labels_in(tables: Iterable[pa.Table], column: str) -> tuple[tuple[str, ...], str]:
    """Returns the labels that occur in a target column, in the order of outputs, and the name of their type."""
    columns = [plain(table.column(column)) for table in tables]
    if is_list(columns[0].type):
        found = [one_array(_from_lists(part).flatten()) for part in columns]
        return sorted_labels(pa.concat_arrays(found)), label_type(columns[0].type.value_type)
    texts = pa.concat_arrays([label_texts(part) for part in columns])
    distinct = [text for text in pc.unique(texts).to_pylist() if text is not None]
    separator = best_separator(distinct)
    labels = {label for text in distinct for label in _parts(text, separator)}
    return sorted_labels(pa.array(sorted(labels), pa.large_string())), "string"


def best_separator(texts: Collection[str]) -> str | None:
    """Returns the separator that leaves the fewest distinct labels; None where no text holds one."""
    plain_texts = [text for text in texts if not _LIST.fullmatch(text)]
    present = [separator for separator in SEPARATORS if any(separator in text for text in plain_texts)]
    distinct = {sign: len({part for text in plain_texts for part in _parts(text, sign)}) for sign in present}
    return min(present, key=lambda sign: distinct[sign], default=None)


def is_list(column_type: pa.DataType) -> bool:
    """Tells whether values of this type are lists."""
    types = pa.types
    return bool(types.is_list(column_type) or types.is_large_list(column_type) or types.is_fixed_size_list(column_type))


def is_yes_or_no(values: Collection[str]) -> bool:
    """Tells whether a column with these values, as text, says of each row whether a label holds."""
    folded = {value.casefold() for value in values}
    return bool(folded) and folded <= _YES | _NO


def _from_lists(column: pa.ChunkedArray) -> pa.Array:
    lists = one_array(column).cast(pa.large_list(column.type.value_type))
    parents = pc.list_parent_indices(lists)
    labels = label_texts(pa.chunked_array([pc.list_flatten(lists)]))
    known = pc.is_valid(labels)
    rows, labels = parents.filter(known), labels.filter(known)
    counts = np.bincount(to_numbers(rows), minlength=len(lists))
    return _lists(counts, labels, pc.is_null(lists))


def _from_texts(column: pa.ChunkedArray, known: frozenset[str]) -> pa.Array:
    encoded = pc.dictionary_encode(label_texts(column))
    cut = [_best_parts(text, known) for text in encoded.dictionary.to_pylist()]
    return pa.array(cut, pa.list_(pa.large_string())).take(encoded.indices)


def _best_parts(text: str, known: frozenset[str]) -> list[str]:
    if text in known:
        return [text]
    cuts = [_parts(text, separator) for separator in SEPARATORS]
    # All parts known first; then, for a text with an unknown label, as many as possible.
    return max(cuts, key=lambda parts: (sum(part in known for part in parts) / max(1, len(parts)), len(parts)))


def _parts(text: str, separator: str | None) -> list[str]:
    listed = _LIST.fullmatch(text)
    if listed:
        inner = listed[1]
        if "'" in inner or '"' in inner:
            parts = [one or other for one, other in _QUOTED.findall(inner)]
        else:  # NumPy writes its lists without commas.
            parts = inner.split(",") if "," in inner else inner.split()
    else:
        parts = text.split(separator) if separator else [text]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _from_columns(table: pa.Table, names: Sequence[str]) -> pa.Array:
    columns = [_yes_or_no(name, label_texts(user_column(table, name))) for name in names]
    missing = pa.array(np.all([pc.is_null(column).to_numpy(zero_copy_only=False) for column in columns], axis=0))
    holds = np.stack([pc.fill_null(column, False).to_numpy(zero_copy_only=False) for column in columns], axis=1)
    labels = pa.array(names, pa.large_string()).take(pa.array(np.nonzero(holds)[1]))
    return _lists(holds.sum(axis=1), labels, missing)


def _yes_or_no(name: str, texts: pa.Array) -> pa.Array:
    folded = pc.utf8_lower(texts)
    known = pc.is_in(folded, pa.array([*_YES, *_NO], folded.type))
    odd = texts.filter(pc.and_(pc.invert(known), pc.is_valid(texts)))
    if len(odd):
        wrong = f"column '{name}' holds '{odd[0].as_py()}', and should say of each row whether the label holds"
        raise DataError(explain(wrong=wrong, expected="0 and 1, or true and false", fix="clean the column"))
    return pc.if_else(pc.is_null(folded), None, pc.is_in(folded, pa.array([*_YES], folded.type)))


def _lists(counts: np.ndarray, labels: pa.Array, missing: pa.Array) -> pa.Array:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, labels, mask=one_array(missing))
