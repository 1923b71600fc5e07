"""Image classification: one column of images in, one label out; and the checks that only images need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject, left_out
from autosft.data.finding import Severity
from autosft.data.pixels import NO_IMAGE, UnreadableImage, content_hash, content_of, rgb_of, size_of
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
    remarks: dict[str, dict[int, str]] = {}
    for name, table in subject.source.splits.items():
        # A row without any image is the business of `missing-inputs`.
        remarks[name] = {row: what for row, what in _unreadable(_images(subject.task, table)) if what != NO_IMAGE}
    return left_out(
        subject,
        "Images that cannot be read",
        remarks,
        test="test rows stay and are scored: the model is given a grey image for them",
        advice="put these files right; left in, the model is given grey images for them",
    )


def tiny_images(subject: Subject) -> Outcome | None:
    """Finds images with a side of fewer than eight pixels. Reported only."""
    found: dict[str, list[str]] = {}
    for name, table in subject.source.splits.items():
        images = _images(subject.task, table)
        for row in range(len(images)):
            path, data = _parts(images[row])
            try:
                width, height = size_of(content_of(path, data))
            except UnreadableImage:
                continue
            if min(width, height) < TINY_SIDE:
                remark = f"{subject.place(name, row)}: {_end(path)}: {width} x {height}"
                found.setdefault(name, []).append(remark)
    if not found:
        return None
    where = ", ".join(f"{len(rows):,} in {name}" for name, rows in found.items())
    return Outcome(
        Severity.WARNING,
        f"Images with a side below {TINY_SIDE} pixels: {where}.",
        sum(map(len, found.values())),
        examples=tuple(remark for rows in found.values() for remark in rows)[:NUM_EXAMPLES],
        advice="check the export that made them; there is next to nothing to see in them",
    )


class ImageClassification(OneLabel):
    """One label for an image: a path, the bytes of a file, or both as Hugging Face datasets keep them."""

    name = "image-classification"
    input = Input.IMAGE
    checks: ClassVar[Mapping[str, Check]] = {"unreadable-images": unreadable_images, "tiny-images": tiny_images}

    def unreadable_inputs(self, task: Task, table: pa.Table) -> dict[int, str]:
        return dict(_unreadable(_images(task, table)))

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


def _unreadable(images: pa.StructArray) -> Iterator[tuple[int, str]]:
    """Yields the rows whose image cannot be read, and why."""
    for row in range(len(images)):
        path, data = _parts(images[row])
        try:
            rgb_of(content_of(path, data))
        except UnreadableImage as error:
            yield row, str(error) if str(error) == NO_IMAGE else f"{_end(path)}: {error}"


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
