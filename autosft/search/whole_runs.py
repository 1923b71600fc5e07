"""The policy without a race: every trial is asked for at whole length, fitted to the time that is left for it.

It serves budgets too small for a race, and Ray's own early-stopping schedulers, which stop what was begun whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from autosft.planning.division import MAX_TRIALS_PER_ARM
from autosft.planning.plan import Arm, Plan
from autosft.search.choice import best
from autosft.search.pace import Pace
from autosft.search.policy import Standing, Start
from autosft.search.prospects import likely_winners
from autosft.search.sampler import Sampler
from autosft.search.slots import slots_allowed
from autosft.search.trial import Trial

#: Where trials of a fine-tuning arm report, as shares of their own length.
RUNGS = (1 / 9, 1 / 3, 1.0)

#: A trial begins where its time limit is at least this share of what it would take; an arm's first anneals to fit.
_FITS = 0.95
_FIRST_FITS = 0.05


class WholeRuns:
    """Untuned defaults first, each in its share of the time; then what the sampler proposes, while a whole run fits."""

    def __init__(self, plan: Plan, sampler: Sampler, pace: Pace) -> None:
        self._plan = plan
        self._sampler = sampler
        self._pace = pace

    def ask(self, standing: Standing) -> Start | None:
        if standing.trials_left is not None and standing.trials_left <= 0:
            return None
        ready = [arm for arm in self._plan.arms if self._may_begin(arm, standing)]
        if standing.seconds_left is not None:
            # What takes a moment comes before the fine-tunings, which use up what is left for them; the shortest first.
            quick = [arm for arm in ready if arm.is_quick and not _known(arm, standing)]
            ready = [min(quick, key=lambda arm: arm.trial_seconds)] if quick else ready
        arms = [arm.name for arm in ready]
        proposal = self._sampler.ask(arms) if arms else None
        if proposal is None:
            return None
        arm = self._plan.arm(proposal.arm)
        stops = not arm.is_quick and self._plan.scheduler in ("asha", "median")
        return Start(
            arm.name,
            proposal.config,
            proposal.is_default,
            limit_seconds=self._limit(arm, standing),
            rungs=RUNGS if stops else (1.0,),
            may_be_stopped=stops and not proposal.is_default,
        )

    def tell(self, trial: Trial) -> None:
        number = self._sampler.number_of(trial.arm, trial.config)
        assert number is not None, "only what was proposed is told"
        state: Any = trial.fate
        self._sampler.tell(number, score=trial.score, fidelity=trial.reached, state=state, reports=trial.curve[:-1])

    def forget(self, trial: Trial) -> None:
        number = self._sampler.number_of(trial.arm, trial.config)
        assert number is not None, "only what was proposed is forgotten"
        self._sampler.tell(number, score=None, fidelity=trial.fidelity, state="interrupted")

    def close(self) -> None:
        self._sampler.close()

    def remark(self) -> str:
        return ""

    def _limit(self, arm: Arm, standing: Standing) -> float | None:
        """Seconds that a trial of an arm may take if it begins now, None without a time budget."""
        if standing.seconds_left is None:
            return None
        arms = [other for other in self._plan.arms if other.name not in standing.barred]
        waiting = {other.name for other in arms if not (other.is_quick or _known(other, standing))}
        beside = sum(not self._plan.arm(trial.arm).is_quick for trial in standing.running)
        winners = likely_winners(self._plan, standing.trials)
        return self._pace.limit(
            standing.seconds_left,
            still_to_come=math.ceil((beside + len(waiting | {arm.name})) / self._num_at_once(standing)),
            leader_seconds=max((trial.seconds_again for trial in winners), default=None),
        )

    def _num_at_once(self, standing: Standing) -> int:
        """Returns how many trials run side by side: what the plan or a batch says, or more where more do."""
        allowed = slots_allowed()
        most = self._plan.resources.max_concurrent if allowed is None else allowed
        # A cluster that grew holds more than was planned.
        return max(most, len(standing.running) + 1)

    def _leader(self, trials: Sequence[Trial]) -> Trial | None:
        return best(trials, self._plan.task.metric.greater_is_better)

    def _predict_seconds(self, arm: str, standing: Standing) -> float:
        """Seconds of a trial: as the latest complete one took, else as measured."""
        for trial in reversed(standing.trials):
            if trial.arm == arm and trial.fate == "complete":
                return trial.seconds.get("total", 0.0)
        return self._plan.arm(arm).trial_seconds

    def _may_begin(self, arm: Arm, standing: Standing) -> bool:
        known, limit = _known(arm, standing), self._limit(arm, standing)
        if self._plan.budget.num_trials is None and known >= MAX_TRIALS_PER_ARM:
            return False
        if arm.name in standing.barred:
            return False
        if limit is None:
            return True
        # A default anneals to its end in what there is; later configurations must be as long as it was.
        needed = self._predict_seconds(arm.name, standing)
        if limit > 0 and limit >= needed * (_FITS if known else _FIRST_FITS):
            return True
        nothing_left = standing.num_begun and (standing.seconds_left or 0.0) <= 0
        if self._leader(standing.trials) or standing.running or nothing_left:
            return False
        # Without any model so far, the cheapest arm begins whatever is left: its time limit cuts it to that.
        others = [other.name for other in self._plan.arms if other.name not in standing.barred]
        return needed <= min(self._predict_seconds(other, standing) for other in others)


def _known(arm: Arm, standing: Standing) -> int:
    return sum(trial.arm == arm.name for trial in (*standing.trials, *standing.running))
