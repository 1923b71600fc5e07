"""Reading objects in memory, Hugging Face datasets, and everything that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from autosft.data.hub import tables_from_hub
from autosft.data.read import read, read_table
from autosft.errors import DataError

COLUMNS = {"text": ["a", "b", "None"], "label": [1, 0, None]}
ROWS = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "None"}]


@pytest.mark.parametrize(
    "data",
    [
        COLUMNS,
        ROWS,
        {"text": np.array(COLUMNS["text"]), "label": COLUMNS["label"]},
        pa.table(COLUMNS),
        pa.table({"text": pa.array(COLUMNS["text"]).dictionary_encode(), "label": pa.array([1, 0, None], pa.int8())}),
        pa.table({"text": pa.array(COLUMNS["text"], pa.large_string()), "label": COLUMNS["label"]}),
        pa.table({"text": pa.array(COLUMNS["text"], pa.string_view()), "label": COLUMNS["label"]}),
        pd.DataFrame(
            {"text": pd.Categorical(COLUMNS["text"]), "label": pd.array([1, 0, None], "Int64")}, index=[7, 8, 9]
        ),
        datasets.Dataset.from_dict(COLUMNS),
        datasets.DatasetDict(whatever=datasets.Dataset.from_dict(COLUMNS)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_object_gives_the_same_table(data: object) -> None:
    source = read(data)
    assert source.train.to_pydict() == COLUMNS
    assert source.train.schema.types == [pa.string(), pa.int64()]


def test_missing_values_in_pandas_are_null() -> None:
    train = read(pd.DataFrame({"text": ["a", None, "b"], "score": [1.0, float("nan"), 2.0]})).train
    assert train.to_pydict() == {"text": ["a", None, "b"], "score": [1.0, None, 2.0]}


def _labelled(labels: list[int]) -> datasets.Dataset:
    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names, "tags": datasets.List(names)})
    rows = {
        "text": [f"row {at}" for at in range(len(labels))],
        "label": labels,
        "tags": [[at, 0] if at >= 0 else None for at in labels],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_class_labels_become_their_names_and_splits_their_own(tmp_path: Path) -> None:
    data = datasets.DatasetDict(
        train=_labelled([0, 1, 1]).select([2, 0]), dev=_labelled([1]), eval=_labelled([-1]), unsupervised=_labelled([0])
    )
    data.save_to_disk(str(tmp_path / "saved"))
    for given in (data, tmp_path / "saved"):
        source = read(given)
        assert source.train.to_pylist() == [
            {"text": "row 2", "label": "pos", "tags": ["pos", "neg"]},
            {"text": "row 0", "label": "neg", "tags": ["neg", "neg"]},
        ]
        assert source.splits["validation"]["label"].to_pylist() == ["pos"]
        assert source.splits["test"].to_pylist() == [{"text": "row 0", "label": None, "tags": None}]
        assert any("unsupervised" in note for note in source.notes)


def test_single_saved_dataset(tmp_path: Path) -> None:
    _labelled([1]).save_to_disk(str(tmp_path / "saved"))
    assert read(tmp_path / "saved").train["label"].to_pylist() == ["pos"]
    (tmp_path / "saved" / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="save_to_disk"):
        read(tmp_path / "saved")


def test_dict_of_splits_and_its_test_as_argument() -> None:
    splits = {"train": ROWS, "test": pd.DataFrame({"text": ["z"], "label": [1]})}
    assert read(splits).splits["test"]["text"].to_pylist() == ["z"]
    assert read(ROWS, test=splits).splits["test"]["text"].to_pylist() == ["z"]


def test_hub_loader_on_a_local_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "stand_in"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(f"text,label\n{split},x\n")
    tables = tables_from_hub(str(folder))
    assert {name: table["text"].to_pylist() for name, table in tables.items()} == {"train": ["train"], "test": ["test"]}
    with pytest.raises(DataError, match=r"other(.|\n)*config"):
        tables_from_hub(f"{folder}:other")


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"Hub, where it may be(.|\n)*did you mean 'reviews'"):
        read("review")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "is empty"),
        (["a", "b"], "row 0 .* is str, not a dict"),
        ({}, "no columns"),
        ({"text": "abc"}, "'text' .* is a str, not a list"),
        ({"text": ["a"], "label": [1, 2]}, "different lengths"),
        ([{"label": 1}, {"label": "x"}], "'label' .* mixes int .row 0.* and str .row 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column named 'a'"),
        (pa.table({"a": pa.array([], pa.string())}), "no rows"),
        (datasets.Dataset.from_dict({"text": []}), "no rows"),
        (datasets.DatasetDict(), "no training split"),
        (datasets.DatasetDict(a=_labelled([0]), b=_labelled([0])), "no training split"),
        (
            datasets.DatasetDict(dev=_labelled([0]), valid=_labelled([0]), train=_labelled([0])),
            "both mean 'validation'",
        ),
        (_labelled([0]).to_iterable_dataset(), "streamed"),
        (42, "type int cannot be read"),
        (pd.Series(["a"]), "type pandas.Series cannot be read"),
        ([{"text": "\ud800"}], "column 'text'"),
        ("I lost my card " * 40, "cannot be a path"),
        ("", "cannot be a path"),
    ],
)
def test_bad_objects_say_what_to_change(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(data)
    assert "To fix:" in str(caught.value)


def test_test_data_must_have_a_fitting_split_and_type() -> None:
    with pytest.raises(DataError, match="none named test"):
        read(ROWS, test=datasets.DatasetDict(a=_labelled([0]), b=_labelled([0])))
    with pytest.raises(DataError, match="'label' has types that do not fit"):
        read(ROWS, test=[{"text": "a", "label": [1]}])


def _truncated_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table(COLUMNS), sink)
    return sink.getvalue().to_pybytes()[:-20]


NOISE = np.random.default_rng(0).bytes(4000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", _truncated_parquet(), "not a complete Parquet file"),
        ("x.parquet", NOISE, "not a complete Parquet file"),
        ("x.arrow", NOISE, "not a complete Arrow file"),
        ("x.feather", b"", "not a complete Arrow file"),
        ("x.csv", NOISE, "does not look like text"),
        ("x.json", NOISE, "does not look like text"),
        ("x.csv.gz", NOISE, "cannot be read"),
        ("x.png", b"\x89PNG\r\n\x1a\n\0\0", "does not look like text"),
        ("x.json", b"", "is empty"),
        ("x.json", b"[]", "is empty"),
        ("x.json", b"3", "holds a JSON int"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.json", b'[{"a": 1},\n{"a": 2,}]', "line 2: not valid JSON"),
        ("x.jsonl", b'{"a": 1}\n\n{"a": 2\n{"a": 3}\n', "line 3: not valid JSON"),
        ("x.jsonl", b'{"a": 1}\n[2]\n', "line 2: not valid JSON .this line is a list"),
        ("x.jsonl", b'{"a": 1}\n{"a": "x"}\n', "mixes int .row 0.* and str .row 1"),
    ],
)
def test_bad_files_say_what_and_where(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert "To fix:" in str(caught.value)


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"did you mean '.*train\.csv'"):
        read(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="exists up to"):
        read(tmp_path / "nowhere" / "train.csv")
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tx\n")
    with pytest.raises(DataError, match="2 files for train"):
        read(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.md").write_text("-")
    with pytest.raises(DataError, match=r"no data file \(found: notes\.md\)"):
        read(empty)
    for name in ("a.json", "b.json"):
        (empty / name).write_text(json.dumps(ROWS))
    with pytest.raises(DataError, match=r"no file to train on \(found: a\.json, b\.json\)"):
        read(empty)


def test_json_rows_under_their_keys_are_rows(tmp_path):
    rows = {f"2164537{i}": {"QUESTION": f"Is it {i}?", "YEAR": "2011", "answer": "yes"} for i in range(4)}
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    table = read(tmp_path / "rows.json").train
    assert table.column_names == ["key", "QUESTION", "YEAR", "answer"]
    assert table["key"].to_pylist() == list(rows) and table["QUESTION"][3].as_py() == "Is it 3?"


def test_instances_in_a_list_are_rows_of_their_own():
    some = [{"input": "", "output": "a"}, {"input": "x", "output": "b"}]
    rows = [{"instruction": "one", "instances": some}, {"instruction": "two", "instances": some[:1]}]
    source = read([*rows, {"instruction": "none", "instances": []}])
    assert source.train.to_pylist() == [
        {"instruction": "one", "input": "", "output": "a"},
        {"instruction": "one", "input": "x", "output": "b"},
        {"instruction": "two", "input": "", "output": "a"},
        {"instruction": "none", "input": None, "output": None},
    ]
    assert "'instances' lists several examples a row" in source.notes[0]


ROWS_OF_SPLITS = {"text": list("abcdef"), "split": ["train", "train", "dev", "test", "train", "test"]}


def test_a_column_that_names_splits_splits_the_rows_and_is_no_input() -> None:
    source = read(ROWS_OF_SPLITS)
    assert {name: table.to_pydict() for name, table in source.splits.items()} == {
        "train": {"text": ["a", "b", "e"]},
        "validation": {"text": ["c"]},
        "test": {"text": ["d", "f"]},
    }
    assert any("'split' says which split a row belongs to: 3 train, 1 dev, 2 test" in note for note in source.notes)


@pytest.mark.parametrize(
    "values",
    [["train"] * 6, ["train", "dev", "other"] * 2, ["dev", "test"] * 3, ["train", "dev", None] * 2, [0, 1] * 3],
)
def test_a_column_that_names_anything_else_is_a_column(values: list[object]) -> None:
    source = read({"text": list("abcdef"), "split": values})
    assert list(source.splits) == ["train"] and source.train.column_names == ["text", "split"]


@pytest.mark.parametrize(
    ("name", "values", "splits"),
    [
        ("split", ["train", "holdout"], ["train", "test"]),
        ("Split", ["train", "Held-out"], ["train", "test"]),
        ("partition", pd.Categorical(["train", "held_out"]), ["train", "test"]),
        ("ds_type", ["TRAIN", "DEV"], ["train", "validation"]),
        ("Usage", ["Training", "PublicTest", "PrivateTest"], ["train", "validation", "test"]),
        ("is_train", [1, 0], ["train", "test"]),
        ("isTrain", [True, False], ["train", "test"]),
        ("is_test", ["no", "Yes"], ["train", "test"]),
    ],
)
def test_rows_that_a_column_holds_out_are_not_trained_on(name: str, values: list[object], splits: list[str]) -> None:
    source = read(pd.DataFrame({"text": list("abc")[: len(values)], name: values}))
    assert {split: table.to_pydict() for split, table in source.splits.items()} == {
        split: {"text": [text]} for split, text in zip(splits, "abc", strict=False)
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("split", ["train", "train", "unused"]),
        ("split", [0, 1, 2]),
        ("Fold", [1, 2, 3]),
        ("usage", ["Training", "PublicTest", "?"]),
        ("is_train", [1, 0, None]),
        ("is_valid", [1, 0, 1]),
    ],
)
def test_a_column_that_looks_like_splits_and_is_none_is_noted(name: str, values: list[object]) -> None:
    source = read({"text": list("abc"), name: values})
    assert list(source.splits) == ["train"]
    assert any(f"'{name}' (" in note and "was not followed" in note for note in source.notes)


def test_of_two_columns_of_splits_the_one_for_training_is_followed() -> None:
    source = read({"text": list("abc"), "is_test": [0, 1, 0], "is_train": [1, 0, 0]})
    assert source.splits["test"]["text"].to_pylist() == ["b", "c"]
    assert not any("is_test" in note for note in source.notes)


def test_a_column_of_another_use_is_not_noted() -> None:
    assert read({"text": list("abc"), "usage": ["home", "work", "home"]}).notes == ()


def test_rows_to_predict_on_keep_the_column() -> None:
    assert read_table(ROWS_OF_SPLITS).num_rows == 6
