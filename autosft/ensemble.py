"""The ensemble: the winner beside the best of other methods, their answers weighted by the validation rows.

Only where it is asked for: it is a little better than its winner, and costs as much to run as all of its members.
What it is worth is measured by `benchmarks/ensemble.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import log_probabilities, to_numbers
from autosft.calibration import MIN_ROWS, MOST_PROBABILITIES, nats, temperature
from autosft.errors import PlanError, explain
from autosft.planning.plan import Plan
from autosft.refit import Refit, refit
from autosft.search.choice import best
from autosft.search.trial import Trial
from autosft.search.workbench import Workbench
from autosft.task import Output
from autosft.tasks import kind as task_kind

#: How strongly weights are held to the winner alone, in squares of weights and nats of one row. Of 1/2, 1, 4 and 16,
#: fitted on a fifth of the training rows, all lost on none of seven sets; up to 1 log losses grew where rows were few.
_HELD = 4.0

#: Who counts less is left out: it would cost a pass, and tell next to nothing.
_LEAST_WEIGHT = 0.05

#: What putting models together may take, all of them read and written once; it is killed at twice that.
COMBINING_SECONDS = 10.0

#: A refit beside the winner's begins where there is so much more time than it should take.
_SLACK, _START_SECONDS = 1.5, 2.0


@dataclass(frozen=True)
class Share:
    """A trial and what the logarithms of its model's probabilities count in an ensemble."""

    trial: Trial
    weight: float


@dataclass(frozen=True)
class Ensemble:
    """What came of it.

    Attributes:
        reason: What was put together, or why nothing, in one sentence; empty where it was not asked for.
        model: Folder of the ensemble, None where the winner ships alone.
        shares: Its members, the winner first.
    """

    reason: str = ""
    model: Path | None = None
    shares: tuple[Share, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns what `result.json` says of it."""
        members = [{"trial": one.trial.number, "arm": one.trial.arm, "weight": one.weight} for one in self.shares]
        return {"done": self.model is not None, "reason": self.reason, "members": members}


def check_ensemble(kind: str) -> None:
    """Makes sure that models of a kind of task can be put together.

    Raises:
        PlanError: Their rows do not have one label each.
    """
    if task_kind(kind).output is not Output.LABEL:
        wrong = f"an ensemble was asked for, and this is {kind}"
        fix = "leave the ensemble out"
        raise PlanError(explain(wrong=wrong, expected="a task with one label a row", fix=fix))


def others(plan: Plan, trials: Sequence[Trial], winner: Trial) -> list[Trial]:
    """Returns the best trial of each arm but the winner's, those of a moment first."""
    found = [
        best([trial for trial in trials if trial.arm == arm.name], plan.task.metric.greater_is_better)
        for arm in sorted(plan.arms, key=lambda arm: not arm.is_quick)
        if arm.name != winner.arm
    ]
    return [trial for trial in found if trial is not None]


def seconds_kept(plan: Plan, trials: Sequence[Trial], winner: Trial) -> float:
    """Returns the time to leave for the refits of an ensemble's methods of a moment."""
    if not plan.budget.ensemble:
        return 0.0
    return sum(_needed(plan, trial) for trial in others(plan, trials, winner) if plan.arm(trial.arm).is_quick)


def weights(
    targets: pa.Array, outputs: Sequence[pa.Array], groups: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], float, float]:
    """Returns what each model's logarithms of probabilities are to count, and log losses of the first alone and of all.

    They maximise the likelihood of the true labels at the first one's temperature, held to that model alone by a
    penalty that counts the less the more rows there are. Who counts hardly anything counts nothing.

    Args:
        targets: Positions of the true labels, of rows that no model trained on.
        outputs: Probabilities for those rows, of the model that won first.
        groups: Of those rows, as for `temperature`.
    """
    from scipy.optimize import minimize

    heat, num_rows = temperature(targets, outputs[0], groups), len(targets)
    every = math.ceil(outputs[0].type.list_size * num_rows * len(outputs) / MOST_PROBABILITIES)
    logs = np.stack([log_probabilities(one)[::every] / heat for one in outputs])
    true, alone = to_numbers(targets)[::every], np.eye(len(outputs))[0]

    def loss(at: NDArray[np.float64]) -> float:
        return float(nats(np.tensordot(at, logs, 1), true, 1.0).mean())

    def held(at: NDArray[np.float64]) -> float:
        return loss(at) + _HELD / num_rows * float(((at - alone) ** 2).sum())

    kept, counted, found = np.zeros(len(outputs), bool), np.ones(len(outputs), bool), alone
    while (counted != kept).any():
        kept = counted
        # From a little of each: where they say much the same, a bound would hold some back.
        start, bounds = np.where(kept, alone + _LEAST_WEIGHT, 0.0), [(0.0, None if keep else 0.0) for keep in kept]
        found = minimize(held, start, bounds=bounds, method="L-BFGS-B").x
        counted = kept & (found >= _LEAST_WEIGHT)
        # The winner's folder is what the others are put beside.
        counted[0] = True
    return np.where(kept, found, 0.0), loss(alone), loss(found)


