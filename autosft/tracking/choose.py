"""What `tracker=` may be: nothing, the name of one, or a Tracker of the user's own."""

from __future__ import annotations

from pathlib import Path

from autosft.errors import MissingExtraError
from autosft.tracking.base import Tracker, Trackers
from autosft.tracking.terminal import progress
from autosft.tracking.wandb_mirror.ledger import Ledger
from autosft.tracking.wandb_mirror.listener import WandbTracker
from autosft.tracking.wandb_mirror.target import Target, is_disabled, require_wandb


def listening(tracker: str | Tracker | None) -> Tracker:
    """Returns what hears a run: a Tracker alone, a named one beside the terminal, or the terminal.

    Raises:
        PlanError: No tracker has this name.
        MissingExtraError: What it needs is not installed.
    """
    if not isinstance(tracker, str):
        return Trackers(tracker or progress())
    target = _target(tracker)
    terminal = progress()
    if is_disabled():
        return Trackers(terminal)
    return Trackers(terminal, WandbTracker(target, say=terminal.note))


def tracked_with(folder: Path) -> str | None:
    """Returns the `tracker=` that a run was kept with before, so that it goes on; None where there was none.

    None as well where what it needs is no longer installed: that is no reason not to go on with the run.
    """
    asked = Ledger(folder).target
    if asked is None:
        return None
    try:
        require_wandb()
    except MissingExtraError:
        return None
    entity, project = asked
    return f"wandb:{entity}/{project}" if entity else f"wandb:{project}"


def check_tracker(words: str) -> None:
    """Raises PlanError or MissingExtraError unless a tracker has this name, and what it needs is installed."""
    _target(words)


def _target(words: str) -> Target:
    target = Target.parse(words)
    require_wandb()
    return target
