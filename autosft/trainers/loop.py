"""`transformers.Trainer` as autosft drives it: our batches, loss and schedule, reports at rungs, and limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from autosft.accounting import phase
from autosft.augment.base import BatchAugmentation
from autosft.errors import TrialFailed
from autosft.inputs.text import TokenCache, pad, shuffled_by_length
from autosft.trainers.base import Limits, Report, TrainingData
from autosft.trainers.encoder import logits_of, softmax
from autosft.trainers.optimization import Clockwork, linear_schedule, parameter_groups

#: Steps that a timing takes, and how many of them come before the clock starts.
_TIMED_STEPS, _UNTIMED_STEPS = 6, 2


@dataclass(frozen=True)
class Settings:
    """One training in the trainer's own terms; fields as in `TransformersConfig` where they share a name.

    Attributes:
        micro_batch_size: Rows per forward pass; steps accumulate up to `batch_size`.
        total_steps: Optimizer steps of the run.
        class_weights: Loss weight by label, or None.
        deadline: Monotonic time by which training and its last report must be over, or None.
    """

    learning_rate: float
    batch_size: int
    micro_batch_size: int
    total_steps: int
    warmup_share: float
    weight_decay: float
    layer_decay: float
    label_smoothing: float
    class_weights: tuple[float, ...] | None
    augmentation: BatchAugmentation | None
    seed: int
    deadline: float | None


@dataclass
class Loop:
    """Everything one training needs, put together."""

    module: nn.Module
    tokens: TokenCache
    pad_token_id: int
    data: TrainingData
    settings: Settings
    report: Report
    rungs: tuple[float, ...]
    folder: Path
    limits: Limits

    def evaluate(self, fidelity: float) -> None:
        """Reports outputs for the validation rows."""
        rows = self.data.validation
        if len(rows):
            with phase("evaluate"):
                logits = logits_of(self.module, [self.tokens[row] for row in rows], self.pad_token_id)
            if not np.isfinite(logits).all():
                raise TrialFailed("the model's outputs became NaN or infinite")
            self.report(fidelity, softmax(logits))

    def time_steps(self) -> float:
        """Returns seconds per optimizer step over a few real steps; the module is changed by them."""
        settings = self.settings
        groups = parameter_groups(self.module, learning_rate=0.0, weight_decay=0.0, layer_decay=1.0)
        optimizer = torch.optim.AdamW(groups, fused=True)
        dataset = _Dataset(self.tokens, self.data)
        collate = _Collate(self.pad_token_id, None, 0)
        order = _LengthSampler(self.tokens.lengths[self.data.train], settings.batch_size, 0)
        batches = np.array_split(np.fromiter(order, dtype=np.int64), -(-len(dataset) // settings.batch_size))
        where = next(self.module.parameters()).device
        seconds: list[float] = []
        for at in range(_TIMED_STEPS + _UNTIMED_STEPS):
            rows = batches[at % len(batches)]
            started = time.perf_counter()
            for start in range(0, len(rows), settings.micro_batch_size):
                batch = collate([dataset[int(row)] for row in rows[start : start + settings.micro_batch_size]])
                batch = {key: value.to(where) for key, value in batch.items()}
                with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
                    logits = self.module(batch["input_ids"], batch["attention_mask"])
                nn.functional.cross_entropy(logits.float(), batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
            if where.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
            if settings.deadline is not None and time.monotonic() >= settings.deadline:
                break
        return float(np.mean(seconds[min(_UNTIMED_STEPS, len(seconds) - 1) :]))


def train(loop: Loop) -> float:
    """Runs the training to its end, its time limit, or a rung at which the caller stops it.

    Returns:
        The share of its steps that its time allowed.

    Raises:
        TrialFailed: The loss is not a number, or the stop file appeared.
        RuntimeError: Out of memory, see `is_out_of_memory`.
    """
    settings = loop.settings
    limit = None if settings.deadline is None else settings.deadline - time.monotonic()
    clockwork = Clockwork(settings.total_steps, limit)
    on_gpu = torch.cuda.is_available()
    # The Trainer gives every visible device a batch of its own; together they make one micro-batch.
    devices = max(1, torch.cuda.device_count()) if on_gpu else 1
    arguments = TrainingArguments(
        output_dir=str(loop.folder),
        max_steps=settings.total_steps,
        per_device_train_batch_size=max(1, settings.micro_batch_size // devices),
        gradient_accumulation_steps=-(-settings.batch_size // settings.micro_batch_size),
        max_grad_norm=1.0,
        seed=settings.seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
    )
    groups = parameter_groups(
        loop.module,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
    )
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    trainer = _Trainer(
        model=loop.module,
        args=arguments,
        train_dataset=_Dataset(loop.tokens, loop.data),
        data_collator=_Collate(loop.pad_token_id, settings.augmentation, settings.seed),
        optimizers=(optimizer, linear_schedule(optimizer, clockwork, settings.warmup_share)),
        callbacks=[_Rungs(loop, clockwork)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # The loss is summed over a whole step, whatever the micro-batch.
    trainer.settings = settings
    trainer.lengths = loop.tokens.lengths[loop.data.train]
    with phase("train"), _quiet():
        clockwork.start()
        trainer.train()
    loop.evaluate(1.0)
    return clockwork.step / settings.total_steps


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class _Trainer(HuggingFaceTrainer):
    settings: Settings
    lengths: np.ndarray[Any, Any]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return _LengthSampler(self.lengths, self.settings.batch_size, self.settings.seed)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"]
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).float()
        weights = self.settings.class_weights
        loss = nn.functional.cross_entropy(
            logits,
            labels,
            weight=None if weights is None else torch.tensor(weights, device=logits.device),
            label_smoothing=self.settings.label_smoothing,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        if num_items_in_batch is not None:
            # Summed over the rows of the whole step, so that micro-batches of any size add up to one batch.
            loss = loss / torch.as_tensor(num_items_in_batch).flatten()[0].to(loss.device)
        if not torch.isfinite(loss):
            raise TrialFailed(f"the training loss became {loss.item()} at step {self.state.global_step}")
        return (loss, {"logits": logits}) if return_outputs else loss


class _Rungs(TrainerCallback):
    """Reports at rungs, and ends the training when its time is up or its stop file appears."""

    def __init__(self, loop: Loop, clockwork: Clockwork) -> None:
        self._loop = loop
        self._clockwork = clockwork
        self._limit = clockwork.limit_seconds
        self._rungs = [rung for rung in loop.rungs if rung < 1]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        clockwork = self._clockwork
        clockwork.step = state.global_step
        self._loop.limits.raise_if_stopped()
        if self._limit is not None:
            clockwork.limit_seconds = self._limit - self._last_report_seconds()
        if clockwork.progress >= 1:
            control.should_training_stop = True
        elif self._rungs and clockwork.progress >= self._rungs[0]:
            self._loop.evaluate(self._rungs.pop(0))
        return control

    def _last_report_seconds(self) -> float:
        """Estimates the report at the end from the steps so far: a forward pass is two fifths of a step."""
        per_row = self._clockwork.seconds_per_step / self._loop.settings.batch_size
        return 0.4 * per_row * len(self._loop.data.validation)


class _Dataset(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, tokens: TokenCache, data: TrainingData) -> None:
        self._tokens = tokens
        self._rows = data.train
        self._targets = data.all.targets()[data.train]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return {"input_ids": self._tokens[int(self._rows[at])], "label": int(self._targets[at])}


class _Collate:
    def __init__(self, pad_token_id: int, augmentation: BatchAugmentation | None, seed: int) -> None:
        self._pad_token_id = pad_token_id
        self._augmentation = augmentation
        self._rng = np.random.default_rng(seed)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = pad([row["input_ids"] for row in rows], self._pad_token_id)
        if self._augmentation is not None:
            batch = self._augmentation(batch, self._rng)
        return {**batch, "labels": torch.tensor([row["label"] for row in rows])}


class _LengthSampler(torch.utils.data.Sampler[int]):
    """An epoch's order of rows in batches of similar length; each pass over it is another epoch."""

    def __init__(self, lengths: np.ndarray[Any, Any], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        return iter(cast(list[int], shuffled_by_length(self._lengths, self._batch_size, rng).tolist()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Transformers' closing summary of a training off the worker's output."""
    import logging

    logger = logging.getLogger("transformers.trainer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
