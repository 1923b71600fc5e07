"""Which policy a plan's search follows, and the sampler that it draws from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from autosft.planning.plan import Arm, Plan
from autosft.search.pace import Pace
from autosft.search.policy import Policy
from autosft.search.racing import Racing
from autosft.search.sampler import ArmSpace, Known, Sampler, State
from autosft.search.trial import Trial
from autosft.search.whole_runs import WholeRuns
from autosft.trainers import trainer_class

#: Share of a race's draws that are random though TPE draws the others: what it learns from short trainings misleads.
_RANDOM_SHARE = 0.5


def policy_for(plan: Plan, *, journal: Path, earlier: Sequence[Trial], closing_seconds: float) -> Policy:
    """Returns the policy of a plan's search: a race where its arms have several lengths, else whole runs.

    Args:
        journal: The study's file.
        earlier: Trials that an earlier sitting finished.
        closing_seconds: Time to leave for proof and writing.
    """
    earlier = [trial for trial in earlier if trial.stage == "search"]
    sampler = Sampler(
        {arm.name: _arm_space(arm, plan) for arm in plan.arms},
        sampler=plan.sampler,
        seed=plan.seed,
        greater_is_better=plan.task.metric.greater_is_better,
        journal=journal,
        random_share=_RANDOM_SHARE if plan.races else 0.0,
        earlier=_known(plan, earlier),
    )
    if plan.races:
        return Racing(plan, sampler, earlier=earlier, closing_seconds=closing_seconds)
    return WholeRuns(plan, sampler, Pace(closing_seconds, plan.refit_factor if plan.refit else 0.0))


def _arm_space(arm: Arm, plan: Plan) -> ArmSpace:
    trainer = trainer_class(arm.trainer)
    return ArmSpace(arm.space, arm.default, plan.facts, arm.base_model.id, trainer.is_probe)


def _known(plan: Plan, trials: Sequence[Trial]) -> list[Known]:
    """Returns what a sampler has to know about trials: of each configuration all that it reached, and its state."""
    found: dict[str, Known] = {}
    for trial in trials:
        before = found.get(trial.identity)
        goes_on = trial.fate == "complete" and trial.rung < plan.arm(trial.arm).rungs[-1]
        state = cast(State, "waiting" if goes_on else trial.fate)
        # A race compares by the lengths that were asked for.
        curve = ((trial.rung, trial.score),) if plan.races else trial.curve or ((trial.reached, trial.score),)
        reports = (*(before.reports if before else ()), *curve)
        found[trial.identity] = Known(trial.arm, trial.config, trial.is_default, reports, state)
    return list(found.values())
