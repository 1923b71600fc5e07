"""Tables of images from folders with one sub-folder a class, zips of such folders, and columns of paths.

The tables hold paths; files are opened in `autosft.data.pixels`. No decision about input and target is made here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
from filelock import FileLock

from autosft.cache import cache_folder
from autosft.data.column_types import is_bytes, is_text
from autosft.data.image_splits import split_folders
from autosft.disk import writing
from autosft.errors import DataError, explain

IMAGE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
})  # fmt: skip

#: What files of images begin with: PNG, JPEG, GIF, BMP, TIFF, PPM and PGM, JPEG 2000, icons.
_BEGINNINGS = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6", b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51", b"\0\0\1\0",
)  # fmt: skip

#: Data files that describe images beside them; where one is there, it says what the rows are.
_TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow"})

_MAX_ZIP_FILES = 2_000_000
_MAX_ZIP_BYTES = 50 * 2**30
_PEEK_ROWS = 50


def is_image_path(path: str | Path) -> bool:
    """Whether a path's suffix is one of an image."""
    return os.path.splitext(str(path))[1].lower() in IMAGE_SUFFIXES


def image_columns(table: pa.Table) -> list[str]:
    """Returns the columns that hold images: paths with an image's suffix, bytes, or structs of bytes and path."""
    return [name for name in table.column_names if _holds_images(table.column(name))]


def _holds_images(column: pa.ChunkedArray) -> bool:
    if pa.types.is_struct(column.type):
        return {field.name for field in column.type} == {"bytes", "path"}
    if is_bytes(column.type):
        first = column.drop_null().slice(0, _PEEK_ROWS).to_pylist()
        return not first or any(map(_begins_image, first))
    return is_text(column.type) and bool(first_paths(column))


def _begins_image(content: bytes) -> bool:
    kinds = (content[4:12], content[8:12])
    return content.startswith(_BEGINNINGS) or b"WEBP" in kinds or b"ftypavif" in kinds


def first_paths(column: pa.ChunkedArray) -> list[str]:
    """Returns the first few values where all of them look like paths of images, else nothing."""
    first = [value for value in column.slice(0, _PEEK_ROWS).to_pylist() if value]
    return first if all(is_image_path(value) for value in first) else []


