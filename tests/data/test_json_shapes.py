"""JSON files of splits, of pandas, and with commas where none belong."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from autosft.data.read import read
from autosft.errors import DataError

TRAIN = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
TEST = [{"text": "c", "label": "x"}]


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_an_object_of_splits_is_read_as_these(tmp_path: Path) -> None:
    path = written(tmp_path / "splits.json", {"train": TRAIN, "test": TEST, "dev": []})
    source = read(path)
    assert {name: table.to_pylist() for name, table in source.splits.items()} == {"train": TRAIN, "test": TEST}
    # Given as test rows, it gives its test rows alone.
    assert read(TRAIN, test=path).splits["test"].to_pylist() == TEST


def test_pairs_in_splits_are_texts_with_labels_and_unknown_splits_are_left_aside(tmp_path: Path) -> None:
    pairs = {"oos_train": [["?", "oos"]], "val": [["c", "x"]], "train": [["a", "x"], ["b", "y"]], "test": [["d", "y"]]}
    source = read(written(tmp_path / "data_full.json", pairs))
    assert {name: table.to_pydict() for name, table in source.splits.items()} == {
        "train": {"text": ["a", "b"], "label": ["x", "y"]},
        "validation": {"text": ["c"], "label": ["x"]},
        "test": {"text": ["d"], "label": ["y"]},
    }
    assert any("left aside: oos_train" in note for note in source.notes)
    assert any("'text' and 'label'" in note for note in source.notes)


def test_columns_that_are_called_as_splits_stay_columns(tmp_path: Path) -> None:
    columns = {"train": ["a", "b"], "test": ["c", "d"]}
    assert read(written(tmp_path / "columns.json", columns)).train.to_pydict() == columns


def test_splits_that_mean_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two splits that both mean 'validation'"):
        read(written(tmp_path / "twice.json", {"train": TRAIN, "dev": TEST, "val": TEST}))


def test_what_pandas_writes_as_split_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(TRAIN, index=[7, 9])
    (tmp_path / "frame.json").write_text(frame.to_json(orient="split"), encoding="utf-8")
    assert read(tmp_path / "frame.json").train.to_pylist() == TRAIN


def test_commas_after_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(",\n".join(map(json.dumps, TRAIN)) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)line 1: an object with a comma after it.*take off the commas"):
        read(tmp_path / "rows.jsonl")
