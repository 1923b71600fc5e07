"""How much time the winner's trainings on all rows take: one, or a few whose mean is the model (the soup)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autosft.planning.plan import Plan
from autosft.trainers import trainer_class

#: Trainings in a soup, the first one included; the third adds less than the second.
MOST_TRAININGS = 3

#: What is kept for each training after the first, as a share of what that takes, and for their mean. One of three
#: quarters of the length is worth as much in a mean as a whole one (`benchmarks/README.md`).
_SHARE, AVERAGING_SECONDS = 0.75, 6.0

#: What the trainings after the first take, in times of that one.
OTHERS = (MOST_TRAININGS - 1) * _SHARE


def can_be_averaged(trainer: str, config: Mapping[str, Any]) -> bool:
    """Whether trainings of a configuration start from the same weights whatever their seed, the head's included."""
    return trainer_class(trainer).starts_from(config) == "probe"


def refit_seconds(plan: Plan, arm: str, config: Mapping[str, Any], trial_seconds: float) -> float:
    """Predicts the time that is kept for the refit of a configuration, the whole soup of them where one is planned.

    Args:
        trial_seconds: What a trial of it takes.
    """
    if not plan.refit:
        return 0.0
    once = plan.refit_factor * trial_seconds
    if not (plan.soup and can_be_averaged(plan.arm(arm).trainer, config)):
        return once
    return once * (1 + OTHERS) + AVERAGING_SECONDS
