"""A run's folder: where everything a run leaves behind is, and who may write it.

`result.json` is written last and atomically: it exists if and only if the run finished.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autosft.disk import writing
from autosft.errors import RunFolderError, explain

FORMAT = 1

#: All that a run leaves which was killed before its plan was written: nothing is lost with it.
_BEFORE_THE_PLAN = (".lock", ".plan.json.unfinished", ".writable")


class RunFolder:
    """A run's folder on disk.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def trials(self) -> Path:
        return self.path / "trials.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @staticmethod
    def create(folder: str | Path | None) -> RunFolder:
        """Makes a new run's folder; None names one after the time under `runs/`.

        Raises:
            RunFolderError: It exists and is not empty, or cannot be written.
        """
        RunFolder.check_free(folder)
        path = Path(folder) if folder is not None else new_folder()
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        return RunFolder(path.absolute())

    @staticmethod
    def check_free(folder: str | Path | None) -> None:
        """Raises RunFolderError unless a new run can have this folder; leaves nothing behind."""
        if folder is None:
            return
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise RunFolderError(
                explain(wrong=f"{path} is a file", expected="a folder for the run", fix="name another one")
            )
        if path.exists() and any(file.name not in _BEFORE_THE_PLAN for file in path.iterdir()):
            if (path / "plan.json").exists():
                done = "a finished run" if (path / "result.json").exists() else "an unfinished run"
                fix = f"name another folder, or go on with it: autosft resume {path}"
                raise RunFolderError(explain(wrong=f"{path} holds {done}", expected="a new or empty folder", fix=fix))
            wrong = f"{path} exists and is not a run's folder"
            raise RunFolderError(explain(wrong=wrong, expected="a new or empty folder", fix="name another folder"))
        # Only a real file tells: permission bits say nothing about a file system that is mounted read-only.
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        with writing(path), tempfile.TemporaryFile(dir=nearest):
            pass

    @staticmethod
    def open(folder: str | Path) -> RunFolder:
        """Opens an existing run's folder.

        Raises:
            RunFolderError: It is not there, is not a run's, or is of a newer format.
        """
        path = Path(folder)
        if not (path / "plan.json").is_file():
            what = "is a file, not a run's folder" if path.is_file() else "does not exist"
            if path.is_dir():
                what = "is not a run's folder (it has no plan.json)"
            fix = "name the folder that `autosft fit --folder` wrote"
            raise RunFolderError(explain(wrong=f"{path} {what}", expected="a run's folder", fix=fix))
        run = RunFolder(path.absolute())
        for file in (run.plan, run.result):
            if file.exists() and (found := run.read(file).get("format")) != FORMAT:
                wrong = f"{file} has format {found!r}"
                raise RunFolderError(
                    explain(wrong=wrong, expected=f"format {FORMAT}", fix="use the autosft that wrote it")
                )
        return run

    def reopen(self) -> None:
        """Makes a finished run an unfinished one, before more work is done on it."""
        with writing(self.path):
            self.result.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from working on the same run.

        Raises:
            RunFolderError: Another process does.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            wrong = f"another process works on {self.path}"
            fix = "wait for it, or name another folder"
            raise RunFolderError(explain(wrong=wrong, expected="one process a run", fix=fix)) from error
        try:
            yield
        finally:
            lock.release()

    def read(self, path: Path) -> dict[str, Any]:
        """Reads one of the run's JSON files; raises RunFolderError where it is damaged."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            wrong = f"{path} cannot be read ({error})"
            raise RunFolderError(
                explain(wrong=wrong, expected="JSON", fix="restore the file, or start a new run")
            ) from error
        if not isinstance(value, dict):
            raise RunFolderError(
                explain(wrong=f"{path} is not an object", expected="a JSON object", fix="start a new run")
            )
        return value

    def write(self, path: Path, value: Any) -> None:
        """Writes JSON so that the file is either whole or not there; see `as_json`."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.unfinished")
            with unfinished.open("w", encoding="utf-8") as file:
                json.dump(as_json(value), file, indent=2, ensure_ascii=False, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)


def new_folder(prefix: str = "") -> Path:
    """Makes a folder under `runs/` that is called after the time, and `_2`, `_3` and so on where that one is taken.

    Raises:
        RunFolderError: It cannot be written.
    """
    name = f"{prefix}{datetime.now():%Y-%m-%d_%H-%M-%S}"
    with writing(Path("runs") / name):
        Path("runs").mkdir(exist_ok=True)
        for number in itertools.count(1):
            path = Path("runs") / (name if number == 1 else f"{name}_{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
    return path


def as_json(value: Any) -> Any:
    """Returns a value as JSON can hold it: null in the place of NaN and infinity, which strict parsers refuse."""
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def default_won(summary: Mapping[str, Any]) -> bool:
    """Whether by the content of `result.json` the winner is the very default that it is compared with.

    An untuned winner may be compared with another one.
    """
    best, default = summary["best"], summary["default"]
    return bool(best["is_default"]) and default.get("trial", best["trial"]) == best["trial"]
