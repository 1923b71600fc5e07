"""Who runs, and with how many slots: weighted fair shares among the jobs of a batch. Pure; knows no process.

A slot is room for one trial at a time, on whatever holds the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A job as the queue sees it.

    Attributes:
        name: The job's name.
        priority: Weight of its share, above zero; larger goes first.
        most_slots: Slots it can use at most, None for any number.
    """

    name: str
    priority: float = 1.0
    most_slots: int | None = None


def in_turn(waiting: Sequence[Place]) -> list[Place]:
    """Returns waiting jobs in the order in which they start: by priority, and among equals as they were given."""
    return sorted(waiting, key=lambda place: -place.priority)


def may_start(num_running: int, *, num_slots: int, most_jobs: int | None = None) -> int:
    """Returns how many more jobs may start: every running job has a slot at least."""
    return max(0, min(num_slots, most_jobs or num_slots) - num_running)


def divide(running: Sequence[Place], num_slots: int) -> Mapping[str, int]:
    """Returns the slots of each running job: one at least, the others in proportion to priority.

    What a job cannot use goes to the others. Parts of slots go to the largest remainders, among equals to who came
    first (the method of Hamilton).
    """
    given = {place.name: 1 for place in running}
    free = num_slots - len(running)
    while free > 0:
        open_ = [place for place in running if place.most_slots is None or given[place.name] < place.most_slots]
        if not open_:
            break
        # What each should have of all that the open ones hold together, less what it has.
        pool = free + sum(given[place.name] for place in open_)
        total = sum(place.priority for place in open_)
        due = {place.name: pool * place.priority / total - given[place.name] for place in open_}
        for place in open_:
            most = math.inf if place.most_slots is None else place.most_slots
            more = int(min(max(0, math.floor(due[place.name])), most - given[place.name], free))
            given[place.name] += more
            free -= more
            due[place.name] -= more
        if free > 0:
            able = [place for place in open_ if place.most_slots is None or given[place.name] < place.most_slots]
            if not able:
                continue
            first = max(able, key=lambda place: due[place.name])
            given[first.name] += 1
            free -= 1
    return given
