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

#: A photograph of 50 megapixels, which takes 200 MB: a few kilobytes can claim any size ("decompression bomb").
MAX_PIXELS = 8192 * 6144

#: Times that a side may be as long as the other: a processor that scales the shorter one to 224 and cuts a square out
#: of the middle would make an image of gigabytes first, and then show a model next to nothing of it.
MAX_ASPECT = 100

#: Ends of the ranges that grey of more than 8 bits is kept in: of 8, 10, 12, 14 and 16 bits.
_TOPS = (255, 1023, 4095, 16_383, 65_535)

#: What Pillow raises over a damaged file.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error,
    zlib.error,
)  # fmt: skip

#: What is said of a row that has neither a path nor bytes.
NO_IMAGE = "there is no image"


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
        raise UnreadableImage(NO_IMAGE)
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
    """Returns an image upright and in RGB: transparency over white, grey of more than 8 bits scaled to 8.

    Colours of 16 bits a channel are scaled by Pillow itself, which keeps the upper 8.

    Raises:
        UnreadableImage: It holds no image, is damaged, or is beyond the limits.
    """
    with _reading():
        image = _opened(content)
        image.load()
        _turn_upright(image)
        return _as_rgb(image)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns whatever Pillow raises over a bad file into UnreadableImage, and keeps its warnings off the screen."""
    bombs = pillow().DecompressionBombError, pillow().DecompressionBombWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Of an image inside another, as icons have, only Pillow sees the size.
        warnings.simplefilter("error", bombs[1])
        try:
            yield
        except (*_DAMAGE, MemoryError, *bombs) as error:
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
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImage(
            f"{width} x {height} pixels: one side is more than {MAX_ASPECT} times as long as the other"
        )
    return image  # type: ignore[no-any-return]


def _turn_upright(image: Image.Image) -> None:
    """Turns an image as its EXIF data say; where those are damaged, which says nothing of the pixels, it stays."""
    from PIL import ImageOps

    with contextlib.suppress(*_DAMAGE):
        ImageOps.exif_transpose(image, in_place=True)


def _as_rgb(image: Image.Image) -> Image.Image:
    module = pillow()
    if image.mode.startswith("I") or image.mode == "F":
        return module.fromarray(_eight_bits(np.asarray(image))).convert("RGB")  # type: ignore[no-any-return]
    if "A" in image.getbands() or "a" in image.getbands() or image.info.get("transparency") is not None:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white: Image.Image = module.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scales grey values of up to 16 bits, or fractions up to one, to 0 to 255.

    The range is the smallest of 8, 10, 12, 14 and 16 bits that holds the image, for files do not say how many bits are
    in use: X-rays and microscopes give 10 or 12 and keep them in 16. It goes by this one image, in training as in
    prediction, so that a dark one of a brighter range, whose values all fit in a smaller one, becomes too bright.
    """
    # A number that is none, or infinite, must not decide the range.
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    largest = values.max(initial=0)
    tops = (1, *_TOPS) if values.dtype.kind == "f" else _TOPS
    top = next((top for top in tops if largest <= top), tops[-1])
    scaled: np.ndarray[Any, Any] = np.clip(values, 0, top).astype(np.float32)
    scaled *= 255.0 / top
    np.rint(scaled, out=scaled)
    return scaled.astype(np.uint8)
