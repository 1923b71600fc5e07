"""How the budget is divided: what races at which lengths, how long a trial is otherwise, whether there is a refit."""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autosft.budget import Budget, format_seconds
from autosft.counting import counted
from autosft.planning.plan import Arm
from autosft.planning.refits import MOST_TRAININGS, OTHERS, can_be_averaged
from autosft.search.race import ETA, RUNGS, Lane
from autosft.tasks.base import SCARCE_ROWS_PER_CLASS

#: Below this many full runs the plan is small: one run per arm, fitted to the time there is.
_SMALL_PLAN_RUNS = 4.0

#: Share of the time left that trainings are expected to fill; the rest goes to loading and reporting.
_FILL = 0.9

#: Where a run and its refit both have so much of the full length, the refit's rows are worth more than the rest of it:
#: three quarters of the epochs lost nothing on two data sets, and a second whole run mostly loses to the default.
_REFIT_FROM = 0.75

#: A fine-tuning of a smaller share of its full length is not worth its time.
_MIN_FIDELITY = 0.05

#: The least that is asked of a lone arm whose full run is far beyond the budget; a trial's time limit does the rest.
_SHORTEST_RUN = 1e-4

#: Trials of an arm that a search makes at most when nothing else limits it: beyond, choosing by a small validation set
#: gains noise only.
MAX_TRIALS_PER_ARM = 30

#: Trainings of fewer optimizer steps are no rung: replayed searches did best from so many on (`benchmarks/README.md`).
_FEWEST_UPDATES = 6

#: An arm races up to the length that takes at most this share of the time, so that its default and a candidate fit.
_LARGEST_HEAT = 0.4

#: With fewer trials there is nothing to promote.
_FEWEST_RACING_TRIALS = 12

#: Share of the time that finals may take, from so many full runs' worth of time up.
FINALS_SHARE = 0.25
_FINALS_RUNS = 8.0


@dataclass(frozen=True)
class Lengths:
    """How the time is divided.

    Attributes:
        arms: The arms that are kept, with their share of a full run.
        refit: Whether the winner is retrained on all rows.
        reasons: Why.
        num_trials: Trials that are expected to fit.
        finals_share: Share of the search's time that the finals get.
        num_configs: Configurations that race, about; 0 where none do.
        soup: Whether time is kept to retrain the winner with other seeds too.
        wall_seconds: What the run is expected to take from here on.
    """

    arms: tuple[Arm, ...]
    refit: bool
    reasons: tuple[str, ...]
    num_trials: int
    wall_seconds: float
    finals_share: float = 0.0
    num_configs: int = 0
    soup: bool = False

    @property
    def buys(self) -> str:
        """What so much time buys, in words."""
        if self.num_configs:
            finals = " and finals" if self.finals_share else ""
            return f"a race of about {counted(self.num_configs, 'configuration')}{finals}"
        costly = [arm for arm in self.arms if not arm.is_quick]
        if not costly:
            return f"{' and '.join(arm.name for arm in self.arms)} alone"
        fidelity = max(arm.fidelity for arm in costly)
        refit = " and a refit" if self.refit else ""
        if fidelity >= 1 and self.num_trials > len(self.arms):
            return f"about {self.num_trials} trainings of full length{refit}"
        runs = "one fine-tuning" if len(costly) == 1 else f"{len(costly)} fine-tunings"
        length = "full length" if fidelity >= 1 else f"{max(fidelity, 0.01):.0%} of the full length"
        return f"{runs} of {length}{refit}"


def lane_of(arm: Arm) -> Lane:
    """Returns an arm of a plan as the race sees it."""
    assert arm.cost is not None, "every arm of a plan has a cost"
    seconds = arm.cost.run_seconds
    return (
        Lane(arm.name, arm.rungs, seconds, MAX_TRIALS_PER_ARM)
        if len(arm.rungs) == 1
        else Lane(arm.name, arm.rungs, seconds)
    )


@dataclass(frozen=True)
class Means:
    """What there is to divide among arms, and what decides how.

    Attributes:
        budget: What may be spent.
        seconds_left: Time left of the budget, or None where it has no limit of time.
        closing_seconds: What scoring and writing the result will take.
        refit_factor: Rows of the refit over rows of a trial.
        rows_per_class: Training rows per class, the median.
        num_rows: Training rows.
        max_concurrent: Trials that run at once.
        scheduler: "race", or another name where trials are whole.
    """

    budget: Budget
    seconds_left: float | None
    closing_seconds: float
    refit_factor: float
    rows_per_class: float
    num_rows: int
    max_concurrent: int
    scheduler: str

    @property
    def wants_refit(self) -> bool:
        """Whether the winner may be retrained on all rows."""
        return self.budget.refit is not False

    @property
    def may_race(self) -> bool:
        """Whether there may be trials enough for some to be promoted."""
        return self.scheduler == "race" and (self.budget.num_trials or sys.maxsize) >= _FEWEST_RACING_TRIALS

    @property
    def available(self) -> float:
        """Seconds for trials and refit."""
        return math.inf if self.seconds_left is None else max(0.0, self.seconds_left - self.closing_seconds)


