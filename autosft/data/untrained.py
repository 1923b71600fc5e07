"""Data of sorts that nothing here trains on, told in plain words: sound, films, and places of objects in images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from autosft.errors import DataError, explain

_SOUND = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff"})
_FILM = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})
#: What is trained, for messages: by name, as kind= takes it.
_TRAINED = (
    "text or images: text-classification, multi-label-classification, text-regression, text-pair-classification, "
    "text-pair-regression, token-classification, causal-lm, chat, or image-classification"
)
#: Files of a folder that are looked at, and the share of the images that must have a file of boxes.
_MOST_FILES, _BOXED_SHARE = 100_000, 0.5
#: A line of YOLO's: a class, then the box's middle and size as shares of the image.
_YOLO = re.compile(r"\d+(\s+[01]?\.?\d*(e-\d+)?){4}\s*")


def refuse_media(path: Path) -> None:
    """Raises DataError for a file of sound or film, or a folder that holds some; call it where no data was found."""
    files = _files(path) if path.is_dir() else iter((path,))
    found = next((file for file in files if file.suffix.lower() in _SOUND | _FILM), None)
    if found is None:
        return
    what = "audio" if found.suffix.lower() in _SOUND else "video"
    holds = f"{path} holds {what} (such as {found.name})" if found != path else f"{path} is {what}"
    fix = f"transcribe it into a table of texts, or train on {what} with another library"
    raise DataError(explain(wrong=f"{holds}, which is not trained on here", expected=_TRAINED, fix=fix))


def refuse_boxes(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Raises DataError for images without classes that have boxes beside them: files of Pascal VOC or of YOLO.

    Args:
        folder: Where the images lie.
        tables: The images, by split, as `images.tables_from_images` returns them.
    """
    if not all(set(table.column_names) <= {"image", "label"} for table in tables.values()):
        return
    # Where folders name several classes, these can be learned whatever lies beside.
    labels = [table.column("label") for table in tables.values() if "label" in table.column_names]
    if len({label for column in labels for label in pc.unique(column.drop_null()).to_pylist()}) > 1:
        return
    images = {Path(path).stem for table in tables.values() for path in table.column("image").to_pylist()}
    boxes = {file.stem: file for file in _files(folder) if file.stem in images and _may_hold_boxes(file)}
    if len(boxes) < _BOXED_SHARE * len(images):
        return
    one = next(iter(boxes.values()))
    raise DataError(
        explain(
            wrong=f"{folder} holds images with a file of boxes each (such as {one.name}): this is object detection, "
            "which is not trained here",
            expected=_TRAINED,
            fix="to learn one class an image, give images in one sub-folder a class, or a table with a column of paths "
            "and one of labels",
        )
    )


def _files(folder: Path) -> Iterator[Path]:
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in sorted(names))
    return islice(found, _MOST_FILES)


def _may_hold_boxes(file: Path) -> bool:
    """Whether a file that is called as an image is says where things are in it."""
    if file.suffix.lower() == ".xml":
        return True
    if file.suffix.lower() != ".txt":
        return False
    try:
        with file.open(encoding="utf-8") as lines:
            return _YOLO.fullmatch(lines.readline()) is not None
    except (OSError, UnicodeDecodeError):
        return False
