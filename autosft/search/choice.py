"""Which trial wins: the best score, unless its arm's untuned default is as good as far as the validation rows can tell.

Tuning often picks what was lucky on a small validation set: on a few hundred rows the best of many configurations is
worse on new rows than the default in a good share of searches (arXiv 2506.19540).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from autosft.intervals import SECONDS, expected_best, paired_gain
from autosft.search.trial import Trial
from autosft.task import Task
from autosft.tasks import kind as task_kind

#: Share of a full run from which a fine-tuning has the prospects of one.
_WHOLE = 1 / 3

#: Tuned configurations that meet in the finals, beside the best default.
NUM_CANDIDATES = 2

Outputs = Callable[[Trial], "pa.Array | None"]


def leaders(trials: Sequence[Trial], greater_is_better: bool) -> list[Trial]:
    """Returns the complete trials that can be compared, best first; among equals the default, then the cheaper one.

    Of each arm only its longest trainings are compared, since there are many more short ones to be lucky. Repetitions
    for the finals are left out.
    """
    # A user's metric may be undefined on some outputs; NaN would win every comparison.
    scored = [trial for trial in trials if trial.score is not None and math.isfinite(trial.score)]
    complete = [trial for trial in scored if trial.fate == "complete" and trial.stage == "search"]
    longest: dict[str, float] = {}
    for trial in complete:
        longest[trial.arm] = max(trial.rung, longest.get(trial.arm, 0.0))
    sign = 1 if greater_is_better else -1
    return sorted(
        (trial for trial in complete if trial.rung == longest[trial.arm]),
        key=lambda trial: (-sign * (trial.score or 0.0), not trial.is_default, trial.seconds.get("total", 0.0)),
    )


def in_order(trials: Sequence[Trial], greater_is_better: bool) -> list[Trial]:
    """Returns every trial, the leaders first; below them shorter trainings, repetitions, and what did not end well."""
    first = leaders(trials, greater_is_better)
    sign = -1 if greater_is_better else 1

    def place(trial: Trial) -> tuple[bool, bool, float, float]:
        score = math.inf if trial.score is None or math.isnan(trial.score) else sign * trial.score
        return trial.fate != "complete", trial.stage != "search", -trial.rung, score

    numbers = {trial.number for trial in first}
    return [*first, *sorted((trial for trial in trials if trial.number not in numbers), key=place)]


def best(trials: Sequence[Trial], greater_is_better: bool) -> Trial | None:
    """Returns the first of the leaders, None before there is any."""
    return next(iter(leaders(trials, greater_is_better)), None)


def best_default(trials: Sequence[Trial], greater_is_better: bool) -> Trial | None:
    """Returns the best of the untuned defaults."""
    return best([trial for trial in trials if trial.is_default], greater_is_better)


def were_tuned(trials: Sequence[Trial]) -> bool:
    """Whether anything but untuned defaults was trained to a score."""
    return any(not trial.is_default and trial.score is not None for trial in trials)


def contenders(trials: Sequence[Trial], greater_is_better: bool) -> list[Trial]:
    """Returns the trials that can still win or stand as the default.

    These are of each arm the best and the untuned default, and of all the first few, which may meet in the finals.
    """
    arms = {trial.arm for trial in trials}
    by_arm = [[trial for trial in trials if trial.arm == arm] for arm in sorted(arms)]
    found = [pick(own, greater_is_better) for own in by_arm for pick in (best, best_default)]
    tuned = [trial for trial in leaders(trials, greater_is_better) if not trial.is_default]
    found += tuned[:NUM_CANDIDATES]
    return list({trial.number: trial for trial in found if trial is not None}.values())


def choose(
    task: Task,
    trials: Sequence[Trial],
    targets: pa.Array,
    outputs: Outputs,
    *,
    seed: int,
    groups: NDArray[Any] | None = None,
    goes_on_from: Callable[[Trial, Trial], bool] = lambda trial, other: False,
) -> Trial:
    """Returns the winner of a search with at least one complete trial.

    Of each arm the best configuration stands, if it beats the arm's untuned default beyond the noise, and the default
    otherwise. Of those the best score wins; but where another one goes on from where the winner ends, and is not worse
    by more than one standard error of the paired difference, that one wins: fine-tuning from a fitted head has the
    better prospects than the head alone (Kumar et al., arXiv 2202.10054), whatever a few validation rows say. Where the
    winner is the best of many heads, it may be worse by as many standard errors as such a best is lucky.

    Args:
        targets: Of the validation rows.
        outputs: Returns a trial's outputs for the validation rows, or None where they are gone.
        groups: Of the validation rows: those of one value may be right or wrong together.
        goes_on_from: Whether the first trial's training begins where the second one's ends.
    """
    greater, kind = task.metric.greater_is_better, task_kind(task.kind)
    arms = list({trial.arm: None for trial in trials})

    def gain(better: Trial, other: Trial) -> tuple[float, float] | None:
        """Returns by how much one is better than another, and the standard error of that."""
        new, old = outputs(better), outputs(other)
        if new is None or old is None:
            return None
        # However many arms there are, the choice takes little longer than one interval.
        seconds = SECONDS / len(arms)
        gained, interval = paired_gain(kind, task, targets, new, old, seed=seed, groups=groups, seconds=seconds)
        return gained, interval.standard_error

    standing = []
    for arm in arms:
        ranked = leaders([trial for trial in trials if trial.arm == arm], greater)
        default = next((trial for trial in ranked if trial.is_default), None)
        if default is not None and ranked[0] is not default:
            found = gain(ranked[0], default)
            num_tuned = sum(not trial.is_default for trial in ranked)
            if found is not None and found[0] <= _luck(num_tuned) * found[1]:
                ranked = [default]
        standing += ranked[:1]
    winner = best(standing, greater)
    assert winner is not None, "a search that returned has a complete trial"
    num_tuned = sum(trial.arm == winner.arm and not trial.is_default for trial in leaders(trials, greater))
    for trial in leaders(standing, greater):
        found = gain(winner, trial) if goes_on_from(trial, winner) else None
        # A fine-tuning that its time cut short has not shown what it can do, nor will it.
        allowed = _luck(num_tuned) if trial.fidelity >= _WHOLE and not winner.is_default else 1.0
        if found is not None and found[0] <= allowed * found[1]:
            return trial
    return winner


def _luck(num_tuned: int) -> float:
    """Returns by how many standard errors the best of so many must be better: what luck would make it, one at least."""
    return max(1.0, expected_best(num_tuned))