def fit_lengths(arms: Sequence[Arm], means: Means) -> Lengths:
    """Decides what races, how long a trial is otherwise, and whether there is time for a refit.

    Args:
        arms: With their cost, measured or estimated.
    """
    if means.seconds_left is None:
        return _without_limit(arms, means)
    return _race(arms, means) or _one_run_each(arms, means) or _many_runs(arms, means, refit=means.wants_refit)


def _without_limit(arms: Sequence[Arm], means: Means) -> Lengths:
    """Lets everything run as long as it takes."""
    budget = means.budget
    if means.may_race:
        arms = [replace(arm, rungs=_rungs(arm, means.num_rows, math.inf)) for arm in arms]
    whole = float(np.mean([arm.trial_seconds for arm in arms]))
    mean = float(np.mean([arm.trial_seconds * _mean_length(arm.rungs) for arm in arms]))
    num_trials = budget.num_trials if budget.num_trials is not None else MAX_TRIALS_PER_ARM * len(arms)
    # However short most of a race's trainings are, the best one and its default are whole.
    num_whole = min(2, num_trials)
    trainings = num_whole * whole + (num_trials - num_whole) * mean
    wall = means.closing_seconds + trainings / means.max_concurrent + means.refit_factor * whole * means.wants_refit
    return Lengths(tuple(arms), means.wants_refit, (), num_trials, wall)


def _race(arms: Sequence[Arm], means: Means) -> Lengths | None:
    """Lets configurations race, where time and trials are enough for it."""
    cheap, costly = _by_cost(arms)
    left = means.available - sum(arm.trial_seconds for arm in cheap)
    rungs = [_rungs(arm, means.num_rows, _LARGEST_HEAT * left) for arm in costly]
    racing = [replace(arm, rungs=lengths) for arm, lengths in zip(costly, rungs, strict=True) if lengths]
    whole = [arm.trial_seconds for arm in racing if arm.rungs[-1] == RUNGS[-1]]
    if not means.may_race or not whole or all(len(arm.rungs) == 1 for arm in racing):
        return None
    typical = float(np.median(whole))
    if left < _SMALL_PLAN_RUNS * typical:
        return None
    runs = means.max_concurrent * left / typical
    soup = _has_time_for_soup(racing, means, left / typical)
    num_trials = means.budget.num_trials
    # Where trials are counted the race uses all of them.
    has_finals = means.budget.finals and runs >= _FINALS_RUNS and num_trials is None
    finals_share = FINALS_SHARE if has_finals else 0.0
    num_configs = _num_configs(racing, runs - means.max_concurrent * means.refit_factor * OTHERS * soup)
    shown = ", ".join(f"{rung:.0%}" for rung in max((arm.rungs for arm in racing), key=len))
    reasons = [
        f"the time left holds {runs:.1f} full runs: configurations race at {shown} of the full length, and of each "
        f"length one in {ETA} goes on" + (f", about {num_configs} in all" if num_trials is None else ""),
    ]
    if finals_share:
        reasons.append(
            f"{finals_share:.0%} of it is kept to train the best again, on other rows or with other seeds, before one "
            "is chosen"
        )
    if soup:
        reasons.append(
            f"time is kept to train the winner {MOST_TRAININGS} times on all rows and ship the mean of their weights: "
            "where rows are few that is worth more than as much time for the race"
        )
    kept = (*cheap, *racing)
    return Lengths(
        kept,
        means.wants_refit,
        (*reasons, *_left_out(costly, kept)),
        min(round(1.5 * num_configs) + len(cheap), num_trials or sys.maxsize),
        means.closing_seconds + means.available,
        finals_share,
        num_configs,
        soup,
    )


def _has_time_for_soup(racing: Sequence[Arm], means: Means, runs: float) -> bool:
    """Whether the winner is to be trained several times: where rows are few, and a race is left beside it.

    Args:
        runs: Full runs that the time holds, one after the other.
    """
    is_scarce = means.rows_per_class < SCARCE_ROWS_PER_CLASS
    averaged = any(can_be_averaged(arm.trainer, arm.default) for arm in racing)
    beside = runs - means.refit_factor * OTHERS
    wanted = means.wants_refit and means.budget.soup
    return wanted and is_scarce and averaged and beside >= _SMALL_PLAN_RUNS


