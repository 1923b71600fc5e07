"""Folders, zips and tables of images as users have them, and archives that must not be trusted."""

from __future__ import annotations

import io
import stat
import zipfile

import pyarrow as pa
import pytest
from PIL import Image

from autosft.cache import cache_folder
from autosft.data.images import image_columns
from autosft.data.read import read, read_table
from autosft.errors import DataError
from autosft.prepare import Question, check, understand
from autosft.tasks import KINDS


def png(colour=(200, 30, 30), size=(10, 12)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def put(folder, *names):
    for at, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png((at, 0, 0)))
    return folder


def rows(table):
    return [(row["image"].rpartition("/")[2], row["label"]) for row in table.to_pylist()]


def test_sub_folders_are_classes_and_numbers_stay_text(tmp_path):
    put(tmp_path, "0/a.png", "1/b.JPG", "1/deep/c.jpeg", "LICENSE", ".hidden/d.png")
    source = read(tmp_path)
    assert rows(source.train) == [("a.png", "0"), ("b.JPG", "1"), ("c.jpeg", "1")]
    assert str(source.train.schema.field("label").type) == "string"


def test_splits_lie_above_the_classes(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "test/dog/d.png", "extra/dog/e.png")
    source = read(str(tmp_path))
    assert {name: rows(table) for name, table in source.splits.items()} == {
        "train": [("a.png", "cat"), ("b.png", "dog")],
        "validation": [("c.png", "cat")],
        "test": [("d.png", "dog")],
    }
    assert "extra" in source.notes[0]