def refuse_unclassed(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Raises DataError where images were read from a folder, and none of them lies in a class."""
    if any(table.column_names != ["image"] for table in tables.values()):
        return
    num = sum(table.num_rows for table in tables.values())
    raise DataError(
        explain(
            wrong=f"the {num:,} images of {folder} lie in no class folder, and no table names their classes",
            expected="one sub-folder a class, or a table with a column of paths and one of labels",
            fix="move the images of each class into a folder called as the class; where their names tell it, write a "
            "csv of each file's name and class beside them",
        )
    )


def is_zip(path: Path) -> bool:
    """Whether a path is that of a zip file, by its name."""
    return path.suffix.lower() == ".zip"


def tables_from_images(folder: Path) -> tuple[dict[str, pa.Table], tuple[str, ...]] | None:
    """Reads a folder of images: <class>/*.png, or train/<class>/*.png and test/<class>/*.png.

    A folder that only wraps another is looked through, also inside a split. Names of classes stay text, also where they
    are numbers. Images that lie in no class have none: their label is null, or the table has no label at all where this
    holds for all.

    Returns:
        Tables with the columns "image" (absolute path) and "label" by split, and notes on what was left aside; None
        where the folder is none of images: it holds none, or a table that describes them.

    Raises:
        DataError: Folders are called like splits, and cannot be told from classes.
    """
    top = _unwrapped(folder)
    if any(entry.suffix.lower() in _TABLES for entry in top.iterdir() if entry.is_file()):
        return None
    children = {child: _class_folders(_unwrapped(child)) for child in _folders(top) if _has_images(child)}
    splits = split_folders(top, children)
    parts = _parts(splits) if splits else {"train": _classes(top)}
    left = [child.name for child in children if splits and child not in splits.values()]
    notes = (f"{folder.name}: folders left aside: {', '.join(left)}.",) if left else ()
    rows = [row for part in parts.values() for row in part]
    labelled = any(label is not None for _, label in rows)
    if not rows or (not labelled and any(entry.suffix.lower() == ".txt" for entry in top.iterdir())):
        return None
    return {name: _table(part, labelled=labelled) for name, part in parts.items()}, notes


def _table(rows: list[tuple[str, str | None]], *, labelled: bool) -> pa.Table:
    columns = {"image": pa.array([path for path, _ in rows], pa.string())}
    if labelled:
        columns["label"] = pa.array([label for _, label in rows], pa.string())
    return pa.table(columns)


def _parts(splits: Mapping[str, Path]) -> dict[str, list[tuple[str, str | None]]]:
    train = _unwrapped(splits["train"])
    parts = {"train": _classes(train)}
    classes = set(_class_folders(train))
    for split, folder in splits.items():
        if split == "train":
            continue
        inner = _class_folders(folder)
        if len(inner) == 1 and classes and inner[0] not in classes:
            # It only wraps the classes, or images that have none ("test/images"): no class is called so in training.
            folder = folder / inner[0]
        parts[split] = _classes(folder)
    return parts


def _class_folders(folder: Path) -> list[str]:
    return [child.name for child in _folders(folder) if _has_images(child)]


def _classes(folder: Path) -> list[tuple[str, str | None]]:
    """Returns path and class of every image: those directly in the folder have none."""
    found: list[tuple[str, str | None]] = [(path, None) for path in _images_directly_in(folder)]
    for child in _folders(folder):
        found += [(path, child.name) for path in _images_below(child)]
    return found


def _images_below(folder: Path) -> Iterable[str]:
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from _images_directly_in(Path(place))


def _images_directly_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name for entry in entries if is_image_path(entry.name) and entry.name[0] != "." and entry.is_file()
        )
    return [os.path.join(os.path.abspath(folder), name) for name in names]


def _has_images(folder: Path) -> bool:
    return next(iter(_images_below(folder)), None) is not None


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _unwrapped(folder: Path) -> Path:
    """Returns the folder inside which the classes or splits lie, as a zip often wraps everything once more."""
    while True:
        inside = [entry for entry in folder.iterdir() if not _is_hidden(entry.name)]
        inner = [entry for entry in inside if entry.is_dir()]
        tables = any(entry.suffix.lower() in _TABLES | IMAGE_SUFFIXES for entry in inside if entry.is_file())
        if tables or len(inner) != 1 or not _folders(inner[0]):
            return folder
        folder = inner[0]


def unpacked(path: Path) -> Path:
    """Unpacks a zip's images and tables into the cache, once, and returns the folder.

    Raises:
        DataError: It is no whole zip, is encrypted or too large, or holds a link or a path that leads out of it.
        RunFolderError: The cache cannot be written.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:24]
    folder = cache_folder() / "unpacked" / digest
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                unfinished = folder.with_name(f".{digest}.{uuid.uuid4().hex}")
                try:
                    _unpack(path, unfinished)
                    os.replace(unfinished, folder)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            # All names are judged before any file is written.
            wanted = [(entry, name) for entry in entries if _is_wanted(name := _inner_path(path, entry))]
            total = sum(entry.file_size for entry, _ in wanted)
            if len(wanted) > _MAX_ZIP_FILES or total > _MAX_ZIP_BYTES:
                _refuse(path, f"{len(wanted):,} files of {total / 1e9:.1f} GB are too many to unpack")
            for entry, name in wanted:
                target = folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                # Reading an entry ends at the size that was checked, whatever its data would unpack to.
                with archive.open(entry) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            explain(
                wrong=f"{path} is not a whole zip file ({str(error)[:100]})",
                expected="a zip of a folder with one sub-folder a class, without a password",
                fix="copy or zip it again, or unpack it and pass the folder",
            )
        ) from error


def _is_wanted(name: PurePosixPath) -> bool:
    hidden = any(_is_hidden(part) for part in name.parts)
    return not hidden and name.suffix.lower() in IMAGE_SUFFIXES | _TABLES


def _inner_path(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Returns where an entry belongs below the folder; raises DataError where that leads out of it."""
    text = entry.filename.replace("\\", "/")
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts or ":" in text.split("/")[0] or not name.parts or "\0" in text:
        _refuse(path, f"its entry {entry.filename!r} leads out of the folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        _refuse(path, f"its entry {entry.filename!r} is a link")
    return name


def _refuse(path: Path, reason: str) -> None:
    raise DataError(
        explain(
            wrong=f"{path} is not unpacked: {reason}",
            expected="a zip of a folder with one sub-folder a class",
            fix="if you trust it, unpack it yourself and pass the folder",
        )
    )
