"""Which arguments of `work`'s functions are places on a disk: what is read there, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosft.data.data import Data, Rows
from autosft.trainers.base import Limits

Place = Callable[[Path], Path]


def moved(
    arguments: Mapping[str, Any], *, rows: Place, read: Place, written: Place, stop: Place, cache: Path
) -> dict[str, Any]:
    """Returns the arguments with every place exchanged for one on this machine.

    Args:
        rows: Gives the place here of a file of rows.
        read: Likewise of a model's folder.
        written: Likewise of a folder that is written.
        stop: Likewise of a stop file.
        cache: Folder for tokens and features here.
    """

    def here(name: str, value: Any) -> Any:
        if isinstance(value, Data):
            named = None if value.named is None else rows(value.named)
            return replace(value, folder=rows(value.training(None)[0].path).parent, named=named)
        if isinstance(value, Rows):
            return Rows(rows(value.path), value.indices)
        if isinstance(value, Limits):
            return replace(value, cache=cache, stop_file=None if value.stop_file is None else stop(value.stop_file))
        if name == "folder":
            return str(read(Path(value)))
        if name == "scratch":
            return written(value)
        if name == "models":
            return _models(value, read=read, written=written)
        return value

    return {name: here(name, value) for name, value in arguments.items()}


def _models(models: Mapping[Any, Any], *, read: Place, written: Place) -> dict[Any, Any]:
    """Of models that are predicted with, trainer and folder by name; of those that are scaled, target by source."""
    return {
        key if isinstance(key, str) else read(key): (
            (value[0], str(read(Path(value[1])))) if isinstance(key, str) else written(value)
        )
        for key, value in models.items()
    }
