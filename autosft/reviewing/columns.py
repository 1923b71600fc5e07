"""Columns of configurations: which fields varied, which are numbers, and on what scale they are looked at."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: A positive field whose largest value is so many times its smallest one is looked at by its logarithm.
LOG_RATIO = 10.0

#: Of values drawn evenly from nearly zero, half lie below half of the largest; by logarithm, below this share of it.
_LOG_MIDDLE = 0.35

#: Words that differ more often than this are names or paths, and not choices.
MOST_CHOICES = 20

#: A field must be there in so many trials to be looked at, and so large a share of its values must be of one sort.
_FEWEST, _SHARE = 8, 0.9


@dataclass(frozen=True)
class Column:
    """One field over all trials.

    Attributes:
        field: Its name.
        values: By trial; numbers as floats, choices as text, None where the trial has none, or one of another sort.
        is_number: Whether it is a number rather than a choice.
        is_log: Whether it spans decades, so that ratios count and not differences.
    """

    field: str
    values: tuple[float | str | None, ...]
    is_number: bool
    is_log: bool

    def placed(self, value: float) -> float:
        """Returns where a number lies on the field's scale."""
        return math.log10(value) if self.is_log else value


def columns(configs: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Returns the fields that can be told apart by their values, in the order in which they first occur.

    Fields that never vary, that hold another word in nearly every trial, or that few trials have, are left out.
    """
    names = list({name: None for config in configs for name in config})
    found = (_column(name, [config.get(name) for config in configs]) for name in names)
    return [column for column in found if column is not None]


def number(value: object) -> float | None:
    """Returns a value as a finite number, also where it was logged as text; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    # Python reads "64_32" as 6432; in a log it is two widths, or a name.
    if isinstance(value, str) and "_" in value:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def word(value: object) -> str:
    """Returns a value as the name of a choice."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _is_log(values: Sequence[float]) -> bool:
    """Whether values span a decade and most of them lie at its lower end, as they do where ratios count."""
    low, high = min(values), max(values)
    return low > 0 and high >= LOG_RATIO * low and statistics.median(values) < _LOG_MIDDLE * high


def _column(name: str, values: Sequence[object]) -> Column | None:
    present = [value for value in values if value is not None and value != ""]
    if len(present) < _FEWEST:
        return None
    numbers = [number(value) for value in values]
    defined = [value for value in numbers if value is not None]
    if len(defined) >= max(_FEWEST, _SHARE * len(present)):
        if len(set(defined)) < 2:
            return None
        return Column(str(name), tuple(numbers), True, _is_log(defined))
    # A choice that is absent, as where another choice closes it, is a choice of its own.
    words = [word(value) for value in values]
    if not 2 <= len(set(words)) <= min(MOST_CHOICES, len(words) // 2):
        return None
    return Column(str(name), tuple(words), False, False)
