"""Numbers that are written as text, because a word stands among them or a file quotes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa

# No leading zeros, no long rows of digits: those are names, which a number could not give back.
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?|[+-]?inf(inity)?", re.IGNORECASE)
_MISSING_WORDS = frozenset({"na", "n/a", "nan", "null", "none", "#n/a"})
#: A column of numbers with a larger share of other cells is none.
MAX_ODD_NUMBERS = 0.05


def has_fractions(values: Iterable[str]) -> bool:
    """Tells whether any of these numbers, written as text, is not whole; what is no number does not count."""
    return any(("." in value or "e-" in value) and is_number(value) for value in values)


def is_number(value: str) -> bool:
    """Tells whether a text is a number, or says that there is none: "NA" and the like."""
    return _NUMBER.fullmatch(value) is not None or value.casefold() in _MISSING_WORDS


def number_type(sample: Sequence[str]) -> pa.DataType | None:
    """Returns the type of numbers that are written as text, None where it is no such column.

    Readers of files have made numbers of those that are nothing else: one word among them, or a file that quotes them,
    leaves text. Whole numbers that are text in every row may be meant as names, though, as in "1" to "5".
    """
    found = [value for value in sample if is_number(value)]
    if not found or len(found) < (1 - MAX_ODD_NUMBERS) * len(sample):
        return None
    numbers = [value for value in found if value.casefold() not in _MISSING_WORDS]
    fractions = has_fractions(numbers)
    if not numbers or (len(numbers) == len(sample) and not fractions):
        return None
    return pa.float64() if fractions else pa.int64()
