"""What a review is asked about: a run's folder, a table of trials, or something of W&B's."""

from __future__ import annotations

from pathlib import Path

from autosft.data.files import no_such_path
from autosft.errors import PlanError, explain
from autosft.reviewing.from_run import from_run
from autosft.reviewing.from_table import from_table
from autosft.reviewing.from_wandb import from_wandb
from autosft.reviewing.sweep import Sweep

#: Files of a run's folder that are no table of its trials.
_OF_A_RUN = ("result.json", "plan.json", "trials.jsonl")

GOALS = ("maximize", "minimize")


def open_sweep(target: str | Path, *, metric: str | None = None, goal: str | None = None) -> Sweep:
    """Reads a sweep from wherever it is: a path of this machine first, then W&B.

    Raises:
        AutosftError: There is nothing there, or it cannot be read.
    """
    if goal not in (None, *GOALS):
        raise PlanError(explain(wrong=f"unknown goal '{goal}'", expected=" or ".join(GOALS), fix="use one of the two"))
    path = Path(target)
    if path.is_dir():
        if metric is not None or goal is not None:
            wrong = "metric and goal are for tables and W&B: a run's own metric decides"
            raise PlanError(explain(wrong=wrong, expected="a run's folder alone", fix="leave them out"))
        return from_run(path)
    if path.is_file() and path.name in _OF_A_RUN and (path.parent / "plan.json").is_file():
        wrong = f"{path} is one file of a run, and not its trials"
        raise PlanError(explain(wrong=wrong, expected="the run's folder", fix=f"autosft review {path.parent}"))
    if path.is_file():
        return from_table(path, metric=metric, goal=goal)
    if str(target).startswith("wandb:"):
        return from_wandb(str(target), metric=metric, goal=goal)
    parts = str(target).strip("/").split("/")
    is_path = str(target).startswith((".", "/", "~")) or path.suffix != "" or len(parts) not in (2, 3, 4)
    # With the parent there, a name was mistyped; "runs/spam" is also what W&B calls a project.
    if is_path or (path.parent != Path() and path.parent.is_dir()):
        raise no_such_path(path)
    return from_wandb(str(target), metric=metric, goal=goal)
