"""One image: its bytes, their hash, and the image in them as RGB, opened lazily and within limits by Pillow.

Which files are images, and of which class, is told in `autosft.data.images`; sizes for a model in `autosft.inputs`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from autosft.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from PIL import Image

#: Formats that Pillow decodes itself. Others, such as EPS, would start a program.
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")

#: An image larger than this takes a gigabyte or so to decode: a few kilobytes can claim it ("decompression bomb").
MAX_PIXELS = 100_000_000


class UnreadableImage(Exception):
    """A file or bytes without an image that can be read; the message says why."""


def pillow() -> Any:
    """Returns Pillow's module of images.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            explain(
                wrong="images need the package Pillow, which is not installed",
                expected="Pillow 11 or newer",
                fix="pip install 'autosft[image]'",
            )
        ) from error
    return Image


def content_of(path: str | None, data: bytes | None) -> bytes:
    """Returns an image's bytes, from where they are.

    Raises:
        UnreadableImage: There is no such file, or it cannot be opened; or there is neither path nor data.
    """
    if data is not None:
        return data
    if not path:
        raise UnreadableImage("there is no image")
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        raise UnreadableImage(getattr(error, "strerror", None) or str(error)) from error


def content_hash(path: str | None, data: bytes | None) -> str:
    """Returns the sha256 of an image's bytes; "" where there is none, and that of the path where no file is there."""
    if data is not None:
        return hashlib.sha256(data).hexdigest()
    if not path:
        return ""
    try:
        status = os.stat(path)
        return _file_hash(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        return hashlib.sha256(f"no file: {path}".encode()).hexdigest()


@functools.lru_cache(maxsize=500_000)
def _file_hash(path: str, size: int, mtime_ns: int) -> str:
    """Returns a file's sha256; size and time are part of the key, so that a changed file is read again."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(content: bytes) -> tuple[int, int]:
    """Returns width and height as the file states them, without decoding it.

    Raises:
        UnreadableImage: It holds no image, or one beyond the limits.
    """
    with _reading():
        width, height = _opened(content).size
        return int(width), int(height)


def rgb_of(content: bytes) -> Image.Image:
    """Returns an image upright and in RGB: transparency over white, 16 bits a channel scaled to 8.

    Raises:
        UnreadableImage: It holds no image, is damaged, or is beyond the limits.
    """
    with _reading():
        from PIL import ImageOps

        image = _opened(content)
        image.load()
        return _as_rgb(ImageOps.exif_transpose(image))


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns whatever Pillow raises over a bad file into UnreadableImage, and keeps its warnings off the screen."""
    bomb = pillow().DecompressionBombError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (
            OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError,
            MemoryError, struct.error, zlib.error, bomb,
        ) as error:  # fmt: skip
            unknown = "cannot identify" in str(error)
            reason = "it holds no image of a known format" if unknown else str(error).partition("\n")[0][:120]
            raise UnreadableImage(reason or type(error).__name__) from error


def _opened(content: bytes) -> Image.Image:
    module = pillow()
    module.init()
    if not content:
        raise UnreadableImage("the file is empty")
    image = module.open(io.BytesIO(content), formats=[name for name in _FORMATS if name in module.OPEN])
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} that are read")
    return image  # type: ignore[no-any-return]


def _as_rgb(image: Image.Image) -> Image.Image:
    module = pillow()
    if image.mode.startswith("I") or image.mode == "F":
        return module.fromarray(_eight_bits(np.asarray(image))).convert("RGB")  # type: ignore[no-any-return]
    if "A" in image.getbands() or "a" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = module.new("RGBA", image.size, (255, 255, 255, 255))
        return module.alpha_composite(white, image).convert("RGB")  # type: ignore[no-any-return]
    return image.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scales grey values of 16 bits, or fractions up to one, to 0 to 255."""
    if values.dtype.kind == "f":
        values = values * 255.0 if values.max(initial=0) <= 1 else values
    elif values.dtype.itemsize == 2 or values.max(initial=0) > 255:
        values = np.clip(values, 0, 65_535) / 257.0
    clipped: np.ndarray[Any, Any] = np.clip(np.rint(np.nan_to_num(values)), 0, 255)
    return clipped.astype(np.uint8)
