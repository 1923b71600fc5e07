"""Columns of several splits get one type, and labels keep the one that the training rows have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from autosft.data.read import read
from autosft.errors import DataError
from autosft.infer import infer
from autosft.prepare import Question, understand

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


def test_a_test_file_without_the_target_is_named_and_is_for_predict(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "march.csv"
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(train, index=False)
    pd.DataFrame({"text": TEXTS, "from": TEXTS}).to_csv(test, index=False)
    with pytest.raises(DataError) as raised:
        read(train, test=test)
    message = str(raised.value)
    assert "march.csv: the test data has no column 'label' (it has: text, from)" in message
    assert "train.csv" not in message
    assert "need answers" in message and "`autosft predict`" in message
    assert "rename" not in message and "did you mean" not in message


def test_a_column_of_the_test_file_that_is_only_misspelt_is_named(tmp_path: Path) -> None:
    pd.DataFrame({"text": TEXTS, "lable": LABELS}).to_csv(tmp_path / "march.csv", index=False)
    with pytest.raises(DataError, match=r"march.csv: .*no column 'label'(?s:.*)did you mean 'lable'\? Then rename it"):
        read(pd.DataFrame({"text": TEXTS, "label": LABELS}), test=tmp_path / "march.csv")


def test_a_test_file_may_lack_columns_that_nothing_reads() -> None:
    train = pd.DataFrame({"source": ["web", "app"] * 20, "text": TEXTS, "label": LABELS})
    source = read(train, test=pd.DataFrame({"label": [0], "Text": ["x"]}))
    assert source.splits["test"].to_pylist() == [{"source": None, "text": "x", "label": 0}]
    assert source.splits["test"].schema == source.train.schema
    assert any("lacks are left empty: source" in note for note in source.notes)


@pytest.mark.parametrize(
    ("lacking", "asked"), [("label", {}), ("text", {"inputs": ["text"]}), ("user", {"group": "user"})]
)
def test_a_column_that_the_task_needs_is_refused_where_the_test_file_lacks_it(lacking: str, asked: Any) -> None:
    train = pd.DataFrame(
        {"text": TEXTS, "label": LABELS, "user": LABELS, "more": [f"other {row}" for row in range(40)]}
    )
    question = Question("Which label?", train, train.drop(columns=lacking), target="label", **asked)
    with pytest.raises(DataError, match=f"the test data has no column '{lacking}'"):
        understand(question)


def test_a_split_of_the_same_data_is_named_by_the_data() -> None:
    rows = {"train": pd.DataFrame({"text": TEXTS, "label": LABELS}), "validation": pd.DataFrame({"text": TEXTS})}
    with pytest.raises(DataError, match="dict of splits: the validation data has no column 'label'"):
        read(rows)


def turns(**annotations: object) -> list[dict[str, object]]:
    return [{"speaker": "user", "utterance": "hello", "found": annotations}]


def test_what_annotates_turns_may_differ_between_splits() -> None:
    train = [{"turns": turns(place=["Rome"], day=1)}, {"turns": turns(place=[], day=2)}]
    source = read(train, test=[{"turns": turns(place=["Oslo"], price=2.5)}])
    assert source.splits["train"].schema == source.splits["test"].schema
    assert source.splits["test"].column("turns").to_pylist() == [turns(place=["Oslo"], day=None, price=2.5)]
    assert source.splits["train"].column("turns").to_pylist()[0] == turns(place=["Rome"], day=1, price=None)
    assert any("read as one with the fields of all" in note for note in source.notes)


def test_nested_values_that_nothing_holds_are_refused_in_a_few_words() -> None:
    with pytest.raises(DataError, match="column 'turns' has types that do not fit together") as refused:
        read([{"turns": turns(day=1)}], test=[{"turns": turns(day={"of": "May"})}])
    assert len(str(refused.value)) < 600
