"""How a review words numbers: scores, shares, values and counts."""

from __future__ import annotations

from collections.abc import Sequence

from autosft.budget import format_seconds
from autosft.intervals import Interval


def score(value: float) -> str:
    """Returns a score, as exact as it can be told from others."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def difference(value: float) -> str:
    """Returns a signed difference of scores."""
    return ("+" if value >= 0 else "-") + score(abs(value))


def between(interval: Interval, *, signed: bool = False) -> str:
    """Returns an interval in brackets."""
    write = difference if signed else score
    return f"[{write(interval.low)}, {write(interval.high)}]"


def share(value: float) -> str:
    """Returns a share in percent."""
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def value(found: object) -> str:
    """Returns a configuration's value, short."""
    return f"{found:.3g}" if isinstance(found, float) else str(found)


def listed(items: Sequence[str], most: int = 5) -> str:
    """Returns the first items in a row, and how many more there are."""
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest


def seconds(number: float) -> str:
    """Returns a time as people write it."""
    return format_seconds(number)
