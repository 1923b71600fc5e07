"""The proof: the shipped model, the winner and the untuned default on rows that the search never read.

Where there are no such rows, the folds of the search stand in, and the result says that they were selected on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import load_array
from autosft.calibration import MIN_ROWS, accuracy, tempered
from autosft.calibration import temperature as fitted_temperature
from autosft.data.data import Data, Rows
from autosft.errors import MetricError, SearchFailed, explain
from autosft.intervals import SECONDS, Interval, bootstrap, expected_seconds, paired_gain
from autosft.planning.plan import Plan
from autosft.refit import distrust
from autosft.search.finals import SAME_LENGTH
from autosft.search.trial import OUTPUTS_FILE, Trial
from autosft.search.workbench import Workbench
from autosft.task import Output, Task
from autosft.tasks import kind as task_kind
from autosft.tasks.base import TaskKind

#: Cross-validating the winner may take this share of the budget.
_FOLDS_SHARE = 0.15

#: Cross-validation that takes no longer than this is always worth it.
_FOLDS_SECONDS = 5.0

#: Once begun, cross-validation may take this much longer than it should: a machine can turn slower for a while.
_FOLDS_SLACK = 2.0

#: A fold that overruns all of that by this much is given up: the fold of the search is there.
_FOLD_OVERRUN_SECONDS = 6.0

#: Time to leave for writing, the report among it, after the pass over held-out rows, and the least that the pass gets.
_WRITING_SECONDS, _SHORTEST_PASS_SECONDS = 4.0, 5.0

#: Loading the models and the pass's last block know no clock; a pass that overruns by this much hangs.
_PASS_OVERRUN_SECONDS = 600.0


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval over `num_rows` rows."""

    score: float
    interval: Interval
    num_rows: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows that were scored and what the models gave for them, all of one length and order.

    Attributes:
        task: The task as the shipped model reads it, thresholds included. default_task: As the default does.
        rows: The rows; each has a target.
        targets: Encoded, one a row.
        shipped: What the shipped model gives, its temperature included.
        untempered: The same as the model was trained.
        default: What the untuned default gives.
    """

    task: Task
    default_task: Task
    rows: Rows
    targets: pa.Array
    shipped: pa.Array
    untempered: pa.Array
    default: pa.Array


@dataclass(frozen=True)
class Proof:
    """What the models are worth.

    Attributes:
        rows: "test" (the user's), "proof" (set aside) or "folds" (validation rows of the search).
        selected_on: Whether the search chose by these rows.
        shipped: The shipped model, calibrated; on folds, the winner.
        default: The best untuned arm, by the same protocol as the winner, as it was trained.
        gain: Winner over default, both as they were trained, positive when better.
        gain_interval: 95 % interval of the gain from a paired bootstrap.
        scores: Every metric of the shipped model by name.
        constant: Score of what says the same of every row, by the training targets, or of guessing (the kind's
            `knowing_nothing` names it); None where neither makes sense, or the metric is not defined on it.
        num_rows_given: Rows there are; where time allowed fewer, those that were scored are a random sample.
        against_refit: Why the refit is not trusted, so that the shipped model is the winner itself; None where it is.
        evidence: What all of this was computed from.
    """

    rows: str
    selected_on: bool
    shipped: Score
    default: Score
    gain: float
    gain_interval: Interval
    scores: Mapping[str, float]
    constant: float | None
    num_rows_given: int
    against_refit: str | None = None
    evidence: Evidence | None = field(default=None, compare=False, repr=False)

    @property
    def is_proven(self) -> bool:
        """Whether the winner beats the default beyond the noise."""
        return self.gain_interval.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the default beats the winner beyond the noise."""
        return self.gain_interval.high < 0


@dataclass(frozen=True)
class Candidate:
    """A trial whose worth is to be known.

    Attributes:
        trial: The training in the search.
        task: The task as its model reads it, thresholds included.
        folders: Folders of that training, by fold 0, and of its repetitions in the finals, by theirs.
    """

    trial: Trial
    task: Task
    folders: Mapping[int, Path]

    @property
    def model(self) -> Path:
        """Folder of the model that the search trained."""
        return self.folders[0] / "model"


def prove(
    bench: Workbench,
    winner: Candidate,
    default: Candidate,
    folder: Path,
    *,
    shipped_model: Path,
    temperature: float = 1.0,
    seconds_left: float | None,
) -> Proof:
    """Scores the shipped model, the winner and the default in one pass.

    Models are predicted with as they were trained. What the calibrated one gives follows from that, and making it
    checked that it does, so that a winner that is shipped itself need not be predicted with twice. When the user asks
    for an early end, folds are left out; the pass over held-out rows is not.

    Args:
        default: The best untuned one; it may be the winner itself.
        folder: Scratch space.
        shipped_model: Folder of the model that is to be shipped, as it was trained: the refit, or the winner itself.
        temperature: What the logits of the shipped model are divided by.
        seconds_left: What it may take.
    """
    data = bench.plan.data
    held_out = data.held_out()
    if held_out is not None and held_out[1].targets().null_count == len(held_out[1]):
        held_out = None
    if seconds_left is not None:
        scored = data.training(None)[0] if held_out is None else held_out[1]
        seconds_left -= _WRITING_SECONDS + _intervals_seconds(bench.plan, winner, scored)
    if held_out is None:
        return _on_folds(bench, winner, default, folder, temperature=temperature, seconds_left=seconds_left)
    name, rows = held_out
    models = {"shipped": (winner, shipped_model), "winner": (winner, winner.model), "default": (default, default.model)}
    if winner.model == shipped_model:
        del models["winner"]
    if default.model == winner.model:
        del models["default"]
    seconds = None if seconds_left is None else max(_SHORTEST_PASS_SECONDS, seconds_left)
    predicted, found = _predicted(bench, models, rows, seconds=seconds)
    against = _against_refit(bench.plan, winner, found)
    if against is not None:
        found["shipped"] = found["winner"]
    targets = rows.targets().take(pa.array(predicted))
    scored = targets.is_valid()
    outputs = {key: value.filter(scored) for key, value in found.items()}
    won = outputs.get("winner", outputs["shipped"])
    evidence = Evidence(
        winner.task,
        default.task,
        _taken(rows, predicted[scored.to_numpy(zero_copy_only=False)]),
        targets.filter(scored),
        tempered(outputs["shipped"], temperature),
        outputs["shipped"],
        outputs.get("default", won),
    )
    proof = _proof(bench.plan, name, False, evidence, won)
    return replace(proof, num_rows_given=len(rows) - rows.targets().null_count, against_refit=against)


def _against_refit(plan: Plan, winner: Candidate, found: Mapping[str, pa.Array]) -> str | None:
    """Says what speaks against the refit by what it and the winner give for held-out rows, targets unseen.

    Only one label a row is compared, and only where enough validation rows tell how sure the winner may be.
    """
    validation = _validation(plan.data, 0)
    targets = validation.targets()
    known = _saved_outputs(winner.folders[0], len(targets))
    one_label = task_kind(plan.task.kind).output is Output.LABEL
    if "winner" not in found or known is None or not one_label or len(targets) < MIN_ROWS:
        return None
    calibrated = tempered(found["winner"], fitted_temperature(targets, known, validation.groups()))
    return distrust(found["shipped"], calibrated, accuracy=accuracy(targets, known))


def _predicted(
    bench: Workbench, models: Mapping[str, tuple[Candidate, Path]], rows: Rows, *, seconds: float | None
) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """Predicts rows with candidates' saved models in one pass; returns what `work.predict` does."""
    plan = bench.plan
    arguments = {
        "task": plan.task,
        "models": {name: (plan.arm(of.trial.arm).trainer, str(folder)) for name, (of, folder) in models.items()},
        "rows": rows,
        "seconds": seconds,
        "seed": plan.seed,
    }
    kill_after = None if seconds is None else seconds + _PASS_OVERRUN_SECONDS
    trials = [of.trial for of, _ in models.values()]
    for _ in range(2):
        ended = bench.run("autosft.search.work:predict", arguments, trials, kill_after_seconds=kill_after)
        if not ended.worker_died:
            break
    if ended.fate != "complete":
        wrong = f"winner and default could not be scored ({ended.reason})"
        fix = "`autosft resume` tries again; the trials are kept"
        raise SearchFailed(explain(wrong=wrong, expected="predictions for the rows to score", fix=fix))
    positions, outputs = ended.value
    return positions, outputs


def _saved_outputs(folder: Path, num_rows: int) -> pa.Array | None:
    """Returns the outputs that a training left; None where a crash or a full disk lost them, or a part of them."""
    try:
        found = load_array(folder / OUTPUTS_FILE)
    except (OSError, pa.ArrowInvalid):
        return None
    return found if len(found) == num_rows else None


def _intervals_seconds(plan: Plan, candidate: Candidate, rows: Rows) -> float:
    """Predicts what the intervals over these rows will take, by the metric's pace on the validation rows."""
    targets = _validation(plan.data, 0).targets()
    outputs = _saved_outputs(candidate.folders[0], len(targets))
    if outputs is None:
        return 3 * SECONDS
    kind, num_rows = task_kind(plan.task.kind), len(rows) - rows.targets().null_count
    in_groups = rows.groups() is not None
    return expected_seconds(kind, plan.task, targets, outputs, num_rows=num_rows, in_groups=in_groups)


def _on_folds(
    bench: Workbench,
    winner: Candidate,
    default: Candidate,
    folder: Path,
    *,
    temperature: float,
    seconds_left: float | None,
) -> Proof:
    """Cross-validates winner and default where that is cheap; else takes the one fold that the search had."""
    plan = bench.plan
    candidates = {candidate.trial.number: candidate for candidate in (winner, default)}
    outputs = {number: [_search_outputs(bench, candidate)] for number, candidate in candidates.items()}
    others = _other_folds(bench, candidates.values(), folder, seconds_left)
    for number, found in others.items():
        outputs[number] += found
    validation = [_validation(plan.data, fold) for fold in range(plan.data.num_folds if others else 1)]
    targets = pa.concat_arrays([rows.targets() for rows in validation])
    won, baseline = (pa.concat_arrays(outputs[candidate.trial.number]) for candidate in (winner, default))
    positions = np.concatenate([rows.indices for rows in validation if rows.indices is not None])
    rows = Rows(plan.data.training(None)[0].path, positions)
    evidence = Evidence(winner.task, default.task, rows, targets, tempered(won, temperature), won, baseline)
    return _proof(plan, "folds", True, evidence, won)


def _search_outputs(bench: Workbench, candidate: Candidate) -> pa.Array:
    """Returns its outputs for the fold that the search validated on; predicts them again where they are lost.

    Raises:
        SearchFailed: The trial's model is lost too.
    """
    validation = _validation(bench.plan.data, 0)
    found = _saved_outputs(candidate.folders[0], len(validation))
    if found is None:
        found = _predicted(bench, {"trial": (candidate, candidate.model)}, validation, seconds=None)[1]["trial"]
    return found


def _other_folds(
    bench: Workbench, candidates: Collection[Candidate], folder: Path, seconds_left: float | None
) -> dict[int, list[pa.Array]]:
    """Returns outputs for every fold but the first, by trial number; nothing at all where one of them cannot be had.

    Those that the finals trained already are taken from there.
    """
    plan = bench.plan
    # Never zero, since the time is shared out by it.
    took = {one.trial.number: max(0.1, one.trial.seconds_again) for one in candidates}
    one_fold = sum(took.values())
    wanted = [(one.trial, fold) for one in candidates for fold in range(1, plan.data.num_folds)]
    known = {
        (one.trial.number, fold): _saved_outputs(place, len(_validation(plan.data, fold)))
        for one in candidates
        for fold, place in one.folders.items()
    }
    lacking = [trial for trial, fold in wanted if known.get((trial.number, fold)) is None]
    cost = sum(took[trial.number] for trial in lacking)
    # Without a time budget the search itself is the measure: one trial must not cost five.
    budget = plan.budget.wall_seconds(plan.resources.machine.gpus) or one_fold
    within = max(_FOLDS_SECONDS, _FOLDS_SHARE * budget)
    left = math.inf if seconds_left is None else seconds_left
    fit = all(plan.resources.can_train(plan.arm(trial.arm), trial.config) for trial in lacking)
    if bench.interrupt.requested or cost >= min(left, within) or not fit:
        return {}
    until = time.monotonic() + min(left, _FOLDS_SLACK * within)
    outputs: dict[int, list[pa.Array]] = {number: [] for number in took}
    for trial, fold in wanted:
        found = known.get((trial.number, fold))
        if found is None:
            found = _run_fold(
                bench, replace(trial, fold=fold), folder / f"fold{fold}", until, took[trial.number] / cost
            )
            cost -= took[trial.number]
        if found is None or bench.interrupt.requested:
            return {}
        outputs[trial.number].append(found)
    return outputs


def _run_fold(bench: Workbench, trial: Trial, folder: Path, until: float, share: float) -> pa.Array | None:
    """Trains a trial on its fold within a share of the time until then; returns its outputs, or None."""
    seconds_left = until - time.monotonic()
    if seconds_left <= 0:
        return None
    kill_after = seconds_left + _FOLD_OVERRUN_SECONDS
    ended = bench.train(
        trial, folder, seconds=share * seconds_left, kill_after_seconds=kill_after, leaves=(OUTPUTS_FILE,)
    )
    if ended.fate != "complete" or ended.value["fidelity"] < SAME_LENGTH * trial.fidelity:
        return None
    return _saved_outputs(folder, len(_validation(bench.plan.data, trial.fold)))


def _validation(data: Data, fold: int | None) -> Rows:
    validation = data.training(fold)[1]
    assert validation is not None
    return validation


def _taken(rows: Rows, positions: NDArray[np.int64]) -> Rows:
    """Returns rows of rows."""
    return Rows(rows.path, positions if rows.indices is None else rows.indices[positions])


def _proof(plan: Plan, rows: str, selected_on: bool, evidence: Evidence, winner: pa.Array) -> Proof:
    kind, seed, targets = task_kind(plan.task.kind), plan.seed, evidence.targets
    task, task_default, groups = evidence.task, evidence.default_task, evidence.rows.groups()

    def score(judged: Task, outputs: pa.Array) -> Score:
        interval = bootstrap(kind, judged, targets, outputs, seed=seed, groups=groups)
        return Score(kind.score(judged, targets, outputs), interval, len(targets))

    gain, gain_interval = paired_gain(
        kind, task, targets, winner, evidence.default, task_old=task_default, seed=seed, groups=groups
    )
    return Proof(
        rows,
        selected_on,
        score(task, evidence.shipped),
        score(task_default, evidence.default),
        gain,
        gain_interval,
        kind.scores(task, targets, evidence.shipped),
        _constant_score(plan, kind, targets),
        len(targets),
        evidence=evidence,
    )


def _constant_score(plan: Plan, kind: TaskKind, targets: pa.Array) -> float | None:
    """Scores what knows nothing of a row; a user's metric that raises on that must not cost the result."""
    constant = kind.constant(plan.task, plan.data.training(0)[0].targets(), targets)
    if constant is None:
        return kind.guessing(plan.task)
    try:
        score = kind.score(plan.task, targets, constant)
    except MetricError:
        return None
    return score if math.isfinite(score) else None
