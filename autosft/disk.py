"""Writing to disk so that a failure is an error a person can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from autosft.errors import RunFolderError, explain


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write into an error a person can act on.

    Raises:
        RunFolderError: The disk is full, or the place is read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, RunFolderError):
            raise
        wrong = f"{path} cannot be written ({error.strerror or error})"
        fix = "free some disk space, or name a folder you may write to"
        raise RunFolderError(explain(wrong=wrong, expected="a writable place with room", fix=fix)) from error