def test_a_test_folder_without_classes_has_no_labels(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/c.png")
    assert rows(read(tmp_path).splits["test"]) == [("c.png", None)]


@pytest.mark.parametrize(
    ("train", "test"),
    [("training_set/training_set", "test_set/test_set"), ("seg_train/seg_train", "seg_test"), ("Train set", "test1")],
)
def test_splits_are_told_by_a_word_in_the_name_of_their_folder(tmp_path, train, test):
    put(tmp_path, *[f"{train}/{name}" for name in ("cat/a.png", "dog/b.png")], f"{test}/dog/c.png")
    put(tmp_path, "seg_pred/d.png", "valid_set/cat/e.png")
    source = read(tmp_path)
    assert {name: rows(table) for name, table in source.splits.items()} == {
        "train": [("a.png", "cat"), ("b.png", "dog")],
        "validation": [("e.png", "cat")],
        "test": [("c.png", "dog")],
    }
    assert "seg_pred" in source.notes[0]


def test_a_folder_that_only_wraps_a_test_set_is_no_class(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/images/c.png")
    assert rows(read(tmp_path).splits["test"]) == [("c.png", None)]
    put(tmp_path, "val/cat/d.png")
    assert rows(read(tmp_path).splits["validation"]) == [("d.png", "cat")]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("cat/a.png", "dog/b.png", "test/c.png"), "'test'.*is called like a split.*cat, dog"),
        (("cat/a.png", "dog/b.png", "train/c.png"), "'train'.*is called like a split.*cat, dog"),
        (("train_images/a.png", "test_images/b.png"), "train_images, test_images.*are called like splits"),
        (("test/cat/a.png", "val/dog/b.png"), "val, test.*are called like splits"),
        (("train/cat/a.png", "test_a/cat/b.png", "test_b/cat/b.png"), "2 folders for test: test_a, test_b"),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(tmp_path, names, words):
    put(tmp_path, *names)
    with pytest.raises(DataError, match=words):
        read(tmp_path)


@pytest.mark.parametrize("classes", [("valid", "invalid"), ("test tube", "beaker"), ("training shoe", "boot")])
def test_classes_may_hold_words_that_splits_go_by(tmp_path, classes):
    put(tmp_path, *[f"{name}/part/a.png" for name in classes])
    assert {label for _, label in rows(read(tmp_path).train)} == set(classes)


def test_images_without_classes_are_rows_to_predict_on(tmp_path):
    put(tmp_path, "a.png", "b.png")
    assert read_table(tmp_path).column_names == ["image"]


def test_a_wrapping_folder_is_looked_through(tmp_path):
    put(tmp_path, "pets/train/cat/a.png", "pets/train/dog/b.png")
    assert rows(read(tmp_path).train) == [("a.png", "cat"), ("b.png", "dog")]


def test_a_table_beside_the_images_says_what_the_rows_are(tmp_path):
    put(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "train.csv").write_text("file,kind\nimages/a.png,cat\nimages/b.png,dog\n")
    for given in (tmp_path, tmp_path / "train.csv"):
        table = read(given).train
        assert table["file"].to_pylist() == [str(tmp_path / "images/a.png"), str(tmp_path / "images/b.png")]
        assert image_columns(table) == ["file"]


@pytest.mark.parametrize(
    "names", [("a.png", "b.png"), ("a", "b"), ("images\\a.png", "images\\b.png")], ids=["names", "stems", "windows"]
)
def test_a_table_may_name_files_of_the_folder_beside_it(tmp_path, names):
    put(tmp_path, "images/a.png", "images/b.png", "other/c.png")
    (tmp_path / "train.csv").write_text("file,kind\n{},cat\n{},dog\n".format(*names))
    table = read(tmp_path).train
    assert table["file"].to_pylist() == [str(tmp_path / "images/a.png"), str(tmp_path / "images/b.png")]
    assert image_columns(table) == ["file"]


def test_where_no_image_is_found_the_first_path_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("file,kind\n" + "".join(f"nowhere/{at}.png,{at % 2}\n" for at in range(8)))
    question = Question("Which kind?", str(tmp_path / "train.csv"), kind="image-classification")
    with pytest.raises(DataError, match=r"no training rows are left .* such as row 0: nowhere/0\.png: No such file"):
        check(question, *understand(question))


def test_a_name_that_two_files_have_is_looked_for_in_no_folder(tmp_path):
    put(tmp_path, "images/a.png", "images/b.png", "other/a.png")
    for names in (("a.png", "b.png"), ("a", "b")):
        (tmp_path / "train.csv").write_text("file,kind\n{},cat\n{},dog\n".format(*names))
        assert read(tmp_path).train["file"].to_pylist() == list(names)


def test_classes_that_files_are_called_by_stay_classes(tmp_path):
    put(tmp_path, "icons/cat.png", "icons/dog.png")
    (tmp_path / "train.csv").write_text("text,kind\nmeow,cat\nwoof,dog\npurr,cat\n")
    assert read(tmp_path).train["kind"].to_pylist() == ["cat", "dog", "cat"]


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("train/cat.0.png", "train/dog.0.png")])
def test_images_in_no_class_folder_are_refused_for_training(tmp_path, names):
    put(tmp_path, *names)
    with pytest.raises(DataError, match=r"2 images of .* lie in no class folder"):
        read(tmp_path)


def test_names_that_are_no_files_stay_as_they_are(tmp_path):
    (tmp_path / "train.csv").write_text("text,picture\nhello,a.png\nthere,b.png\n")
    assert read(tmp_path).train["picture"].to_pylist() == ["a.png", "b.png"]


def test_folders_of_text_are_read_as_before(tmp_path):
    (tmp_path / "train.txt").write_text("a good one\tyes\nbad\tno\n")
    put(tmp_path, "logo.png")
    assert "image" not in read(tmp_path).train.column_names


def test_bytes_and_structs_are_image_columns():
    table = read({"x": [png(), png()], "y": [{"bytes": png(), "path": "a.png"}] * 2, "label": ["a", "b"]}).train
    assert image_columns(table) == ["x", "y"]


def test_bytes_that_are_no_images_are_text_or_left_alone():
    texts = ["naïve café", None, "BMW"]
    columns = {"text": [text and text.encode() for text in texts], "hash": [b"\x01\x02"] * 3, "blob": [b"\xfe\x80"] * 3}
    table = read(pa.table(columns)).train
    assert image_columns(table) == []
    assert table["text"].to_pylist() == texts
    assert [str(table.schema.field(name).type) for name in ("hash", "blob")] == ["binary", "binary"]


