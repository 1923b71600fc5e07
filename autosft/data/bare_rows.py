"""Rows to predict on that come as bare values, without names of columns: texts, pairs, words, talks, images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autosft.data.images import is_image_path
from autosft.task import Input


def named_columns(rows: object, input: Input, columns: Sequence[str]) -> object:
    """Returns bare values as a dict of columns; what comes in any other form is returned as it is.

    Args:
        rows: One value a row, in a list, a tuple, a pandas.Series, a NumPy or an Arrow array. A value is a text; a
            tuple or list of as many texts as there are columns; a list of words; a conversation as a list of
            {"role": ..., "content": ...}, of which one alone is one row; an image as a path, the bytes of a file, a
            PIL image or an array of uint8, (height, width) or (height, width, 3); the path of one image is one row.
        input: What the model reads.
        columns: The names.
    """
    if input is Input.IMAGE and _is_one_image(rows):
        rows = [rows]
    values = _listed(rows)
    if not values:
        return rows
    if input is Input.MESSAGES and all(_is_turn(value) and columns[0] not in value for value in values):
        return {columns[0]: [values]}
    if input is Input.IMAGE:
        return {columns[0]: [_image(value) for value in values]} if all(map(_is_one_image, values)) else rows
    if input in (Input.TOKENS, Input.MESSAGES):
        fits = all(isinstance(value, list | tuple) for value in values)
        return {columns[0]: [list(value) for value in values]} if fits else rows
    if len(columns) > 1:
        fits = all(isinstance(value, list | tuple) and len(value) == len(columns) for value in values)
        return {name: [value[at] for value in values] for at, name in enumerate(columns)} if fits else rows
    return {columns[0]: values} if all(value is None or isinstance(value, str) for value in values) else rows


def _listed(rows: object) -> list[Any] | None:
    """Returns the values of what holds one a row, or None."""
    if isinstance(rows, list | tuple):
        return list(rows)
    if isinstance(rows, pa.Array | pa.ChunkedArray):
        return list(rows.to_pylist())
    if isinstance(rows, np.ndarray):
        return list(rows.tolist()) if rows.dtype.kind in "OU" and rows.ndim == 1 else list(rows) if rows.ndim else None
    # A Series, without importing pandas to know one.
    return list(rows) if type(rows).__name__ == "Series" and hasattr(rows, "to_list") else None  # type: ignore[call-overload]


def _is_turn(value: object) -> bool:
    return isinstance(value, Mapping) and {"role", "content"} <= set(value)


def _is_one_image(value: object) -> bool:
    if isinstance(value, str | Path):
        return is_image_path(value)
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 3))
    return isinstance(value, bytes) or hasattr(value, "save")


def _image(value: Any) -> dict[str, Any]:
    if isinstance(value, str | Path):
        return {"path": str(Path(value).expanduser().absolute()), "bytes": None}
    if isinstance(value, np.ndarray):
        from PIL import Image

        value = Image.fromarray(value)
    if not isinstance(value, bytes):
        written = io.BytesIO()
        value.save(written, format="PNG")
        value = written.getvalue()
    return {"path": None, "bytes": value}
