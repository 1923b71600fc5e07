"""Images as columns: how they may be given, what the audit finds in them, and how they are opened."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib

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


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("exif", [b"", b"II*", b"II*\0\x08\0\0\0\x01\0\x12\x01", b"no exif at all"])
def test_pixels_stay_where_only_the_exif_is_broken(exif):
    whole = png()
    end_of_header = 33
    broken = whole[:end_of_header] + chunk(b"eXIf", exif) + whole[end_of_header:]
    assert rgb_of(broken).tobytes() == rgb_of(whole).tobytes()


@pytest.mark.parametrize("top", [255, 1023, 4095, 16_383, 65_535])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_grey_of_more_than_8_bits_is_scaled_by_the_range_in_use(top, dtype):
    values = np.linspace(0, top, 256).reshape(16, 16).astype(dtype)
    found = np.asarray(rgb_of(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    np.testing.assert_allclose(found, np.arange(256).reshape(16, 16), atol=1)
    brightest = rgb_of(encoded(Image.fromarray(np.full((4, 4), 0.9 * top, dtype)), "TIFF")).getpixel((0, 0))[0]
    assert brightest == pytest.approx(0.9 * 255, abs=1), "not stretched to white, where the range is not used up"


def test_numbers_that_are_none_do_not_decide_the_range():
    values = np.array([[0, 2048, 4095, np.nan, np.inf, -np.inf, -5]], np.float32)
    found = np.asarray(rgb_of(encoded(Image.fromarray(values), "TIFF")))[0, :, 0]
    assert found.tolist() == [0, 128, 255, 0, 0, 0, 0]


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


@pytest.mark.parametrize("size", [(10, 50_000), (50_000, 10), (1, 101)])
def test_an_image_that_is_next_to_a_line_is_a_finding(size):
    line = encoded(Image.new("L", size))
    with pytest.raises(UnreadableImage, match=f"{size[0]} x {size[1]} pixels: one side is more than 100 times"):
        rgb_of(line)
    assert KIND.unreadable_inputs(task(), pa.table({"image": [png(), line]})).keys() == {1}
    assert rgb_of(encoded(Image.new("L", (1, 100)))).size == (1, 100)


def test_a_bomb_inside_an_icon_is_none_that_is_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    inner = encoded(Image.new("1", (40, 40)))
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        rgb_of(icon)


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
    assert (finding.count, finding.examples) == (1, ("row 5: (bytes): 7 x 7",))
    assert source.train.num_rows == 6


def test_copies_are_found_by_content_and_shown_by_name(tmp_path):
    write_tiny_images(tmp_path, 12)
    first, second = sorted((tmp_path / "down").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    (tmp_path / "across" / "copy.png").write_bytes(sorted((tmp_path / "none").iterdir())[0].read_bytes())
    source, _, findings = audit(KIND, task(labels=("across", "down", "none")), read(tmp_path))
    by_name = {finding.check: finding for finding in findings}
    assert by_name["exact-duplicates"].count == 1
    assert (
        by_name["exact-duplicates"].examples[0].startswith("row ")
        and "down/" in by_name["exact-duplicates"].examples[0]
    )
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
