from __future__ import annotations

import numpy as np

from autosft.inputs.overlap import NUM_OVERLAPS, overlaps


def test_what_texts_have_in_common_is_counted_in_any_script() -> None:
    first = ["a b c", "\u732b\u304c\u3044\u308b", "same", "x", ""]
    second = ["d e f", "\u732b\u304c\u3044\u305f", "SAME", "yyy", ""]
    found = overlaps(first, second)
    assert found.shape == (5, NUM_OVERLAPS) and found.dtype == np.float32
    np.testing.assert_allclose(found[1], [3 / 5, 2 / 4, 1 / 3, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(found[2], [1, 1, 1, 1])
    np.testing.assert_allclose(found[3], [0, 0, 0, 2 / 4])
    np.testing.assert_array_equal(found[4], [0, 0, 0, 1])


def test_the_order_of_a_pair_does_not_matter_to_it() -> None:
    one, two = ["the cat sat", "\u05e9\u05dc\u05d5\u05dd"], ["a cat sits there", "\u0633\u0644\u0627\u0645"]
    np.testing.assert_array_equal(overlaps(one, two), overlaps(two, one))


def test_no_pairs_have_the_same_shape() -> None:
    assert overlaps([], []).shape == (0, NUM_OVERLAPS)
