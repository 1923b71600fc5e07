"""A job on a node that is not the driver's: what it reads is put on this node's disk once, what it leaves goes back.

Files are known by their content, so that two workers of a node, or two runs, fetch nothing twice. A place that this
node shares with the driver, or has a copy of, is used as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from autosft.cache import cache_folder, cached_file
from autosft.cluster.depot import CHUNK_BYTES, Entry, digest, entries, find_depot
from autosft.cluster.image_rows import missing_images, write_with_images
from autosft.cluster.nodes import own_id
from autosft.errors import TrialFailed
from autosft.search.job import Ended, Job, Moved, Report, execute
from autosft.search.places import moved

#: The driver opens the depot when it first hears of another node.
_DEPOT_SECONDS = 60.0

#: Between two looks for a stop file on the driver's machine.
_STOP_SECONDS = 1.0

#: Files and folders whose content this process has looked at: as they were then, and the sha256 of each file.
_SOUND: set[tuple[Path, tuple[Entry, ...], tuple[str, ...]]] = set()


class Visit:
    """One job away from the driver's machine.

    Args:
        job: As the driver submitted it.
        depot: The run's depot.
        node_id: This node's.

    Attributes:
        job: The same with its stop file on this machine.
        fetched_seconds: What it took to have everything here.
    """

    def __init__(self, job: Job, depot: Any, node_id: str) -> None:
        self._depot = depot
        self._node_id = node_id
        self._given = job
        self._home = Path(tempfile.mkdtemp(prefix="autosft-visit-"))
        self._stop_files: dict[Path, Path] = {}
        self._left: dict[Path, Path] = {}
        self._shared: dict[Path, bool] = {}
        self.job = job if job.stop_file is None else replace(job, stop_file=self._stop_file(job.stop_file))
        self.fetched_seconds = 0.0

    @contextlib.contextmanager
    def arguments(self) -> Iterator[Mapping[str, Any]]:
        """Gives the job's arguments with places on this machine; where the job ends well, brings back what it left."""
        started = time.monotonic()
        here = moved(
            self._given.arguments,
            rows=self._rows_at_hand,
            read=self._at_hand,
            written=self._written,
            stop=self._stop_file,
            cache=cache_folder(),
        )
        self.fetched_seconds = time.monotonic() - started
        yield here
        for target, folder in self._left.items():
            self._bring_back(folder, target)

    @contextlib.contextmanager
    def relayed(self) -> Iterator[None]:
        """Passes stop files of the driver's machine on while the job runs, and cleans up behind it."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_STOP_SECONDS):
                for there, here in [*self._stop_files.items()]:
                    with contextlib.suppress(Exception):  # The driver may be gone: Ray ends this worker then.
                        if not here.exists() and self._ask("exists", there):
                            here.touch()

        threading.Thread(target=watch, name="autosft-relay", daemon=True).start()
        try:
            yield
        finally:
            done.set()
            shutil.rmtree(self._home, ignore_errors=True)

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._depot, method).remote(*arguments))

    def _stop_file(self, path: Path) -> Path:
        if self._is_shared(path.parent):
            return path
        return self._stop_files.setdefault(path, self._home / f"stop-{len(self._stop_files)}")

    def _written(self, target: Path) -> Path:
        if self._is_shared(target.parent):
            return target
        folder = self._left.setdefault(target, self._home / f"left-{len(self._left)}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _is_shared(self, folder: Path) -> bool:
        """Whether this machine sees the same folder as the driver's: a mark that is made there shows here."""
        if folder not in self._shared:
            mark = self._ask("mark", folder)
            self._shared[folder] = (folder / mark).exists()
            self._ask("unmark", folder, mark)
        return self._shared[folder]

    def _at_hand(self, path: Path) -> Path:
        """Returns where a file or folder of the driver's machine is on this one, fetched if it must be."""
        wanted: tuple[Entry, ...] = self._ask("entries", path)
        if _own_entries(path) == wanted:
            return path
        digests: tuple[str, ...] = self._ask("digests", path)
        if _holds(path, wanted, digests):
            return path
        named = "\n".join(f"{entry.name}\0{known}" for entry, known in zip(wanted, digests, strict=True))
        home = cache_folder() / "fetched" / hashlib.sha256(named.encode()).hexdigest()[:32]
        target = home / path.name
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(str(home / "lock")):
            if not _holds(target, wanted, digests):
                _remove(target)
                unfinished = home / f".{uuid.uuid4().hex}"
                try:
                    for entry, known in zip(wanted, digests, strict=True):
                        source = path / entry.name if entry.name else path
                        self._fetch(source, unfinished / entry.name if entry.name else unfinished, entry.size, known)
                    os.replace(unfinished, target)
                finally:
                    _remove(unfinished)
                self._ask("count", self._node_id, path)
        return target

    def _rows_at_hand(self, path: Path) -> Path:
        """As `_at_hand`, for rows: those of images hold paths, and where these lead nowhere here, bytes instead."""
        here = self._at_hand(path)
        if not (missing := missing_images(here)):
            return here
        # Rows of images hold the hash of each image, so their own hash tells these apart as well.
        target = cache_folder() / "fetched" / f"{digest(here)[:32]}-images" / path.name

        def write(unfinished: Path) -> None:
            write_with_images(here, unfinished, missing, lambda paths: self._ask("contents", paths))
            self._ask("count", self._node_id, path.with_name("images"))

        return cached_file(target, write)

    def _fetch(self, source: Path, target: Path, size: int, known: str) -> None:
        """Fetches one file; raises TrialFailed where it changed meanwhile."""
        import ray

        target.parent.mkdir(parents=True, exist_ok=True)
        offsets = [*range(0, size, CHUNK_BYTES)]
        # One part is on its way while another is written.
        coming = [self._depot.chunk.remote(source, offset) for offset in offsets[:2]]
        with target.open("wb") as stream:
            for at in range(len(offsets)):
                stream.write(ray.get(coming.pop(0)))
                if at + 2 < len(offsets):
                    coming.append(self._depot.chunk.remote(source, offsets[at + 2]))
        if digest(target) != known:
            raise TrialFailed(f"{source} changed on the driver's machine while it was copied from there")

    def _bring_back(self, folder: Path, target: Path) -> None:
        incoming = self._ask("begin", target)
        for entry in entries(folder):
            if self._given.leaves is not None and entry.name not in self._given.leaves:
                continue
            with (folder / entry.name).open("rb") as stream:
                while content := stream.read(CHUNK_BYTES):
                    self._ask("write", incoming, entry.name, content)
                if not entry.size:
                    self._ask("write", incoming, entry.name, b"")
        self._ask("finish", incoming, target)


