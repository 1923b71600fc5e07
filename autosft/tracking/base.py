"""The Tracker: it listens to a run. Take it away and nothing else changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autosft.planning.plan import Plan
from autosft.search.trial import Trial


class Tracker:
    """Hears what a run does. Every method does nothing here, so that a listener overrides what it wants to hear.

    A run never fails because somebody listened to it: what a tracker raises is noted once, and it hears no more.
    """

    def phase(self, name: str) -> None:
        """A part of the run begins: "read", "audit", "measure", "search", "finals", "refit", "prove"."""

    def note(self, message: str) -> None:
        """Something a person should know, in one sentence."""

    def planned(self, plan: Plan) -> None:
        """The plan is made."""

    def opened(self, folder: Path) -> None:
        """The run's folder is there, with its plan; trials begin."""

    def started(self, trial: Trial) -> None:
        """A trial begins."""

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        """A trial has a score on its way."""

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        """A trial has ended; `best` is the best of those that are complete."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """The result is proven and written; `summary` is the content of `result.json`."""

    def closed(self) -> None:
        """The run is over, whatever came of it."""


class Trackers(Tracker):
    """Several trackers as one. One that raises is told of to the others, and hears no more."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = list(trackers)

    def phase(self, name: str) -> None:
        self._tell(lambda tracker: tracker.phase(name))

    def note(self, message: str) -> None:
        self._tell(lambda tracker: tracker.note(message))

    def planned(self, plan: Plan) -> None:
        self._tell(lambda tracker: tracker.planned(plan))

    def opened(self, folder: Path) -> None:
        self._tell(lambda tracker: tracker.opened(folder))

    def started(self, trial: Trial) -> None:
        self._tell(lambda tracker: tracker.started(trial))

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        self._tell(lambda tracker: tracker.reported(trial, fidelity, score))

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        self._tell(lambda tracker: tracker.ended(trial, best, seconds_left))

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._tell(lambda tracker: tracker.finished(summary))

    def closed(self) -> None:
        self._tell(lambda tracker: tracker.closed())

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in [*self._trackers]:
            try:
                what(tracker)
            # What listens may be anybody's code, and a night's search must not end with it.
            except Exception as error:
                self._trackers.remove(tracker)
                name = f"the tracker {type(tracker).__name__}"
                self._complain(f"{name} raised {type(error).__name__} ({error}) and is no longer told anything")

    def _complain(self, message: str) -> None:
        if self._trackers:
            self.note(message)
        else:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
