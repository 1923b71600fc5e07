"""Images as a vision model needs them: decoded once into a memory-mapped cache of bytes, scaled to numbers by batch.

Works on the canonical columns "image" and "content". Sizes, crops and scales are those of the base model's own
processor.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.cache import cached_file
from autosft.data.data import Rows
from autosft.data.pixels import UnreadableImage, content_of, pillow, rgb_of, size_of
from autosft.errors import BaseModelError, explain
from autosft.inputs.base import Examples, Reader

if TYPE_CHECKING:
    import torch
    from PIL import Image

#: How Transformers keeps a processor.
PROCESSOR_FILE = "preprocessor_config.json"

#: What a model's folder says beside it: "sides", the sides in pixels that a network takes alike, ascending.
SIDES_FILE = "autosft_sides.json"

#: What an image that cannot be read looks like: it tells no class from another.
_GREY = 128

#: Images looked at to choose a side, and how much larger than a side most of them must be for the next one.
_SAMPLE, _ENLARGED = 200, 1.5

#: Above this edge ConvNeXT's processor scales to a square instead of cutting one out (its class in Transformers).
_CONVNEXT_SQUARE = 384


class Pixels(Examples):
    """Images of one size.

    Args:
        values: Bytes, shape (images, height, width, 3), in memory or mapped from a file.
        scale: What a byte is multiplied by, for each channel. shift: What is added then.
    """

    def __init__(self, values: NDArray[np.uint8], scale: NDArray[np.float32], shift: NDArray[np.float32]) -> None:
        self._values = values
        self._scale, self._shift = scale, shift
        self.lengths = np.ones(len(values), np.int64)
        self.max_length = int(min(values.shape[1:3]))

    @property
    def black(self) -> NDArray[np.float32]:
        """Each channel's value where there is no light."""
        return self._shift

    @property
    def white(self) -> NDArray[np.float32]:
        """Each channel's value where there is most light."""
        return 255 * self._scale + self._shift

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns "pixel_values", float32, shape (rows, 3, height, width)."""
        import torch

        values = torch.from_numpy(np.ascontiguousarray(self._values[examples].transpose(0, 3, 1, 2))).float()
        scale, shift = (torch.from_numpy(each)[:, None, None] for each in (self._scale, self._shift))
        return {"pixel_values": values.mul_(scale).add_(shift)}


class ImageReader(Reader):
    """Reads images as a Transformers image processor does, with Pillow.

    Attributes:
        processor: The processor, whose settings are followed and saved.
        sides: Sides in pixels that `cached` may choose from; empty where the processor's size stands.
    """

    def __init__(self, processor: Any, sides: tuple[int, ...] = ()) -> None:
        self.processor = processor
        self.sides = sides

    @classmethod
    def of_base(cls, folder: Path, *, max_length: int | None, context_tokens: int) -> Self:
        """Returns the reader of a base model's folder.

        Args:
            max_length: Pixels of a side; only a network that takes any side goes by it.
            context_tokens: Not used: the processor says what the model takes.

        Raises:
            BaseModelError: The folder has no image processor, or one that does more than scale, cut and normalise.
        """
        path = folder / SIDES_FILE
        sides = tuple(json.loads(path.read_text(encoding="utf-8"))["sides"]) if path.exists() else ()
        reader = cls(_load_processor(folder), sides)
        _check_processor(reader, folder)
        return reader.cut_at(max_length) if sides and max_length else reader

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(_load_processor(folder))

    def save(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)

    def cut_at(self, max_length: int) -> Self:
        """Returns the same reader; where the side is free, for images of this side."""
        if not self.sides:
            return self
        size = {"height": max_length, "width": max_length}
        return type(self)(type(self.processor)(**{**self.processor.to_dict(), "size": size}))

    def examples(self, table: pa.Table) -> Pixels:
        values = np.empty((len(table), *self._none().shape[1:]), np.uint8)
        for row, image in enumerate(table.column("image")):
            values[row] = self.pixels(image)
        return self._pixels(values)

    def cached(self, rows: Rows, key: str, cache: Path) -> Pixels:
        images = rows.table().column("image")
        if self.sides:
            return self.cut_at(_choose_side(images, self.sides)).cached(rows, key, cache)
        name = f"{key}|{json.dumps(self._settings(), sort_keys=True, default=str)}"
        path = cache / "images" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.npy"

        def write(unfinished: Path) -> None:
            shape = (len(images), *self._none().shape[1:])
            values = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
            for row, image in enumerate(images):
                values[row] = self.pixels(image)
            values.flush()

        return self._pixels(np.load(cached_file(path, write), mmap_mode="r", allow_pickle=False))

    def pixels(self, image: pa.StructScalar) -> NDArray[np.uint8]:
        """Returns one image as bytes, shape (height, width, 3): grey all over where it cannot be read."""
        try:
            return self.fitted(rgb_of(content_of(image["path"].as_py(), image["bytes"].as_py())))
        except UnreadableImage:
            grey: NDArray[np.uint8] = self._none(1)[0]
            return grey

    def fitted(self, image: Image.Image) -> NDArray[np.uint8]:
        """Scales and cuts an RGB image as the processor does; returns bytes, shape (height, width, 3)."""
        settings = self.processor
        if settings.do_resize:
            width, height = _scaled_size(settings, image.width, image.height)
            image = image.resize((width, height), resample=int(settings.resample))
        values: NDArray[np.uint8] = np.asarray(image)
        edge = _convnext_edge(settings)
        if edge is not None and edge < _CONVNEXT_SQUARE:
            values = _centre(values, edge, edge)
        if settings.do_center_crop:
            values = _centre(values, settings.crop_size["height"], settings.crop_size["width"])
        return values

    def _none(self, rows: int = 0) -> NDArray[np.uint8]:
        """Returns grey images of the size that all are brought to."""
        blank = pillow().new("RGB", (64, 64), (_GREY,) * 3)
        # The padding of a cut is black, so grey is filled in afterwards.
        return np.full((rows, *self.fitted(blank).shape), _GREY, np.uint8)

    def _pixels(self, values: NDArray[np.uint8]) -> Pixels:
        settings = self.processor
        factor = float(settings.rescale_factor) if settings.do_rescale else 1.0
        mean, std = (settings.image_mean, settings.image_std) if settings.do_normalize else (0.0, 1.0)
        deviation = np.broadcast_to(np.asarray(std, np.float64), 3)
        return Pixels(
            values, (factor / deviation).astype(np.float32), (-np.asarray(mean) / deviation).astype(np.float32)
        )

    def _settings(self) -> dict[str, Any]:
        return dict(self.processor.to_dict())


def _load_processor(folder: Path) -> Any:
    pillow()  # Without it Transformers would tell of a processor that is missing.
    from transformers import AutoImageProcessor

    if not (folder / PROCESSOR_FILE).is_file():
        raise BaseModelError(
            explain(
                wrong=f"the model folder {folder} has no {PROCESSOR_FILE}",
                expected="an image model with the sizes and scales that it was trained with",
                fix=f"copy {PROCESSOR_FILE} from where the model comes from",
            )
        )
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    if processor.do_resize and processor.size.get("shortest_edge") and not _cuts_a_square(processor):
        # Left as they are, images would keep different shapes, which no batch can hold.
        edge = processor.size["shortest_edge"]
        processor = type(processor)(
            **{**processor.to_dict(), "do_center_crop": True, "crop_size": {"height": edge, "width": edge}}
        )
    return processor


def _cuts_a_square(processor: Any) -> bool:
    return bool(processor.do_center_crop) or _convnext_edge(processor) is not None


def _convnext_edge(processor: Any) -> int | None:
    """Returns the shortest edge of a processor that scales a little larger and cuts, as ConvNeXT's does; else None."""
    wanted = getattr(processor, "crop_pct", None) is not None and processor.do_resize
    return int(processor.size["shortest_edge"]) if wanted and processor.size.get("shortest_edge") else None


