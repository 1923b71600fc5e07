"""Which of a batch's jobs find room beside each other, on what is known of the machine so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from autosft.batch.shares import Place, at_once, divide, in_turn, may_start, slots_on, slots_per_trial
from autosft.cluster.membership import bundle_of
from autosft.errors import PlanError
from autosft.planning.machine import resources_on
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
        #: CPUs and GPUs of a trial, of those that run and are planned.
        self.planned: dict[str, tuple[float, float]] = {}

    @property
    def num_slots(self) -> int:
        return slots_on(self.machine)

    def in_turn(self, names: Iterable[str]) -> list[str]:
        """Returns jobs in the order in which they start."""
        return [place.name for place in in_turn(self._places(names))]

    def has_for(self, name: str, running: Iterable[str]) -> bool:
        """Tells whether a job may start beside those that run."""
        [place] = self._places([name])
        return may_start(place, self._places(running), num_slots=self.num_slots, most_jobs=self._max_jobs)

    def at_once(self, names: Iterable[str]) -> int:
        """Returns how many of these jobs can run beside each other."""
        return at_once(self._places(names), num_slots=self.num_slots, most_jobs=self._max_jobs)

    def shares(self, running: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Returns what each running job may have now: trials at once, and the slots that they take."""
        places = self._places(running)
        given = divide(places, self.num_slots)
        return {place.name: (given[place.name], place.slots(given[place.name])) for place in places}

    def wanted(self, running: Collection[str], waiting: Iterable[str]) -> list[dict[str, float]]:
        """Returns what a cluster that grows should hold at once, a bundle of CPUs and GPUs for each trial.

        As many jobs as were asked for, each with as many trials; nothing where neither number was given.
        """
        num_jobs = max(len(running), self._max_jobs or 0)
        jobs = [self._jobs[name] for name in [*running, *self.in_turn(waiting)][:num_jobs]]
        if self._max_jobs is None and all(job.most_trials is None for job in jobs):
            return []
        return [self._bundle(job) for job in jobs for _ in range(job.most_trials or 1)]

    def _bundle(self, job: Job) -> dict[str, float]:
        """Returns what a trial of a job takes, by its plan where it has one."""
        if job.name in self.planned:
            return bundle_of(*self.planned[job.name])
        try:
            usual = resources_on(self.machine, gpus_per_trial=job.gpus_per_trial, max_concurrent=None)
        except PlanError:  # No node that is here holds it, and one that comes may.
            return bundle_of(1, job.gpus_per_trial or 0)
        return bundle_of(usual.cpus_per_trial, usual.gpus_per_trial)

    def _places(self, names: Iterable[str]) -> list[Place]:
        return [
            Place(
                job.name,
                job.priority,
                job.most_trials,
                slots_per_trial(self.machine, job.gpus_per_trial, self.planned.get(job.name)),
            )
            for job in (self._jobs[name] for name in names)
        ]
