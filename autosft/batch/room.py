"""Which of a batch's jobs find room beside each other, on what is known of the machine so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autosft.batch.shares import Place, at_once, divide, in_turn, may_start, slots_on, slots_per_trial
from autosft.search.settings import Machine

if TYPE_CHECKING:
    from autosft.batch.job import Job


class Room:
    """The slots of a batch and how its jobs share them.

    Args:
        jobs: By name.
        max_jobs: Jobs beside each other at most, None for as many as have room.
    """

    def __init__(self, jobs: Mapping[str, Job], max_jobs: int | None) -> None:
        self._jobs = jobs
        self._max_jobs = max_jobs
        #: What jobs run on: room for one trial until Ray was asked.
        self.machine = Machine(1)

    def in_turn(self, names: Iterable[str]) -> list[str]:
        """Returns jobs in the order in which they start."""
        return [place.name for place in in_turn(self._places(names))]

    def has_for(self, name: str, running: Iterable[str]) -> bool:
        """Tells whether a job may start beside those that run."""
        [place] = self._places([name])
        return may_start(place, self._places(running), num_slots=slots_on(self.machine), most_jobs=self._max_jobs)

    def at_once(self, names: Iterable[str]) -> int:
        """Returns how many of these jobs can run beside each other."""
        return at_once(self._places(names), num_slots=slots_on(self.machine), most_jobs=self._max_jobs)

    def shares(self, running: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Returns what each running job may have now: trials at once, and the slots that they take."""
        places = self._places(running)
        given = divide(places, slots_on(self.machine))
        return {place.name: (given[place.name], place.slots(given[place.name])) for place in places}

    def _places(self, names: Iterable[str]) -> list[Place]:
        return [
            Place(job.name, job.priority, job.most_trials, slots_per_trial(self.machine, job.gpus_per_trial))
            for job in (self._jobs[name] for name in names)
        ]
