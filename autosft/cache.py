"""Where checked rows, tokens and features are kept between runs, and files there that are whole or made again."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from autosft.disk import writing

#: Cached files that this process has looked at: path, size in bytes and time of the last change in nanoseconds.
_SOUND: set[tuple[str, int, int]] = set()


def cache_folder() -> Path:
    """Returns the cache's folder, made where it is missing: AUTOSFT_CACHE, else `autosft` in the user's cache folder.

    Raises:
        RunFolderError: It cannot be written.
    """
    given = os.environ.get("AUTOSFT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(given or f"{base}/autosft").expanduser()
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path.absolute()


def cached_file(path: Path, write: Callable[[Path], None]) -> Path:
    """Returns a file that one process makes, and that is whole or not there.

    A file beside it holds its checksum. One that does not fit, after a power cut or on a disk that fails, is made
    again: what it held would be trained on without a word. Each process looks once at a file as it is.

    Args:
        write: Called with the path to write to where there is no sound file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not _is_sound(path):
            unfinished = path.with_suffix(".unfinished")
            try:
                write(unfinished)
                with unfinished.open("rb") as file:
                    os.fsync(file.fileno())
                _checksum_file(path).write_text(f"{_checksum(unfinished)}\n", encoding="utf-8")
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
            _SOUND.add(_version(path))
    return path


def _is_sound(path: Path) -> bool:
    """Whether a cached file is there and holds what was written to it."""
    if not path.exists():
        return False
    if (version := _version(path)) not in _SOUND:
        try:
            kept = _checksum_file(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return False
        if kept != _checksum(path):
            return False
        _SOUND.add(version)
    return True


def _version(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".crc32")


def _checksum(path: Path) -> str:
    """Returns the file's CRC-32, which is read at a gigabyte a second or so."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return f"{found:08x}"