def _own_entries(path: Path) -> tuple[Entry, ...] | None:
    try:
        return entries(path)
    except OSError:
        return None


def _holds(path: Path, wanted: tuple[Entry, ...], digests: tuple[str, ...]) -> bool:
    """Whether there is what is wanted, by names, sizes and content. Each process reads it once as it is."""
    own = _own_entries(path)
    if own is None or [(at.name, at.size) for at in own] != [(at.name, at.size) for at in wanted]:
        return False
    if (path, own, digests) not in _SOUND:
        files = [path / entry.name if entry.name else path for entry in own]
        if any(digest(file) != known for file, known in zip(files, digests, strict=True)):
            return False
        _SOUND.add((path, own, digests))
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def execute_anywhere(job: Job, send: Callable[[Report | Moved | Ended], None]) -> None:
    """Runs a job in a worker on whatever node this is; on the driver's own node nothing is done but that."""
    if job.home is None or (node_id := own_id()) == job.home.node_id:
        execute(job, send)
        return
    # First of all, so that the driver knows which jobs went with a node that is lost.
    send(Moved(job.id, node_id, 0.0))
    visit = Visit(job, _depot(job.home.depot), node_id)

    @contextlib.contextmanager
    def arguments() -> Iterator[Mapping[str, Any]]:
        with visit.arguments() as here:
            send(Moved(job.id, node_id, visit.fetched_seconds))
            yield here

    with visit.relayed():
        execute(visit.job, send, arguments())


def _depot(name: str) -> Any:
    until = time.monotonic() + _DEPOT_SECONDS
    while (depot := find_depot(name)) is None:
        if time.monotonic() > until:
            raise RuntimeError("the driver opened no depot for its files")
        time.sleep(0.2)
    return depot