def _scaled_size(processor: Any, width: int, height: int) -> tuple[int, int]:
    """Returns the width and height that a processor scales an image to, before it cuts."""
    size, edge = processor.size, _convnext_edge(processor)
    if edge is not None:
        if edge >= _CONVNEXT_SQUARE:
            return edge, edge
        edge = int(edge / processor.crop_pct)
    elif size.get("height") and size.get("width"):
        return int(size["width"]), int(size["height"])
    else:
        edge = int(size["shortest_edge"])
    longer = int(edge * max(width, height) / min(width, height))
    return (edge, longer) if width <= height else (longer, edge)


def _centre(values: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cuts the middle out of an image; one that is smaller is put on black."""
    tall, wide = max(height, values.shape[0]), max(width, values.shape[1])
    if (tall, wide) != values.shape[:2]:
        top, left = -(-(tall - values.shape[0]) // 2), -(-(wide - values.shape[1]) // 2)
        padded = np.zeros((tall, wide, 3), np.uint8)
        padded[top : top + values.shape[0], left : left + values.shape[1]] = values
        values = padded
    top, left = (tall - height) // 2, (wide - width) // 2
    return values[top : top + height, left : left + width]


def _choose_side(images: pa.ChunkedArray, sides: tuple[int, ...]) -> int:
    """Returns the largest side that most images fill, the smallest where they fill none; of images spread evenly."""
    found: list[int] = []
    for row in np.linspace(0, len(images) - 1, min(len(images), _SAMPLE), dtype=np.int64):
        try:
            image = images[int(row)]
            found.append(min(size_of(content_of(image["path"].as_py(), image["bytes"].as_py()))))
        except UnreadableImage:
            continue
    typical = float(np.median(found)) if found else 0.0
    return max((side for side in sides if side <= _ENLARGED * typical), default=sides[0])


def _check_processor(reader: ImageReader, folder: Path) -> None:
    """Compares one image with what the processor itself makes of it: some do more than is followed here.

    Raises:
        BaseModelError: The two differ.
    """
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    image = pillow().fromarray(noise)
    wanted = np.asarray(reader.processor(image, return_tensors="np")["pixel_values"])
    made = reader._pixels(reader.fitted(image)[None]).collate(np.zeros(1, np.int64))["pixel_values"].numpy()
    if wanted.shape == made.shape and np.allclose(wanted, made, atol=1e-4):
        return
    raise BaseModelError(
        explain(
            wrong=f"the image processor of {folder} ({type(reader.processor).__name__}) does more than scale, cut and "
            "normalise",
            expected="a processor such as those of ViT, DINOv2, ConvNeXT or ResNet",
            fix="choose another base model",
        )
    )
