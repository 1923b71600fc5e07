"""What workers do, as functions of plain values: measure an arm, train a trial or a refit, predict held-out rows.

The first argument of each is the worker's `report(fidelity, score, **values)`. No Ray here.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.base_models import BaseModel
from autosft.data.data import Data, Rows
from autosft.errors import TrialFailed
from autosft.intervals import bootstrap
from autosft.task import Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import Cost, FittedModel, Limits, Trainer, TrainingData

ReportScore = Callable[..., None]

#: Rows between two looks at the clock: enough for batches of similar length.
_PREDICTED_AT_ONCE = 256

#: What the interval of a trial's score may take: it comes after the time that the trial was given.
_INTERVAL_SECONDS = 1.0

#: Largest difference of a probability between a model in memory and the same one read back from disk.
RELOAD_TOLERANCE = 1e-5


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
        return subject.measure(subject.Config(**config), task, _training_data(data, 0), limits=limits)


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
        are left in `scratch/outputs.npy`.

    Raises:
        TrialFailed: This training alone cannot be done, or its saved model predicts otherwise than the one in memory.
    """
    kind = task_kind(task.kind)
    seen = _training_data(data, fold)
    targets = seen.all.targets()[seen.validation]
    outcome: dict[str, Any] = dict.fromkeys(("score", "loss", "interval", "reload_difference", "micro_batch_size"))

    def on_report(fidelity: float, outputs: NDArray[np.float32]) -> None:
        with phase("evaluate"):
            outcome["score"] = kind.score(task, targets, outputs)
            outcome["loss"] = kind.loss(task, targets, outputs)
            if fidelity >= 1:
                interval = bootstrap(kind, task, targets, outputs, seed=seed, seconds=_INTERVAL_SECONDS)
                outcome["interval"] = (interval.low, interval.high)
                np.save(scratch / "outputs.npy", outputs, allow_pickle=False)
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
        outcome["reload_difference"] = _check_reload(subject, model, seen.all, scratch / "model")
    del model
    gc.collect()
    return outcome


def predict(
    report: ReportScore,
    *,
    models: Mapping[str, tuple[str, str]],
    rows: Rows,
    seconds: float | None,
    seed: int,
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Predicts the same rows with several saved models in one pass.

    Args:
        models: Trainer's name and model folder, by whatever name the outputs come back under.
        seconds: When they are over the pass ends, so that what it saw is a random sample; None for all rows.

    Returns:
        The positions of the rows that were predicted, ascending, and each model's outputs for them.
    """
    table = rows.table()
    loaded = {name: trainer_class(trainer).load(Path(folder)) for name, (trainer, folder) in models.items()}
    outputs: dict[str, list[NDArray[np.float32]]] = {name: [] for name in models}
    order = np.random.default_rng(seed).permutation(table.num_rows)
    started, done = time.monotonic(), 0
    with phase("evaluate"):
        while done < len(order) and (not done or seconds is None or time.monotonic() - started < seconds):
            block = table.take(order[done : done + _PREDICTED_AT_ONCE])
            for name, model in loaded.items():
                outputs[name].append(model.predict(block))
            done += block.num_rows
    back = np.argsort(order[:done])
    return order[:done][back], {name: np.concatenate(found)[back] for name, found in outputs.items()}


def _trainer(name: str, base_model: BaseModel, folder: str) -> Trainer:
    return trainer_class(name)(base_model, Path(folder))


def _training_data(data: Data, fold: int | None) -> TrainingData:
    train, validation = data.training(fold)
    nothing = np.zeros(0, np.int64)
    return TrainingData(
        all=Rows(train.path, None),
        train=_positions(train),
        validation=nothing if validation is None else _positions(validation),
        fingerprint=data.fingerprint,
    )


def _positions(rows: Rows) -> NDArray[np.int64]:
    return np.arange(len(rows)) if rows.indices is None else rows.indices


def _check_reload(subject: Trainer, model: FittedModel, rows: Rows, folder: Path) -> float:
    with phase("checkpoint"):
        sample = rows.table().slice(0, 64)
        difference = float(np.abs(subject.load(folder).predict(sample) - model.predict(sample)).max(initial=0.0))
    if not difference < RELOAD_TOLERANCE:
        raise TrialFailed(
            f"the model read back from {folder} gives other predictions than the one in memory "
            f"(largest difference {difference:.2g}), so it is not shipped"
        )
    return difference