def test_some_damaged_bytes_leave_a_column_one_of_images():
    assert image_columns(read({"x": [b"junk\xff", png()], "label": ["a", "b"]}).train) == ["x"]


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_unpacked_once_into_the_cache(tmp_path):
    entries = {"pets/cat/a.png": png(), "pets/dog/b.png": png((1, 2, 3)), "__MACOSX/pets/cat/._a.png": b"", "x.py": "1"}
    source = read(zipped(tmp_path / "pets.zip", entries))
    assert rows(source.train) == [("a.png", "cat"), ("b.png", "dog")]
    assert source.origin == str(tmp_path / "pets.zip")
    first = source.train["image"][0].as_py()
    assert first.startswith(str(cache_folder()))
    assert not list((cache_folder() / "unpacked").rglob("*.py"))
    assert read(zipped(tmp_path / "again.zip", entries)).train["image"][0].as_py().rpartition("/")[2] == "a.png"


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "cat/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_a_zip_cannot_write_outside(tmp_path, name):
    with pytest.raises(DataError, match="leads out of the folder"):
        read(zipped(tmp_path / "bad.zip", {"cat/a.png": png(), name: png()}))
    assert not list(tmp_path.rglob("evil.png")) and not list(cache_folder().rglob("evil.png"))


def test_a_zip_with_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo("cat/link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="is a link"):
        read(zipped(tmp_path / "bad.zip", {entry: "/etc/passwd"}))


def test_a_zip_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("autosft.data.images._MAX_ZIP_BYTES", 100)
    with pytest.raises(DataError, match="too many to unpack"):
        read(zipped(tmp_path / "bad.zip", {"cat/a.png": png(), "dog/b.png": png()}))


def test_a_broken_zip_is_told(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match="not a whole zip"):
        read(tmp_path / "bad.zip")


BOXES = {"a.xml": "<annotation/>", "a.txt": "0 0.5 0.25 .1 0.125\n"}


@pytest.mark.parametrize(
    ("images", "boxes", "suffix"),
    [
        ("JPEGImages", "Annotations", "xml"),
        ("train", "train", "xml"),
        (".", ".", "xml"),
        ("images", "labels", "txt"),
        ("train", "train", "txt"),
    ],
)
def test_images_with_boxes_are_said_to_be_object_detection(tmp_path, images, boxes, suffix):
    put(tmp_path, *[f"{images}/{name}.png" for name in "abc"])
    (tmp_path / boxes).mkdir(exist_ok=True)
    for name in "abc":
        (tmp_path / boxes / f"{name}.{suffix}").write_text(BOXES[f"a.{suffix}"])
    with pytest.raises(DataError, match="object detection, which is not trained here") as raised:
        read(tmp_path)
    assert all(name in str(raised.value) for name in KINDS)


def test_boxes_are_left_aside_where_folders_name_classes_and_for_predictions(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png")
    for name in ("cat/a.xml", "dog/b.xml"):
        (tmp_path / name).write_text("<annotation/>")
    assert rows(read(tmp_path).train) == [("a.png", "cat"), ("b.png", "dog")]
    assert read_table(tmp_path / "cat").num_rows == 1


def test_captions_beside_images_are_no_boxes(tmp_path):
    put(tmp_path, "photos/a.png", "photos/b.png")
    for name in "ab":
        (tmp_path / "photos" / f"{name}.txt").write_text("2 cats on 4 chairs\n")
    assert read(tmp_path).train.num_rows == 2


@pytest.mark.parametrize("name", ["a.wav", "deep/b.MP3", "c.flac", "d.mp4"])
def test_sound_and_film_are_said_not_to_be_trained_on(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"RIFF\x00\xff")
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=r"(audio|video).*which is not trained on here") as raised:
            read(given)
        assert all(kind in str(raised.value) for kind in KINDS)
