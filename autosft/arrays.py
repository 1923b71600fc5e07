"""Targets and outputs: Arrow arrays of one element a row, and the NumPy arrays that numbers are computed with.

What an element looks like for each output is written at `autosft.task.Output`. Nothing here knows a task or a model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Below this float32 has no number of full precision, and zero has no logarithm.
_SMALLEST = float(np.finfo(np.float32).tiny)


def from_matrix(values: NDArray[Any]) -> pa.FixedSizeListArray:
    """Returns one list a row from an array of shape (rows, width)."""
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def to_matrix(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Returns shape (rows, width) from lists of one size; a row that is null is zeros or whatever lay there."""
    whole = one_array(array)
    # `values` ignores a slice's offset, `flatten` leaves nulls out: so the values are cut by hand.
    width = whole.type.list_size
    flat = whole.values.to_numpy(zero_copy_only=False)
    return np.asarray(flat[whole.offset * width : (whole.offset + len(whole)) * width].reshape(len(whole), width))


def to_numbers(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Returns numbers of shape (rows,); nulls become -1 among integers and NaN among floats."""
    whole = one_array(array)
    if pa.types.is_integer(whole.type) and whole.null_count:
        whole = whole.fill_null(-1)
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def one_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns an array in one piece."""
    if isinstance(array, pa.ChunkedArray):
        return array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    return array


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns probabilities, the last axis summing to one."""
    if not logits.size:
        return logits
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def log_probabilities(outputs: pa.Array) -> NDArray[np.float64]:
    """Returns logarithms of probabilities, which are logits but for a number a row, shape (rows, labels)."""
    return np.log(np.maximum(to_matrix(outputs).astype(np.float64), _SMALLEST))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a probability for each logit."""
    values: Any = 0.5 * (1 + np.tanh(0.5 * logits))
    return values.astype(np.float32)  # type: ignore[no-any-return]


def largest_difference(first: pa.Array, second: pa.Array) -> float:
    """Returns the largest difference of any number in two arrays of outputs; infinite where all else is not equal."""
    left, right = one_array(first), one_array(second)
    if len(left) != len(right) or left.type != right.type or not left.is_valid().equals(right.is_valid()):
        return math.inf
    # What lies under a row that is null has no meaning.
    left, right = left.drop_null(), right.drop_null()
    if pa.types.is_struct(left.type):
        fields = zip(left.flatten(), right.flatten(), strict=True)
        return max((largest_difference(one, other) for one, other in fields), default=0.0)
    if pa.types.is_fixed_size_list(left.type) or pa.types.is_list(left.type):
        if not pc.list_value_length(left).equals(pc.list_value_length(right)):
            return math.inf
        return largest_difference(left.flatten(), right.flatten())
    if pa.types.is_floating(left.type):
        largest = float(np.abs(to_numbers(left) - to_numbers(right)).max(initial=0.0))
        return math.inf if math.isnan(largest) else largest
    return 0.0 if left.equals(right) else math.inf


def is_finite(array: pa.Array) -> bool:
    """Whether no number in an array of outputs is NaN or infinite; what is null does not count."""
    whole = one_array(array).drop_null()
    if pa.types.is_struct(whole.type):
        return all(is_finite(field) for field in whole.flatten())
    if pa.types.is_fixed_size_list(whole.type) or pa.types.is_list(whole.type):
        return is_finite(whole.flatten())
    return not pa.types.is_floating(whole.type) or bool(np.isfinite(to_numbers(whole)).all())


def save_array(array: pa.Array, path: Path) -> None:
    """Writes an array as an Arrow file."""
    table = pa.table({"values": array})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def load_array(path: Path) -> pa.Array:
    """Reads what `save_array` wrote."""
    with pa.memory_map(str(path)) as source:
        return one_array(pa.ipc.open_file(source).read_all().column("values"))
