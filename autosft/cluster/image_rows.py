"""Rows of images on a machine that has not their files: the same rows with the files' bytes in the place of paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

#: Images that travel at once.
_AT_ONCE = 64


def _column(schema: pa.Schema) -> str | None:
    """Returns the name of the column that holds images, each a struct of path and bytes."""
    for field in schema:
        if pa.types.is_struct(field.type) and {inner.name for inner in field.type} == {"path", "bytes"}:
            return str(field.name)
    return None


def missing_images(path: Path) -> frozenset[str]:
    """Returns the paths that rows hold of images whose files are not on this machine."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        name = _column(table.schema)
        if name is None:
            return frozenset()
        paths = pc.struct_field(table.column(name), "path").to_pylist()
    return frozenset(file for file in paths if file and not os.path.isfile(file))


def write_with_images(
    path: Path, target: Path, missing: frozenset[str], contents: Callable[[Sequence[str]], Sequence[bytes | None]]
) -> None:
    """Writes rows once more, with the bytes of the files that are missing here.

    Args:
        contents: Returns the bytes of files on the machine that has them; None where it has them no longer either.
    """
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        name = _column(table.schema)
        assert name is not None, "rows without images miss none"
        at = table.schema.get_field_index(name)
        with pa.ipc.new_file(str(target), table.schema) as writer:
            for start in range(0, table.num_rows, _AT_ONCE):
                block = table.slice(start, _AT_ONCE)
                images = block.column(at).to_pylist()
                wanted = [image["path"] for image in images if image and image["path"] in missing]
                found = dict(zip(wanted, contents(wanted), strict=True))
                filled = [
                    {"path": None, "bytes": content} if (content := found.get(image and image["path"])) else image
                    for image in images
                ]
                column = pa.array(filled, table.schema.field(at).type)
                writer.write_table(block.set_column(at, table.schema.field(at), column))