def _one_run_each(arms: Sequence[Arm], means: Means) -> Lengths | None:
    """Fits one run of each arm to the time there is, where that holds few full ones."""
    cheap, costly = _by_cost(arms)
    left = means.available - sum(arm.trial_seconds for arm in cheap)
    one_each = _wall_seconds([arm.trial_seconds for arm in costly], means.max_concurrent)
    if not costly or left >= _SMALL_PLAN_RUNS * one_each:
        return None
    usable = max(0.0, _FILL * left)
    with_refit = usable / (one_each + means.refit_factor * max(arm.trial_seconds for arm in costly))
    is_scarce = means.rows_per_class < SCARCE_ROWS_PER_CLASS
    refit = means.wants_refit and (with_refit >= _REFIT_FROM or is_scarce or means.budget.refit is True)
    fidelity = min(1.0, with_refit if refit else usable / one_each)
    reasons = []
    if _MIN_FIDELITY <= fidelity < 1:
        reasons.append(
            f"the time left holds {left / one_each:.1f} full runs, so fine-tuning is shortened to what fits, about "
            f"{fidelity:.0%} of the full length, and annealed to its end"
        )
    if means.wants_refit and not refit:
        reasons.append("no time is kept for a refit: a longer run gains more than the validation rows would add")
    shortened = [arm if arm in cheap else replace(arm, fidelity=fidelity) for arm in arms]
    kept = shortened if fidelity >= _MIN_FIDELITY else cheap
    if not kept:
        # Nothing fits: the cheapest run, cut to what there is, is better than no model at all.
        cheapest = min(arms, key=lambda arm: arm.trial_seconds)
        kept = [replace(cheapest, fidelity=max(fidelity, _SHORTEST_RUN))]
    return _many_runs(kept, means, refit=refit, reasons=(*reasons, *_left_out(arms, kept)))


def _many_runs(arms: Sequence[Arm], means: Means, *, refit: bool, reasons: Sequence[str] = ()) -> Lengths:
    """Counts the runs that the time holds."""
    mean = float(np.mean([arm.trial_seconds for arm in arms])) or 1.0
    num_trials = max(len(arms), int(means.available * means.max_concurrent / mean))
    num_trials = min(num_trials, MAX_TRIALS_PER_ARM * len(arms), means.budget.num_trials or sys.maxsize)
    wall = means.closing_seconds + num_trials * mean / means.max_concurrent + means.refit_factor * mean * refit
    wall = wall if means.seconds_left is None else min(means.seconds_left, wall)
    sampled = [
        f"{arm.name} reads what rows there is time for, about {means.available / arm.trial_seconds:.0%} of them"
        for arm in _by_cost(arms)[0]
        if arm.trial_seconds > means.available
    ]
    return Lengths(tuple(arms), refit, (*reasons, *sampled), num_trials, wall)


def _by_cost(arms: Sequence[Arm]) -> tuple[list[Arm], list[Arm]]:
    """Divides arms: those of a moment, and those that are worth shortening."""
    return [arm for arm in arms if arm.is_quick], [arm for arm in arms if not arm.is_quick]


def _left_out(arms: Sequence[Arm], kept: Sequence[Arm]) -> list[str]:
    names = {arm.name for arm in kept}
    return [
        f"{arm.name} is left out: a full run takes {format_seconds(arm.trial_seconds)}"
        for arm in arms
        if arm.name not in names
    ]


def _wall_seconds(trainings: Sequence[float], max_concurrent: int) -> float:
    """Returns how long trainings of so many seconds take in all; in their order, each begins as a place is free."""
    ends = [0.0] * max_concurrent
    for seconds in trainings:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _num_configs(racing: Sequence[Arm], runs: float) -> int:
    """Estimates how many configurations a race of so many full runs starts, two of them kept for the end.

    Every length takes as much time as the first: a third of the configurations, three times as long.
    """
    rungs = max((arm.rungs for arm in racing), key=len)
    return max(len(racing), round(max(0.0, 0.7 * runs - 2.0) * rungs[-1] / (len(rungs) * rungs[0])))


def _rungs(arm: Arm, num_rows: int, longest_seconds: float) -> tuple[float, ...]:
    """Returns the lengths at which an arm races: long enough to tell something, short enough to fit."""
    if arm.is_quick:
        return (1.0,)
    updates = num_rows * arm.default.get("num_train_epochs", 1) / arm.default.get("batch_size", 1)
    enough = [rung for rung in RUNGS if rung * updates >= _FEWEST_UPDATES or rung == RUNGS[-1]]
    return tuple(rung for rung in enough if rung * arm.trial_seconds <= longest_seconds)


def _mean_length(rungs: Sequence[float]) -> float:
    """Returns the mean length of a race's trainings: of each length one in `ETA` goes on."""
    return float(np.average(rungs, weights=[ETA**-at for at in range(len(rungs))]))
