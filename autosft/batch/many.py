"""`fit_many`: many questions, one machine or cluster, one budget, one table."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from autosft.batch.driver import Driver
from autosft.batch.folder import BatchFolder
from autosft.batch.job import Job, as_given, checked
from autosft.batch.live import view_for
from autosft.batch.page import write_page
from autosft.batch.table import as_text, rows_of, summary_of, write_parquet
from autosft.budget import Budget
from autosft.cache import cache_folder
from autosft.disk import writing
from autosft.errors import PlanError, explain
from autosft.result import Result
from autosft.task import Metric, Task
from autosft.tracking.choose import check_tracker

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        name: The job's.
        folder: Its run's folder.
        state: "finished", "failed", "unfinished" or "not started".
        error: Why it has no result, None where it has one.
        row: Its row of the batch's table.
    """

    name: str
    folder: Path
    state: str
    error: str | None
    row: Mapping[str, Any]

    @property
    def result(self) -> Result | None:
        """Its Result; None where it is not finished."""
        return Result.load(self.folder) if self.state == "finished" else None


@dataclass(frozen=True)
class BatchResult(Sequence[JobResult]):
    """What became of all jobs, in the order in which they were given; also by name: `results["spam"]`.

    Attributes:
        folder: The batch's folder, with `batch.parquet` and `batch.html`.
        jobs: A JobResult each.
        spent_seconds: Wall time of the batch, all sittings together.
        budget_seconds: What it might take, or None.
        was_interrupted: Whether it was asked to end early.
    """

    folder: Path
    jobs: tuple[JobResult, ...]
    spent_seconds: float
    budget_seconds: float | None = None
    was_interrupted: bool = False

    @overload
    def __getitem__(self, key: int | str) -> JobResult: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[JobResult, ...]: ...

    def __getitem__(self, key: int | str | slice) -> JobResult | tuple[JobResult, ...]:
        if isinstance(key, str):
            for job in self.jobs:
                if job.name == key:
                    return job
            raise KeyError(key)
        return self.jobs[key]

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[JobResult]:
        return iter(self.jobs)

    @property
    def failed(self) -> tuple[JobResult, ...]:
        """The jobs without a result, for whatever reason."""
        return tuple(job for job in self.jobs if job.state != "finished")

    @property
    def table(self) -> pd.DataFrame:
        """A row a job: scores, intervals, gain, cost, reason of failure."""
        import pandas as pd

        return pd.DataFrame([dict(job.row) for job in self.jobs])

    def to_json(self) -> dict[str, Any]:
        """Returns what `autosft batch --json` prints; keys may be added within a format, none renamed."""
        numbers = {"spent_seconds": round(self.spent_seconds, 1), "budget_seconds": self.budget_seconds}
        rows = [dict(job.row) for job in self.jobs]
        return {"format": FORMAT, "folder": str(self.folder), **numbers, "jobs": rows}

    def __str__(self) -> str:
        rows = [job.row for job in self.jobs]
        summary = summary_of(rows, spent_seconds=self.spent_seconds, budget_seconds=self.budget_seconds)
        return "\n".join([as_text(rows), "", f"{summary}.", f"Table     {self.folder / 'batch.html'}"])

    def __repr__(self) -> str:
        return f"BatchResult({str(self.folder)!r}: {len(self) - len(self.failed)} of {len(self)} jobs finished)"


def fit_many(
    jobs: Sequence[Mapping[str, Any] | Job],
    *,
    budget: str | float | Budget | None = None,
    folder: str | Path | None = None,
    cluster: str | None = None,
    tracker: str | None = None,
    max_jobs: int | None = None,
    seed: int | None = None,
    verbose: bool = False,
) -> BatchResult:
    """Turns many sentences and datasets into proven models, within one budget.

    Each job runs in a process of its own; all share one Ray by fair share and priority. Called again on the same
    folder it keeps what is finished, goes on with what has begun, and begins the rest.

    Args:
        jobs: For each a "name", and arguments of `fit`; perhaps a "priority", 1 by default. Rows held in memory are
            written to the cache, where the job's process reads them.
        budget: Wall time of the whole batch, such as "8h"; without it each job has its own budget and no more.
        folder: The batch's folder, new or begun; None makes one under `runs/`.
        cluster: As for `fit`; None uses this machine, or the Ray that runs in this process.
        tracker: "wandb" or "wandb:ENTITY/PROJECT", for every job's run; None for none.
        max_jobs: Jobs beside each other at most; without it, as many as there is room for trials.
        seed: Of jobs that name none.
        verbose: Shows the folder's path and where each job's log is.

    Returns:
        One JobResult a job, in their order. A job that failed has `error`, and no `result`.

    Raises:
        PlanError: Something is wrong with the jobs or the budget; nothing was started.
        RunFolderError: The folder holds something else, or another process works on it.
    """
    given = [({"seed": seed, **job} if seed is not None else job, None) for job in map(_keys, jobs)]
    _refuse_what_cannot_cross(given)
    made = checked([(_spilled(row), line) for row, line in given], base=Path.cwd(), place="the jobs")
    return run_batch(
        made, budget=budget, folder=folder, cluster=cluster, tracker=tracker, max_jobs=max_jobs, verbose=verbose
    )


