"""The driver's side of tracking with W&B: has the run's folder mirrored, and tells what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autosft.tracking.base import Tracker
from autosft.tracking.wandb_mirror.process import Mirror
from autosft.tracking.wandb_mirror.target import Target, why_offline

#: How long the end of a run waits for what is not yet sent.
_GRACE_SECONDS = 5.0
#: How long the process goes on alone after that.
_LAST_SECONDS = 120.0


class WandbTracker(Tracker):
    """Has a run's folder mirrored to W&B, or to offline runs in the folder where W&B cannot be had.

    Args:
        target: Where to.
        say: Tells the user something, in one sentence.
    """

    def __init__(self, target: Target, *, say: Callable[[str], None]) -> None:
        self._target = target
        self._say = say
        self._mirror: Mirror | None = None

    def opened(self, folder: Path) -> None:
        reason = why_offline()
        if reason is not None:
            self._say(f"W&B: {reason}, so it is kept in {folder / 'wandb'}; send it later with: autosft sync {folder}")
        self._mirror = Mirror.start(folder, self._target, offline=reason is not None, last_seconds=_LAST_SECONDS)

    def closed(self) -> None:
        if self._mirror is None:
            return
        mirror, self._mirror = self._mirror, None
        if not mirror.end(within_seconds=_GRACE_SECONDS):
            self._say(
                f"W&B has not taken everything within {_GRACE_SECONDS:.0f} s; it goes on in the background for "
                f"{_LAST_SECONDS / 60:.0f} minutes; what is left then is sent by: autosft sync {mirror.folder}"
            )
        elif error := mirror.error():
            where = "could not be written" if mirror.offline else "has not got everything"
            self._say(f"W&B {where} ({error}); nothing is lost, send it with: autosft sync {mirror.folder}")
        elif not mirror.offline and (url := mirror.url()):
            self._say(f"W&B: {url}")
