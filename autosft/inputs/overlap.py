"""What two texts have in common letter by letter: features that need no vocabulary, in any language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Characters of the pieces that are compared; the ratio of the lengths comes after them.
_PIECES = (1, 2, 3)
NUM_OVERLAPS = len(_PIECES) + 1


def overlaps(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
    """Returns how alike the texts of each pair are, shape (pairs, NUM_OVERLAPS), all in [0, 1].

    For pieces of one, two and three characters the share of the different pieces of both that both have (Jaccard),
    then the shorter length over the longer one. Overlaps of n-grams were the baseline of the task on semantic
    similarity of SemEval 2012, and a good part of its winners (Saric et al. 2012, TakeLab).
    """
    pairs = zip(first, second, strict=True)
    rows = [[*(_jaccard(one, two, size) for size in _PIECES), _ratio(one, two)] for one, two in pairs]
    return np.array(rows, np.float32).reshape(-1, NUM_OVERLAPS)


def _jaccard(one: str, two: str, size: int) -> float:
    first, second = _pieces(one, size), _pieces(two, size)
    return len(first & second) / max(1, len(first | second))


def _pieces(text: str, size: int) -> set[str]:
    text = text.casefold()
    return {text[at : at + size] for at in range(len(text) - size + 1)}


def _ratio(one: str, two: str) -> float:
    return (1 + min(len(one), len(two))) / (1 + max(len(one), len(two)))
