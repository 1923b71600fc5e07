"""Columns of several splits get one type, and labels keep the one that the training rows have."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from autosft.data.read import read
from autosft.infer import infer

TEXTS = [f"some words {row}" for row in range(40)]
LABELS = [row % 2 for row in range(40)]


def label_column(train: Any, test: Any) -> tuple[pa.DataType, list[object]]:
    source = read(pd.DataFrame({"text": TEXTS[: len(train)], "label": train}),
                  test=pd.DataFrame({"text": TEXTS[: len(test)], "label": test}))  # fmt: skip
    types = {table.schema.field("label").type for table in source.splits.values()}
    assert len(types) == 1
    return types.pop(), source.splits["test"].column("label").to_pylist()


@pytest.mark.parametrize(
    ("test", "read_as"),
    [
        ([1.0, math.nan, 0.0], [1, None, 0]),
        ([math.nan] * 3, [None] * 3),
        (pd.Series([None] * 3, dtype=object), [None] * 3),
    ],
)
def test_integers_stay_integers_beside_whole_floats_and_missing_values(test: Any, read_as: list[object]) -> None:
    assert label_column(LABELS, test) == (pa.int64(), read_as)


def test_labels_of_training_rows_come_back_as_they_were() -> None:
    rows = pd.DataFrame({"text": TEXTS, "label": LABELS})
    source = read(rows, test=pd.DataFrame({"text": ["x", "y"], "label": [1.0, math.nan]}))
    assert infer("", source).label_type == "int"


@pytest.mark.parametrize("test", [[0.5, 1.0], [math.inf, 1.0], [1.0, 1e300], [2.0**53 + 2, math.nan]])
def test_what_integers_cannot_hold_makes_both_fractions(test: list[float]) -> None:
    type_, values = label_column(LABELS, test)
    assert type_ == pa.float64()
    assert values == [None if math.isnan(value) else value for value in test]


def test_floats_in_the_training_rows_too_stay_floats_where_no_split_has_integers() -> None:
    assert label_column([0.0, 1.0, math.nan], [1.0, 0.0])[0] == pa.float64()


def test_numbers_and_words_are_text() -> None:
    assert label_column(LABELS, ["one", "two"]) == (pa.string(), ["one", "two"])
