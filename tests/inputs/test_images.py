"""Images as a model is given them: the same numbers as the library's own processor, decoded once."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from autosft.base_models import locate
from autosft.data.data import Rows
from autosft.errors import BaseModelError
from autosft.inputs.images import ImageReader
from autosft.made_models import SCRATCH_RESNET
from autosft.tasks import kind
from autosft.testing.tiny_images import tiny_image_data, tiny_image_task, write_tiny_images

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMAL = {"image_mean": MEAN, "image_std": STD}
SETTINGS = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": 48, "resample": 2, "image_mean": [0.5] * 3},
    "resnet": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 48, "crop_pct": 0.875, **NORMAL},
    "convnext at 384": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, **NORMAL},
    "dinov2": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 56}, "resample": 3, **NORMAL,
        "do_center_crop": True, "crop_size": {"height": 48, "width": 48},
    },
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": 56, "crop_size": 48, "resample": 3, **NORMAL},
    "crop of a smaller image": {
        "image_processor_type": "BitImageProcessor", "do_resize": False, "do_center_crop": True, "crop_size": 71,
    },
    "without normalising": {"image_processor_type": "ViTImageProcessor", "size": 20, "do_normalize": False},
    "without a crop": {"image_processor_type": "CLIPImageProcessor", "size": 48, "do_center_crop": False, **NORMAL},
}  # fmt: skip


def folder_with(place, settings):
    place.mkdir(exist_ok=True)
    (place / "preprocessor_config.json").write_text(json.dumps(settings))
    return place


def reader_of(folder, max_length=None):
    return ImageReader.of_base(folder, max_length=max_length, context_tokens=224)


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


def table_of(folder):
    paths = sorted(str(path) for path in folder.rglob("*.*"))
    return kind("image-classification").encode_inputs(tiny_image_task(), pa.table({"image": paths}))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_pixels_are_those_of_the_library(tmp_path, settings):
    reader = reader_of(folder_with(tmp_path / "base", settings))
    reader.save(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for at, (width, height) in enumerate([(28, 28), (100, 61), (45, 333), (48, 49), (400, 300)]):
        path = tmp_path / f"{at}.png"
        noise(width, height).save(path)
        wanted = processor(Image.open(path), return_tensors="np")["pixel_values"]
        rows = pa.table({"image": pa.array([{"path": str(path), "bytes": None}])})
        found = reader.examples(rows).collate(np.zeros(1, np.int64))["pixel_values"]
        assert str(found.dtype) == "torch.float32"
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_a_processor_that_does_more_is_refused(tmp_path):
    settings = {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
    with pytest.raises(BaseModelError, match="does more than scale, cut and"):
        reader_of(folder_with(tmp_path, settings))


def test_a_model_without_a_processor_is_told(tmp_path):
    with pytest.raises(BaseModelError, match=r"has no preprocessor_config\.json"):
        reader_of(tmp_path)


def test_rows_are_decoded_once_and_mapped(tmp_path, monkeypatch):
    _, data = tiny_image_data(tmp_path / "data", num_rows=12)
    folder = folder_with(tmp_path / "base", SETTINGS["vit"])
    first = reader_of(folder).cached(data.all, "key", tmp_path)
    monkeypatch.setattr("autosft.inputs.images.rgb_of", None)
    again = reader_of(folder).cached(data.all, "key", tmp_path)
    chosen = np.array([5, 0, 11])
    batch = again.collate(chosen)
    assert batch.keys() == {"pixel_values"}
    assert batch["pixel_values"].shape == (3, 3, 48, 48)
    assert batch["pixel_values"].equal(first.collate(chosen)["pixel_values"])
    assert (len(again), again.max_length, set(again.lengths.tolist())) == (12, 48, {1})
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_killed_decoding_leaves_nothing_behind_that_is_read(tmp_path, monkeypatch):
    _, data = tiny_image_data(tmp_path / "data", num_rows=12)
    folder = folder_with(tmp_path / "base", SETTINGS["vit"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ImageReader, "pixels", lambda self, image: (_ for _ in ()).throw(KeyboardInterrupt))
        reader_of(folder).cached(data.all, "key", tmp_path)
    values = reader_of(folder).cached(data.all, "key", tmp_path).collate(np.arange(12))["pixel_values"]
    assert values.flatten(1).std(dim=1).min() > 0


def test_an_image_that_cannot_be_read_is_grey_and_still_a_row(tmp_path):
    write_tiny_images(tmp_path / "rows", 3)
    (tmp_path / "rows/down/broken.png").write_bytes(b"no image")
    table = table_of(tmp_path / "rows")
    reader = reader_of(folder_with(tmp_path / "base", SETTINGS["crop of a smaller image"] | {"do_normalize": False}))
    examples = reader.examples(table)
    broken = [image["path"].endswith("broken.png") for image in table["image"].to_pylist()].index(True)
    assert len(examples) == 4
    assert examples.collate(np.array([broken]))["pixel_values"].unique().tolist() == pytest.approx([128 / 255])


def test_images_to_predict_are_held_once(tmp_path):
    write_tiny_images(tmp_path / "rows", 60)
    table = table_of(tmp_path / "rows")
    reader = reader_of(folder_with(tmp_path / "base", SETTINGS["vit"]))
    reader.examples(table.slice(0, 1))
    tracemalloc.start()
    try:
        held = len(reader.examples(table)) * 48 * 48 * 3
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * held


def test_a_free_side_goes_by_the_images_and_is_kept(tmp_path):
    folder = locate(SCRATCH_RESNET)
    for side, wanted in ((28, 64), (100, 96)):
        _, data = tiny_image_data(tmp_path / str(side), num_rows=12, side=side)
        reader = reader_of(folder)
        examples = reader.cached(data.all, str(side), tmp_path)
        assert examples.max_length == wanted
        saved = tmp_path / f"saved{side}"
        saved.mkdir()
        reader.cut_at(examples.max_length).save(saved)
        again = ImageReader.load(saved).examples(Rows(data.all.path).table())
        assert again.collate(np.arange(3))["pixel_values"].equal(examples.collate(np.arange(3))["pixel_values"])
    assert reader_of(folder, max_length=96).cached(data.all, "x", tmp_path).max_length == 96


def test_a_fixed_side_stays_whatever_is_asked_for(tmp_path):
    folder = folder_with(tmp_path / "base", SETTINGS["vit"])
    write_tiny_images(tmp_path / "rows", 3)
    assert reader_of(folder, max_length=20).examples(table_of(tmp_path / "rows")).max_length == 48
