"""A batch's folder: the jobs as they were understood, what became of them, and a run's folder for each.

batch.json      the jobs, by name, written when they are first seen     <name>/          a run's folder
batch.jsonl     a line an event, synced                                 logs/<name>.log  progress and faults
                                                                        logs/ray.txt     what Ray said
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.batch.job import Job
from autosft.disk import writing
from autosft.errors import PlanError, RunFolderError, explain
from autosft.run_folder import RunFolder, new_folder
from autosft.search.trial import TrialLog

FORMAT = 1

#: All that a batch leaves which ended before its jobs were written down: nothing is lost with it.
_BEFORE_THE_JOBS = (".lock", ".writable", ".batch.json.unfinished", "logs")


@dataclass(frozen=True)
class Past:
    """What a job's earlier sittings came to.

    Attributes:
        wall_seconds: Their wall time, those that were killed included.
        added_seconds: What it was given beyond its own budget.
        given_seconds: What its first sitting was given, None where that had no limit or there was none.
        num_extensions: How often it went on after it had finished.
        fate: How the last one ended; "" where none did. reason: Why, where it failed. error: Of which kind that was.
    """

    wall_seconds: float = 0.0
    added_seconds: float = 0.0
    given_seconds: float | None = None
    num_extensions: int = 0
    fate: str = ""
    reason: str = ""
    error: str = ""

    @property
    def ran_short(self) -> bool:
        """Whether no training came to an end, which more time may mend."""
        return self.fate == "failed" and self.error == "SearchFailed"


class BatchFolder:
    """A batch's folder on disk.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @staticmethod
    def open(folder: str | Path | None) -> BatchFolder:
        """Opens a batch's folder, or makes a new one; None names one after the time under `runs/`.

        Raises:
            RunFolderError: It holds something else, or cannot be written.
        """
        path = Path(folder) if folder is not None else new_folder("batch_")
        found = BatchFolder(path)
        if not found.file.exists() and not found.log.exists():
            there = [item.name for item in path.iterdir()] if path.is_dir() else []
            if path.exists() and (not path.is_dir() or any(name not in _BEFORE_THE_JOBS for name in there)):
                what = "a run, not a batch" if "plan.json" in there else "something that is no batch"
                wrong = f"{path} holds {what}" if path.is_dir() else f"{path} is a file"
                expected = "a new or empty folder, or one that a batch was begun in"
                raise RunFolderError(explain(wrong=wrong, expected=expected, fix="name another folder"))
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            (path / "logs").mkdir(exist_ok=True)
        return found

    @property
    def file(self) -> Path:
        return self.path / "batch.json"

    @property
    def log(self) -> Path:
        return self.path / "batch.jsonl"

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.path / name)

    def job_log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    @property
    def ray_log(self) -> Path:
        """No job's log, also of one called "ray": theirs end in another way."""
        return self.path / "logs" / "ray.txt"

    def slots_file(self, name: str) -> Path:
        return self.path / "logs" / f".{name}.slots"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from working on the same batch.

        Raises:
            RunFolderError: Another process does.
        """
        with RunFolder(self.path).locked():
            yield

    def allow(self, name: str, num_trials: int) -> None:
        """Tells a job's process how many trials it may run at once from now on."""
        path = self.slots_file(name)
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_text(str(num_trials), encoding="ascii")
        unfinished.replace(path)

    def enter(self, jobs: Sequence[Job], *, budget_seconds: float | None) -> list[str]:
        """Writes down the jobs; returns what a user should know about those that changed.

        Raises:
            PlanError: A job that has begun is now another one.
        """
        known = {row["name"]: row for row in self._read()["jobs"]} if self.file.exists() else {}
        notes, wrong = [], []
        for job in jobs:
            before = known.get(job.name)
            if before is None or before["digest"] == job.digest:
                continue
            if not self.run(job.name).plan.exists():
                continue
            changes = _changes(before["arguments"], job.arguments)
            state = "finished" if self.run(job.name).result.exists() else "has begun"
            wrong.append(f"job '{job.name}' {state} as another one ({changes})")
        if wrong:
            fix = "give what is new another name, or remove a job's folder in it to begin that job anew"
            expected = "jobs as they were when they began"
            raise PlanError(explain(wrong=f"in {self.path}, " + "; ".join(wrong), expected=expected, fix=fix))
        names = {job.name for job in jobs}
        if gone := [name for name in known if name not in names]:
            notes.append(f"no longer among the jobs, and left as they are: {', '.join(gone)}")
        if new := [job.name for job in jobs if known and job.name not in known]:
            notes.append(f"new: {', '.join(new)}")
        rows = [job.to_json() for job in jobs] + [known[name] for name in gone]
        RunFolder(self.path).write(self.file, {"format": FORMAT, "budget_seconds": budget_seconds, "jobs": rows})
        return notes

    def _read(self) -> dict[str, Any]:
        found = RunFolder(self.path).read(self.file)
        if found.get("format") != FORMAT:
            wrong = f"{self.file} has format {found.get('format')!r}"
            raise RunFolderError(explain(wrong=wrong, expected=f"format {FORMAT}", fix="use the autosft that wrote it"))
        return found

    def append(self, event: str, *, spent_seconds: float, **values: Any) -> None:
        """Writes one event to the log."""
        with writing(self.path):
            TrialLog(self.log).append(event, spent_seconds=round(spent_seconds, 2), **values)

    def beat(self, spent_seconds: float) -> None:
        """Keeps what was spent, should this process be killed before the next event."""
        with contextlib.suppress(OSError):
            unfinished = self.path / ".spent.unfinished"
            unfinished.write_text(f"{spent_seconds:.1f}", encoding="ascii")
            os.replace(unfinished, self.path / ".spent")

    def spent_seconds(self) -> float:
        """Returns the wall time of all sittings so far."""
        beat = 0.0
        with contextlib.suppress(OSError, ValueError):
            beat = float((self.path / ".spent").read_text(encoding="ascii"))
        return max([beat, *(float(row["spent_seconds"]) for row in self.events())])

    def events(self) -> list[dict[str, Any]]:
        """Returns every event of the log; a last line that a crash cut short did not happen."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            wrong = f"{self.log} cannot be read ({error})"
            fix = "restore the file, or remove the line that is damaged"
            raise RunFolderError(explain(wrong=wrong, expected="a JSON object a line", fix=fix)) from error

    def past(self) -> Mapping[str, Past]:
        """Returns what became of each job that ever started, from the log alone."""
        found: dict[str, dict[str, Any]] = {}
        open_: dict[str, float] = {}

        def close(name: str, spent: float) -> None:
            row, since = found[name], open_.pop(name)
            row["wall_seconds"] = row.get("wall_seconds", 0.0) + max(0.0, spent - since)

        for event in self.events():
            spent, name = event["spent_seconds"], event.get("name", "")
            if event["event"] == "opened":
                for running in list(open_):
                    close(running, spent)
            elif event["event"] == "started":
                row = found.setdefault(name, {})
                open_[name] = spent
                if event.get("more_seconds"):
                    row["added_seconds"] = row.get("added_seconds", 0.0) + event["more_seconds"]
                    row["num_extensions"] = row.get("num_extensions", 0) + 1
                row.setdefault("given_seconds", event.get("seconds"))
                row |= {"fate": "", "reason": "", "error": ""}
            elif event["event"] == "ended" and name in open_:
                close(name, spent)
                found[name] |= {key: event.get(key, "") for key in ("fate", "reason", "error")}
        return {name: Past(**row) for name, row in found.items()}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    keys = [key for key in {**before, **after} if key != "budget" and before.get(key) != after.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r} and is {after.get(key)!r}" for key in keys)
