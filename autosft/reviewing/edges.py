"""Which edge of the space the good trials crowd against, beyond what chance explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.columns import Column, columns
from autosft.reviewing.sweep import Bounds, Standing, Sweep

#: The good ones are the best quarter, of so many trials at least.
GOOD_SHARE, _FEWEST = 0.25, 16

#: The outer share of a range, on its scale, that counts as its edge; and the good trials that must be in it.
_EDGE, _CROWD = 0.2, 0.4

#: How rarely chance alone may crowd them so, for all fields and both ends together.
_CHANCE = 0.05

#: A logarithmic range is widened by this factor, a linear one by this share of its width.
_FACTOR, _WIDTH = 4.0, 0.5


@dataclass(frozen=True)
class Crowded:
    """Good trials that crowd against one end of a range.

    Attributes:
        field: The field.
        side: "low" or "high".
        bound: The end that they crowd against.
        num_there: Good trials in the outer fifth. num_good: Of so many.
        num_all_there: Of all trials, those in the outer fifth. num_all: All.
        chance: How often chance puts so many of the good there, times the number of fields and ends looked at.
        wider: Where that end might be moved to; None where the field ends there by its nature.
        is_declared: Whether the range was declared; otherwise it is that of the values tried.
    """

    field: str
    side: str
    bound: float
    num_there: int
    num_good: int
    num_all_there: int
    num_all: int
    chance: float
    wider: float | None
    is_declared: bool


def edges(sweep: Sweep) -> list[Claim]:
    """Returns a claim for each end of a range that good trials crowd against, or one that there is none."""
    claims: list[Claim] = []
    for arm in sweep.arms:
        standings = sweep.standings(arm)
        where = f" of {arm}" if len(sweep.arms) > 1 else ""
        numbers = {"arm": arm, "num_configs": len(standings)}
        if len(standings) < _FEWEST:
            told = (
                f"Too few configurations{where} ({len(standings)}, {_FEWEST} are needed) to tell whether the good ones "
                "crowd against an edge."
            )
            claims.append(Claim("edges", told, numbers, "unknown"))
            continue
        found = crowded(sweep, arm)
        claims += [_claim(one, where, arm) for one in found]
        if not found:
            told = f"The best {num_good(standings)} of {len(standings)} configurations{where} crowd against no edge."
            claims.append(Claim("edges", told, numbers, "good"))
    return claims


def crowded(sweep: Sweep, arm: str) -> list[Crowded]:
    """Returns the ends that an arm's good trials crowd against, the least likely by chance first."""
    standings = sweep.standings(arm)
    if len(standings) < _FEWEST:
        return []
    numeric = [column for column in columns([row.config for row in standings]) if column.is_number]
    found = [
        one
        for column in numeric
        for side in ("low", "high")
        if (
            one := _at_end(
                column, side, sweep.bounds.get(arm, {}).get(column.field), num_good(standings), len(numeric) * 2
            )
        )
    ]
    return sorted(found, key=lambda one: one.chance)


def num_good(standings: Sequence[Standing]) -> int:
    """Returns how many of the best count as good."""
    return math.ceil(GOOD_SHARE * len(standings))


def _at_end(column: Column, side: str, declared: Bounds | None, good: int, looks: int) -> Crowded | None:
    from scipy.stats import hypergeom

    values = [value for value in column.values if isinstance(value, float)]
    bounds = declared or Bounds(min(values), max(values), column.is_log)
    if bounds.high <= bounds.low or (bounds.is_log and bounds.low <= 0):
        return None
    places = [None if not isinstance(value, float) else _place(value, bounds, side) for value in column.values]
    there = [place is not None and place <= _EDGE for place in places]
    # Of a few choices, such as batch sizes, the outermost one is the edge, whatever lies between.
    if len(set(values)) <= 1 / _EDGE:
        end = min(values) if side == "low" else max(values)
        there = [value == end for value in column.values]
        bounds = declared or Bounds(min(values), max(values), column.is_log)
    among_good, in_all = sum(there[:good]), sum(there)
    chance = float(hypergeom.sf(among_good - 1, len(there), in_all, good)) * looks
    if chance > _CHANCE or among_good < _CROWD * good:
        return None
    bound = bounds.low if side == "low" else bounds.high
    wider = _wider(bounds, side)
    # Many whole numbers are counts, and by the logarithm those end at one.
    if wider is not None and wider < 1 and bounds.is_log and len(set(values)) > 1 / _EDGE and _are_whole(values):
        wider = 1.0 if bounds.low > 1 else None
    return Crowded(column.field, side, bound, among_good, good, in_all, len(there), chance, wider, declared is not None)


def _place(value: float, bounds: Bounds, side: str) -> float | None:
    """Returns how far a value is from an end, as a share of the range; None where it lies outside."""
    if bounds.is_log:
        if value <= 0:
            return None
        low, value, high = math.log(bounds.low), math.log(value), math.log(bounds.high)
    else:
        low, high = bounds.low, bounds.high
    place = (value - low) / (high - low)
    place = place if side == "low" else 1 - place
    return place if place >= -1e-9 else None


def _are_whole(values: Sequence[float]) -> bool:
    return all(value.is_integer() for value in values)


def _wider(bounds: Bounds, side: str) -> float | None:
    """Returns where an end might be moved to; a field ends at zero, and at one where it looks like a share."""
    is_share = bounds.low >= 0 and bounds.high <= 1
    if bounds.is_log:
        wider = bounds.low / _FACTOR if side == "low" else bounds.high * _FACTOR
        return min(1.0, wider) if is_share and bounds.high < 1 else wider
    width = _WIDTH * (bounds.high - bounds.low)
    if side == "low":
        return None if bounds.low == 0 else max(0.0, bounds.low - width) if bounds.low > 0 else bounds.low - width
    return None if is_share and bounds.high == 1 else min(1.0, bounds.high + width) if is_share else bounds.high + width


def _claim(one: Crowded, where: str, arm: str) -> Claim:
    end = "lowest" if one.side == "low" else "highest"
    sort = f"declared {'lower' if one.side == 'low' else 'upper'} bound" if one.is_declared else f"{end} value tried"
    advice = (
        f"widen it to {words.value(one.wider)}"
        if one.wider is not None
        else "it cannot be widened, as it is where the field ends"
    )
    sentence = (
        f"{one.field}{where} crowds against its {sort}, {words.value(one.bound)}: {one.num_there} of the best "
        f"{one.num_good} configurations are in the outermost fifth, where {one.num_all_there} of all {one.num_all} are "
        f"(chance alone: {_probability(one.chance)}); {advice}."
    )
    numbers = {
        "arm": arm, "field": one.field, "side": one.side, "bound": one.bound, "there": one.num_there,
        "good": one.num_good, "all_there": one.num_all_there, "all": one.num_all,
        "chance": min(1.0, one.chance), "wider": one.wider,
    }  # fmt: skip
    return Claim("edges", sentence, numbers, "bad" if one.wider is not None else "fact")


def _probability(chance: float) -> str:
    return "below 0.001" if chance < 0.001 else f"{chance:.3f}"
