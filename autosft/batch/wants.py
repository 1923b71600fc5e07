"""What jobs want of a batch's time, and who may go on with what others leave. On values; knows no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.batch.division import LEAST_SECONDS, Candidate, late_gain
from autosft.batch.folder import Past
from autosft.batch.job import Job
from autosft.budget import Budget
from autosft.errors import RunFolderError, explain
from autosft.run_folder import RunFolder
from autosft.search.trial import read_events

#: A job that was given less than this share of what it asked for was cut short for the batch's sake.
_CUT_SHARE = 0.99


@dataclass(frozen=True)
class Begun:
    """What a job's run has come to so far.

    Attributes:
        planned_seconds: Time of its plan's budget, earlier sittings included; None for as long as it takes.
        spent_seconds: What it had spent at its last event.
        has_training: Whether a training came to its end, so that there is something to go on from.
        has_result: Whether it is finished.
        gain: Of a finished one, its `late_gain`.
    """

    planned_seconds: float | None
    spent_seconds: float
    has_training: bool = False
    has_result: bool = False
    gain: float | None = None


def begun(run: RunFolder) -> Begun | None:
    """Reads what a run has come to; None where it has no plan yet.

    Raises:
        RunFolderError: A file of it is damaged.
    """
    if not run.plan.exists():
        return None
    events = list(read_events(run.trials))
    ended = [(float(row.get("spent_seconds", 0.0)), row["trial"]) for row in events if row["event"] == "ended"]
    planned_seconds = _value(run, run.plan, "budget", "seconds")
    has_result, gain = run.result.exists(), None
    if has_result:
        gain = late_gain(ended, greater_is_better=bool(_value(run, run.result, "greater_is_better")))
    return Begun(
        planned_seconds=planned_seconds,
        spent_seconds=max((float(row.get("spent_seconds", 0.0)) for row in events), default=0.0),
        has_training=any(trial.fate == "complete" for _, trial in ended),
        has_result=has_result,
        gain=gain,
    )


def _value(run: RunFolder, file: Path, *keys: str) -> Any:
    """Returns what stands under these keys in one of a run's files; raises RunFolderError where nothing does."""
    found: Any = run.read(file)
    try:
        for key in keys:
            found = found[key]
    except (KeyError, TypeError) as error:
        wrong = f"{file} cannot be read (it has no '{'.'.join(keys)}')"
        fix = "restore the file, or remove the job's folder to begin it anew"
        raise RunFolderError(explain(wrong=wrong, expected="what a run writes", fix=fix)) from error
    return found


def wanted_seconds(budget: Budget, run: Begun | None) -> float | None:
    """Returns what a job asks for: its own budget, less what it has spent where it has begun.

    Args:
        budget: The job's own.
        run: None where it has not begun.
    """
    if run is None:
        return budget.seconds
    if run.planned_seconds is None:
        return None
    if not run.has_training:
        return budget.seconds  # It has nothing to go on from.
    # What a killed sitting had left may be too little for anything.
    return max(min(LEAST_SECONDS, budget.seconds or LEAST_SECONDS), run.planned_seconds - run.spent_seconds)


def missing_seconds(budget: Budget, run: Begun | None) -> float | None:
    """Returns what a begun run's plan lacks of what the job wants, None where it lacks nothing."""
    wanted = wanted_seconds(budget, run)
    if run is None or wanted is None or run.planned_seconds is None:
        return None
    missing = wanted - (run.planned_seconds - run.spent_seconds)
    # A budget that was overdrawn is counted from what was spent.
    return min(missing, wanted) if missing > 0 else None


def candidates(jobs: Sequence[Job], past: Mapping[str, Past], runs: Mapping[str, Begun | None]) -> list[Candidate]:
    """Returns those jobs that may go on with what others leave.

    They are finished, or their time was too short for any model, and all that their budget names is a time: one that
    names trials or GPU-hours has what it asked for.

    Args:
        jobs: None of which runs.
        past: Of those that ever started. runs: What each job's run has come to.
    """
    found = [_candidate(job.name, job.budget, past.get(job.name, Past()), runs[job.name]) for job in jobs]
    return [one for one in found if one is not None]


def _candidate(name: str, budget: Budget, past: Past, run: Begun | None) -> Candidate | None:
    if budget.seconds is None or budget.num_trials is not None or budget.gpu_hours is not None:
        return None
    if run is None or not (run.has_result or past.ran_short):
        return None
    was_cut = past.given_seconds is not None and past.given_seconds < _CUT_SHARE * budget.seconds
    return Candidate(name, budget.seconds, run.gain, was_cut, past.num_extensions, has_model=run.has_result)
