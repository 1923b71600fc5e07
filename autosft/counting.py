"""How messages count things."""

from __future__ import annotations

from numbers import Integral


def counted(number: float, noun: str) -> str:
    """Returns a number of things: "1 row", "2,000 rows", "2 classes", "0.5 GPUs"."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}" if isinstance(number, Integral) else f"{number:g} {noun}{ending}"
