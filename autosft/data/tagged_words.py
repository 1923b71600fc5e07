"""Words and their tags that a table holds as text: "Anna left" beside "B-PER O", or beside such a list as printed."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pyarrow as pa

from autosft.data.column_types import is_text

_TAG = re.compile(r"O|[BIESLU]-\S+")
_SAMPLE, _FEW_ROWS = 2000, 20
#: Share of the rows that must hold nothing but tags, and as many words as tags.
_NEARLY_ALL = 0.95
#: Words are many, and what has a few values for so many places is another sort of tags.
_FEW_SHARE, _FEW_WORDS = 0.1, 100


def tagged_words(table: pa.Table) -> tuple[str, str] | None:
    """Returns the column of words and the column of their tags, both of text; None where there are no such two.

    Words stand between blanks, or in a list as JSON or as Python prints it; so do tags ("O", "B-X"). Of several columns
    with as many words the one with the most distinct ones counts: parts of speech are as many, and few.
    """
    names = [field.name for field in table.schema if is_text(field.type)]
    # Most columns are told by their first few rows.
    tags = next(
        (name for name in names if _are_tags(_peek(table, name, _FEW_ROWS)) and _are_tags(_peek(table, name))), None
    )
    if tags is None:
        return None
    found, tagged = {}, _peek(table, tags)
    for name in names:
        pairs = [(one, other) for one, other in zip(_peek(table, name), tagged, strict=True) if one and other]
        words = [word for one, _ in pairs for word in one]
        same = sum(len(one) == len(other) for one, other in pairs)
        distinct = len(set(words))
        if name != tags and pairs and same >= _NEARLY_ALL * len(pairs) and distinct > _few(len(words)):
            found[name] = distinct
    return (max(found, key=lambda name: found[name]), tags) if found else None


def as_lists(table: pa.Table, columns: tuple[str, str]) -> pa.Table:
    """Returns the table with these columns as lists of words; one that is not there, or no text, stays as it is."""
    for index, field in enumerate(table.schema):
        if field.name in columns and is_text(field.type):
            lists = [_parts(cell) for cell in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(lists, pa.list_(pa.string())))
    return table


def _few(num_words: int) -> float:
    return max(2.0, min(_FEW_WORDS, _FEW_SHARE * num_words))


def _peek(table: pa.Table, name: str, num_rows: int = _SAMPLE) -> list[list[str] | None]:
    return [_parts(cell) for cell in table.column(name).slice(0, num_rows).to_pylist()]


def _are_tags(cells: list[list[str] | None]) -> bool:
    filled = [cell for cell in cells if cell]
    good = sum(all(map(_TAG.fullmatch, cell)) for cell in filled)
    # A column of one tag a row has the words in rows of their own.
    return (
        bool(filled) and good >= _NEARLY_ALL * len(filled) and sum(len(cell) > 1 for cell in filled) > 0.5 * len(filled)
    )


def _parts(cell: str | None) -> list[str] | None:
    if cell is None or not cell.strip():
        return None
    listed = _listed(cell.strip()) if cell.lstrip().startswith("[") else None
    return cell.split() if listed is None else listed


def _listed(cell: str) -> list[str] | None:
    value: Any
    try:
        value = json.loads(cell)
    except ValueError:
        try:
            value = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, list) and all(isinstance(part, str) for part in value) else None
