"""Columns as text: labels, inputs in a normal form for telling rows apart, and short examples for messages.

What a model reads is made by the kind of task, not here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_SPACES = r"[\s\p{Z}]+"
#: What `_SPACES` finds and is not one plain space, as far as its first two characters tell.
_ODD_SPACE = r"  |[^\S ]|[^\P{Z} ]"
_SEPARATOR = "\x1f"


def as_text(column: pa.ChunkedArray) -> pa.Array:
    """Returns any column as large_string; lists and structs as Python would print them, NaN as null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.array(values, pa.large_string())
    return _one_array(column.cast(pa.large_string()))


def label_texts(column: pa.ChunkedArray) -> pa.Array:
    """Returns labels as text without surrounding white space; null where missing or blank."""
    trimmed = pc.utf8_trim_whitespace(as_text(column))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)


def input_texts(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Returns the input columns joined, white space squeezed; "" where every one of them is null or blank."""
    squeezed = [squeeze(as_text(table.column(name))) for name in columns]
    if len(squeezed) == 1:
        return pc.fill_null(squeezed[0], "")
    separator = pa.scalar(_SEPARATOR, pa.large_string())
    joined = pc.binary_join_element_wise(*squeezed, separator, null_handling="replace", null_replacement="")
    blank = pc.equal(pc.utf8_trim(joined, _SEPARATOR), "")
    return pc.if_else(blank, pa.scalar("", joined.type), joined)


def squeeze(texts: pa.Array) -> pa.Array:
    """Returns texts trimmed, with every run of white space as one space."""
    trimmed = pc.utf8_trim_whitespace(texts)
    # Most texts have nothing to squeeze, and to look is several times quicker than to write them anew.
    is_odd = pc.fill_null(pc.match_substring_regex(trimmed, _ODD_SPACE), False)
    if 2 * is_odd.true_count > len(trimmed):
        return pc.replace_substring_regex(trimmed, _SPACES, " ")
    return pc.replace_with_mask(trimmed, is_odd, pc.replace_substring_regex(trimmed.filter(is_odd), _SPACES, " "))


def codes(values: pa.Array) -> NDArray[np.int64]:
    """Returns a number for each distinct value, in order of appearance, and -1 for null; shape (rows,)."""
    indices = pc.dictionary_encode(values).indices
    return np.asarray(pc.fill_null(indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def shortened(value: object, *, limit: int = 80) -> str:
    """Returns a value as one line of at most `limit` characters."""
    line = " ".join(str(value).replace(_SEPARATOR, " | ").split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
