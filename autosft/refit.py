"""The refit: the best configuration trained again on train and validation rows together."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from autosft.arrays import to_matrix
from autosft.counting import counted
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.search.finals import SAME_LENGTH
from autosft.search.trial import Trial
from autosft.search.workbench import Workbench

if TYPE_CHECKING:
    from autosft.search.job import Ended

#: A refit that would get less than this share of the time its trial took is not worth more than the trial's model.
_ENOUGH = 0.5

#: A refit that overruns its time by this much is given up: the search's model is there.
_OVERRUN_SECONDS = 6.0


#: More disagreements than an accident brings with this probability are none: three standard errors of a normal.
_ACCIDENT = 0.00135


@dataclass(frozen=True)
class Refit:
    """What came of it.

    Attributes:
        model: Folder of the refitted model, or None where the search's own model is shipped.
        reason: Why, in one sentence.
        reload_difference: Largest difference of an output between the model in memory and the one read back.
        seconds: What one training took.
        num_trainings: Of how many trainings the model is the average, see `autosft.soup`.
    """

    model: Path | None
    reason: str
    reload_difference: float | None = None
    seconds: float = 0.0
    num_trainings: int = 1


def reason_against(plan: Plan, winner: Trial, *, seconds_left: float | None, interrupt: Interrupt) -> str | None:
    """Says why the winner is not retrained, or None where it is.

    Where the plan kept no time for a refit, one that fits whole into what is left is made all the same.
    """
    took = winner.seconds_again
    needed = took * (_ENOUGH if plan.refit else plan.refit_factor)
    if plan.budget.refit is False:
        return "no refit was asked for; the model of the search is shipped"
    if interrupt.requested:
        return "no refit, as the run was interrupted; the model of the search is shipped"
    if not plan.resources.can_train(plan.arm(winner.arm), winner.config):
        return "no refit, as there is too little memory for it here; the model of the search is shipped"
    if seconds_left is not None and seconds_left < needed:
        left = f"{max(seconds_left, 0):.0f} s were left beside what the proof needs"
        short = f"no time for a refit: {left}, and the winner's training takes {took:.0f} s"
        return f"{short}; the model of the search is shipped"
    return None


def distrust(refitted: pa.Array, proven: pa.Array, *, accuracy: float) -> str | None:
    """Says why the refit is not to be shipped, or None where nothing speaks against it.

    A refit has no validation rows, so that one that went wrong shows only beside the model that was proven. The two
    are compared on rows that neither trained on, by their outputs alone: the targets of those rows are not looked at.
    How often two sound trainings of a configuration disagree is not known without a second one. It is taken to be at
    most what two draws from the proven model's own calibrated probabilities p would: 1 minus the sum of p², averaged
    over the rows; and no less than how often one of two such draws is right and the other wrong, as a model that is
    right on all of few validation rows may be surer than it should be. Beyond that, and beyond what chance adds to it
    (three standard errors of the binomial, by its exact tail), the refit is something else than the proven model.

    Args:
        refitted: Probabilities of one label a row. proven: Likewise, calibrated.
        accuracy: Of the proven model, by its validation rows.
    """
    from scipy.special import bdtrc

    first, second = to_matrix(refitted), to_matrix(proven).astype(np.float64)
    num_rows, others = len(first), int((first.argmax(axis=1) != second.argmax(axis=1)).sum())
    if not others:
        return None
    redrawn = float((1 - (second**2).sum(axis=1)).mean())
    expected = max(redrawn, 2 * accuracy * (1 - accuracy))
    # The tail of the binomial: so many or more of the rows.
    if bdtrc(others - 1, num_rows, expected) > _ACCIDENT:
        return None
    return (
        f"what was to be shipped is not trusted: of {counted(num_rows, 'row')} that it was not trained on it labels "
        f"{others / num_rows:.1%} otherwise than the model of the search, and {expected:.1%} were to be expected; the "
        "model of the search is shipped"
    )


def refit(bench: Workbench, winner: Trial, folder: Path, *, seconds_left: float | None) -> Refit:
    """Retrains the winner on every row the search had, at the same fidelity, and checks the saved model.

    Args:
        winner: The trial to repeat.
        folder: The refit's own folder.
        seconds_left: What it may take; it anneals to its end within that.

    Raises:
        AutosftError: The refit met something that the caller can change, or what runs it failed.
    """
    started = time.monotonic()
    ended = retrain(bench, winner, folder, seconds_left=seconds_left)
    if bench.interrupt.requested and ended.fate != "complete":
        return Refit(None, "the refit was interrupted; the model of the search is shipped")
    if ended.fate != "complete":
        return Refit(None, f"the refit failed ({ended.reason}); the model of the search is shipped")
    reached = ended.value["fidelity"]
    if reached < _ENOUGH * winner.fidelity:
        short = f"the refit came to {reached:.0%} of a full run, and the winner's training to {winner.fidelity:.0%}"
        return Refit(None, f"{short}; the model of the search is shipped")
    num_rows = bench.plan.data.parts["search"]
    reason = f"retrained on all {num_rows:,} training and validation rows"
    if reached < 1 and _is_of_rows(bench.plan, winner):
        reason = f"retrained on {round(reached * num_rows):,} of {num_rows:,} training and validation rows, for which "
        reason += "there was time"
    elif reached < SAME_LENGTH * winner.fidelity:
        reason += f", for {reached:.0%} of a full run where the winner's training had {winner.fidelity:.0%}"
    return Refit(folder / "model", reason, ended.value["reload_difference"], time.monotonic() - started)


def retrain(bench: Workbench, trial: Trial, folder: Path, *, seconds_left: float | None) -> Ended:
    """Trains a trial's configuration, with its seed, on every row the search had; arguments as for `refit`.

    Raises:
        AutosftError: The training met something that the caller can change, or what runs it failed.
    """
    kill_after = None if seconds_left is None else seconds_left + _OVERRUN_SECONDS
    # Only a lack of time made such a trial leave rows out, and there may be more of it now.
    fidelity = 1.0 if _is_of_rows(bench.plan, trial) else trial.fidelity
    whole = replace(trial, fold=None, fidelity=fidelity)
    return bench.train(whole, folder, seconds=seconds_left, kill_after_seconds=kill_after)


def _is_of_rows(plan: Plan, trial: Trial) -> bool:
    """Whether a shorter training of this kind is one on fewer rows, and not one of fewer steps."""
    return plan.arm(trial.arm).is_quick
