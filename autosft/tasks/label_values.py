"""Labels between the user's types and text: reading a target column, ordering its labels, and giving them back.

How predictions are scored lives in `autosft.tasks.label_metrics`.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.texts import label_texts

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def plain(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Returns the column without dictionary encoding, as pandas categoricals and class labels arrive."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def label_type(column_type: pa.DataType) -> str:
    """Returns the name under which a Task keeps the type of its labels: "string", "int", "float" or "bool"."""
    if pa.types.is_dictionary(column_type):
        column_type = column_type.value_type
    if pa.types.is_boolean(column_type):
        return "bool"
    if pa.types.is_integer(column_type):
        return "int"
    return "float" if pa.types.is_floating(column_type) else "string"


def label_text(value: object) -> str:
    """Returns one label, given in the user's own type, as `label_texts` would write it."""
    texts = label_texts(pa.chunked_array([[value]])) if isinstance(value, bool | int | float) else None
    return str(texts[0].as_py()) if texts is not None else str(value).strip()


def sorted_labels(texts: pa.ChunkedArray | pa.Array) -> tuple[str, ...]:
    """Returns the distinct labels in the order of the model's outputs: by number where all are, else by text."""
    labels = [label for label in pc.unique(texts).to_pylist() if label is not None]
    if all(_NUMBER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    return tuple(sorted(labels))


def original_values(labels: tuple[str, ...], type_name: str) -> pa.Array:
    """Returns the labels in the user's own type, in the same order."""
    convert: dict[str, tuple[Any, pa.DataType]] = {
        "bool": (lambda text: text == "true", pa.bool_()),
        "int": (int, pa.int64()),
        "float": (float, pa.float64()),
        "string": (str, pa.string()),
    }
    function, arrow_type = convert[type_name]
    return pa.array([function(label) for label in labels], arrow_type)
