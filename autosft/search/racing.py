"""The race as a policy: a plan's arms as lanes, heats as trials, and the time that finals, refit and proof keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from autosft.planning.division import lane_of
from autosft.planning.plan import Plan
from autosft.planning.refits import refit_seconds
from autosft.search.choice import best
from autosft.search.finals import seconds_of_finals
from autosft.search.policy import Standing, Start
from autosft.search.prospects import likely_winners
from autosft.search.race import PATIENCE_RUNS, Proposed, Race
from autosft.search.sampler import Proposal, Sampler
from autosft.search.trial import Trial
from autosft.task import Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class

#: A training that takes this much longer than predicted anneals to its end.
_SLACK, _SLACK_SECONDS = 1.5, 3.0

#: Share of the time left that an arm's first training may take: what it costs was only estimated.
_FIRST_SHARE = 0.2

#: Of an arm that failed so often, and was never trained to an end, nothing more begins in this sitting.
_MOST_FAILURES = 10

#: What its time cut to less than this share of what was asked for counts, to a later sitting, as the shorter training.
_CUT = 0.5


class Racing:
    """Runs a `Race` over a plan's arms.

    Args:
        sampler: Proposes configurations; knows those of `earlier` trials already.
        earlier: Trials that an earlier sitting finished.
        closing_seconds: Time to leave for proof and writing.
    """

    def __init__(
        self,
        plan: Plan,
        sampler: Sampler,
        *,
        earlier: Sequence[Trial],
        closing_seconds: float,
    ) -> None:
        self._plan = plan
        self._sampler = sampler
        self._closing_seconds = closing_seconds
        whole = plan.budget.wall_seconds(plan.resources.machine.gpus) or 0.0
        self._finals_seconds = plan.finals_share * max(0.0, whole - closing_seconds)
        self._by_loss = _agrees_with_loss(plan.task)
        self._arms = {arm.name: arm for arm in plan.arms}
        lanes = [lane_of(arm) for arm in plan.arms]
        self._race = Race(
            lanes, sampler, workers=plan.resources.max_concurrent, group=self._group, patience_runs=PATIENCE_RUNS
        )
        self._trained: set[str] = set()
        self._failures: Counter[str] = Counter()
        for trial in earlier:
            self._recall(trial)
        # Who goes on with more budget wants it used.
        self._race.hope_again()

    def ask(self, standing: Standing) -> Start | None:
        for arm in standing.barred:
            self._race.give_up(arm)
        left = self._seconds_left(standing)
        heat = self._race.ask(left, standing.trials_left)
        if heat is None and left is not None and not standing.running:
            # Where a machine turned out slower than it was, the comparison with the default comes before the finals.
            left += self._finals_seconds
            heat = self._race.ask(left, standing.trials_left, only_must=True)
            if heat is None and not self._has_time_for_finals(standing):
                # What was kept for them buys nothing else any more.
                self._finals_seconds = 0.0
                heat = self._race.ask(left, standing.trials_left)
        if heat is None and left is not None and not standing.running and self._leader(standing.trials) is None:
            # Without any model so far something begins whatever is left: its time limit cuts it to that.
            nothing_left = standing.num_begun and (standing.seconds_left or 0.0) <= 0
            heat = None if nothing_left else self._race.ask(None, standing.trials_left)
        if heat is None:
            return None
        limit = None
        if left is not None:
            limit = _SLACK * heat.seconds + _SLACK_SECONDS
            if not any(trial.arm == heat.arm for trial in standing.trials):
                limit = max(limit, _FIRST_SHARE * left)
            # Without a model so far nothing is left to be kept for.
            limit = min(limit, left if left > 0 else standing.seconds_left or 0.0)
        return Start(heat.arm, heat.config, heat.is_default, fidelity=heat.fidelity, limit_seconds=limit)

    def tell(self, trial: Trial) -> None:
        self._tell_race(trial)
        if trial.fate != "complete":
            self._failures[trial.arm] += 1
            if trial.arm not in self._trained and self._failures[trial.arm] >= _MOST_FAILURES:
                self._race.give_up(trial.arm)
        number, is_longest = self._number(trial), self._rung(trial) == len(self._arms[trial.arm].rungs) - 1
        state = "failed" if trial.fate != "complete" else "complete" if is_longest else "waiting"
        self._sampler.tell(number, score=trial.score, fidelity=trial.rung, state=state)  # type: ignore[arg-type]

    def forget(self, trial: Trial) -> None:
        self._race.forget(self._number(trial), self._rung(trial))

    def close(self) -> None:
        self._sampler.close()

    def remark(self) -> str:
        if not self._race.ended_early:
            return ""
        return (
            f"the race ended early: {PATIENCE_RUNS:.0f} full runs' worth of time brought nothing better at full length"
        )

    def _recall(self, trial: Trial) -> None:
        number = self._number(trial)
        if not self._race.knows(number):
            self._race.recall(Proposal(number, trial.arm, dict(trial.config), trial.is_default))
        if trial.fate == "complete" and trial.fidelity < _CUT * trial.rung:
            # A small budget anneals what is asked for whole within what there is. As a full training such a default
            # would never be trained for as long as those that are compared with it.
            trial = replace(trial, rung=trial.fidelity)
        self._tell_race(trial)

    def _tell_race(self, trial: Trial) -> None:
        if trial.fate == "complete":
            self._trained.add(trial.arm)
        self._race.tell(
            self._number(trial),
            self._rung(trial),
            score=self._value(trial) if trial.fate == "complete" else None,
            seconds=trial.seconds.get("total", 0.0),
            fidelity=trial.fidelity,
        )

    def _value(self, trial: Trial) -> float | None:
        """Returns what a trial is ranked by, the greater the better: its loss says more than a share of right answers.

        On a few hundred validation rows many short trainings have the same accuracy. Replayed searches lost less by
        the loss where trainings were short, and no more by it where they were long (`benchmarks/README.md`).
        """
        if self._by_loss:
            return None if trial.loss is None else -trial.loss
        sign = 1.0 if self._plan.task.metric.greater_is_better else -1.0
        return None if trial.score is None else sign * trial.score

    def _group(self, proposal: Proposed) -> str:
        arm = self._arms[proposal.arm]
        return f"{arm.name} {trainer_class(arm.trainer).starts_from(proposal.config)}"

    def _number(self, trial: Trial) -> int:
        number = self._sampler.number_of(trial.arm, trial.config)
        assert number is not None, "only what was proposed is told"
        return number

    def _rung(self, trial: Trial) -> int:
        """Returns the position of a trial's length; of one that the plan no longer has, the nearest one's."""
        rungs = self._arms[trial.arm].rungs
        return min(range(len(rungs)), key=lambda at: abs(rungs[at] - trial.rung))

    def _leader(self, trials: Sequence[Trial]) -> Trial | None:
        return best(trials, self._plan.task.metric.greater_is_better)

    def _seconds_left(self, standing: Standing) -> float | None:
        """Returns the wall time until every heat must have ended."""
        if standing.seconds_left is None:
            return None
        left = standing.seconds_left - self._closing_seconds
        return left - self._finals_seconds - self._refit_seconds(standing)

    def _has_time_for_finals(self, standing: Standing) -> bool:
        left = (standing.seconds_left or 0.0) - self._closing_seconds - self._refit_seconds(standing)
        return seconds_of_finals(self._plan, standing.trials) <= left

    def _refit_seconds(self, standing: Standing) -> float:
        winners = likely_winners(self._plan, standing.trials)
        trained = [(arm.name, arm.default, 0.0) for arm in self._plan.arms]
        if winners:
            # As measured, where it was: a machine may be slower than it was timed to be.
            took = [one.seconds_again * (one.rung == self._arms[one.arm].rungs[-1]) for one in winners]
            trained = [(one.arm, one.config, seconds) for one, seconds in zip(winners, took, strict=True)]
        return max(
            refit_seconds(self._plan, arm, config, max(seconds, self._race.full_seconds(arm)))
            for arm, config, seconds in trained
        )


def _agrees_with_loss(task: Task) -> bool:
    """Whether the kind's own loss stands for the metric that decides; not where somebody chose another metric."""
    return task.metric.function is None and task.metric.name == next(iter(task_kind(task.kind).metrics))
