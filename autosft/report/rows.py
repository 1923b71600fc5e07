"""Rows of the user's, as a person knows them again: the text that a model read, shortened, or a small image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.data import Rows
from autosft.data.pixels import UnreadableImage, content_of, rgb_of, size_of
from autosft.errors import AutosftError

#: Side of a small image in pixels.
_SIDE = 96


def picked(rows: Rows, positions: Sequence[int] | NDArray[np.int64]) -> pa.Table:
    """Returns some of the rows, in this order."""
    at = np.asarray(positions, np.int64)
    return Rows(rows.path, at if rows.indices is None else rows.indices[at]).table()


def has_images(table: pa.Table) -> bool:
    """Whether what is read is an image."""
    return "image" in table.column_names


def row_texts(table: pa.Table) -> list[str]:
    """Returns what a model reads of each row, as one text; of an image, where it is."""
    if has_images(table):
        return [(value or {}).get("path") or "an image without a path" for value in table.column("image").to_pylist()]
    if "messages" in table.column_names:
        return [_conversation(turns or []) for turns in table.column("messages").to_pylist()]
    if "text" not in table.column_names and "tokens" in table.column_names:
        return [" ".join(word or "" for word in words or []) for words in table.column("tokens").to_pylist()]
    names = [name for name in ("text", "text_pair") if name in table.column_names]
    columns = [table.column(name).to_pylist() for name in names]
    return [" ⏵ ".join(part or "" for part in parts) for parts in zip(*columns, strict=True)]


def thumbnails(table: pa.Table) -> list[str | None]:
    """Returns small images as data URIs, None for one that cannot be read."""
    return [_thumbnail(value or {}) for value in table.column("image").to_pylist()]


def lengths(table: pa.Table) -> tuple[str, NDArray[np.float64]] | None:
    """Returns how long each row is and in what unit; None where that cannot be told at little cost."""
    if has_images(table):
        sides = [_shorter_side(value or {}) for value in table.column("image").to_pylist()]
        return None if None in sides else ("pixels of the shorter side", np.array(sides, np.float64))
    if "tokens" in table.column_names:
        counts = pc.fill_null(pc.list_value_length(table.column("tokens")), 0)
        return "words", np.asarray(counts.to_numpy(), np.float64)
    if "messages" in table.column_names:
        return "letters", np.array([len(text) for text in row_texts(table)], np.float64)
    names = [name for name in ("text", "text_pair") if name in table.column_names]
    if not names:
        return None
    each = [pc.fill_null(pc.utf8_length(table.column(name)), 0).to_numpy() for name in names]
    return "letters", np.asarray(np.sum(each, axis=0), np.float64)


def _conversation(turns: Sequence[dict[str, Any]]) -> str:
    # What the assistant says last is what was to be learned: it stands beside.
    if turns and turns[-1].get("role") == "assistant":
        turns = turns[:-1]
    return " ⏵ ".join(f"{turn.get('role')}: {turn.get('content')}" for turn in turns)


def _thumbnail(value: dict[str, Any]) -> str | None:
    try:
        image = rgb_of(content_of(value.get("path"), value.get("bytes")))
    except (UnreadableImage, OSError, AutosftError):
        return None
    # Small ones are left as they are: a browser enlarges them.
    image.thumbnail((_SIDE, _SIDE))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()


def _shorter_side(value: dict[str, Any]) -> int | None:
    try:
        return min(size_of(content_of(value.get("path"), value.get("bytes"))))
    except (UnreadableImage, OSError, AutosftError):
        return None
