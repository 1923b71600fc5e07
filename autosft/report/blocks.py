"""What a page is made of: sections of tables, figures, facts, lists and sentences. Plain frozen values, no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        kind: How its cells read: "text" (words of ours or of a plan), "data" (from the user's rows), "count",
            "number" (four digits), "short" (one digit), "share" (percent), "signed", "time" (seconds), "mark" (yes or
            nothing), "image" (a data URI), "link" (a pair of words and of a file beside this one, or None), or
            "interval" (a triple of value, low and high, drawn to a common scale).
        told: What it means, for whoever points at the heading.
    """

    name: str
    kind: str = "text"
    told: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column.

    Attributes:
        id: Unique in a page.
        caption: What it shows, in a few words.
        columns: Its columns.
        rows: Cells as plain values, None where there is nothing to say.
        filters: Names of columns by whose values the rows can be filtered; with any, also by words.
        left_out: Rows that there are beyond these.
        marked: Position of a row that stands out, or None.
    """

    type: ClassVar[str] = "table"
    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    filters: tuple[str, ...] = ()
    left_out: int = 0
    marked: int | None = None


@dataclass(frozen=True)
class Figure:
    """A figure of plotly's, with the numbers that it draws.

    Colours are names, `$ink` or `$series-0`, for which the page puts those of its theme.

    Attributes:
        id: Unique in a page.
        title: What it shows, in a few words.
        told: How it is to be read.
        data: Plotly's traces. layout: Plotly's layout.
        numbers: The same in numbers.
        height: In pixels.
        min_width: In pixels; a narrower window scrolls the figure.
    """

    type: ClassVar[str] = "figure"
    id: str
    title: str
    told: str
    data: tuple[Mapping[str, Any], ...]
    layout: Mapping[str, Any]
    numbers: Table
    height: int = 380
    min_width: int = 0


@dataclass(frozen=True)
class Said:
    """A sentence or some; `tone` is "plain", "good", "warning" or "muted"."""

    type: ClassVar[str] = "said"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Facts:
    """Names with what they are."""

    type: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """A list of sentences, under a heading of its own where it has a title."""

    type: ClassVar[str] = "listing"
    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    type: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    type: ClassVar[str] = "folded"
    title: str
    blocks: tuple[Block, ...]


Block = Table | Figure | Said | Facts | Listing | Code | Folded


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading; `id` is what links lead to."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A number that is seen first, with its name and what belongs to it."""

    name: str
    value: str
    told: str = ""
