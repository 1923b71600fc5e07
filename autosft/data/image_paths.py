"""Names of images in a table, and the files beside the table that they stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from autosft.data.column_types import is_text
from autosft.data.images import first_paths, is_image_path

_PEEK_ROWS = 50


def with_absolute_paths(table: pa.Table, folder: Path) -> pa.Table:
    """Returns the table with names of images, where the files lie beside a data file, as absolute paths.

    They are relative to the data file's folder; or else names of files in it or in the folders inside it, also without
    their suffix, where no name is met twice. Those that lie in no such place stay as they are, to be looked for in the
    working directory.

    Args:
        table: As read.
        folder: Where the data file lies.
    """
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if not is_text(column.type):
            continue
        # Most columns are told by their first rows, and are long.
        if not (first := first_paths(column)) and not _may_be_stems(_filled(column.slice(0, _PEEK_ROWS).to_pylist())):
            continue
        values = column.to_pylist()
        if (made := _relative(values, first, folder) or _by_name(values, folder)) is not None:
            table = table.set_column(index, name, pa.chunked_array([pa.array(made, pa.string())]))
    return table


def _relative(values: Sequence[str | None], first: Sequence[str], folder: Path) -> list[str | None] | None:
    home = os.path.abspath(folder)
    # Files are listed on Windows for use elsewhere too.
    for divider in (os.sep, "\\"):
        paths = [path.replace(divider, os.sep) for path in first if not os.path.isabs(path)]
        if any((folder / path).is_file() for path in paths):
            return [value and os.path.join(home, value.replace(divider, os.sep)) for value in values]
    return None


def _by_name(values: Sequence[str | None], folder: Path) -> list[str | None] | None:
    names = _filled(values)
    peek = names[:_PEEK_ROWS]
    with_suffix = bool(peek) and all(map(is_image_path, peek))
    if not (with_suffix or _may_be_stems(peek)):
        return None
    found = _files_by_name(folder, with_suffix=with_suffix)
    if not any(name in found for name in peek) or any(found.get(name, "") is None for name in names):
        return None
    if not with_suffix and (len(set(names)) < len(names) or not all(name in found for name in names)):
        return None
    return [value and (found.get(value) or value) for value in values]


def _may_be_stems(names: Sequence[str]) -> bool:
    """Names of files are all different and of one word; names of classes repeat, and texts have several words."""
    return bool(names) and len(set(names)) == len(names) and all(len(name.split()) == 1 for name in names)


def _filled(values: Sequence[str | None]) -> list[str]:
    return [value for value in values if value]


def _files_by_name(folder: Path, *, with_suffix: bool) -> Mapping[str, str | None]:
    """Returns the images in a folder and in the folders inside it by name; None for a name that is met twice."""
    found: dict[str, str | None] = {}
    for place, names in _files_near(os.path.abspath(folder)):
        for name in filter(is_image_path, names):
            key = name if with_suffix else os.path.splitext(name)[0]
            found[key] = None if key in found else os.path.join(place, name)
    return found


def _files_near(home: str) -> Iterator[tuple[str, list[str]]]:
    """Yields a folder and the folders inside it, each with its files; one that may not be read has none."""
    for place, folders, names in os.walk(home, followlinks=True):
        yield place, names
        if place != home:
            folders.clear()
        folders[:] = [name for name in folders if name[0] != "."]
