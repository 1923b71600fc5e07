"""What several figures share: colours by name, axes, and numbers as plotly takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosft.report.cells import shown

#: Colours of the page's theme, for what is told apart.
SERIES = tuple(f"$series-{at}" for at in range(8))

#: From nothing to much; small shares stand out, as they are what is looked for among errors.
HEAT = [[share, f"$heat-{at}"] for at, share in enumerate((0.0, 0.04, 0.2, 0.5, 1.0))]

#: From the worst fifth to the best.
RANKS = tuple(f"$rank-{at}" for at in range(5))

MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")


def axis(title: str, **others: Any) -> dict[str, Any]:
    """Returns an axis of plotly's; its title keeps off the labels, however long these are."""
    return {"title": {"text": title, "standoff": 10}, **others}


def legend_below() -> dict[str, Any]:
    """Returns a legend that takes no width from a narrow figure."""
    return {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}


def plain(text: str) -> str:
    """Returns words as plotly shows them as they are, which reads some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def hover(text: str) -> str:
    """Returns what others wrote as plotly shows it, on one line and not too long."""
    return plain(shown(text))


def distinct(words: Sequence[str]) -> list[str]:
    """Returns words of which no two are alike, as an axis of categories needs them, and without HTML."""
    seen: dict[str, int] = {}
    found = []
    for word in words:
        seen[word] = seen.get(word, 0) + 1
        found.append(plain(word) if seen[word] == 1 else f"{plain(word)} ({seen[word]})")
    return found


def numbers(values: NDArray[Any] | Sequence[float]) -> list[float]:
    """Returns plain numbers, with as many digits as can be seen."""
    return [float(f"{value:.6g}") for value in np.asarray(values, dtype=np.float64)]
