"""Lines as fastText trains on them, already in UTF-8: "__label__X", one or several, and a text after them."""

from __future__ import annotations

import re

import pyarrow as pa

_SAMPLE_BYTES, _FEWEST_LINES = 1 << 16, 2
#: Share of the lines that must begin with a label.
_ALIKE = 0.95
# Some write a comma between labels and text.
_LABELS = re.compile(r"\s*((?:__label__\S+[\s,]+)*__label__\S+)(?:[\s,]+|$)")
_LABEL = re.compile(r"__label__([^\s,]+)")


def looks_like_fasttext(text: pa.Buffer) -> bool:
    """Whether nearly all lines begin with a label of fastText."""
    head = bytes(memoryview(text)[:_SAMPLE_BYTES])
    lines = [line for line in head.split(b"\n") if line.strip()]
    good = sum(line.lstrip().startswith(b"__label__") for line in lines)
    return len(lines) >= _FEWEST_LINES and good >= _ALIKE * len(lines)


def read_fasttext(text: pa.Buffer, *, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads the columns "text" and "label": a label a row, or where some row has several, a list of them.

    Args:
        text: The file in UTF-8.
        place: The file's name, for messages.

    Returns:
        The table, with a null for the label of a line without one, and a note.
    """
    lines = [line for line in bytes(text).decode("utf-8").split("\n") if line.strip()]
    found = [_LABELS.match(line) for line in lines]
    texts = [line[match.end() :].strip() if match else line.strip() for line, match in zip(lines, found, strict=True)]
    labels = [_LABEL.findall(match[1]) if match else None for match in found]
    if any(row and len(row) > 1 for row in labels):
        column = pa.array(labels, pa.list_(pa.string()))
    else:
        column = pa.array([row[0] if row else None for row in labels], pa.string())
    note = f"{place}: lines of fastText were read as the columns 'text' and 'label'."
    return pa.table({"text": pa.array(texts, pa.string()), "label": column}), (note,)
