"""Several labels in one text, told from labels and texts that merely hold a comma."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_SEPARATORS = re.compile(r"\s*[,;|]\s*")


def combines_labels(values: Sequence[str]) -> bool:
    """Tells "joy", "fear", "joy;fear" from labels that merely contain a comma, or from text."""
    combined = [value for value in values if _SEPARATORS.search(value)]
    cut = [[piece for piece in _SEPARATORS.split(value) if piece] for value in combined]
    pieces = [piece for value in cut for piece in value]
    if not pieces or any(len(piece.split()) > 4 for piece in pieces):
        return False
    if len(combined) == len(values) and _has_a_form(cut):
        return False
    found = Counter(piece for value in values for piece in set(_SEPARATORS.split(value)))
    known = set(values)
    again = sum(piece in known or found[piece] > 1 for piece in pieces)
    return again >= 0.8 * len(pieces) or (len(combined) > 0.3 * len(values) and len(set(pieces)) < 0.6 * len(combined))


def _has_a_form(cut: Sequence[Sequence[str]]) -> bool:
    """Tells "a warm meal, visit 3" and "Paris, France" from sets: as many parts in every value, each at its place."""
    if len(set(map(len, cut))) > 1:
        return False
    places = [set(parts) for parts in zip(*cut, strict=True)]
    return sum(map(len, places)) == len(set().union(*places))
