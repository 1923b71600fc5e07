"""Whether the first line of a delimited file names its columns, and what they are called when it does not.

What lives here: the heuristic and the naming. Cells are split elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autosft.errors import nearest

_NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*%?")
_USUAL_NAMES = frozenset(
    {"id", "idx", "index", "text", "sentence", "sentence1", "sentence2", "label", "labels", "target", "class"}
    | {"category", "intent", "score", "rating", "review", "message", "comment", "content", "title", "body", "question"}
    | {"answer", "input", "output", "prompt", "completion", "query", "utterance", "tweet"}
)
_MAX_NAME_CHARS = 64
_MAX_NAME_WORDS = 6


@dataclass(frozen=True)
class Header:
    """What was decided about the first line.

    Attributes:
        names: Column names, one a column.
        present: Whether the first line is the header, and so no row.
    """

    names: tuple[str, ...]
    present: bool


def decide_header(rows: Sequence[Sequence[str]], *, expected: Sequence[str] = ()) -> Header:
    """Decides from the first rows of a file whether its first line is a header.

    A line is a header when its cells look like names: short, unique, no bare numbers, and not met again as values
    below. In doubt it is one.

    Args:
        rows: The first rows, at least one, all cells as text.
        expected: Columns that the file should have. A first line that holds one of them is a header; a file without
            a header and with as many columns takes these names.
    """
    first = [cell.strip().strip('"') for cell in rows[0]]
    present = _names_columns(first, rows[1:]) if not expected else _names_expected(first, rows[1:], expected)
    if present:
        return Header(tuple(name or f"column_{at}" for at, name in enumerate(first, start=1)), True)
    if len(first) == len(expected):
        return Header(tuple(expected), False)
    return Header(tuple(f"column_{at}" for at in range(1, len(first) + 1)), False)


def _names_expected(first: list[str], body: Sequence[Sequence[str]], expected: Sequence[str]) -> bool:
    folded = {name.casefold() for name in expected}
    if any(cell.casefold() in folded for cell in first):
        return True
    if all(re.fullmatch(r"column_\d+", name) for name in expected):
        return False
    if len(first) == 1:
        # One column of short messages looks like a header at every line, so only a likely name is taken for one.
        return first[0].casefold() in _USUAL_NAMES or _is_misspelling(first[0], expected)
    return _names_columns(first, body)


def _is_misspelling(cell: str, expected: Sequence[str]) -> bool:
    return " " not in cell and nearest(cell, expected) is not None


def _names_columns(first: list[str], body: Sequence[Sequence[str]]) -> bool:
    if len({cell for cell in first if cell}) < sum(1 for cell in first if cell):
        # A name given twice is still a header (and an error later) when every cell is a usual name.
        return all(cell.casefold() in _USUAL_NAMES for cell in first)
    if any(_NUMBER.fullmatch(cell) for cell in first) or not any(first):
        return False
    columns = [[row[at].strip() for row in body if at < len(row)] for at in range(len(first))]
    if any(cells and all(_NUMBER.fullmatch(cell) for cell in cells) for cells in columns):
        return True
    pairs = zip(first, columns, strict=True)
    if any(cell and cell in cells and cell.casefold() not in _USUAL_NAMES for cell, cells in pairs):
        return False
    return all(len(cell) <= _MAX_NAME_CHARS and len(cell.split()) <= _MAX_NAME_WORDS for cell in first)
