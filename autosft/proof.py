"""The proof: the shipped model, the winner and the untuned default on rows that the search never read.

Where there are no such rows, the folds of the search stand in, and the result says that they were selected on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autosft.data.data import NOT_SCORED, Data
from autosft.errors import SearchFailed, explain
from autosft.interrupt import Interrupt
from autosft.intervals import Interval, bootstrap, paired_gain
from autosft.planning.plan import Plan
from autosft.search.search import training_arguments
from autosft.search.trial import Trial
from autosft.tasks import kind as task_kind
from autosft.trainers.base import Limits

if TYPE_CHECKING:
    from autosft.search.runner import Runner

#: Cross-validating the winner may take this share of the budget.
_FOLDS_SHARE = 0.15

#: Cross-validation that takes no longer than this is always worth it.
_FOLDS_SECONDS = 5.0

#: Time to leave for writing after the pass over held-out rows, and the least that the pass gets.
_WRITING_SECONDS, _SHORTEST_PASS_SECONDS = 2.0, 5.0


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval over `num_rows` rows."""

    score: float
    interval: Interval
    num_rows: int


@dataclass(frozen=True)
class Proof:
    """What the models are worth.

    Attributes:
        rows: "test" (the user's), "proof" (set aside) or "folds" (validation rows of the search).
        selected_on: Whether the search chose by these rows.
        shipped: The shipped model; on folds, the winner.
        default: The best untuned arm, by the same protocol as the winner.
        gain: Winner over default, positive when better.
        gain_interval: 95 % interval of the gain from a paired bootstrap.
        outputs: The shipped model's outputs on those rows, shape (rows, outputs).
        num_rows_given: Rows there are; where time allowed fewer, those that were scored are a random sample.
    """

    rows: str
    selected_on: bool
    shipped: Score
    default: Score
    gain: float
    gain_interval: Interval
    outputs: NDArray[np.float32]
    num_rows_given: int

    @property
    def is_proven(self) -> bool:
        """Whether the winner beats the default beyond the noise."""
        return self.gain_interval.low > 0


def prove(
    plan: Plan,
    winner: Trial,
    default: Trial,
    runner: Runner,
    *,
    shipped_model: Path,
    trial_folders: Mapping[int, Path],
    folder: Path,
    cache: Path,
    seconds_left: float | None,
    interrupt: Interrupt,
) -> Proof:
    """Scores the shipped model, the winner and the default in one pass.

    Args:
        shipped_model: Folder of the model that is shipped: the refit, or the winner itself.
        trial_folders: Folders of the winner and the default by trial number.
        folder: Scratch space.
        seconds_left: What it may take.
        interrupt: When the user asks for an early end, folds are left out; the pass over held-out rows is not.
    """
    held_out = plan.data.held_out()
    if held_out is None or not (held_out[1].targets() != NOT_SCORED).any():
        return _on_folds(plan, winner, default, runner, trial_folders, folder, cache, seconds_left, interrupt)
    name, rows = held_out
    arms = {trial.number: plan.arm(trial.arm).trainer for trial in (winner, default)}
    models = {
        "shipped": (arms[winner.number], str(shipped_model)),
        "winner": (arms[winner.number], str(trial_folders[winner.number] / "model")),
        "default": (arms[default.number], str(trial_folders[default.number] / "model")),
    }
    if models["winner"] == models["shipped"]:
        del models["winner"]
    if models["default"] == models.get("winner", models["shipped"]):
        del models["default"]
    resources = plan.resources
    ended = runner.run(
        "autosft.search.work:predict",
        {"models": models, "rows": rows, "seconds": _pass_seconds(seconds_left), "seed": plan.seed},
        cpus=float(resources.cpus_per_trial),
        gpus=resources.gpus_per_trial,
    )
    if ended.fate != "complete":
        wrong = f"winner and default could not be scored ({ended.message})"
        fix = "`autosft resume` tries again; the trials are kept"
        raise SearchFailed(explain(wrong=wrong, expected="predictions for the held-out rows", fix=fix))
    predicted, found = ended.value
    targets = rows.targets()[predicted]
    scored = targets != NOT_SCORED
    outputs = {key: value[scored] for key, value in found.items()}
    won = outputs.get("winner", outputs["shipped"])
    proof = _proof(plan, name, False, targets[scored], outputs["shipped"], won, outputs.get("default", won))
    return replace(proof, num_rows_given=int((rows.targets() != NOT_SCORED).sum()))


