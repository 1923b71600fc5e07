"""What workers do, as functions of plain values: measure an arm, train a trial or a refit, predict rows, scale a model.

The first argument of each is the worker's `report(fidelity, score, **values)`. No Ray here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.arrays import is_finite, largest_difference, one_array, save_array, to_numbers
from autosft.base_models import BaseModel
from autosft.calibration import tempered
from autosft.data.data import Data, Rows
from autosft.errors import TrialFailed
from autosft.intervals import bootstrap
from autosft.search.trial import OUTPUTS_FILE
from autosft.task import Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import Cost, FittedModel, Limits, Trainer, TrainingData
from autosft.trainers.ensemble import EnsembleModel, Member, load_model

ReportScore = Callable[..., None]

#: Folds that `predict_folds` looks at.
MOST_FOLDS = 5

#: Rows between two looks at the clock: a few at first, then what takes so long, at most so many, enough for batches of
#: similar length.
_FIRST_BLOCK_ROWS, _BLOCK_SECONDS, _BLOCK_ROWS = 4, 2.0, 256

#: What the interval of a trial's score may take: it comes after the time that the trial was given.
_INTERVAL_SECONDS = 1.0

#: Rows that show whether a scaled model does as it should.
_SCALED_SAMPLE = 16

#: Largest difference of a probability between a model in memory and the same one read back from disk; of numbers, as a
#: share of the largest.
RELOAD_TOLERANCE = 1e-5

#: Rows that are compared, and further ones unless the first took so many seconds.
_RELOAD_ROWS, _RELOAD_SECONDS = (8, 56), 1.0


def measure(
    report: ReportScore,
    *,
    trainer: str,
    base_model: BaseModel,
    folder: str,
    config: Mapping[str, Any],
    task: Task,
    data: Data,
    limits: Limits,
) -> Cost:
    """Times a few real steps of an arm."""
    subject = _trainer(trainer, base_model, folder)
    with phase("compile"):
        return subject.measure(subject.Config(**config), task, _training_data(task, data, 0), limits=limits)


def train(
    report: ReportScore,
    *,
    trainer: str,
    base_model: BaseModel,
    folder: str,
    config: Mapping[str, Any],
    task: Task,
    data: Data,
    fold: int | None,
    fidelity: float,
    seed: int,
    scratch: Path,
    rungs: tuple[float, ...],
    limits: Limits,
) -> dict[str, Any]:
    """Trains one trial, or the refit when `fold` is None, and saves the model to `scratch/model`.

    Returns:
        "score", "loss" and "interval" on the validation rows, None without any; "fidelity", the share of a full run
        that the time allowed; "micro_batch_size", the largest batch that fitted; for a refit "reload_difference", the
        largest difference of an output between the model in memory and the saved one. Outputs for the validation rows
        are left in `scratch/outputs.arrow`.

    Raises:
        TrialFailed: This training alone cannot be done, or its saved model predicts otherwise than the one in memory.
    """
    kind = task_kind(task.kind)
    seen = _training_data(task, data, fold)
    validation = Rows(seen.all.path, seen.validation)
    targets, groups = validation.targets(), validation.groups()
    outcome: dict[str, Any] = dict.fromkeys(("score", "loss", "interval", "reload_difference", "micro_batch_size"))

    def on_report(fidelity: float, outputs: pa.Array) -> None:
        # Of NaN some class is the largest too: a trainer that does not look would have a score, and might win.
        if not is_finite(outputs):
            raise TrialFailed("the model's outputs became NaN or infinite")
        with phase("evaluate"):
            outcome["score"] = kind.score(task, targets, outputs)
            outcome["loss"] = kind.loss(task, targets, outputs)
            if fidelity >= 1:
                seconds = _INTERVAL_SECONDS
                interval = bootstrap(kind, task, targets, outputs, seed=seed, groups=groups, seconds=seconds)
                outcome["interval"] = (interval.low, interval.high)
                save_array(outputs, scratch / OUTPUTS_FILE)
        report(fidelity, outcome["score"], loss=outcome["loss"])

    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "model").mkdir(parents=True)
    subject = _trainer(trainer, base_model, folder)
    model = subject.fit(
        subject.Config(**config),
        task,
        seen,
        fidelity=fidelity,
        seed=seed,
        folder=scratch,
        report=on_report,
        rungs=rungs,
        limits=limits,
    )
    model.save(scratch / "model")
    outcome |= {"micro_batch_size": model.micro_batch_size, "fidelity": fidelity * model.share_trained}
    if fold is None:
        outcome["reload_difference"] = _check_reload(trainer, model, seen.all, scratch / "model")
    return outcome


def predict_folds(
    report: ReportScore,
    *,
    trainer: str,
    base_model: BaseModel,
    folder: str,
    config: Mapping[str, Any],
    task: Task,
    data: Data,
    limits: Limits,
) -> tuple[NDArray[np.int64], pa.Array]:
    """Cross-validates a configuration on a few folds; returns the rows that validate in them and outputs for those."""
    subject = _trainer(trainer, base_model, folder)
    rows, outputs = [], []
    for fold in range(min(data.num_folds, MOST_FOLDS)):
        seen = _training_data(task, data, fold)
        rows.append(seen.validation)
        with tempfile.TemporaryDirectory() as scratch:
            subject.fit(
                subject.Config(**config),
                task,
                seen,
                fidelity=1.0,
                seed=0,
                folder=Path(scratch),
                report=lambda fidelity, found: outputs.append(found),
                limits=limits,
            )
    return np.concatenate(rows), pa.concat_arrays(outputs)


def predict(
    report: ReportScore,
    *,
    task: Task,
    models: Mapping[str, tuple[str, str]],
    rows: Rows,
    seconds: float | None,
    seed: int,
) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """Predicts the same rows with several saved models in one pass.

    Args:
        task: What they predict.
        models: Trainer's name and model folder, by whatever name the outputs come back under.
        seconds: When they are over the pass ends, so that what it saw is a random sample of the rows with a target, and
            where there was time for all of those, of the others too; None for all rows.

    Returns:
        The positions of the rows that were predicted, ascending, and each model's outputs for them.
    """
    table = rows.table()
    loaded = {name: load_model(trainer, Path(folder)) for name, (trainer, folder) in models.items()}
    outputs: dict[str, list[pa.Array]] = {name: [] for name in models}
    order = np.random.default_rng(seed).permutation(table.num_rows)
    has_target = to_numbers(rows.targets().is_valid())
    order = order[np.argsort(~has_target[order], kind="stable")]
    started, done, size = time.monotonic(), 0, _FIRST_BLOCK_ROWS
    with phase("evaluate"):
        while done < len(order) and (not done or seconds is None or time.monotonic() - started < seconds):
            began, block = time.monotonic(), table.take(order[done : done + size])
            for name, model in loaded.items():
                outputs[name].append(model.judge(task, block, one_array(block.column("target"))))
            done += block.num_rows
            took = max(time.monotonic() - began, 1e-6)
            size = int(np.clip(block.num_rows * _BLOCK_SECONDS / took, 1, _BLOCK_ROWS))
    back = np.argsort(order[:done])
    whole = {name: pa.concat_arrays(found).take(pa.array(back)) for name, found in outputs.items()}
    return order[:done][back], whole


def scale(report: ReportScore, *, trainer: str, models: Mapping[Path, Path], temperature: float, rows: Rows) -> bool:
    """Saves models once more, with their logits divided by a temperature; returns whether that can be done.

    Args:
        models: Folders of the models as they were trained, and where they are to be saved.
        rows: Some of these are predicted, to see that what is saved does as it should.

    Raises:
        TrialFailed: A saved model does not give what the temperature makes of the trained one's outputs.
    """
    sample = Rows(rows.path, _positions(rows)[:_SCALED_SAMPLE]).table()
    for source, target in models.items():
        model = load_model(trainer, source)
        scaled = model.scaled(temperature)
        if scaled is None:
            return False
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        scaled.save(target)
        with phase("checkpoint"):
            wanted = tempered(model.predict(sample), temperature)
            del model, scaled
            difference = largest_difference(load_model(trainer, target).predict(sample), wanted)
        # A small temperature makes more of what batches and devices differ by.
        if not difference < RELOAD_TOLERANCE / min(1.0, temperature):
            raise TrialFailed(
                f"the scaled model read back from {target} gives other probabilities than the temperature does "
                f"(largest difference {difference:.2g})"
            )
    return True


def average(
    report: ReportScore, *, task: Task, models: Mapping[str, tuple[str, str]], rows: Rows, scratch: Path
) -> float | None:
    """Saves the model whose weights are the mean of several models' to `scratch/model`.

    Between trainings that went apart the mean is worse than either; on rows that all trained on that shows.

    Args:
        models: Trainer's name and model folder, by any name.
        rows: Some that every one of them trained on.

    Returns:
        The largest difference of an output between the mean in memory and the one read back; None where there is no
        mean, or where it does worse on `rows` than the worst of the models, and nothing was saved.

    Raises:
        TrialFailed: The saved model predicts otherwise than the one in memory.
    """
    found = [load_model(trainer, Path(folder)) for trainer, folder in models.values()]
    mean = found[0].averaged(found[1:])
    if mean is None:
        return None
    kind, table = task_kind(task.kind), rows.table()
    targets = one_array(table.column("target"))
    with phase("evaluate"):
        losses = [kind.loss(task, targets, model.judge(task, table, targets)) for model in (mean, *found)]
    if not losses[0] <= max(losses[1:]):
        return None
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "model").mkdir(parents=True)
    mean.save(scratch / "model")
    return _check_reload(next(iter(models.values()))[0], mean, rows, scratch / "model")


def combine(
    report: ReportScore, *, models: Mapping[str, tuple[str, str]], weights: Sequence[float], rows: Rows, scratch: Path
) -> float:
    """Saves models that answer together to `scratch/model`.

    Args:
        models: Trainer's name and model folder, by any name, the winner first.
        weights: What the logarithms of their probabilities count, in that order.
        rows: Some of these are predicted, to see that what is saved does as it should.

    Returns:
        The largest difference of an output between the ensemble in memory and the one read back.

    Raises:
        TrialFailed: The saved ensemble predicts otherwise than the one in memory.
    """
    together = EnsembleModel(
        tuple(
            Member(trainer, load_model(trainer, Path(folder)), weight)
            for (trainer, folder), weight in zip(models.values(), weights, strict=True)
        )
    )
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "model").mkdir(parents=True)
    with phase("checkpoint"):
        together.save(scratch / "model")
    return _check_reload(together.members[0].trainer, together, rows, scratch / "model")


def _trainer(name: str, base_model: BaseModel, folder: str) -> Trainer:
    return trainer_class(name)(base_model, Path(folder))


def _training_data(task: Task, data: Data, fold: int | None) -> TrainingData:
    train, validation = data.training(fold)
    nothing, kind = np.zeros(0, np.int64), task_kind(task.kind)
    seen = Rows(train.path if data.named is None else data.named)
    return TrainingData(
        input=kind.input,
        output=kind.output,
        all=seen,
        train=_positions(train),
        validation=nothing if validation is None else _positions(validation),
        fingerprint=data.read_fingerprint,
        names=np.arange(len(Rows(train.path)), len(seen)),
    )


def _positions(rows: Rows) -> NDArray[np.int64]:
    return np.arange(len(rows)) if rows.indices is None else rows.indices


def _unit(outputs: pa.Array) -> float:
    """Returns what differences are a share of: of numbers the largest beyond one, as its last bit may be much."""
    return float(np.abs(to_numbers(outputs)).max(initial=1.0)) if pa.types.is_floating(outputs.type) else 1.0


def _check_reload(trainer: str, model: FittedModel, rows: Rows, folder: Path) -> float:
    with phase("checkpoint"):
        read_back, difference, began = load_model(trainer, folder), 0.0, time.monotonic()
        # A few rows tell; where they take no time, more.
        for some in (rows.table().slice(0, _RELOAD_ROWS[0]), rows.table().slice(*_RELOAD_ROWS)):
            if len(some) and time.monotonic() - began < _RELOAD_SECONDS:
                wanted = model.predict(some)
                found = largest_difference(read_back.predict(some), wanted) / _unit(wanted)
                difference = max(difference, found)
    if not difference < RELOAD_TOLERANCE:
        raise TrialFailed(
            f"the model read back from {folder} gives other predictions than the one in memory "
            f"(largest difference {difference:.2g}), so it is not shipped"
        )
    return difference