def ensemble(
    bench: Workbench,
    winner: Trial,
    refitted: Refit,
    beside: Sequence[Trial],
    folder: Path,
    *,
    outputs: Callable[[Trial], pa.Array | None],
    searched: Callable[[Trial], Path],
    seconds_left: float | None,
) -> Ensemble:
    """Puts the winner's model and those of other methods together, where the validation rows say that this is better.

    Where the winner was retrained on all rows, so are the others, as far as there is time; else what the search
    trained of them is taken.

    Args:
        refitted: What came of the winner's refit.
        beside: See `others`.
        folder: Scratch space.
        outputs: Returns a trial's outputs for the validation rows, or None where they are lost.
        searched: Returns the folder of the model that the search trained.
        seconds_left: What it may take.

    Raises:
        AutosftError: A training met something that the caller can change, or what runs it failed.
    """
    plan = bench.plan
    validation = plan.data.training(0)[1]
    if not plan.budget.ensemble:
        return Ensemble()
    if validation is None or len(validation) < MIN_ROWS:
        return _none(f"{0 if validation is None else len(validation)} validation rows are too few to weigh models by")
    if bench.interrupt.requested:
        return _none("the run was interrupted")
    if seconds_left is not None and seconds_left < COMBINING_SECONDS:
        return _none("there was no time for it")
    trials = [winner, *(one for one in beside if searched(one).is_dir())]
    told = {
        one.number: found for one in trials if (found := outputs(one)) is not None and len(found) == len(validation)
    }
    trials = [one for one in trials if one.number in told]
    if winner not in trials or len(trials) < 2:
        return _none("no other method came to an end")
    found, before, after = weights(validation.targets(), [told[one.number] for one in trials], validation.groups())
    shares = tuple(Share(one, round(float(at), 4)) for one, at in zip(trials, found, strict=True) if at > 0)
    if len(shares) < 2 or shares[0].trial is not winner:
        return _none(f"on {len(validation):,} validation rows no other method adds to the winner")

    ends = math.inf if seconds_left is None else time.monotonic() + seconds_left
    models = [refitted.model or searched(winner)]
    for at, one in enumerate(shares[1:]):
        left = ends - time.monotonic() - COMBINING_SECONDS
        again = None
        fits = left >= _needed(plan, one.trial) and plan.resources.can_train(plan.arm(one.trial.arm), one.trial.config)
        if refitted.model is not None and fits and not bench.interrupt.requested:
            limit = None if seconds_left is None else left
            again = refit(bench, one.trial, folder / str(at), seconds_left=limit).model
        models.append(again or searched(one.trial))
    if bench.interrupt.requested:
        return _none("the run was interrupted")
    trainers = [plan.arm(one.trial.arm).trainer for one in shares]
    arguments = {
        "models": {
            str(at): (trainer, str(model)) for at, (trainer, model) in enumerate(zip(trainers, models, strict=True))
        },
        "weights": tuple(one.weight for one in shares),
        "rows": validation,
        "scratch": folder / "together",
    }
    limit = 2 * COMBINING_SECONDS if seconds_left is not None else None
    ended = bench.run("autosft.search.work:combine", arguments, [one.trial for one in shares], kill_after_seconds=limit)
    if ended.fate != "complete":
        return _none(f"it failed ({ended.reason})")
    named = ", ".join(f"{one.trial.arm} {one.weight:.2f}" for one in shares)
    reason = (
        f"{len(shares)} models answer together, the logarithms of their probabilities weighted by {named}, as fitted "
        f"on {len(validation):,} validation rows, whose log loss they take from {before:.4f} to {after:.4f}"
    )
    return Ensemble(reason, folder / "together" / "model", shares)


def _none(why: str) -> Ensemble:
    return Ensemble(f"none: {why}")


def _needed(plan: Plan, trial: Trial) -> float:
    return _START_SECONDS + _SLACK * plan.refit_factor * trial.seconds_again