def _pass_seconds(seconds_left: float | None) -> float | None:
    return None if seconds_left is None else max(_SHORTEST_PASS_SECONDS, seconds_left - _WRITING_SECONDS)


def _on_folds(
    plan: Plan,
    winner: Trial,
    default: Trial,
    runner: Runner,
    trial_folders: Mapping[int, Path],
    folder: Path,
    cache: Path,
    seconds_left: float | None,
    interrupt: Interrupt,
) -> Proof:
    """Cross-validates winner and default where that is cheap; else takes the one fold that the search had."""
    trials = {winner.number: winner, default.number: default}
    folds = [0]
    one_fold = sum(trial.seconds.get("total", 0.0) for trial in trials.values())
    cost = one_fold * (plan.data.num_folds - 1)
    # Without a time budget the search itself is the measure: one trial must not cost five.
    budget = plan.budget.wall_seconds(plan.resources.machine.gpus) or one_fold
    within = max(_FOLDS_SECONDS, _FOLDS_SHARE * budget)
    if not interrupt.requested and cost < (within if seconds_left is None else min(seconds_left, within)):
        folds += list(range(1, plan.data.num_folds))
    outputs: dict[int, list[NDArray[np.float32]]] = {}
    for number, trial in trials.items():
        outputs[number] = [np.load(trial_folders[number] / "outputs.npy", allow_pickle=False)]
        for fold in folds[1:]:
            found = _run_fold(plan, replace(trial, fold=fold), runner, folder / f"fold{fold}", cache)
            if found is None or interrupt.requested:
                return _on_folds(plan, winner, default, runner, trial_folders, folder, cache, 0.0, interrupt)
            outputs[number].append(found)
    targets = np.concatenate([_validation_targets(plan.data, fold) for fold in folds])
    won, baseline = np.concatenate(outputs[winner.number]), np.concatenate(outputs[default.number])
    return _proof(plan, "folds", True, targets, won, won, baseline)


def _run_fold(plan: Plan, trial: Trial, runner: Runner, folder: Path, cache: Path) -> NDArray[np.float32] | None:
    arm, resources = plan.arm(trial.arm), plan.resources
    limits = Limits(num_threads=resources.cpus_per_trial, cache=cache, max_length=arm.max_length)
    arguments: dict[str, Any] = {
        **training_arguments(plan, trial),
        "data": plan.data.for_search(),
        "scratch": folder,
        "rungs": (1.0,),
        "limits": limits,
    }
    cpus = float(resources.cpus_per_trial)
    ended = runner.run("autosft.search.work:train", arguments, cpus=cpus, gpus=resources.gpus_per_trial)
    return np.load(folder / "outputs.npy", allow_pickle=False) if ended.fate == "complete" else None


def _validation_targets(data: Data, fold: int) -> NDArray[np.int64]:
    validation = data.training(fold)[1]
    assert validation is not None
    return validation.targets()


def _proof(
    plan: Plan,
    rows: str,
    selected_on: bool,
    targets: NDArray[Any],
    shipped: NDArray[np.float32],
    winner: NDArray[np.float32],
    default: NDArray[np.float32],
) -> Proof:
    kind, task, seed = task_kind(plan.task.kind), plan.task, plan.seed

    def score(outputs: NDArray[np.float32]) -> Score:
        interval = bootstrap(kind, task, targets, outputs, seed=seed)
        return Score(kind.score(task, targets, outputs), interval, len(targets))

    gain, gain_interval = paired_gain(kind, task, targets, winner, default, seed=seed)
    return Proof(rows, selected_on, score(shipped), score(default), gain, gain_interval, shipped, len(targets))
