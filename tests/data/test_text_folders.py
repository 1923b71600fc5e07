"""Folders with one sub-folder a class of texts, and repositories of datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from autosft.data.read import read
from autosft.errors import DataError


def put(folder: Path, **files: str | bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("inside", [".", "bbc"])
def test_a_folder_a_class_is_a_label_a_text(tmp_path: Path, inside: str) -> None:
    put(tmp_path / inside / "sport", a="They won.", b="They\nlost.")
    put(tmp_path / inside / "tech", a="£9 a month".encode("cp1252"))
    put(tmp_path / inside, README="About")
    source = read(tmp_path)
    assert source.train.to_pydict() == {
        "text": ["They won.", "They\nlost.", "£9 a month"],
        "label": ["sport", "sport", "tech"],
    }
    assert any("1 file not valid UTF-8" in note for note in source.notes)


def test_folders_of_splits_hold_folders_of_classes_and_texts_without_one_are_left_aside(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "pos", a=f"good {split}")
        put(tmp_path / split / "neg", a=f"bad {split}")
    put(tmp_path / "train" / "unsup", a="who knows")
    put(tmp_path / "train", urls_pos="http://a")
    put(tmp_path, imdbEr="0.1\n0.2")
    source = read(tmp_path)
    assert {name: table.to_pydict() for name, table in source.splits.items()} == {
        split: {"text": [f"bad {split}", f"good {split}"], "label": ["neg", "pos"]} for split in ("train", "test")
    }
    assert any("left aside: unsup" in note for note in source.notes)


def test_folders_of_data_files_are_no_classes(tmp_path: Path) -> None:
    for corpus in ("conll", "wnut"):
        put(tmp_path / corpus, train="Anna B-PER\n\n", test="Omar B-PER\n\n")
    with pytest.raises(DataError, match="no data file"):
        read(tmp_path)
    put(tmp_path / "one", pos="only one class", README="-")
    with pytest.raises(DataError):
        read(tmp_path / "one")


def test_the_data_of_a_repository_are_found_in_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A dataset")
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {}}))
    (tmp_path / ".git").mkdir()
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        table = pa.table({"text": [split], "label": ["x"]})
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    source = read(tmp_path)
    assert {name: table["text"].to_pylist() for name, table in source.splits.items()} == {
        "train": ["train"],
        "test": ["test"],
    }
    assert source.origin == str(tmp_path)
