"""Images as columns: how they may be given, what the audit finds in them, and how they are opened."""

from __future__ import annotations

import hashlib
import io
import os
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from autosft.data.audit import audit
from autosft.data.pixels import UnreadableImage, rgb_of
from autosft.data.read import read
from autosft.data.source import Source
from autosft.errors import DataError, MissingExtraError
from autosft.task import Metric, Task
from autosft.tasks import kind
from autosft.testing.tiny_images import tiny_pixels, write_tiny_images


def task(column="image", labels=("a", "b")):
    return Task("image-classification", "", (column,), "label", Metric("accuracy"), labels)


KIND = kind("image-classification")


def encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(seed=0, side=16):
    return encoded(Image.fromarray(tiny_pixels(1, side=side, seed=seed)[0][0]))


def test_paths_bytes_and_structs_hold_the_same_content(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    columns = {
        "path": pa.array([str(tmp_path / "a.png")]),
        "relative": pa.array(["a.png"]),
        "bytes": pa.array([png()]),
        "struct": pa.array([{"bytes": png(), "path": "elsewhere.png"}]),
        "struct of path": pa.array(
            [{"bytes": None, "path": "a.png"}], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        ),
    }
    for name, column in columns.items():
        found = KIND.encode_inputs(task(), pa.table({"image": column}))
        assert found["content"].to_pylist() == [hashlib.sha256(png()).hexdigest()], name
        image = found["image"][0].as_py()
        assert (image["path"] is None) != (image["bytes"] is None)
        assert image["path"] in (None, str(tmp_path / "a.png"))


def test_a_missing_image_is_blank_and_a_missing_file_is_not():
    found = KIND.identities(task(), pa.table({"image": pa.array([None, "", "/no/such/file.png"])})).to_pylist()
    assert found[:2] == ["", ""]
    assert len(found[2]) == 64


def test_a_column_of_numbers_is_refused():
    with pytest.raises(DataError, match=r"column 'image' of type int64 cannot be read as images.*\n.*bytes"):
        KIND.encode_inputs(task(), pa.table({"image": [1, 2]}))


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.new("L", (4, 4), 100), (100, 100, 100)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (4, 4), (10, 255)), (10, 10, 10)),
        (Image.new("RGB", (4, 4), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE), (1, 2, 3)),
        (Image.fromarray(np.full((4, 4), 257 * 77, np.uint16)), (77, 77, 77)),
        (Image.fromarray(np.full((4, 4), 257 * 77, np.int32)), (77, 77, 77)),
    ],
    ids=["grey", "bits", "clear", "opaque", "grey with alpha", "palette", "16 bit", "32 bit"],
)
def test_every_mode_becomes_rgb(image, wanted):
    form = "TIFF" if image.mode == "I" else "PNG"
    found = rgb_of(encoded(image, form))
    assert found.mode == "RGB"
    assert found.getpixel((1, 1)) == wanted


def test_photographs_stand_upright():
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned by a quarter.
    assert rgb_of(encoded(image, "JPEG", exif=exif)).size == (10, 20)


@pytest.mark.parametrize("content", [b"", b"hello", png()[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n"], ids=str)
def test_what_is_no_image_says_so(content):
    with pytest.raises(UnreadableImage):
        rgb_of(content)


def test_a_decompression_bomb_is_a_finding(monkeypatch):
    monkeypatch.setattr("autosft.data.pixels.MAX_PIXELS", 1000)
    bomb = encoded(Image.new("1", (40, 40)))
    rows = {"image": [bomb, *(png(seed) for seed in range(6))], "label": ["a", "a", "b", "a", "b", "a", "b"]}
    source, _, findings = audit(KIND, task(), Source({"train": pa.table(rows)}, "memory"))
    assert source.train.num_rows == 6
    assert "40 x 40 pixels are more than" in next(f for f in findings if f.check == "unreadable-images").examples[0]


def test_pillows_own_limit_is_a_finding_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        rgb_of(encoded(Image.new("1", (40, 40))))


def test_unreadable_files_leave_training_but_not_the_test(tmp_path):
    write_tiny_images(tmp_path / "train", 12)
    write_tiny_images(tmp_path / "test", 6, seed=1)
    (tmp_path / "train/down/broken.png").write_bytes(png()[:70])
    (tmp_path / "test/down/text.png").write_text("no image")
    labels = ("across", "down", "none")
    source, found, findings = audit(KIND, task(labels=labels), read(tmp_path))
    assert (source.train.num_rows, source.splits["test"].num_rows, found.labels) == (12, 7, labels)
    finding = next(f for f in findings if f.check == "unreadable-images")
    assert finding.count == 2 and finding.fixed
    assert any("down/broken.png" in example for example in finding.examples)
    assert "dropped 1 row" in finding.action and "grey" in finding.action


def test_tiny_images_are_reported(tmp_path):
    rows = {"image": [*(png(seed) for seed in range(5)), png(9, side=7)], "label": list("ababab")}
    source, _, findings = audit(KIND, task(), Source({"train": pa.table(rows)}, "memory"))
    finding = next(f for f in findings if f.check == "tiny-images")
    assert (finding.count, finding.examples) == (1, ("row 5, (bytes): 7 x 7",))
    assert source.train.num_rows == 6


def test_copies_are_found_by_content_and_shown_by_name(tmp_path):
    write_tiny_images(tmp_path, 12)
    first, second = sorted((tmp_path / "down").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    (tmp_path / "across" / "copy.png").write_bytes(sorted((tmp_path / "none").iterdir())[0].read_bytes())
    source, _, findings = audit(KIND, task(labels=("across", "down", "none")), read(tmp_path))
    by_name = {finding.check: finding for finding in findings}
    assert by_name["exact-duplicates"].count == 1
    assert by_name["exact-duplicates"].examples[0].startswith("down/")
    assert by_name["conflicting-labels"].count == 1
    assert "across / none" in by_name["conflicting-labels"].examples[0]
    assert source.train.num_rows == 10


def test_names_of_files_are_not_taken_for_a_leak_or_an_identifier(tmp_path):
    write_tiny_images(tmp_path, 60)
    _, _, findings = audit(KIND, task(labels=("across", "down", "none")), read(tmp_path))
    assert [finding.check for finding in findings] == []


def test_without_pillow_the_extra_is_named(monkeypatch):
    content = png()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"autosft\[image\]"):
        rgb_of(content)


def test_a_changed_file_has_another_content(tmp_path):
    path = tmp_path / "a.png"
    table = pa.table({"image": [str(path)]})
    path.write_bytes(png(0))
    before = KIND.identities(task(), table)
    path.write_bytes(png(1))
    os.utime(path, ns=(1, 1))
    assert KIND.identities(task(), table) != before
