"""A batch's budget among its jobs: who may begin with how much, and who gets what is left. Pure; knows no process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autosft.search.trial import Trial

#: A job is not begun with less, unless it asked for less itself: starting, a first model and its proof take as long.
LEAST_SECONDS = 30.0

#: Between the end of a job and the first second of the next one's budget: a process, and the libraries it imports.
BETWEEN_SECONDS = 4.0

#: The last part of a search, in which a job that is still improving must have improved.
LATE_SHARE = 1 / 3

#: Complete trainings below which a search is too young to tell whether it still improves.
FEW_TRIALS = 4


@dataclass(frozen=True)
class Wish:
    """A job that waits, and the seconds that it asks for; None for as long as it takes."""

    name: str
    seconds: float | None


def grants(
    waiting: Sequence[Wish], *, left_seconds: float | None, at_once: int, promised_seconds: float = 0.0
) -> Mapping[str, float | None]:
    """Returns the seconds of each job that may still begin.

    All are scaled down alike where they do not fit. Where they would then have too little to be of use, those that come
    last get nothing, so that the others have enough; they may find more time left when it is their turn.

    Args:
        waiting: In the order in which they begin.
        left_seconds: Wall time left of the batch; None for no limit.
        at_once: Jobs that run beside each other.
        promised_seconds: What is left of the budgets of the jobs that run, in all.
    """
    if left_seconds is None:
        return {wish.name: wish.seconds for wish in waiting}
    for count in range(len(waiting), 0, -1):
        first = waiting[:count]
        room = left_seconds * at_once - promised_seconds - BETWEEN_SECONDS * math.ceil(count / at_once) * at_once
        # Who sets no limit asks for an equal part of the room.
        asked = [wish.seconds if wish.seconds is not None else max(1.0, room / count) for wish in first]
        scale = min(1.0, room / sum(asked))
        longest = left_seconds - BETWEEN_SECONDS
        given = [min(scale * seconds, longest) for seconds in asked]
        if all(value >= min(LEAST_SECONDS, seconds) for value, seconds in zip(given, asked, strict=True)):
            return {wish.name: value for wish, value in zip(first, given, strict=True)}
    return {}


def scale_of(waiting: Sequence[Wish], *, left_seconds: float | None, at_once: int) -> float:
    """Returns the share of what they asked for that jobs get where all of them run; 1 where they fit."""
    asked = sum(wish.seconds or 0.0 for wish in waiting)
    if left_seconds is None or not asked:
        return 1.0
    room = left_seconds * at_once - BETWEEN_SECONDS * math.ceil(len(waiting) / at_once) * at_once
    return min(1.0, max(0.0, room / asked))


def late_gain(ended: Sequence[tuple[float, Trial]], *, greater_is_better: bool) -> float | None:
    """Returns how much the best score rose in the last third of a search, in half-widths of its 95 % interval.

    Zero where it did not rise, None where there are too few trainings to tell.

    Args:
        ended: Trials in the order in which they ended, each with what its run had spent by then, in seconds.
    """
    sign = 1.0 if greater_is_better else -1.0
    scored = [
        (spent, trial)
        for spent, trial in ended
        if trial.stage == "search" and trial.fate == "complete" and trial.score is not None
        and math.isfinite(trial.score)
    ]  # fmt: skip
    if len(scored) < FEW_TRIALS:
        return None
    first, last = scored[0][0], scored[-1][0]
    late = last - LATE_SHARE * (last - first)
    before = max(sign * (trial.score or 0.0) for spent, trial in scored if spent <= late)
    leader = max((trial for _, trial in scored), key=lambda trial: sign * (trial.score or 0.0))
    rise = sign * (leader.score or 0.0) - before
    if rise <= 0:
        return 0.0
    half = (leader.interval[1] - leader.interval[0]) / 2 if leader.interval else 0.0
    return rise / half if half > 0 else rise


@dataclass(frozen=True)
class Candidate:
    """A job that has ended and could go on.

    Attributes:
        name: The job's name.
        seconds: What it asked for at first: it gets no more at a time.
        gain: Its `late_gain`.
        has_model: Whether it has one; without, its time was too short for a first one.
        was_cut: Whether it had less than it asked for, so that its search was short for the batch's sake.
        num_extensions: How often it has gone on already.
    """

    name: str
    seconds: float
    gain: float | None
    was_cut: bool = False
    num_extensions: int = 0
    has_model: bool = True


def leftovers(
    candidates: Sequence[Candidate], *, left_seconds: float, at_once: int, num_running: int = 0
) -> Mapping[str, float]:
    """Returns the seconds that jobs go on with: the still-improving rule.

    First, and once, those whose time was too short for any model. Then those whose best score rose in the last third of
    their search, and those that never went on and whose search was too short to tell: who went on least often first,
    then the largest rise. Each gets an equal part of what is left, at most what it once asked for, and as many take
    part as get enough to be of use.

    Args:
        at_once: Jobs that run beside each other.
        num_running: Those that do so now: asked one after the other, all get the same as when asked together.
    """
    improving = [one for one in candidates if (one.gain or 0) > 0 or (one.gain is None and not one.num_extensions)]
    ranked = sorted(
        improving,
        key=lambda one: (one.has_model, one.num_extensions, one.gain is None, -(one.gain or 0.0), not one.was_cut),
    )
    for count in range(len(ranked), 0, -1):
        rounds = math.ceil((num_running + count) / at_once)
        each = left_seconds / rounds - BETWEEN_SECONDS
        given = {one.name: min(each, one.seconds) for one in ranked[:count]}
        if all(value >= min(LEAST_SECONDS, one.seconds) for value, one in zip(given.values(), ranked, strict=False)):
            return given
    return {}
