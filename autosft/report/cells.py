"""How values read: numbers, shares and times as text, what others wrote without what would garble the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autosft.budget import format_seconds
from autosft.card.markdown import line
from autosft.report.blocks import Table

#: Words of the user's rows are cut after so many letters: enough to know a row by, and a page stays a page.
MOST_LETTERS = 280


@dataclass(frozen=True)
class Span:
    """An interval as a share of the scale that its column has in common, each from 0 to 100."""

    low: float
    value: float
    high: float


def worded(value: Any, kind: str) -> str:
    """Returns a cell's text; a dash where there is nothing to say."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"  # noqa: RUF001 - a dash of this length is what tables have
    if kind == "interval":
        score, low, high = value
        if score is None:
            return worded(None, "number")
        return number(score) if low is None else f"{number(score)} [{number(low)}, {number(high)}]"
    if kind == "mark":
        return "yes" if value else "–"  # noqa: RUF001
    words: Callable[[Any], str] = _WORDS.get(kind, _text)
    return words(value)


def sort_key(value: Any, kind: str) -> str:
    """Returns what a table is sorted by where that is a number, "" otherwise."""
    if kind == "interval":
        value = value and value[0]
    if kind == "mark":
        return str(int(bool(value)))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return repr(value if isinstance(value, int) else float(value))


def spans(table: Table, column: int) -> list[Span | None]:
    """Returns a column of intervals on one scale; None where there is nothing to draw."""
    cells = [row[column] for row in table.rows]
    drawn = [cell if cell and all(map(_is_finite, cell)) else None for cell in cells]
    lowest = min((cell[1] for cell in drawn if cell), default=0.0)
    highest = max((cell[2] for cell in drawn if cell), default=1.0)
    width = (highest - lowest) or 1.0

    def share(value: float) -> float:
        return round(100 * (value - lowest) / width, 2)

    return [Span(share(cell[1]), share(cell[0]), share(cell[2])) if cell else None for cell in drawn]


def number(value: float) -> str:
    """Returns a score: four digits behind the point, or four in all where it is large."""
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def share(value: float) -> str:
    """Returns a share in percent."""
    return f"{100 * value:.1f} %" if abs(value) < 0.9995 or value != round(value) else f"{100 * value:.0f} %"


def setting(value: Any) -> str:
    """Returns a value of a configuration."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}"


def shown(value: object, *, limit: int = MOST_LETTERS) -> str:
    """Returns what others wrote as one line of at most `limit` letters, without control and turning marks."""
    text = line(value)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _text(value: Any) -> str:
    return shown(value, limit=4 * MOST_LETTERS)


_WORDS = {
    "count": lambda value: f"{value:,}",
    "number": number,
    "short": lambda value: f"{value:.1f}",
    "share": share,
    "signed": lambda value: f"{value:+.4f}",
    "time": lambda value: f"{value:.1f}s" if value < 60 else format_seconds(value),
    "data": shown,
    "link": lambda value: shown(value[0]),
}
