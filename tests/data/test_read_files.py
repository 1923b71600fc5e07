"""Reading files: every format gives the same rows, splits come from names, tables follow the training table."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from autosft.data.read import read, read_table
from autosft.errors import DataError
from autosft.prepare import Question, understand

ROWS = [
    {"text": "I lost my card", "label": "lost", "stars": 1},
    {"text": 'He said "no, never"\nand left', "label": "None", "stars": 5},
    {"text": "naïve café — 日本", "label": "lost", "stars": 3},
]
CSV = (
    'text,label,stars\nI lost my card,lost,1\n"He said ""no, never""\nand left",None,5\n"naïve café — 日本","lost",3\n'
)


def _stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.csv": lambda path: path.write_text(CSV, encoding="utf-8"),
    "rows.tsv": lambda path: path.write_text(CSV.replace(",", "\t").replace("no\t", "no,"), encoding="utf-8"),
    "semicolon.csv": lambda path: path.write_text(CSV.replace(",", ";").replace("no;", "no,"), encoding="utf-8"),
    "bar.txt": lambda path: path.write_text(CSV.replace(",", "|").replace("no|", "no,"), encoding="utf-8"),
    "crlf.csv": lambda path: path.write_bytes(CSV.replace("\n", "\r\n").replace('"\r\nand', '"\nand').encode()),
    "array.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "data.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS})),
    "columns.json": lambda path: path.write_text(json.dumps({k: [row[k] for row in ROWS] for k in ROWS[0]})),
    "lines.json": lambda path: path.write_text("\n".join(json.dumps(row) for row in ROWS)),
    "lines.jsonl": lambda path: path.write_text("\n\n".join(json.dumps(row) for row in ROWS) + "\n"),
    "rows.parquet": lambda path: pa.parquet.write_table(pa.Table.from_pylist(ROWS), path),
    "rows.feather": lambda path: pa.feather.write_feather(pa.Table.from_pylist(ROWS), path),
    "stream.arrow": lambda path: _stream(path, pa.Table.from_pylist(ROWS)),
    "no_suffix": lambda path: path.write_text(CSV.replace(",", "\t").replace("no\t", "no,"), encoding="utf-8"),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    if zipped:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for given in (path, str(path)):
        source = read(given)
        assert source.train.to_pylist() == ROWS
        assert source.train.schema.types == [pa.string(), pa.string(), pa.int64()]
        assert source.notes == ()


def test_dates_in_json_lines_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"day": "2020-01-01", "tags": ["2020-01-01"]}\n{"day": "2020-01-02", "tags": []}\n')
    assert read(path).train.to_pylist()[0] == {"day": "2020-01-01", "tags": ["2020-01-01"]}


def test_folder_splits_by_name_and_follows_train(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("label,text\n01,a b\n10,c d\n")
    (tmp_path / "train_small.csv").write_text("label,text\n01,a b\n")
    (tmp_path / "dev-v2.csv").write_text("text,label\ne f,10\n")
    (tmp_path / "TEST.csv").write_text("10,g h\n10,i j\n")
    (tmp_path / "README.md").write_text("not data")
    source = read(tmp_path)
    assert {name: table.to_pylist() for name, table in source.splits.items()} == {
        "train": [{"label": "01", "text": "a b"}, {"label": "10", "text": "c d"}],
        "validation": [{"label": "10", "text": "e f"}],
        "test": [{"label": "10", "text": "g h"}, {"label": "10", "text": "i j"}],
    }
    assert any("train_small.csv" in note for note in source.notes)


@pytest.mark.parametrize("others", [(), ("validation.csv",)])
def test_a_test_file_of_an_unknown_type_is_not_passed_over_in_silence(tmp_path: Path, others: tuple[str, ...]) -> None:
    for name in ("train.csv", "news.test.annotated", "LICENSE", *others):
        (tmp_path / name).write_text("text,label\nhello,a\nbye,b\n")
    source = read(tmp_path)
    assert "test" not in source.splits
    assert [note for note in source.notes if "left aside" in note] == [
        f"{tmp_path.name}: files left aside: news.test.annotated."
    ]


@pytest.mark.parametrize("name", ["reviews_holdout.csv", "held_out.csv", "reviews-held-out-2.csv"])
def test_a_file_of_held_out_rows_is_the_test_set(tmp_path: Path, name: str) -> None:
    (tmp_path / "reviews_train.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / name).write_text("text,label\nc,x\n")
    assert read(tmp_path).splits["test"]["text"].to_pylist() == ["c"]


def test_shards_are_one_split_in_order(tmp_path: Path) -> None:
    for at in (1, 0):
        pa.parquet.write_table(pa.table({"text": [f"row {at}"]}), tmp_path / f"train-0000{at}-of-00002.parquet")
    assert read(tmp_path).train["text"].to_pylist() == ["row 0", "row 1"]


def test_given_splits_take_train_columns(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,score\na,1\nb,2\n")
    (tmp_path / "test.csv").write_text("id,Score,text\n7,2.5,c\n")
    source = read(tmp_path / "train.csv", test=str(tmp_path / "test.csv"), validation=[{"text": "d", "score": 4}])
    assert source.splits["test"].to_pylist() == [{"text": "c", "score": 2.5}]
    assert source.splits["validation"].to_pylist() == [{"text": "d", "score": 4.0}]
    assert source.train["score"].type == pa.float64()
    assert any("id" in note and "dropped" in note for note in source.notes)


@pytest.mark.parametrize("name", ["LICENSE.txt", "README.txt", "licence.TXT"])
def test_a_licence_beside_the_data_is_none_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Permission is hereby granted\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no data file"):
        read(tmp_path)
    (tmp_path / "reviews.csv").write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    assert read(tmp_path).train.column("text").to_pylist() == ["a", "b"]


def test_given_test_replaces_the_split_in_the_folder(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{name},x\n")
    source = read(tmp_path, test=[{"text": "mine", "label": "x"}])
    assert source.splits["test"]["text"].to_pylist() == ["mine"]
    assert any("test= was given" in note for note in source.notes)


def test_headerless_test_follows_train_and_misspelt_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\nsome words\tham\nmore words\tspam\n")
    (tmp_path / "test.tsv").write_text("other words\tspam\nfurther words\tspam\n")
    test = read(tmp_path / "train.tsv", test=tmp_path / "test.tsv").splits["test"]
    assert test.to_pylist()[0] == {"text": "other words", "label": "spam"}
    (tmp_path / "test.tsv").write_text("txt\tlabel\nother words\tspam\n")
    with pytest.raises(DataError, match=r"no column 'text'(.|\n)*did you mean 'txt'"):
        read(tmp_path / "train.tsv", test=tmp_path / "test.tsv")


def test_read_table_names_and_keeps_text(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_text("I lost my card, again\n1.50\nhello, you\n")
    assert read_table(path, columns=["message"]).to_pylist() == [
        {"message": "I lost my card, again"},
        {"message": "1.50"},
        {"message": "hello, you"},
    ]
    path.write_text("Message\nhello\n")
    assert read_table(path, columns=["message"]).num_rows == 1
    assert read_table(["a", "b"], columns=["message"]).to_pydict() == {"message": ["a", "b"]}
    assert read_table(["a"]).column_names == ["text"]
    with pytest.raises(DataError, match="several splits"):
        read_table({"train": [{"text": "a"}], "test": [{"text": "b"}]})


def test_test_rows_of_a_competition_are_set_aside_where_they_have_no_answers(tmp_path: Path) -> None:
    rows = [f"{at},a text of {at} words,{'xy'[at % 2]}\n" for at in range(20)]
    (tmp_path / "train.csv").write_text("".join(["id,text,label\n", *rows]))
    (tmp_path / "test.csv").write_text("id,text\n3,c\n")
    with pytest.raises(DataError, match="the test data has no column 'label'"):
        understand(Question("Which label does the text have?", str(tmp_path)))
    (tmp_path / "sample_submission.csv").write_text("id,label\n3,x\n")
    source = read(tmp_path)
    assert list(source.splits) == ["train"] and source.train["label"].to_pylist()[:2] == ["x", "y"]
    assert any("no 'label', which sample_submission.csv asks for" in note for note in source.notes)
    # Rows to predict on are never chosen among splits.
    with pytest.raises(DataError, match="holds several splits"):
        read_table(tmp_path, columns=["text"])
    (tmp_path / "test.csv").write_text("id,text,label\n3,c,\n4,d,x\n")
    assert read(tmp_path).splits["test"]["label"].to_pylist() == [None, "x"]


@pytest.mark.parametrize("name", ["reviews.txt", "reviews.train"])
def test_lines_of_fasttext_are_texts_with_labels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("__label__pos it works, __label__ and all\n__label__neg-1 , it broke\n\n__label__pos\n")
    source = read(path)
    assert source.train.to_pydict() == {
        "text": ["it works, __label__ and all", "it broke", ""],
        "label": ["pos", "neg-1", "pos"],
    }
    assert any("fastText" in note for note in source.notes)
    path.write_text("__label__a __label__b both\n__label__a one\n")
    assert read(path).train["label"].to_pylist() == [["a", "b"], ["a"]]
