"""How the budget is divided: how long a trial of each arm is, and whether there is time for a refit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autosft.budget import Budget, format_seconds
from autosft.planning.plan import Arm
from autosft.tasks.base import SCARCE_ROWS_PER_CLASS
from autosft.trainers import trainer_class

#: Below this many full runs the plan is small: one run per arm, fitted to the time there is.
_SMALL_PLAN_RUNS = 4.0

#: Share of the time left that trainings are expected to fill; the rest goes to loading and reporting.
_FILL = 0.9

#: A fine-tuning of a smaller share of its full length is not worth its time.
_MIN_FIDELITY = 0.05

#: The least that is asked of a lone arm whose full run is far beyond the budget; a trial's time limit does the rest.
_SHORTEST_RUN = 1e-4

#: Trials of an arm that a search makes at most when nothing else limits it: beyond, choosing by a small validation set
#: gains noise only.
MAX_TRIALS_PER_ARM = 30


@dataclass(frozen=True)
class Lengths:
    """How the time is divided.

    Attributes:
        arms: The arms that are kept, with their share of a full run.
        refit: Whether the winner is retrained on all rows.
        reasons: Why.
        num_trials: Trials that are expected to fit.
        wall_seconds: What the run is expected to take from here on.
    """

    arms: tuple[Arm, ...]
    refit: bool
    reasons: tuple[str, ...]
    num_trials: int
    wall_seconds: float


def fit_lengths(
    arms: Sequence[Arm],
    *,
    budget: Budget,
    seconds_left: float | None,
    closing_seconds: float,
    refit_factor: float,
    rows_per_class: float,
    max_concurrent: int,
) -> Lengths:
    """Decides how long a trial of each arm is, and whether there is time for a refit.

    Args:
        arms: With their measured cost.
        seconds_left: Time left of the budget, or None.
        closing_seconds: What scoring and writing the result will take.
        refit_factor: Rows of the refit over rows of a trial.
        rows_per_class: Training rows per class, the median.
    """
    wanted = budget.refit is not False
    if seconds_left is None or any(arm.cost is None for arm in arms):
        return _without_limit(arms, budget, wanted, closing_seconds, refit_factor, max_concurrent)
    fidelity = 1.0
    available = max(0.0, seconds_left - closing_seconds)
    kept, reasons = [], []
    cheap = [arm for arm in arms if not trainer_class(arm.trainer).reports_rungs]
    costly = [arm for arm in arms if arm not in cheap]
    floor = sum(arm.trial_seconds for arm in cheap)
    refit = wanted
    one_each = sum(arm.trial_seconds for arm in costly)
    if costly and available - floor < _SMALL_PLAN_RUNS * one_each:
        usable = max(0.0, _FILL * (available - floor))
        longest = max(arm.trial_seconds for arm in costly)
        with_refit = usable / (one_each + refit_factor * longest)
        without = usable / one_each
        refit = wanted and (with_refit >= 1 or rows_per_class < SCARCE_ROWS_PER_CLASS or budget.refit is True)
        fidelity = min(1.0, with_refit if refit else without)
        if _MIN_FIDELITY <= fidelity < 1:
            reasons.append(
                f"the time left holds {(available - floor) / one_each:.1f} full runs, so fine-tuning is shortened to "
                f"what fits, about {fidelity:.0%} of the full length, and annealed to its end"
            )
        if wanted and not refit:
            reasons.append("no time is kept for a refit: a longer run gains more than the validation rows would add")
        for arm in arms:
            if arm in cheap:
                kept.append(arm)
            elif fidelity >= _MIN_FIDELITY:
                kept.append(replace(arm, fidelity=fidelity))
        if not kept:
            # Nothing fits: the cheapest run, cut to what there is, is better than no model at all.
            cheapest = min(arms, key=lambda arm: arm.trial_seconds)
            kept = [replace(cheapest, fidelity=max(fidelity, _SHORTEST_RUN))]
        names = [arm.name for arm in kept]
        reasons += [
            f"{arm.name} is left out: a full run takes {format_seconds(arm.trial_seconds)}"
            for arm in arms
            if arm.name not in names
        ]
    else:
        kept = list(arms)
    mean = float(np.mean([arm.trial_seconds for arm in kept])) or 1.0
    num_trials = min(max(len(kept), int(available * max_concurrent / mean)), MAX_TRIALS_PER_ARM * len(kept))
    if budget.num_trials is not None:
        num_trials = min(num_trials, budget.num_trials)
    wall = min(seconds_left, closing_seconds + num_trials * mean / max_concurrent + refit_factor * mean * refit)
    return Lengths(tuple(kept), refit, tuple(reasons), num_trials, wall)


def _without_limit(
    arms: Sequence[Arm], budget: Budget, wanted: bool, closing: float, refit_factor: float, max_concurrent: int
) -> Lengths:
    mean = float(np.mean([arm.trial_seconds for arm in arms]))
    num_trials = budget.num_trials if budget.num_trials is not None else MAX_TRIALS_PER_ARM * len(arms)
    wall = closing + num_trials * mean / max_concurrent + refit_factor * mean * wanted
    return Lengths(tuple(arms), wanted, (), num_trials, wall)
