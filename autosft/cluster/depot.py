"""The depot: an actor beside the driver that hands out files of the driver's machine, and takes in what workers made.

Workers on that machine never ask for it. What is done on the other side lives in `visit`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes that travel at once: what a node's object store has to hold of a file, a few times over.
CHUNK_BYTES = 32 * 2**20

_NAME = "autosft-depot-{}"

#: Files handed out at once.
_NUM_THREADS = 8


@dataclass(frozen=True)
class Entry:
    """One file below a path; its name is "" where the path is the file itself."""

    name: str
    size: int
    mtime_ns: int


def entries(path: Path) -> tuple[Entry, ...]:
    """Lists the files of a folder, or the one file, in the order of their names; links are followed.

    Raises:
        FileNotFoundError: There is nothing.
    """
    if path.is_file():
        return (_entry(path, ""),)
    if not path.is_dir():
        raise FileNotFoundError(path)
    found = []
    for folder, _, names in os.walk(path, followlinks=True):
        found += [Path(folder) / name for name in names]
    return tuple(_entry(file, file.relative_to(path).as_posix()) for file in sorted(found))


def _entry(file: Path, name: str) -> Entry:
    status = file.stat()
    return Entry(name, status.st_size, status.st_mtime_ns)


def digest(file: Path) -> str:
    """Returns the sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Depot:
    """Files by path, in chunks. Runs as an actor with several threads, so its methods may run at the same time."""

    def __init__(self) -> None:
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._lock = threading.Lock()
        self._fetched: dict[tuple[str, str], int] = {}

    def entries(self, path: Path) -> tuple[Entry, ...]:
        """As the function of the same name."""
        return entries(path)

    def digests(self, path: Path) -> tuple[str, ...]:
        """Returns the sha256 of each entry; a file that did not change is read once."""
        found = []
        for entry in entries(path):
            key = (path / entry.name if entry.name else path, entry.size, entry.mtime_ns)
            with self._lock:
                known = self._digests.get(key)
            if known is None:
                known = digest(key[0])
                with self._lock:
                    self._digests[key] = known
            found.append(known)
        return tuple(found)

    def chunk(self, file: Path, offset: int) -> bytes:
        """Returns a part of a file."""
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(CHUNK_BYTES)

    def contents(self, files: Sequence[str]) -> list[bytes | None]:
        """Returns small files whole; None for one that is not there."""
        return [Path(file).read_bytes() if os.path.isfile(file) else None for file in files]

    def count(self, node_id: str, path: Path) -> None:
        """Keeps in mind that a node fetched a path."""
        with self._lock:
            key = (node_id, str(path))
            self._fetched[key] = self._fetched.get(key, 0) + 1

    def fetched(self) -> dict[tuple[str, str], int]:
        """Returns how often each node fetched each path."""
        with self._lock:
            return dict(self._fetched)

    def mark(self, folder: Path) -> str:
        """Leaves an empty file in a folder, by which another machine sees whether it shares that; returns its name."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f".autosft-shared-{uuid.uuid4().hex}"
        (folder / name).touch()
        return name

    def unmark(self, folder: Path, name: str) -> None:
        """Takes a mark away."""
        (folder / name).unlink(missing_ok=True)

    def exists(self, path: Path) -> bool:
        """Whether there is such a file: a stop file, mostly."""
        return path.exists()

    def begin(self, target: Path) -> Path:
        """Makes room for a folder that comes in; what an earlier attempt left unfinished is removed."""
        for left in target.parent.glob(f".{target.name}.incoming-*"):
            shutil.rmtree(left, ignore_errors=True)
        incoming = target.with_name(f".{target.name}.incoming-{uuid.uuid4().hex}")
        incoming.mkdir(parents=True)
        return incoming

    def write(self, incoming: Path, name: str, content: bytes) -> None:
        """Appends to a file of a folder that comes in."""
        file = incoming / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(content)

    def finish(self, incoming: Path, target: Path) -> None:
        """Puts a folder that came in whole in the place of what was there."""
        shutil.rmtree(target, ignore_errors=True)
        os.replace(incoming, target)


def open_depot(name: str, node_id: str) -> Any:
    """Starts a depot on the driver's node, or returns the one that is there; it ends with the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return (
        ray.remote(Depot)
        .options(
            name=_NAME.format(name),
            get_if_exists=True,
            num_cpus=0,
            max_concurrency=_NUM_THREADS,
            max_restarts=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote()
    )


def find_depot(name: str) -> Any | None:
    """Returns the depot of a run, or None where the driver has not opened it yet."""
    import ray

    with contextlib.suppress(ValueError):
        return ray.get_actor(_NAME.format(name))
    return None
