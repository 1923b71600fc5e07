"""The finals: the best of the search and the untuned default are trained again, on other folds or with other seeds.

What won by the luck of one validation set or one seed loses it there. Whoever is beaten beyond the noise leaves, so
that the time goes to those that are still close.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.data import Rows
from autosft.intervals import SECONDS, paired_gain
from autosft.planning.plan import Plan
from autosft.search.choice import NUM_CANDIDATES, best_default, leaders
from autosft.search.policy import Standing, Start
from autosft.search.trial import Trial
from autosft.tasks import kind as task_kind

#: Trainings of each at most, the search's own not counted.
_MOST_ROUNDS = 4

#: A finalist leaves when it is worse than the leader by more than so many standard errors of the paired difference:
#: with a look after every round one of them would be too few.
_BEATEN = 2.0

#: A repetition may take so much longer than the first training; more data in a fold, or a busier machine.
_SLACK = 1.15

#: What its time limit cut to less than this share is not a training of the same model.
SAME_LENGTH = 0.9

Outputs = Callable[[Trial], "pa.Array | None"]


def seconds_of_finals(plan: Plan, trials: Sequence[Trial]) -> float:
    """Predicts the wall time of the shortest finals of a search: one round. Infinite where no two are there to meet."""
    entered = _entrants(trials, plan.task.metric.greater_is_better)
    return _round_seconds([_Finalist(trial) for trial in entered], plan) if len(entered) > 1 else math.inf


@dataclass
class _Finalist:
    """One configuration: its training in the search, and its repetitions by round.

    Out is who is beaten beyond the noise, and who failed; only the former says something about the others.
    """

    first: Trial
    repeats: dict[int, Trial] = field(default_factory=dict)
    is_beaten: bool = False
    has_failed: bool = False

    @property
    def is_out(self) -> bool:
        return self.is_beaten or self.has_failed

    @property
    def seconds(self) -> float:
        return _SLACK * self.first.seconds_again


class Finals:
    """The finals as a policy, and the verdict over them.

    Args:
        trials: Those of the search, and of finals that an earlier sitting began.
        outputs: Returns a trial's outputs for its validation rows, None where they are gone.
        kept_seconds: Time to leave for refit, proof and writing.
    """

    def __init__(self, plan: Plan, trials: Sequence[Trial], outputs: Outputs, *, kept_seconds: float) -> None:
        greater = plan.task.metric.greater_is_better
        self._plan = plan
        self._kind = task_kind(plan.task.kind)
        self._outputs = outputs
        self._kept_seconds = kept_seconds
        self._default = best_default(trials, greater)
        entered = [trial for trial in _entrants(trials, greater) if outputs(trial) is not None]
        self._finalists = {trial.identity: _Finalist(trial) for trial in entered}
        self._round = 1
        self._too_large: str | None = None
        for trial in trials:
            if trial.stage == "finals":
                self.tell(trial)

    def ask(self, standing: Standing) -> Start | None:
        if not self._plan.finals_share or standing.seconds_left is None:
            return None
        running = {trial.identity for trial in standing.running}
        while len(self._left()) > 1 and self._round <= _MOST_ROUNDS:
            missing = [finalist for finalist in self._left() if self._round not in finalist.repeats]
            if not missing:
                self._round += 1
                continue
            # A round that not all of them can run says nothing.
            too_large = [finalist.first.arm for finalist in missing if not self._can_train(finalist.first)]
            if too_large:
                self._too_large = too_large[0]
                return None
            waiting = [finalist for finalist in missing if finalist.first.identity not in running]
            left = standing.seconds_left - self._kept_seconds
            if not waiting or _round_seconds(missing, self._plan) > left:
                return None
            return self._start(waiting[0], left)
        return None

    def tell(self, trial: Trial) -> None:
        finalist = self._finalists.get(trial.identity)
        # What an earlier sitting repeated at another length says nothing of this one.
        if finalist is None or trial.rung != finalist.first.rung:
            return
        at = next((at for at in range(1, _MOST_ROUNDS + 1) if self._place(at) == (trial.fold, trial.seed)), None)
        whole = trial.fate == "complete" and _is_as_long(trial, finalist.first)
        if at is None or not whole or self._outputs(trial) is None:
            finalist.has_failed = True
        else:
            finalist.repeats[at] = trial
        self._eliminate()

    def forget(self, trial: Trial) -> None:
        """Does nothing: what was cut off was not counted."""

    def close(self) -> None:
        """Does nothing: no sampler learns from finals."""

    def remark(self) -> str:
        winner = self.verdict()
        if winner is None and self._too_large is not None:
            lack = f"there is too little memory here to train {self._too_large} again"
            return f"no finals, as {lack}: the search's own validation rows decide"
        if winner is None:
            return "no time for finals: the search's own validation rows decide"
        rounds = counted(self.num_rounds, "round")
        who = "the untuned default" if winner.is_default else f"trial {winner.number}"
        return f"{who} won the finals, over {rounds} on other rows or with other seeds"

    def verdict(self) -> Trial | None:
        """Returns the winner's training in the search; None where no round was run to its end.

        The best over all rows that were answered, unless it is not better than the untuned default by more than one
        standard error of the paired difference: then the default. A default that failed counts by the rounds before.
        """
        left, rounds = self._compared()
        if not rounds:
            return None
        winner = max(left, key=lambda finalist: self._score(finalist, rounds))
        default = next((one for one in left if self._is_default(one)), None)
        if default is None or default is winner:
            return winner.first
        gain, error = self._gain(winner, default, rounds)
        return winner.first if gain > error else default.first

    @property
    def num_rounds(self) -> int:
        """Rounds that all who are compared have run."""
        return len(self._compared()[1])

    def _start(self, finalist: _Finalist, seconds_left: float) -> Start:
        fold, seed = self._place(self._round)
        first = finalist.first
        return Start(
            first.arm,
            first.config,
            first.is_default,
            fidelity=first.rung,
            limit_seconds=min(seconds_left, finalist.seconds * _SLACK),
            fold=fold,
            seed=seed,
            stage="finals",
        )

    def _can_train(self, trial: Trial) -> bool:
        return self._plan.resources.can_train(self._plan.arm(trial.arm), trial.config)

    def _left(self) -> list[_Finalist]:
        return [finalist for finalist in self._finalists.values() if not finalist.is_out]

    def _compared(self) -> tuple[list[_Finalist], list[int]]:
        """Returns who may win, the default always among them, and their common rounds; none where nobody was met."""
        entered = self._finalists.values()
        left = [one for one in entered if not one.is_out or self._is_default(one)]
        met = len(left) > 1 or any(one.is_beaten for one in entered)
        return left, _common(left) if met else []

    def _is_default(self, finalist: _Finalist) -> bool:
        return self._default is not None and finalist.first.number == self._default.number

    def _eliminate(self) -> None:
        """Lets those leave that are beaten beyond the noise over the rounds that all have run."""
        left = self._left()
        rounds = _common(left)
        if len(left) < 2 or self._round not in rounds:
            return
        leader = max(left, key=lambda finalist: self._score(finalist, rounds))
        for finalist in left:
            # The default stays whatever it scores: the verdict is about what tuning gained over it.
            if finalist is leader or self._is_default(finalist):
                continue
            gain, error = self._gain(leader, finalist, rounds)
            finalist.is_beaten = gain > _BEATEN * error

    def _score(self, finalist: _Finalist, rounds: Sequence[int]) -> float:
        sign = 1.0 if self._plan.task.metric.greater_is_better else -1.0
        value = sign * self._kind.score(self._plan.task, *self._pooled(finalist, rounds))
        return value if math.isfinite(value) else -math.inf

    def _gain(self, better: _Finalist, other: _Finalist, rounds: Sequence[int]) -> tuple[float, float]:
        """Returns by how much one is better than another, and the standard error of that."""
        targets, new = self._pooled(better, rounds)
        _, old = self._pooled(other, rounds)
        task, seconds = self._plan.task, SECONDS / 3
        groups = self._groups([better.repeats[at].fold for at in rounds])
        gain, interval = paired_gain(
            self._kind, task, targets, new, old, seed=self._plan.seed, groups=groups, seconds=seconds
        )
        # Rows that were answered with several seeds are no more rows than they are; groups are drawn with all of them.
        repeated = len(rounds) / len({self._place(at)[0] for at in rounds}) if groups is None else 1.0
        return gain, math.sqrt(repeated) * interval.standard_error

    def _pooled(self, finalist: _Finalist, rounds: Sequence[int]) -> tuple[pa.Array, pa.Array]:
        """Returns targets and outputs of those rounds' validation rows, one after the other.

        The search's own are left out: that it did well on them is why it is a finalist.
        """
        targets, outputs = [], []
        for trial in (finalist.repeats[at] for at in rounds):
            found = self._outputs(trial)
            assert found is not None, "they were there when the trial was told"
            targets.append(self._validation(trial.fold).targets())
            outputs.append(found)
        return pa.concat_arrays(targets), pa.concat_arrays(outputs)

    def _groups(self, folds: Sequence[int | None]) -> NDArray[np.int64] | None:
        """Returns the groups of those folds' rows, one after the other; None where they are in none, or all in one."""
        groups = [self._validation(fold).groups() for fold in folds]
        known = [codes for codes in groups if codes is not None]
        found = np.concatenate(known) if known else np.zeros(0, np.int64)
        return found if len(np.unique(found)) > 1 else None

    def _validation(self, fold: int | None) -> Rows:
        validation = self._plan.data.training(fold)[1]
        assert validation is not None, "every round is validated on a fold"
        return validation

    def _place(self, round_: int) -> tuple[int, int]:
        """Returns fold and seed of a round: the other folds first, then other seeds on the search's own."""
        if round_ < self._plan.data.num_folds:
            return round_, self._plan.seed
        return 0, self._plan.seed + round_


