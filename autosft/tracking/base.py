"""The Tracker: it listens to a run. Take it away and nothing else changes."""

from __future__ import annotations

from autosft.planning.plan import Plan
from autosft.search.trial import Trial


class Tracker:
    """Hears what a run does. Every method does nothing here, so that a listener overrides what it wants to hear.

    A tracker must not raise: a run never fails because somebody listened to it.
    """

    def phase(self, name: str) -> None:
        """A part of the run begins: "read", "audit", "measure", "search", "finals", "refit", "prove"."""

    def note(self, message: str) -> None:
        """Something a person should know, in one sentence."""

    def planned(self, plan: Plan) -> None:
        """The plan is made."""

    def started(self, trial: Trial) -> None:
        """A trial begins."""

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        """A trial has a score on its way."""

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        """A trial has ended; `best` is the best of those that are complete."""

    def closed(self) -> None:
        """The run is over, whatever came of it."""


class Trackers(Tracker):
    """Several trackers as one."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def phase(self, name: str) -> None:
        for tracker in self._trackers:
            tracker.phase(name)

    def note(self, message: str) -> None:
        for tracker in self._trackers:
            tracker.note(message)

    def planned(self, plan: Plan) -> None:
        for tracker in self._trackers:
            tracker.planned(plan)

    def started(self, trial: Trial) -> None:
        for tracker in self._trackers:
            tracker.started(trial)

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        for tracker in self._trackers:
            tracker.reported(trial, fidelity, score)

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        for tracker in self._trackers:
            tracker.ended(trial, best, seconds_left)

    def closed(self) -> None:
        for tracker in self._trackers:
            tracker.closed()
