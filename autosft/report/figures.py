"""What several figures share: colours by name, axes, and numbers as plotly takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Colours of the page's theme, for what is told apart.
SERIES = tuple(f"$series-{at}" for at in range(8))

#: From nothing to much; small shares stand out, as they are what is looked for among errors.
HEAT = [[share, f"$heat-{at}"] for at, share in enumerate((0.0, 0.04, 0.2, 0.5, 1.0))]

#: From the worst fifth to the best.
RANKS = tuple(f"$rank-{at}" for at in range(5))

MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")


def axis(title: str, **others: Any) -> dict[str, Any]:
    """Returns an axis of plotly's."""
    return {"title": {"text": title}, **others}


def legend_below() -> dict[str, Any]:
    """Returns a legend that takes no width from a narrow figure."""
    return {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}


def numbers(values: NDArray[Any] | Sequence[float]) -> list[float]:
    """Returns plain numbers, with as many digits as can be seen."""
    return [float(f"{value:.6g}") for value in np.asarray(values, dtype=np.float64)]
