"""`SentenceTransformerTrainer` as autosft drives it: our batches, loss and schedule, reports at rungs, and limits.

What it draws together and apart are rows of a batch, so that an epoch's work grows with the rows and not with their
pairs. Importing sentence-transformers takes seconds, so this module is imported when a training begins.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from autosft.accounting import phase
from autosft.arrays import to_numbers
from autosft.errors import TrialFailed
from autosft.inputs.base import Examples
from autosft.task import Task
from autosft.trainers.base import Limits, Report, TrainingData
from autosft.trainers.contrast import ClassBatches, supervised_contrastive_loss
from autosft.trainers.linear_head import LinearHead, each_label_first, head_seconds
from autosft.trainers.loop import Rungs, plain_arguments, quiet_training
from autosft.trainers.networks import PooledClassifier, logits_of, set_linear
from autosft.trainers.objectives import OBJECTIVES, width_of
from autosft.trainers.optimization import Clockwork, check_loss, linear_schedule, parameter_groups
from autosft.trainers.precision import forward_share
from autosft.trainers.sft_loop import TIMED_STEPS, UNTIMED_STEPS, timing_callback

if TYPE_CHECKING:
    from autosft.trainers.with_sentence_transformers import ContrastiveConfig

#: Fewer rows than these hold no two of one class beside two of another.
MIN_BATCH_SIZE = 4

#: Rows of a batch that are embedded at once, the short ones together: at one length for all of a batch, most of what
#: the encoder sees of short texts is padding.
_PIECE_ROWS = 16

#: Rows that are embedded for the head between two looks at the stop file.
_BLOCK_ROWS = 1024

#: Share of the time, where that is limited, that reports may take: a head can do with fewer rows.
_REPORT_SHARE = 0.3

#: Steps of a timing.
TIMING_STEPS = TIMED_STEPS + UNTIMED_STEPS


@dataclass(frozen=True)
class Settings:
    """One training in the library's own terms.

    Attributes:
        total_steps: Optimizer steps of the run.
        micro_batch_size: Rows that are compared with each other at once; steps accumulate up to the batch size.
        deadline: Monotonic time by which training and its last report must be over, or None.
    """

    total_steps: int
    micro_batch_size: int
    seed: int
    deadline: float | None


@dataclass
class Run:
    """Everything one training needs, put together."""

    network: PooledClassifier
    examples: Examples
    config: ContrastiveConfig
    task: Task
    data: TrainingData
    settings: Settings
    limits: Limits
    folder: Path
    report: Report
    rungs: tuple[float, ...] = (1.0,)
    clockwork: Clockwork = field(init=False)
    _reporting_seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        deadline = self.settings.deadline
        limit = None if deadline is None else deadline - time.monotonic()
        self.clockwork = Clockwork(self.settings.total_steps, limit)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Labels of the training rows, in their order."""
        return np.asarray(to_numbers(self._targets_of(self.data.train)), np.int64)

    def train(self) -> float:
        """Trains to the end, the time limit, or a rung at which the caller stops it, and fits the head.

        Returns:
            The share of its steps that its time allowed.

        Raises:
            TrialFailed: The loss is not a number, or the stop file appeared.
            RuntimeError: Out of memory, see `memory.is_out_of_memory`.
        """
        at_rungs = Rungs(self.clockwork, self.rungs, self.limits, self.evaluate, self._last_report_seconds)
        trainer = self._trainer(self.config.learning_rate, at_rungs)
        with phase("train"), quiet_training():
            self.clockwork.start()
            trainer.train()
        self.evaluate(1.0)
        return self.clockwork.step / self.settings.total_steps

    def time_steps(self) -> float:
        """Returns seconds per optimizer step over a few real steps, which leave the weights as they are."""
        ends: list[float] = []
        trainer = self._trainer(0.0, timing_callback(ends, self.settings.deadline))
        with quiet_training():
            begun = time.perf_counter()
            trainer.train()
        skipped = min(UNTIMED_STEPS, len(ends) - 1)
        return (ends[-1] - (ends[skipped - 1] if skipped else begun)) / (len(ends) - skipped)

    def evaluate(self, fidelity: float) -> None:
        """Fits the head on what the encoder makes of training rows now, and reports outputs for the validation rows."""
        started, validation = time.monotonic(), self.data.validation
        with phase("train"):
            self._fit_head(self._head_rows(fidelity))
        if len(validation):
            with phase("evaluate"):
                logits = logits_of(self.network, self.examples, validation)
                if not all(np.isfinite(found).all() for found in logits):
                    raise TrialFailed("the model's outputs became NaN or infinite")
                objective = OBJECTIVES[self.data.output](width_of(self.data.output, self.task.labels))
                outputs = objective.outputs(self.examples, validation, logits)
            self.report(fidelity, outputs)
        self._reporting_seconds += time.monotonic() - started

    def _fit_head(self, rows: NDArray[np.int64]) -> None:
        encoder, found = _Features(self.network), []
        for block in np.array_split(rows, -(-len(rows) // _BLOCK_ROWS)):
            self.limits.raise_if_stopped()
            found += logits_of(encoder, self.examples, block)
        features = np.stack(found)
        if not np.isfinite(features).all():
            raise TrialFailed("the encoder's features became NaN or infinite")
        head = LinearHead(self.config.C, self.config.class_weights, self.settings.seed)
        targets, num_labels = self._targets_of(rows), len(self.task.labels)
        fitted = head.fit(self.data.output, features, targets, num_labels=num_labels, limits=self.limits)
        set_linear(self.network.linear, fitted.weights, fitted.bias)

    def _head_rows(self, fidelity: float) -> NDArray[np.int64]:
        """Returns the training rows, or as many of them, at random, as there is time for."""
        rows, num_rows = self.data.train, self._num_head_rows(fidelity)
        if num_rows == len(rows):
            return rows
        order = each_label_first(self.targets, self.settings.seed)
        return rows[np.sort(order[:num_rows])]

    def _num_head_rows(self, fidelity: float) -> int:
        limit = self.limits.time_limit_seconds
        if limit is None:
            return len(self.data.train)
        affordable = int(_REPORT_SHARE * fidelity * limit / self._seconds_per_row) - len(self.data.validation)
        return min(len(self.data.train), max(affordable, 2 * len(self.task.labels)))

    def _last_report_seconds(self) -> float:
        num_rows, linear = self._num_head_rows(1.0), self.network.linear
        encoding = self._seconds_per_row * (num_rows + len(self.data.validation))
        return encoding + head_seconds(num_rows, linear.in_features, linear.out_features)

    @property
    def _seconds_per_row(self) -> float:
        """Estimates a forward pass from the steps so far, without the reports between them."""
        per_step = self.clockwork.seconds_per_step - self._reporting_seconds / max(self.clockwork.step, 1)
        return max(forward_share() * per_step / self.config.batch_size, 1e-9)

    def _targets_of(self, rows: NDArray[np.int64]) -> pa.Array:
        return self.data.all.targets().take(pa.array(rows))

    def _trainer(self, learning_rate: float, callback: TrainerCallback) -> SentenceTransformerTrainer:
        config, settings, targets = self.config, self.settings, self.targets
        where = str(self.network.linear.weight.device)
        collate: Any = _Collate(self.examples)
        with phase("load"), quiet_training():
            model = SentenceTransformer(modules=[_Embedder(self.network)], device=where)
            arguments = SentenceTransformerTrainingArguments(
                **plain_arguments(self.folder, settings.total_steps, settings.seed),
                per_device_train_batch_size=settings.micro_batch_size,
                gradient_accumulation_steps=config.batch_size // settings.micro_batch_size,
            )
            # A batch is not shared among devices: its rows are compared with each other.
            arguments._n_gpu = min(1, arguments.n_gpu)
            groups = parameter_groups(
                self.network.encoder, learning_rate=learning_rate, weight_decay=config.weight_decay, layer_decay=1.0
            )
            optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
            trainer = _Trainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_dict({"row": self.data.train, "label": targets}),
                loss=SupervisedContrastiveLoss(model, config.temperature),
                data_collator=collate,
                optimizers=(optimizer, linear_schedule(optimizer, self.clockwork, config.warmup_share)),
                callbacks=[callback],
            )
        trainer.batches = ClassBatches(targets, settings.micro_batch_size, config.rows_per_class, settings.seed)
        trainer.remove_callback(PrinterCallback)
        trainer.model_accepts_loss_kwargs = False  # A loss is a mean over its micro-batch.
        return trainer


class SupervisedContrastiveLoss(nn.Module):
    """`supervised_contrastive_loss` as sentence-transformers calls a loss.

    Args:
        model: Gives "sentence_embedding".
        temperature: What similarities are divided by.
    """

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, sentence_features: list[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        """Returns the mean loss of a batch."""
        vectors = self.model(sentence_features[0])["sentence_embedding"]
        return supervised_contrastive_loss(vectors, labels, self.temperature)


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer without its model card, which reads the data, and without losses that are no numbers."""

    batches: ClassBatches

    def get_batch_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return self.batches

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return check_loss(super().compute_loss(*args, **kwargs), self.state.global_step)


class _Collate:
    #: What the library asks a collator for.
    valid_label_columns: ClassVar[list[str]] = ["label"]

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __call__(self, rows: list[dict[str, int]]) -> dict[str, torch.Tensor]:
        positions = np.array([row["row"] for row in rows], np.int64)
        # The loss does not know the order of a batch, and rows of similar length are embedded together.
        order = np.argsort(self._examples.lengths[positions], kind="stable")
        batch = {f"text_{name}": values for name, values in self._examples.collate(positions[order]).items()}
        return {**batch, "label": torch.tensor([row["label"] for row in rows])[torch.from_numpy(order)]}


class _Embedder(nn.Module):
    """Our network as the one module of a SentenceTransformer."""

    def __init__(self, network: PooledClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        mask = features["attention_mask"]
        found = []
        for start in range(0, len(mask), _PIECE_ROWS):
            piece = {name: values[start : start + _PIECE_ROWS] for name, values in features.items()}
            longest = int(piece["attention_mask"].sum(dim=1).max())
            found.append(self.network.features(**{name: values[:, :longest] for name, values in piece.items()}))
        return {"sentence_embedding": torch.cat(found)}


class _Features(nn.Module):
    """Gives a network's features in the place of its logits."""

    def __init__(self, network: PooledClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        return self.network.features(**batch)
