"""Rows to predict on that come without names of columns."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from autosft.data.bare_rows import named_columns
from autosft.data.read import read_table
from autosft.task import Input

TURN = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("rows", "input", "columns", "expected"),
    [
        (["a", None], Input.TEXT, ["body"], {"body": ["a", None]}),
        (pd.Series(["a", "b"], index=[7, 3]), Input.TEXT, ["body"], {"body": ["a", "b"]}),
        (np.array(["a", "b"]), Input.TEXT, ["body"], {"body": ["a", "b"]}),
        (pa.chunked_array([["a"], ["b"]]), Input.TEXT, ["body"], {"body": ["a", "b"]}),
        ([("q", "c"), ["r", None]], Input.TEXT_PAIR, ["one", "two"], {"one": ["q", "r"], "two": ["c", None]}),
        ([["New", "York"], []], Input.TOKENS, ["words"], {"words": [["New", "York"], []]}),
        ([[TURN], [TURN, TURN]], Input.MESSAGES, ["talk"], {"talk": [[TURN], [TURN, TURN]]}),
        ([TURN, TURN], Input.MESSAGES, ["talk"], {"talk": [[TURN, TURN]]}),
    ],
)
def test_bare_values_get_the_names_of_the_columns(rows, input, columns, expected):
    found = named_columns(rows, input, columns)
    assert found == expected
    assert read_table(found, columns=columns).column_names == columns


@pytest.mark.parametrize(
    ("rows", "input", "columns"),
    [
        ([{"body": "a"}], Input.TEXT, ["body"]),
        ([{"role": "user", "content": "x"}], Input.TEXT, ["content"]),
        ([{"talk": [TURN], "role": 1, "content": 2}], Input.MESSAGES, ["talk"]),
        ([("q",)], Input.TEXT_PAIR, ["one", "two"]),
        (["a", 3], Input.TEXT, ["body"]),
        ("train.csv", Input.IMAGE, ["image"]),
        ([], Input.TEXT, ["body"]),
        (pa.table({"body": ["a"]}), Input.TEXT, ["body"]),
    ],
)
def test_what_has_names_or_fits_nothing_is_left_as_it_is(rows, input, columns):
    assert named_columns(rows, input, columns) is rows


def test_images_come_as_files_bytes_pictures_and_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture, written = Image.fromarray(pixels), io.BytesIO()
    picture.save(written, format="PNG")
    picture.save(tmp_path / "one.png")
    monkeypatch.chdir(tmp_path)
    rows = ["one.png", tmp_path / "one.png", written.getvalue(), picture, pixels, pixels[:, :, 0]]
    found = named_columns(rows, Input.IMAGE, ["image"])["image"]
    assert [image["path"] for image in found] == [str(tmp_path / "one.png")] * 2 + [None] * 4
    for image in found[2:5]:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(image["bytes"]))), pixels)
    assert named_columns("one.png", Input.IMAGE, ["image"]) == {"image": found[:1]}
    assert read_table({"image": found}, columns=["image"]).num_rows == 6
