"""Who runs, and how many trials of it at once: weighted fair shares among a batch's jobs. Pure; knows no process.

A slot is room for one trial of the usual size, on whatever holds the batch: a GPU, or four cores where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from autosft.errors import PlanError
from autosft.planning.machine import resources_on
from autosft.search.settings import Machine


@dataclass(frozen=True)
class Place:
    """A job as the queue sees it.

    Attributes:
        name: The job's name.
        priority: Weight of its share, above zero; larger goes first.
        most_trials: Trials at once that it can use at most, None for any number.
        slots_per_trial: What each takes; below one where several share a slot.
    """

    name: str
    priority: float = 1.0
    most_trials: int | None = None
    slots_per_trial: Fraction = Fraction(1)

    def slots(self, num_trials: int) -> int:
        """Returns what so many trials at once take: whole slots, since no two jobs share one."""
        return math.ceil(num_trials * self.slots_per_trial)


def slots_on(machine: Machine) -> int:
    """Returns how many slots a machine or cluster has."""
    return resources_on(machine, gpus_per_trial=None, max_concurrent=None).max_concurrent


def slots_per_trial(
    machine: Machine, gpus_per_trial: float | None, planned: tuple[float, float] | None = None
) -> Fraction:
    """Returns what a trial takes that asks for so many GPUs, None for the usual size.

    Measured by how many of them the machine carries, so that jobs of any size beside each other never hold more than
    there is. A trial that fits nowhere counts as a usual one: its job is refused when it is planned.

    Args:
        planned: CPUs and GPUs of it where the job is planned. It keeps them while nodes come and go, and then may be
            larger than what is usual now.
    """
    num_slots = slots_on(machine)
    carried = machine.carries(*planned) if planned else 0
    least = Fraction(num_slots, carried) if carried else Fraction(0)
    try:
        usual = resources_on(machine, gpus_per_trial=gpus_per_trial, max_concurrent=None).max_concurrent
    except PlanError:
        return max(Fraction(1), least)
    return max(Fraction(num_slots, usual), least)


def in_turn(waiting: Sequence[Place]) -> list[Place]:
    """Returns waiting jobs in the order in which they start: by priority, and among equals as they were given."""
    return sorted(waiting, key=lambda place: -place.priority)


def may_start(place: Place, running: Sequence[Place], *, num_slots: int, most_jobs: int | None = None) -> bool:
    """Tells whether a job may start beside those that run: each has room for one trial at least."""
    taken = sum(other.slots(1) for other in running)
    return taken + place.slots(1) <= num_slots and (most_jobs is None or len(running) < most_jobs)


def at_once(places: Sequence[Place], *, num_slots: int, most_jobs: int | None = None) -> int:
    """Returns how many of such jobs can run beside each other, going by their mean size."""
    taken = sum(place.slots(1) for place in places) or 1
    return max(1, min(num_slots * max(1, len(places)) // taken, most_jobs or num_slots))


def divide(running: Sequence[Place], num_slots: int) -> Mapping[str, int]:
    """Returns how many trials at once each running job may have: one at least, their slots in proportion to priority.

    What a job cannot use goes to the others. The next trial is for who has the fewest slots for its priority, halfway
    to having it, among equals for who came first (the method of Webster).
    """
    given = {place.name: 1 for place in running}
    free = num_slots - sum(place.slots(1) for place in running)

    def cost(place: Place) -> int:
        return place.slots(given[place.name] + 1) - place.slots(given[place.name])

    while able := [
        place
        for place in running
        if cost(place) <= free and (place.most_trials is None or given[place.name] < place.most_trials)
    ]:
        chosen = min(able, key=lambda place: (place.slots(given[place.name]) + cost(place) / 2) / place.priority)
        free -= cost(chosen)
        given[chosen.name] += 1
    return given
