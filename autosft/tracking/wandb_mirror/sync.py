"""`autosft sync`: sends a run's folder to W&B later, or again; what is there already is not sent twice."""

from __future__ import annotations

from pathlib import Path

from autosft.counting import counted
from autosft.errors import RunFolderError, TrackerError, explain
from autosft.run_folder import RunFolder
from autosft.tracking.wandb_mirror.ledger import Ledger
from autosft.tracking.wandb_mirror.process import Mirror
from autosft.tracking.wandb_mirror.runs import read_search
from autosft.tracking.wandb_mirror.target import Target, require_wandb, server, why_offline

#: A search of hundreds of trials takes some minutes.
_LONGEST_SECONDS = 1800.0


def sync(folder: str | Path, to: str | None = None, *, rows: bool = False) -> str:
    """Sends a run's folder and waits for it; returns what is where now, in one sentence.

    Args:
        to: "wandb:ENTITY/PROJECT"; None is where the run was tracked, or WANDB_ENTITY and WANDB_PROJECT.
        rows: Whether the report's page goes too, which quotes rows of the data.

    Raises:
        RunFolderError: It is not a run's folder, or no trial has ended in it, or it has no page to send.
        TrackerError: There is no key, or W&B did not take everything.
    """
    run = RunFolder.open(folder)
    require_wandb()
    earlier = Ledger(run.path).target
    target = Target(*earlier) if to is None and earlier is not None else Target.parse(to or "wandb")
    search = read_search(run.path)
    if search is None or not search.runs:
        wrong = f"no trial has ended in {run.path}"
        raise RunFolderError(explain(wrong=wrong, expected="at least one trial", fix=f"autosft resume {run.path}"))
    if rows and not run.report.exists():
        wrong = f"there is no {run.report.name} in {run.path} to send rows with"
        raise RunFolderError(explain(wrong=wrong, expected="a finished run", fix=f"autosft resume {run.path}"))
    if reason := why_offline():
        fix = "set WANDB_API_KEY or run `wandb login`, and unset WANDB_MODE"
        raise TrackerError(explain(wrong=f"nothing can be sent: {reason}", expected="a W&B key", fix=fix))
    mirror = Mirror.start(run.path, target, offline=False, last_seconds=_LONGEST_SECONDS, rows=rows)
    try:
        mirror.end(within_seconds=None)
    except BaseException:
        mirror.kill()
        raise
    if error := mirror.error():
        fix = f"try again later: what has arrived is not sent twice (log: {run.path / 'wandb' / 'mirror.log'})"
        wrong = f"{server()} did not take everything ({error})"
        raise TrackerError(explain(wrong=wrong, expected="a W&B server that answers", fix=fix))
    unfinished = "" if search.result is not None else "; the report follows once the run is finished"
    trials = counted(len(search.runs), "trial")
    page = f", and {run.report.name} with the rows that it quotes" if rows else ""
    are = "are" if len(search.runs) != 1 or rows else "is"
    return f"{trials} of {run.path}{page} {are} on W&B: {mirror.url()}{unfinished}"
