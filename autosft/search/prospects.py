"""Who may win a search that is under way, so that time for its refit is kept."""

from __future__ import annotations

from collections.abc import Sequence

from autosft.planning.plan import Plan
from autosft.search.choice import best, contenders
from autosft.search.trial import Trial
from autosft.trainers import trainer_class


def goes_on_from(plan: Plan, trial: Trial, other: Trial) -> bool:
    """Whether a trial fine-tunes the base model whose frozen features the other fits a head on, from such a head."""
    arm, frozen = plan.arm(trial.arm), plan.arm(other.arm)
    return (
        arm.base_model.id == frozen.base_model.id
        and frozen.is_quick
        and not arm.is_quick
        and trainer_class(arm.trainer).starts_from(trial.config) == "probe"
    )


def likely_winners(plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
    """Returns the best trial so far, and those that are preferred to it where they are about as good."""
    greater = plan.task.metric.greater_is_better
    first = best(trials, greater)
    if first is None:
        return []
    return [first, *(trial for trial in contenders(trials, greater) if goes_on_from(plan, trial, first))]
