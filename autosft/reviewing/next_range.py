"""What each field's next range should be: narrowed to the good region, widened over a crowded edge, fixed, or kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autosft.reviewing import words
from autosft.reviewing.columns import Column, columns
from autosft.reviewing.edges import crowded, num_good
from autosft.reviewing.sweep import Bounds, Sweep

#: Configurations that a next range needs.
FEWEST = 16

#: A field is dead where even the upper end of its importance is below this, and so many configurations were trained
#: whole: what does nothing in a short training may do much in a long one.
_DEAD_SHARE, _FEWEST_FOR_DEAD = 0.05, 30

#: What is left free on either side of the good values, as a share of their range on its scale.
_MARGIN = 0.25

#: A choice is dropped that came up so often and never among the good.
_FEWEST_OF_A_CHOICE = 5


@dataclass(frozen=True)
class NextRange:
    """What a field should be searched in next.

    Attributes:
        field: Its name.
        why: In a few words, with numbers.
        bounds: A range of numbers; None for anything else.
        values: Choices; a single one fixes the field; empty where a range or nothing is said.
    """

    field: str
    why: str
    bounds: Bounds | None = None
    values: tuple[Any, ...] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether there is neither a range nor a choice, as where the best trial has no value of a dead field."""
        return self.bounds is None and not self.values


def next_ranges(sweep: Sweep, arm: str) -> list[NextRange]:
    """Returns a range for each field of an arm that varied; an empty list where there are too few configurations.

    Only a field that mattered beyond the noise is narrowed: where the good values of another one lie is chance.
    """
    standings = sweep.standings(arm)
    if len(standings) < FEWEST:
        return []
    configs = [row.config for row in standings]
    importance = {row.field: row for row in sweep.importances[arm]}
    edges = crowded(sweep, arm)
    num_longest = sum(standing.length == standings[0].length for standing in standings)
    ranges = []
    for column in columns(configs):
        row = importance.get(column.field)
        declared = sweep.bounds.get(arm, {}).get(column.field)
        ends = [edge for edge in edges if edge.field == column.field and edge.wider is not None]
        if row is not None and row.high < _DEAD_SHARE and num_longest >= _FEWEST_FOR_DEAD and not ends:
            best = configs[0].get(column.field)
            if best is None:
                ranges.append(NextRange(column.field, "kept: the best trial has no value of it"))
                continue
            why = f"fixed to the best trial's: it explains {words.share(row.high)} of the ranks at most"
            ranges.append(NextRange(column.field, why, values=(best,)))
            continue
        matters = row is not None and row.low > 0
        made = (
            _range(column, declared, num_good(standings), matters)
            if column.is_number
            else _choices(column, [config.get(column.field) for config in configs], num_good(standings), matters)
        )
        for edge in ends:
            made = _widened(made, edge.side, edge.wider, f"{edge.num_there} of the best {edge.num_good} crowd there")
        ranges.append(made)
    return ranges


def _range(column: Column, declared: Bounds | None, good: int, matters: bool) -> NextRange:
    values = [value for value in column.values if isinstance(value, float)]
    whole = declared or Bounds(min(values), max(values), column.is_log)
    of_good = [value for value in column.values[:good] if isinstance(value, float)]
    if not matters or not of_good:
        return NextRange(column.field, "kept: its effect cannot be told from noise", whole)
    forward, back = (math.log, math.exp) if whole.is_log and min(of_good) > 0 else (float, float)
    low, high = forward(min(of_good)), forward(max(of_good))
    margin = _MARGIN * max(high - low, 0.05 * (forward(whole.high) - forward(whole.low)))
    narrow = Bounds(max(whole.low, back(low - margin)), min(whole.high, back(high + margin)), whole.is_log)
    if narrow.low >= narrow.high:
        return NextRange(column.field, "kept: the good values lie outside of what was declared", whole)
    kept = (forward(narrow.high) - forward(narrow.low)) / (forward(whole.high) - forward(whole.low))
    why = (
        f"the best {len(of_good)} lie in {words.value(min(of_good))} to {words.value(max(of_good))}: "
        f"{words.share(kept)} of the former range {words.value(whole.low)} to {words.value(whole.high)}"
    )
    return NextRange(column.field, why, narrow)


def _widened(made: NextRange, side: str, wider: float | None, why: str) -> NextRange:
    if made.bounds is None or wider is None:
        return made
    low, high = (wider, made.bounds.high) if side == "low" else (made.bounds.low, wider)
    told = f"widened {'below' if side == 'low' else 'above'}: {why}"
    reasons = told if made.why.startswith("kept") else f"{made.why}; {told}"
    return NextRange(made.field, reasons, Bounds(low, high, made.bounds.is_log), made.values)


def _choices(column: Column, values: Sequence[Any], good: int, matters: bool) -> NextRange:
    # By their words, since lists and the like cannot be counted; the first of each is what is written.
    by_word = {str(name): value for name, value in zip(reversed(column.values), reversed(values), strict=True)}
    tried, among_good = Counter(column.values), Counter(column.values[:good])
    dropped = [name for name in by_word if matters and tried[name] >= _FEWEST_OF_A_CHOICE and not among_good[name]]
    kept = tuple(value for name, value in sorted(by_word.items()) if name not in dropped and value is not None)
    if not dropped or not kept:
        return NextRange(column.field, "kept: no choice can be ruled out", values=kept)
    why = "; ".join(
        f"{name} dropped: none of its {tried[name]} trials is among the best {good}" for name in sorted(dropped)
    )
    return NextRange(column.field, why, values=kept)
