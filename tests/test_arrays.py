"""Arrow arrays of one element a row: slices with offsets, nulls and chunks, where Arrow's own views differ."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autosft.arrays import (
    from_matrix,
    is_finite,
    largest_difference,
    load_array,
    one_array,
    save_array,
    to_matrix,
    to_numbers,
)

MATRIX = np.arange(15, dtype=np.float32).reshape(5, 3)
PAIR = pa.list_(pa.float32(), 2)
TEXTS = pa.struct({"nats": pa.float64(), "text": pa.string()})


def chunked(*pieces: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array(pieces)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (0, 3)])
def test_a_matrix_comes_back_as_it_was(dtype: type, shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1]).reshape(shape).astype(dtype)
    array = from_matrix(values)
    assert len(array) == shape[0]
    assert array.type == pa.list_(pa.from_numpy_dtype(dtype), shape[1])
    again = to_matrix(array)
    assert (again.shape, again.dtype) == (shape, values.dtype)
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("values", [MATRIX.T, MATRIX[:, ::-1], MATRIX[::2], np.asfortranarray(MATRIX)])
def test_a_matrix_may_lie_in_memory_in_any_order(values: np.ndarray) -> None:
    np.testing.assert_array_equal(to_matrix(from_matrix(values)), values)
    assert from_matrix(values)[1].as_py() == values[1].tolist()


@pytest.mark.parametrize(("start", "length"), [(0, 2), (1, 3), (4, 1), (5, 0)])
def test_a_slice_is_the_rows_it_shows(start: int, length: int) -> None:
    whole = from_matrix(MATRIX)
    np.testing.assert_array_equal(to_matrix(whole.slice(start, length)), MATRIX[start : start + length])
    np.testing.assert_array_equal(to_matrix(whole.slice(1).slice(start)), MATRIX[1:][start:])
    rows = pa.array(np.arange(start, start + length))
    np.testing.assert_array_equal(to_matrix(whole.take(rows)), MATRIX[start : start + length])
    numbers = pa.array(MATRIX[:, 0])
    np.testing.assert_array_equal(to_numbers(numbers.slice(start, length)), MATRIX[start : start + length, 0])


def test_rows_without_a_value_keep_their_place() -> None:
    array = pa.array([[1.0, 2.0], None, [3.0, 4.0], None, [5.0, 6.0]], PAIR)
    for found, rows in ((array, slice(None)), (array[1:], slice(1, None)), (array[2:4], slice(2, 4))):
        matrix, valid = to_matrix(found), found.is_valid().to_numpy(zero_copy_only=False)
        assert matrix.shape == (len(found), 2)
        expected = np.array([[1, 2], [0, 0], [3, 4], [0, 0], [5, 6]])[rows]
        np.testing.assert_array_equal(matrix[valid], expected[valid])
    np.testing.assert_array_equal(to_matrix(array.drop_null()), [[1, 2], [3, 4], [5, 6]])


def test_labels_that_are_missing_are_minus_one_and_numbers_not_a_number() -> None:
    labels = pa.array([2, None, 0], pa.int64())
    assert to_numbers(labels).tolist() == [2, -1, 0]
    assert to_numbers(labels.slice(1)).tolist() == [-1, 0]
    assert to_numbers(labels).dtype == np.int64
    assert to_numbers(labels.slice(2)).dtype == np.int64
    numbers = to_numbers(pa.array([2.5, None]))
    assert numbers[0] == 2.5
    assert np.isnan(numbers[1])
    assert to_numbers(pa.array([True, False])).tolist() == [True, False]


@pytest.mark.parametrize("cuts", [[0, 5], [0, 2, 5], [0, 2, 2, 5], [0, 1, 2, 3, 4, 5]])
def test_chunks_are_one_array(cuts: list[int]) -> None:
    whole = from_matrix(MATRIX)
    pieces = chunked(*(whole.slice(start, end - start) for start, end in itertools.pairwise(cuts)))
    np.testing.assert_array_equal(to_matrix(pieces), MATRIX)
    np.testing.assert_array_equal(to_matrix(pieces.slice(1, 3)), MATRIX[1:4])
    assert one_array(pieces).equals(whole)
    assert isinstance(one_array(pieces), pa.FixedSizeListArray)
    assert to_numbers(chunked(pa.array([1, 2]), pa.array([None, 3], pa.int64()))).tolist() == [1, 2, -1, 3]


def test_no_chunk_at_all_is_an_array_without_rows() -> None:
    none = one_array(pa.chunked_array([], PAIR))
    assert isinstance(none, pa.Array)
    assert (none.type, len(none)) == (PAIR, 0)
    assert to_matrix(pa.chunked_array([], PAIR)).shape == (0, 2)
    assert to_numbers(pa.chunked_array([], pa.float64())).shape == (0,)


TAGS = pa.list_(pa.list_(pa.float32(), 2))

SAME = {
    "probabilities": from_matrix(MATRIX),
    "numbers": pa.array([1.0, -2.5]),
    "numbers that are missing": pa.array([1.0, None, -2.5]),
    "labels": pa.array([1, None, 0]),
    "tags": pa.array([[[0.5, 0.5]], [], [[0.25, 0.75], [1.0, 0.0]]], TAGS),
    "rows without tags": pa.array([[[0.5, 0.5]], None], TAGS),
    "texts": pa.array([{"nats": 1.5, "text": "yes"}, {"nats": 0.5, "text": "no"}], TEXTS),
    "texts that nothing was known of": pa.array([{"nats": None, "text": "yes"}, {"nats": None, "text": None}], TEXTS),
    "rows without texts": pa.array([None, {"nats": 0.5, "text": "no"}], TEXTS),
    "nothing": pa.array([], pa.float64()),
    "no probabilities": from_matrix(MATRIX[:0]),
}


@pytest.mark.parametrize("array", SAME.values(), ids=SAME)
def test_equal_outputs_differ_by_nothing_however_they_lie(array: pa.Array) -> None:
    assert largest_difference(array, array) == 0.0
    longer = pa.concat_arrays([array, array])
    assert largest_difference(longer.slice(len(array)), array) == 0.0
    assert largest_difference(chunked(array.slice(0, 1), array.slice(1)), array) == 0.0


def nats(*values: float | None) -> pa.Array:
    return pa.array([{"nats": value, "text": "yes"} for value in values], TEXTS)


DIFFERENT = {
    "probabilities": (from_matrix(MATRIX), from_matrix(MATRIX + np.float32(0.5)), 0.5),
    "the largest counts": (pa.array([1.0, 2.0, 3.0]), pa.array([1.25, 1.0, 3.0]), 1.0),
    "tags": (pa.array([[[0.5, 0.5]], []], TAGS), pa.array([[[0.5, 0.75]], []], TAGS), 0.25),
    "nats": (nats(1.0, 3.0), nats(1.0, 1.0), 2.0),
    "nats of some rows": (nats(None, 3.0), nats(None, 1.0), 2.0),
    "labels": (pa.array([1, 2]), pa.array([1, 3]), math.inf),
    "words": (pa.array(["yes"]), pa.array(["no"]), math.inf),
    "texts": (nats(1.0), pa.array([{"nats": 1.0, "text": "no"}], TEXTS), math.inf),
    "length": (pa.array([1.0, 2.0]), pa.array([1.0]), math.inf),
    "type": (pa.array([1.0], pa.float32()), pa.array([1.0], pa.float64()), math.inf),
    "width": (from_matrix(MATRIX), from_matrix(MATRIX[:, :2]), math.inf),
    "number of missing ones": (pa.array([1.0, None]), pa.array([1.0, 2.0]), math.inf),
    "which are missing": (pa.array([None, 1.0]), pa.array([1.0, None]), math.inf),
    "which rows are missing": (pa.array([None, [1.0, 2.0]], PAIR), pa.array([[1.0, 2.0], None], PAIR), math.inf),
    "which nats are missing": (nats(None, 1.0), nats(1.0, None), math.inf),
    "which texts are missing": (pa.array([None, *nats(1.0).to_pylist()], TEXTS), nats(None, 1.0), math.inf),
    "where rows end": (
        pa.array([[[0.5, 0.5]], [[0.25, 0.75], [1.0, 0.0]]], TAGS),
        pa.array([[[0.5, 0.5], [0.25, 0.75]], [[1.0, 0.0]]], TAGS),
        math.inf,
    ),
    "not a number": (pa.array([1.0, math.nan]), pa.array([1.0, 2.0]), math.inf),
}


@pytest.mark.parametrize(("first", "second", "expected"), DIFFERENT.values(), ids=DIFFERENT)
def test_outputs_differ_by_their_numbers_or_else_infinitely(first: pa.Array, second: pa.Array, expected: float) -> None:
    assert largest_difference(first, second) == pytest.approx(expected)
    assert largest_difference(second, first) == pytest.approx(expected)
    front = first.slice(0, 1)
    if first.type == second.type:
        longer = [pa.concat_arrays([front, array]).slice(1) for array in (first, second)]
        assert largest_difference(*longer) == pytest.approx(expected), "an offset hides nothing"


@pytest.mark.parametrize("array", SAME.values(), ids=SAME)
def test_outputs_without_a_number_that_is_none_are_finite(array: pa.Array) -> None:
    assert is_finite(array)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_none_is_found_wherever_it_stands(value: float) -> None:
    matrix = MATRIX.copy()
    matrix[-1, -1] = value
    for array in (from_matrix(matrix), pa.array([[[0.5, value]], []], TAGS), nats(1.0, value), pa.array([1.0, value])):
        assert not is_finite(array)
        assert is_finite(array.slice(0, 0))


def test_what_lies_under_a_missing_row_makes_no_difference() -> None:
    mask, flat = pa.array([False, True]), np.arange(4, dtype=np.float32)
    first, second = (
        pa.FixedSizeListArray.from_arrays(pa.array(values), 2, mask=mask)
        for values in (flat, np.where(flat < 2, flat, 9).astype(np.float32))
    )
    assert largest_difference(first, second) == 0.0
    numbers, texts = pa.array([1.0, 2.0]), pa.array(["a", "b"])
    one, other = (
        pa.StructArray.from_arrays([values, texts], ["nats", "text"], mask=mask)
        for values in (numbers, pa.array([1.0, 7.0]))
    )
    assert largest_difference(one, other) == 0.0


@pytest.mark.parametrize("array", SAME.values(), ids=SAME)
def test_a_saved_array_is_read_back(array: pa.Array, tmp_path: Path) -> None:
    for name, saved in (("whole", array), ("slice", pa.concat_arrays([array, array]).slice(len(array)))):
        save_array(saved, tmp_path / name)
        found = load_array(tmp_path / name)
        assert isinstance(found, pa.Array)
        assert found.type == array.type
        assert found.equals(array)
    save_array(chunked(array.slice(0, 1), array.slice(1)), tmp_path / "chunks")
    assert load_array(tmp_path / "chunks").equals(array)


def test_a_slice_is_saved_without_the_rows_around_it(tmp_path: Path) -> None:
    whole = from_matrix(np.zeros((100_000, 4), np.float32))
    save_array(whole.slice(50_000, 10), tmp_path / "few")
    assert (tmp_path / "few").stat().st_size < 10_000


def test_an_array_outlives_its_file(tmp_path: Path) -> None:
    save_array(from_matrix(MATRIX), tmp_path / "outputs")
    found = load_array(tmp_path / "outputs")
    (tmp_path / "outputs").unlink()
    save_array(from_matrix(MATRIX + 1), tmp_path / "outputs")
    np.testing.assert_array_equal(to_matrix(found), MATRIX)
