"""Texts in a normal form: what is squeezed, and that most need not be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from autosft.data.texts import squeeze

PLAIN = ["a", "b", "\u00e4", "\u96ea", " a", "b "]
ODD = ["  ", "\t", "\n", "\r", "\f", "\v", "\x1c", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000", "\u200b", " \t "]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_every_run_of_white_space_is_squeezed_wherever_it_stands(share: float) -> None:
    rng = np.random.default_rng(0)
    rows: list[str | None] = [None, "", " ", "  ", "\u3000"]
    for _ in range(500):
        pieces = [*rng.choice(PLAIN, size=6), *(rng.choice(ODD, size=2) if rng.random() < share else [])]
        rows.append("".join(rng.permutation(pieces)))
    texts = pa.array(rows, pa.large_string())
    squeezed = squeeze(texts)
    assert squeezed.equals(pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), r"[\s\p{Z}]+", " "))
    assert squeeze(texts.slice(3, 40)).equals(squeezed.slice(3, 40))


def test_texts_that_are_none_stay_none() -> None:
    for texts in (pa.array([], pa.large_string()), pa.array([None, None], pa.large_string())):
        assert squeeze(texts).equals(texts)
