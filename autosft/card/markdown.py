"""Markdown of values that others wrote: labels, column names and findings may hold any character.

What comes out of here stays within its line, its table cell and its code span, and is never HTML.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

#: What starts something within a line of CommonMark, in GitHub's tables and maths, or in HTML. Inside a word an
#: underscore starts nothing.
_SPECIAL = re.compile(r"([\\`*\[\]<>#|~&$]|(?<!\w)_|_(?!\w))")

#: Marks that turn the direction of all text after them, so that a line shows in another order than it reads.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def line(value: object) -> str:
    """Returns a value as one line without control characters; not escaped yet."""
    text = "".join("\ufffd" if _is_hidden(letter) else letter for letter in " ".join(str(value).split()))
    return text.strip()


def escaped(value: object) -> str:
    """Returns a value as plain words inside a line of Markdown."""
    return _SPECIAL.sub(r"\\\1", line(value))


def code(value: object) -> str:
    """Returns a value as a code span: in one, nothing but a longer row of backticks ends it."""
    text = line(value)
    if not text:
        return "(empty)"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if text[0] == "`" or text[-1] == "`" else f"{fence}{text}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns a table's lines; a cell is either a code span or escaped words."""
    # A bar ends its cell in a code span too, where nothing else has to be escaped.
    cells = [[cell.replace("|", r"\|") if cell.startswith("`") else cell for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *cells)]


def literal(value: object) -> str:
    """Returns a text, or lists and dicts of texts, as Python writes them: in one line, whatever they hold."""
    return json.dumps(value, ensure_ascii=False)


def _is_hidden(letter: str) -> bool:
    return letter in _TURNS or unicodedata.category(letter) in ("Cc", "Cs")
