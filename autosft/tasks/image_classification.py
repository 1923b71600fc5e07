"""Image classification: one column of images in, one label out; and the checks that only images need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject, plural
from autosft.data.finding import Severity
from autosft.data.pixels import UnreadableImage, content_hash, content_of, rgb_of, size_of
from autosft.data.texts import shortened
from autosft.errors import DataError, explain
from autosft.task import Input, Task
from autosft.tasks.columns import user_column
from autosft.tasks.label_values import plain
from autosft.tasks.one_label import OneLabel

if TYPE_CHECKING:
    from autosft.data.checks.subject import Check

#: How an image is kept: where its file is, or the file's content.
IMAGE_TYPE = pa.struct([("path", pa.string()), ("bytes", pa.binary())])

#: Images with a side below this are mostly broken exports, or tracking pixels.
TINY_SIDE = 8


def unreadable_images(subject: Subject) -> Outcome | None:
    """Finds files that hold no image. Training rows are dropped; a test row is given to the model as a grey image."""
    keep: dict[str, np.ndarray[Any, Any]] = {}
    examples: list[str] = []
    for name, table in subject.source.splits.items():
        images = _images(subject.task, table)
        keep[name] = np.ones(table.num_rows, bool)
        for row in range(table.num_rows):
            path, data = _parts(images[row])
            if not path and data is None:
                continue  # The business of `missing-inputs`.
            try:
                rgb_of(content_of(path, data))
            except UnreadableImage as error:
                keep[name][row] = False
                if len(examples) < NUM_EXAMPLES:
                    examples.append(f"{name} row {row}, {_end(path)}: {error}")
    counts = {name: int((~mask).sum()) for name, mask in keep.items()}
    if not sum(counts.values()):
        return None
    dropped = {name: keep[name] for name in counts if name != "test" and counts[name]}
    num_dropped = sum(counts[name] for name in dropped)
    test = "test rows stay: the model is given a grey image for them" if counts.get("test") else ""
    return Outcome(
        Severity.WARNING,
        f"Images that cannot be read: {', '.join(f'{count:,} in {name}' for name, count in counts.items() if count)}.",
        sum(counts.values()),
        examples=tuple(examples),
        fix="; ".join(part for part in (f"dropped {plural(num_dropped, 'row')}" if dropped else "", test) if part),
        advice=test if not dropped else "put these files right; left in, the model is given grey images for them",
        keep=dropped,
    )


def tiny_images(subject: Subject) -> Outcome | None:
    """Finds training images with a side of fewer than eight pixels. Reported only."""
    images = _images(subject.task, subject.source.train)
    found: list[str] = []
    count = 0
    for row in range(len(images)):
        path, data = _parts(images[row])
        try:
            width, height = size_of(content_of(path, data))
        except UnreadableImage:
            continue
        if min(width, height) < TINY_SIDE:
            count += 1
            found += [f"row {row}, {_end(path)}: {width} x {height}"] if len(found) < NUM_EXAMPLES else []
    if not count:
        return None
    return Outcome(
        Severity.WARNING,
        f"Training images with a side below {TINY_SIDE} pixels: {count:,}.",
        count,
        examples=tuple(found),
        advice="check the export that made them; there is next to nothing to see in them",
    )


class ImageClassification(OneLabel):
    """One label for an image: a path, the bytes of a file, or both as Hugging Face datasets keep them."""

    name = "image-classification"
    input = Input.IMAGE
    checks: ClassVar[Mapping[str, Check]] = {"unreadable-images": unreadable_images, "tiny-images": tiny_images}

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns "image" with an absolute path or bytes, and "content", the sha256 of the file."""
        images = _images(task, table)
        return pa.table({"image": images, "content": _hashes(images, pa.string())})

    def identities(self, task: Task, table: pa.Table) -> pa.Array:
        return _hashes(_images(task, table), pa.large_string())

    def shown(self, task: Task, table: pa.Table) -> pa.Array:
        images = _images(task, table)
        ends = [_end(_parts(images[row])[0]) for row in range(len(images))]
        return pa.array(ends, pa.large_string())


def _images(task: Task, table: pa.Table) -> pa.StructArray:
    """Returns the task's input column as IMAGE_TYPE; raises DataError where it cannot hold images."""
    if len(task.input_columns) != 1:
        _refuse(f"{len(task.input_columns)} input columns ({', '.join(task.input_columns)})")
    name = task.input_columns[0]
    column = plain(user_column(table, name))
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    empty = pa.nulls(len(whole), pa.string()), pa.nulls(len(whole), pa.binary())
    if pa.types.is_struct(whole.type) and {field.name for field in whole.type} >= {"bytes", "path"}:
        paths, content = (field.to_pylist() for field in (_field(whole, "path"), _field(whole, "bytes")))
        # Where the content is there, the path is only a name, and mostly leads nowhere on this machine.
        kept = [None if data is not None else _absolute(path) for path, data in zip(paths, content, strict=True)]
        return _struct(pa.array(kept, pa.string()), pa.array(content, pa.binary()))
    if pa.types.is_binary(whole.type) or pa.types.is_large_binary(whole.type):
        return _struct(empty[0], whole.cast(pa.binary()))
    if pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type):
        return _struct(pa.array([_absolute(path) for path in whole.to_pylist()], pa.string()), empty[1])
    if pa.types.is_null(whole.type):
        return _struct(*empty)
    return _refuse(f"column '{name}' of type {whole.type}")


def _struct(paths: pa.Array, content: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays([paths, content], fields=list(IMAGE_TYPE))


def _field(column: pa.StructArray, name: str) -> pa.Array:
    """Returns a field of a struct, null where the struct itself is."""
    return column.flatten()[column.type.get_field_index(name)]


def _absolute(path: str | None) -> str | None:
    """Returns a path that is the same for workers in another folder; null where it is blank."""
    return os.path.abspath(os.path.expanduser(path)) if path and path.strip() else None


def _parts(image: pa.StructScalar) -> tuple[str | None, bytes | None]:
    return image["path"].as_py(), image["bytes"].as_py()


def _hashes(images: pa.StructArray, kind: pa.DataType) -> pa.Array:
    return pa.array([content_hash(*_parts(image)) for image in images], kind)


def _end(path: str | None) -> str:
    """Returns the end of a path, which tells a file by its folder and name."""
    return shortened("/".join(path.split(os.sep)[-2:])) if path else "(bytes)"


def _refuse(what: str) -> Any:
    raise DataError(
        explain(
            wrong=f"{what} cannot be read as images",
            expected="one column with paths of image files, their bytes, or {'bytes', 'path'} of each",
            fix="name that column alone with inputs=['...']",
        )
    )
