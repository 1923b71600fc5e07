"""The rungs of a race: who reached which length with which score, who is ranked with whom, and who waits to go on."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Entry:
    """A configuration in the race: how far it came, and what it is doing.

    A heat that was lost counts as running: nothing else of the configuration may begin meanwhile.
    """

    number: int
    arm: str
    config: Mapping[str, Any]
    is_default: bool
    group: str
    reached: int = -1
    scores: dict[int, float] = field(default_factory=dict)
    slowness: float = 1.0
    running: int | None = None
    failed: bool = False


@dataclass
class Group:
    """What is ranked together: results, sorted, and those that were not promoted, as a heap."""

    results: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[tuple[float, int, Entry]] = field(default_factory=list)

    def rank(self, score: float, order: int) -> int:
        """Returns how many results are better."""
        return len(self.results) - bisect_right(self.results, (score, -order))


@dataclass
class Rung:
    """The results at one length, by group and by arm."""

    groups: dict[str, Group] = field(default_factory=dict)
    by_arm: dict[str, list[tuple[float, int, Entry]]] = field(default_factory=dict)

    def add(self, entry: Entry, score: float, order: int, *, waits: bool) -> None:
        # Among equals the earlier one is the better one.
        group = self.groups.setdefault(entry.group, Group())
        insort(group.results, (score, -order))
        insort(self.by_arm.setdefault(entry.arm, []), (score, -order, entry))
        if waits:
            heapq.heappush(group.waiting, (-score, order, entry))

    def best_first(self, arm: str) -> Iterator[tuple[float, Entry]]:
        for score, _, entry in reversed(self.by_arm.get(arm, ())):
            yield score, entry

    def waiting_groups(self) -> list[Group]:
        """Returns the groups in which somebody waits, that of the best first."""
        return sorted(
            (group for group in self.groups.values() if group.waiting), key=lambda group: group.waiting[0][:2]
        )
