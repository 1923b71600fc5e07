"""`transformers.Trainer` as autosft drives it: our batches, loss and schedule, reports at rungs, and limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from autosft.accounting import phase
from autosft.augment.base import BatchAugmentation
from autosft.errors import TrialFailed
from autosft.inputs.base import Examples
from autosft.inputs.batches import shuffled_by_length, typical
from autosft.trainers.base import Limits, Report, TrainingData
from autosft.trainers.contrast import shuffled_by_class_and_length, supervised_contrastive_loss
from autosft.trainers.networks import as_loaded, features_of, logits_of
from autosft.trainers.objectives import NOT_COUNTED, Objective
from autosft.trainers.optimization import Clockwork, check_loss, linear_schedule, parameter_groups
from autosft.trainers.precision import forward_share, trains_in_bf16

#: Steps that a timing takes, and how many of them come before the clock starts.
_TIMED_STEPS, _UNTIMED_STEPS = 6, 2

#: Of the contrastive part of a loss: what similarities are divided by, as in its paper, and how many rows of a class
#: stand together.
_TEMPERATURE, _ROWS_OF_CLASS = 0.1, 2


@dataclass(frozen=True)
class Settings:
    """One training in the trainer's own terms; fields as in `TransformersConfig` where they share a name.

    Attributes:
        micro_batch_size: Rows per forward pass; steps accumulate up to `batch_size`.
        total_steps: Optimizer steps of the run.
        deadline: Monotonic time by which training and its last report must be over, or None.
    """

    learning_rate: float
    batch_size: int
    micro_batch_size: int
    total_steps: int
    warmup_share: float
    weight_decay: float
    layer_decay: float
    augmentation: BatchAugmentation | None
    contrastive_weight: float
    seed: int
    deadline: float | None


@dataclass
class Loop:
    """Everything one training needs, put together."""

    network: nn.Module
    examples: Examples
    objective: Objective
    data: TrainingData
    settings: Settings
    report: Report
    rungs: tuple[float, ...]
    folder: Path
    limits: Limits

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The examples that are trained on."""
        return self.examples.of_rows(self.data.train)

    @property
    def lengths(self) -> NDArray[np.integer[Any]]:
        """Their lengths."""
        return self.examples.lengths[self.positions]

    @property
    def order(self) -> torch.utils.data.Sampler[int]:
        """The order in which they are trained on, another one in every epoch."""
        settings, classes = self.settings, None
        if settings.contrastive_weight:
            classes = self.objective.labels(self.examples, self.positions).numpy()
        return _Order(self.lengths, classes, settings.batch_size, settings.seed)

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Returns the loss of a batch, summed over the labels that count.

        Args:
            network: The one that is trained, as the Trainer calls it.
        """
        weight = self.settings.contrastive_weight
        # Rows that an augmentation has mixed are of no one class.
        if not weight or labels.is_floating_point():
            return self.objective.loss(network(**batch).float(), labels)
        with features_of(self.network) as given:
            loss = self.objective.loss(network(**batch).float(), labels)
        return loss + weight * len(labels) * supervised_contrastive_loss(given[-1], labels, _TEMPERATURE)

    def evaluate(self, fidelity: float) -> None:
        """Reports outputs for the validation rows."""
        rows = self.data.validation
        if len(rows):
            with phase("evaluate"):
                logits = logits_of(self.network, self.examples, rows)
            if not all(np.isfinite(found).all() for found in logits):
                raise TrialFailed("the model's outputs became NaN or infinite")
            self.report(fidelity, self.objective.outputs(self.examples, rows, logits))

    def time_steps(self) -> float:
        """Returns seconds per optimizer step over a few real steps; the network is changed by them.

        Batches of one epoch differ several times over in length, so the few are short, middling and long ones.
        """
        settings = self.settings
        groups = parameter_groups(self.network, learning_rate=0.0, weight_decay=0.0, layer_decay=1.0)
        optimizer = torch.optim.AdamW(groups, fused=True)
        collate = _Collate(self.examples, self.objective, None, 0)
        order = np.fromiter(self.order, dtype=np.int64)
        batches = _typical(np.array_split(order, -(-len(order) // settings.batch_size)), self.lengths)
        where = next(self.network.parameters()).device
        self.network.train()  # As it was loaded, it would neither drop anything out nor checkpoint.
        seconds: list[float] = []
        for batch_order in batches:
            rows = self.positions[batch_order]
            started = time.perf_counter()
            for start in range(0, len(rows), settings.micro_batch_size):
                batch = collate(rows[start : start + settings.micro_batch_size].tolist())
                batch = {key: value.to(where) for key, value in batch.items()}
                labels = batch.pop("labels")
                with torch.autocast(where.type, torch.bfloat16, enabled=trains_in_bf16()):
                    loss = self.loss(self.network, batch, labels)
                (loss / len(labels)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if where.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
            if settings.deadline is not None and time.monotonic() >= settings.deadline:
                break
        return float(np.mean(seconds[min(_UNTIMED_STEPS, len(seconds) - 1) :]))


def _typical(batches: Sequence[NDArray[np.int64]], lengths: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
    """Returns batches to time: at even steps through all of them by length, those of the middle first.

    Before them come those that are not timed, a middling and a long one: what memory they take is there for the rest.
    """
    padded = np.array([len(batch) * int(lengths[batch].max()) for batch in batches])
    chosen = typical(padded, _TIMED_STEPS)
    longest = chosen[padded[chosen].argmax()]
    return [batches[at] for at in (chosen[0], longest, *chosen)]


def train(loop: Loop) -> float:
    """Runs the training to its end, its time limit, or a rung at which the caller stops it.

    Returns:
        The share of its steps that its time allowed.

    Raises:
        TrialFailed: The loss is not a number, or the stop file appeared.
        RuntimeError: Out of memory, see `memory.is_out_of_memory`.
    """
    settings = loop.settings
    limit = None if settings.deadline is None else settings.deadline - time.monotonic()
    clockwork = Clockwork(settings.total_steps, limit)
    rows_each, pieces = division(settings.batch_size, settings.micro_batch_size)
    arguments = TrainingArguments(
        **plain_arguments(loop.folder, settings.total_steps, settings.seed),
        per_device_train_batch_size=rows_each,
        gradient_accumulation_steps=pieces,
    )
    # On several devices the Trainer computes in float32 whatever it was asked for, and normalisations of a frozen part
    # would learn: torch's replicas have no parameters to tell by.
    arguments._n_gpu = min(1, arguments.n_gpu)
    groups = parameter_groups(
        loop.network,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
    )
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)

    def last_report_seconds() -> float:
        """Estimates the report at the end from the steps so far."""
        return forward_share() * clockwork.seconds_per_step / settings.batch_size * len(loop.data.validation)

    trainer = _Trainer(
        model=loop.network,
        args=arguments,
        train_dataset=_Positions(loop.positions),
        data_collator=_Collate(loop.examples, loop.objective, settings.augmentation, settings.seed),
        optimizers=(optimizer, linear_schedule(optimizer, clockwork, settings.warmup_share)),
        callbacks=[Rungs(clockwork, loop.rungs, loop.limits, loop.evaluate, last_report_seconds)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # The loss is summed over a whole step, whatever the micro-batch.
    trainer.loop = loop
    with phase("train"), quiet_training():
        clockwork.start()
        trainer.train()
    as_loaded(loop.network)
    loop.evaluate(1.0)
    return clockwork.step / settings.total_steps


def plain_arguments(folder: Path, total_steps: int, seed: int) -> dict[str, Any]:
    """Returns what every training asks of Transformers: no checkpoints, no logs, no bars."""
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "max_steps": total_steps,
        "max_grad_norm": 1.0,
        "seed": seed,
        "bf16": trains_in_bf16(),
        "use_cpu": not on_gpu,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
    }


def division(batch_size: int, fits: int) -> tuple[int, int]:
    """Divides a batch: returns the rows that the device takes at once, and the pieces that are accumulated.

    Args:
        fits: Rows that fit into its memory.
    """
    rows = next(size for size in range(min(batch_size, fits), 0, -1) if batch_size % size == 0)
    return rows, batch_size // rows


class _Trainer(HuggingFaceTrainer):
    loop: Loop

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.loop.order

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> Any:
        countable = self.loop.objective.countable
        return super()._get_num_items_in_batch(
            [{**batch, "labels": countable(batch["labels"])} for batch in batch_samples], device
        )

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        loss = self.loop.loss(model, inputs, labels)
        # Summed over the labels of the whole step, so that micro-batches of any size add up to one batch.
        counted = num_items_in_batch
        if counted is None:
            counted = (self.loop.objective.countable(labels) != NOT_COUNTED).sum()
        # A step may hold no label that counts: words that a tokenizer makes nothing of.
        counted = torch.as_tensor(counted).flatten()[0].to(loss.device).clamp(min=1)
        loss = check_loss(loss / counted, self.state.global_step)
        return (loss, {}) if return_outputs else loss


class Rungs(TrainerCallback):
    """Reports at rungs, and ends the training when its time is up or its stop file appears.

    Args:
        clockwork: How far along the training is.
        rungs: Shares of the run to report at; the report at its end is not made here.
        limits: Those of the training, for its stop file.
        report: Called with a rung.
        last_report_seconds: Estimates what the report at the end will take, of the time that there is.
    """

    def __init__(
        self,
        clockwork: Clockwork,
        rungs: tuple[float, ...],
        limits: Limits,
        report: Callable[[float], None],
        last_report_seconds: Callable[[], float],
    ) -> None:
        self._clockwork = clockwork
        self._limit = clockwork.limit_seconds
        self._rungs = [rung for rung in rungs if rung < 1]
        self._limits = limits
        self._report = report
        self._last_report_seconds = last_report_seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        clockwork = self._clockwork
        clockwork.step = state.global_step
        self._limits.raise_if_stopped()
        if self._limit is not None:
            clockwork.limit_seconds = self._limit - self._last_report_seconds()
        if clockwork.progress >= 1:
            control.should_training_stop = True
        elif self._rungs and clockwork.progress >= self._rungs[0]:
            self._report(self._rungs.pop(0))
        return control


class _Positions(torch.utils.data.Dataset[int]):
    """The positions of the examples to train on; the batches are put together from them at once."""

    def __init__(self, positions: NDArray[np.int64]) -> None:
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, at: int) -> int:
        return int(self._positions[at])


class _Collate:
    def __init__(
        self, examples: Examples, objective: Objective, augmentation: BatchAugmentation | None, seed: int
    ) -> None:
        self._examples = examples
        self._objective = objective
        self._augmentation = augmentation and augmentation.prepared(examples, objective.width)
        self._rng = np.random.default_rng(seed)

    def __call__(self, positions: list[int]) -> dict[str, Any]:
        chosen = np.asarray(positions, np.int64)
        batch = {**self._examples.collate(chosen), "labels": self._objective.labels(self._examples, chosen)}
        return batch if self._augmentation is None else self._augmentation(batch, self._rng)


class _Order(torch.utils.data.Sampler[int]):
    """An epoch's order of rows in batches of similar length; each pass over it is another epoch.

    Args:
        classes: Of the rows, where those of one class are to stand together; else None.
    """

    def __init__(
        self, lengths: NDArray[np.integer[Any]], classes: NDArray[np.int64] | None, batch_size: int, seed: int
    ) -> None:
        self._lengths = lengths
        self._classes = classes
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        if self._classes is None:
            order = shuffled_by_length(self._lengths, self._batch_size, rng)
        else:
            order = shuffled_by_class_and_length(self._classes, self._lengths, self._batch_size, _ROWS_OF_CLASS, rng)
        return iter(cast(list[int], order.tolist()))


@contextlib.contextmanager
def quiet_training() -> Iterator[None]:
    """Keeps Transformers' closing summary of a training off the worker's output."""
    import logging

    logger = logging.getLogger("transformers.trainer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