def run_batch(
    jobs: Sequence[Job],
    *,
    budget: str | float | Budget | None = None,
    folder: str | Path | None = None,
    cluster: str | None = None,
    tracker: str | None = None,
    max_jobs: int | None = None,
    verbose: bool = False,
) -> BatchResult:
    """Carries out jobs that were checked, see `fit_many`."""
    seconds = _wall_seconds(budget)
    if tracker is not None:
        check_tracker(tracker)
    if max_jobs is not None and max_jobs < 1:
        wrong = f"max_jobs is {max_jobs}"
        raise PlanError(explain(wrong=wrong, expected="1 or more", fix="leave max_jobs out"))
    place = BatchFolder.open(folder)
    with place.locked(), contextlib.ExitStack() as at_the_end:
        notes = place.enter(jobs, budget_seconds=seconds)
        view = view_for([job.name for job in jobs])
        at_the_end.callback(view.closed)
        for note in notes:
            view.note(note)
        if verbose:
            view.note(f"the batch's folder is {place.path}, and each job's progress is in its logs/<name>.log")
        driver = Driver(
            jobs,
            place,
            budget_seconds=seconds,
            cluster=_address(cluster),
            max_jobs=max_jobs,
            tracker=tracker,
            view=view,
        )
        try:
            driver.run()
        finally:
            found = _result(jobs, place, driver, seconds)
    return found


def _result(jobs: Sequence[Job], place: BatchFolder, driver: Driver, seconds: float | None) -> BatchResult:
    """Reads what became of the jobs, and writes the tables."""
    rows = rows_of(place, [job.to_json() for job in jobs], reasons=driver.reasons)
    summary = summary_of(rows, spent_seconds=driver.spent, budget_seconds=seconds)
    write_parquet(place.path / "batch.parquet", rows)
    write_page(place.path / "batch.html", rows, summary=summary)
    results = [
        JobResult(row["name"], place.run(row["name"]).path, row["state"],
                  None if row["state"] == "finished" else row["reason"], row)
        for row in rows
    ]  # fmt: skip
    return BatchResult(place.path, tuple(results), driver.spent, seconds, driver.was_interrupted)


def _wall_seconds(budget: str | float | Budget | None) -> float | None:
    if budget is None:
        return None
    parsed = Budget.parse(budget)
    if parsed.seconds is None or parsed.num_trials is not None or parsed.gpu_hours is not None:
        wrong = f"the batch's budget is {parsed}"
        fix = "give the batch a time such as '8h', and each job its own budget for the rest"
        raise PlanError(explain(wrong=wrong, expected="wall time", fix=fix))
    return parsed.seconds


def _address(cluster: str | None) -> str | None:
    """Returns the address that jobs join; where none is named, that of the Ray that runs in this process."""
    import sys

    if cluster is None and "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            return str(ray.get_runtime_context().gcs_address)
    return None if cluster == "local" else cluster


def _keys(job: Mapping[str, Any] | Job) -> Mapping[str, Any]:
    if isinstance(job, Job):
        return {"name": job.name, "priority": job.priority, **as_given(job.arguments), "budget": job.budget}
    if not isinstance(job, Mapping):
        wrong = f"a job is {type(job).__name__}"
        raise PlanError(explain(wrong=wrong, expected="a dict with name, task and data", fix="see docs/batch.md"))
    return job


def _refuse_what_cannot_cross(rows: Sequence[tuple[Mapping[str, Any], int | None]]) -> None:
    """Refuses functions, which cannot go to a job's own process without a pickle."""
    found = [
        f"{key} of job '{row.get('name')}'" for row, _ in rows for key, value in row.items()
        if callable(value) and not isinstance(value, Task | Metric)
    ]  # fmt: skip
    if found:
        wrong = f"a function is given as {', '.join(found)}"
        expected = "values that a process of its own can be given: jobs of a batch run apart from each other"
        fix = "name a metric, wrap your own in autosft.Metric from an importable module, or use autosft.fit"
        raise PlanError(explain(wrong=wrong, expected=expected, fix=fix))


def _spilled(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a job's keys with what is held in memory written where its process can read it."""
    found = dict(row)
    for key in ("data", "test"):
        value = found.get(key)
        if value is not None and not isinstance(value, str | Path):
            found[key] = str(_in_cache(value))
    return found


def _in_cache(data: object) -> Path:
    """Writes rows held in memory to the cache, as Arrow under the name of their content; returns a file or folder."""
    import pyarrow as pa

    from autosft.data.read import read

    splits = read(data).splits
    digest = hashlib.sha256()
    contents = {}
    for name, table in sorted(splits.items()):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        contents[name] = sink.getvalue()
        digest.update(name.encode())
        digest.update(contents[name])
    folder = cache_folder() / "batch" / digest.hexdigest()[:24]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / f"{name}.arrow"
            if not path.exists():
                unfinished = folder / f".{uuid.uuid4().hex}"
                unfinished.write_bytes(content)
                os.replace(unfinished, path)
    return folder / "train.arrow" if len(contents) == 1 else folder