def repeats(first: Trial, trials: Sequence[Trial], *, seed: int) -> list[Trial]:
    """Returns the repetitions of a search's trial on other folds, with its own seed and at its length."""
    return [
        trial
        for trial in trials
        if trial.stage == "finals"
        and trial.identity == first.identity
        and trial.fate == "complete"
        and trial.seed == seed
        and trial.fold != first.fold
        and _is_as_long(trial, first)
    ]


def _entrants(trials: Sequence[Trial], greater_is_better: bool) -> list[Trial]:
    """Returns who meets in the finals of a search: the best tuned configurations, and the best untuned default."""
    tuned = [trial for trial in leaders(trials, greater_is_better) if not trial.is_default]
    default = best_default(trials, greater_is_better)
    return [*tuned[:NUM_CANDIDATES], *([default] if default else [])]


def _round_seconds(finalists: Sequence[_Finalist], plan: Plan) -> float:
    """Predicts how long it takes to train each of them once more."""
    seconds = [finalist.seconds for finalist in finalists]
    # Three take two workers as long as four.
    turns = math.ceil(len(seconds) / plan.resources.max_concurrent)
    return min(turns * max(seconds), sum(seconds))


def _is_as_long(repetition: Trial, first: Trial) -> bool:
    return repetition.fidelity >= SAME_LENGTH * first.fidelity


def _common(finalists: Sequence[_Finalist]) -> list[int]:
    done = [set(finalist.repeats) for finalist in finalists]
    return sorted(set.intersection(*done)) if done else []
