"""Several labels a row, as users write them: lists, one text with separators, or a column a label.

How they are scored lives in `autosft.tasks.label_set_metrics`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autosft.arrays import one_array, to_numbers
from autosft.data.texts import label_texts
from autosft.task import Task
from autosft.tasks.columns import user_column
from autosft.tasks.label_values import label_type, plain, sorted_labels

#: What stands between the labels of one text.
SEPARATORS = (",", ";", "|")

# A list, or a set as Python and PostgreSQL write it; what has a colon is a dict.
_LIST = re.compile(r"\[(?P<list>.*)\]|\{(?P<set>[^{}:]*)\}", re.DOTALL)
_BRACKETED = re.compile(r"\s*(?:<[^<>\s][^<>]*>\s*)+")
_IN_BRACKETS = re.compile(r"<([^<>]+)>")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def read_labels(task: Task, table: pa.Table) -> pa.Array:
    """Returns the labels of each row as list<large_string>; an empty list has none, null says nothing about them.

    * A list column: null is null, an empty list has no labels.
    * A text such as "joy; fear", "['joy', 'fear']" or "<joy><fear>": blank says nothing, since most tables leave blank
      what they do not know; "[]" has no labels. It is cut at the separator whose parts are labels of the task, so that
      a label may hold a comma itself.
    * A column a label with 0 and 1, true and false: a row where all are missing says nothing, nor does one with another
      value (see `odd_cells`); beside a value, a missing one is a 0.

    Raises:
        DataError: A column is missing.
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
    plain_texts = [text for text in texts if not is_written_list(text)]
    present = [separator for separator in SEPARATORS if any(separator in text for text in plain_texts)]
    distinct = {sign: len({part for text in plain_texts for part in _parts(text, sign)}) for sign in present}
    return min(present, key=lambda sign: distinct[sign], default=None)


def odd_cells(task: Task, table: pa.Table) -> dict[int, str]:
    """Returns the rows in which a column a label says neither 0 nor 1, and what the first such column says instead."""
    found: dict[int, str] = {}
    for name in reversed(task.target_columns):
        texts, odd = _odd(user_column(table, name))
        for row in np.flatnonzero(odd.to_numpy(zero_copy_only=False)).tolist():
            found[row] = f"{name} is {texts[row].as_py()!r}"
    return found


def is_list(column_type: pa.DataType) -> bool:
    """Tells whether values of this type are lists."""
    types = pa.types
    return bool(types.is_list(column_type) or types.is_large_list(column_type) or types.is_fixed_size_list(column_type))


def is_written_list(text: str) -> bool:
    """Tells whether a text is a list: "['joy', 'fear']", "{joy,fear}", or "<joy><fear>" as Stack Exchange has it."""
    return _LIST.fullmatch(text) is not None or _BRACKETED.fullmatch(text) is not None


def is_yes_or_no(values: Collection[str]) -> bool:
    """Tells whether all of these values, as text, say whether a label holds."""
    folded = {value.casefold() for value in values}
    return bool(folded) and folded <= _YES | _NO


def num_odd_cells(column: pa.ChunkedArray) -> int:
    """Returns in how many rows a column says something, and neither yes nor no."""
    return int(pc.sum(_odd(column)[1]).as_py() or 0)


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
        inner = listed["list"] if listed["set"] is None else listed["set"]
        if (written := _json(text)) is not None:
            parts = written
        elif "'" in inner or '"' in inner:
            parts = [one or other for one, other in _QUOTED.findall(inner)]
        else:  # NumPy writes its lists without commas.
            parts = inner.split(",") if "," in inner or listed["set"] else inner.split()
    elif _BRACKETED.fullmatch(text):
        parts = _IN_BRACKETS.findall(text)
    else:
        parts = text.split(separator) if separator else [text]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _json(text: str) -> list[str] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if all(isinstance(value, str) for value in values) else None


def _from_columns(table: pa.Table, names: Sequence[str]) -> pa.Array:
    columns = [_yes_or_no(user_column(table, name)) for name in names]
    odd = np.any([_odd(user_column(table, name))[1].to_numpy(zero_copy_only=False) for name in names], axis=0)
    missing = np.all([pc.is_null(column).to_numpy(zero_copy_only=False) for column in columns], axis=0) | odd
    holds = np.stack([pc.fill_null(column, False).to_numpy(zero_copy_only=False) for column in columns], axis=1)
    holds[missing] = False
    labels = pa.array(names, pa.large_string()).take(pa.array(np.nonzero(holds)[1]))
    return _lists(holds.sum(axis=1), labels, pa.array(missing))


def _yes_or_no(column: pa.ChunkedArray) -> pa.Array:
    folded = pc.utf8_lower(label_texts(column))
    return pc.if_else(pc.is_null(folded), None, pc.is_in(folded, pa.array([*_YES], folded.type)))


def _odd(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Returns a column's values as text, and which of them say neither yes nor no."""
    texts = label_texts(column)
    known = pc.is_in(pc.utf8_lower(texts), pa.array([*_YES, *_NO], texts.type))
    return texts, pc.and_(pc.invert(known), pc.is_valid(texts))


def _lists(counts: np.ndarray, labels: pa.Array, missing: pa.Array) -> pa.Array:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, labels, mask=one_array(missing))
