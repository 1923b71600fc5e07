"""Trainings beside the search, of what it tried already: the refit, and the folds of the proof. No Ray here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosft.planning.plan import Plan
from autosft.search.search import training_arguments
from autosft.search.trial import Trial
from autosft.trainers.base import Limits

if TYPE_CHECKING:
    from autosft.search.runner import Runner


def submit_training(
    plan: Plan,
    trial: Trial,
    runner: Runner,
    *,
    folder: Path,
    cache: Path,
    seconds: float | None,
    stop_file: Path,
    **job: Any,
) -> str:
    """Submits a training of a trial's configuration, with its length, fold and seed; returns the job's id.

    Args:
        folder: The training's own, which it empties.
        seconds: It anneals to its end within so many; None for as long as it takes.
        stop_file: When it appears, outside of the folder, the training ends. One from before is removed.
        job: Further fields as in `Job`.
    """
    arm, resources = plan.arm(trial.arm), plan.resources
    stop_file.unlink(missing_ok=True)
    arguments = {
        **training_arguments(plan, trial),
        "data": plan.data.for_search(),
        "scratch": folder,
        "rungs": (1.0,),
        "limits": Limits(
            num_threads=resources.cpus_per_trial,
            cache=cache,
            max_length=arm.max_length,
            time_limit_seconds=seconds,
            micro_batch_size=arm.cost.micro_batch_size if arm.cost else None,
            stop_file=stop_file,
        ),
    }
    return runner.submit("autosft.search.work:train", arguments, **resources.per_job, stop_file=stop_file, **job)
