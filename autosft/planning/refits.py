"""How much time the winner's trainings on all rows take: one, or a few whose mean is the model (the soup)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autosft.planning.plan import Arm, Plan
from autosft.trainers import trainer_class

#: Trainings in a soup, the first one included; the third adds less than the second.
MOST_TRAININGS = 3

#: What is kept for each training after the first, as a share of what that takes: shorter ones are taken to be worth
#: about as much in a mean. The figures of `benchmarks/soup.py` are of whole ones.
_SHARE = 0.75

#: Training rows by which the mean is compared with what it is made of: so many, and of a slow model as many as it
#: predicts in such a time, but not too few to tell.
_MOST_ROWS, _ROW_SECONDS, _FEWEST_ROWS = 500, 3.0, 50

#: What loading, averaging and saving take beside that.
_LOADING_SECONDS = 6.0

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
    return once * (1 + OTHERS) + averaging_seconds(plan.arm(arm))


def averaging_rows(arm: Arm) -> int:
    """Returns by how many training rows the mean of several trainings is judged."""
    return int(np.clip(_ROW_SECONDS * _rows_per_second(arm), _FEWEST_ROWS, _MOST_ROWS))


def averaging_seconds(arm: Arm) -> float:
    """Predicts what the mean takes, its judgement and that of its members included."""
    return _LOADING_SECONDS + (MOST_TRAININGS + 1) * averaging_rows(arm) / _rows_per_second(arm)


def _rows_per_second(arm: Arm) -> float:
    assert arm.cost is not None, "every arm of a plan has a cost"
    return arm.cost.predict_rows_per_second
