"""Full fine-tuning of a text encoder through `transformers.Trainer`.

What is varied is `TransformersConfig`. The loop itself is the Trainer's; around it stand the head, the schedule, the
rungs, and what to do when memory runs out. That loop is imported where it trains: prediction can do without.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autosft.accounting import phase
from autosft.augment import augmentation
from autosft.augment.base import BatchAugmentation
from autosft.base_models import BaseModel
from autosft.errors import TrialFailed
from autosft.inputs.text import TokenCache, tokenize
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData
from autosft.trainers.encoder import (
    ArchitectureClassifier,
    EncoderModel,
    PooledClassifier,
    device,
    load_encoder,
    load_tokenizer,
    pad_token_id,
    quiet_transformers,
    weights_key,
)
from autosft.trainers.features import free_memory
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig, fit_head, set_linear

if TYPE_CHECKING:
    from autosft.trainers.loop import Settings

#: Dropout fields by the names that architectures give them in their configs.
_DROPOUT_FIELDS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout",
    "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout_rate",
)  # fmt: skip


@dataclass(frozen=True)
class TransformersConfig:
    """What a trial of `transformers` may vary.

    Attributes:
        learning_rate: Peak rate of AdamW at the head.
        num_train_epochs: Length of a full run, in passes over the training rows. Fixed by the plan, never searched:
            under a decaying schedule runs of different length cannot be compared half-way.
        batch_size: Rows per optimizer step; smaller micro-batches are accumulated where memory asks for it.
        weight_decay: AdamW's, on matrices only.
        warmup_share: Share of the run over which the rate rises.
        dropout: Inside the encoder and before a pooled head.
        layer_decay: Factor on the rate per layer below the head.
        label_smoothing: Share of the target spread over the other labels.
        head: "mean-from-probe" starts a mean-pooled head at the logistic regression of `frozen_head` fitted on this
            run's training rows (linear probing then fine-tuning, arXiv 2202.10054); "mean" starts it at random;
            "architecture" takes the model's own classification head.
        class_weights: "none", or "balanced" for a loss weighted inversely to class counts.
        augmentation: "none" or the name of a text augmentation.
    """

    learning_rate: float = 5e-5
    num_train_epochs: int = 3
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    dropout: float = 0.1
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    head: str = "mean-from-probe"
    class_weights: str = "none"
    augmentation: str = "none"


class TransformersTrainer(Trainer):
    """Full fine-tuning of an encoder with `transformers.Trainer`."""

    name: ClassVar[str] = "transformers"
    Config: ClassVar[type[Any]] = TransformersConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset({(Input.TEXT, Output.LABEL)})
    reports_rungs: ClassVar[bool] = True

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int) -> TransformersConfig:
        return TransformersConfig(learning_rate=base_model.learning_rate, num_train_epochs=default_epochs(num_rows))

    def fit(
        self,
        config: TransformersConfig,
        task: Task,
        data: TrainingData,
        *,
        fidelity: float,
        seed: int,
        folder: Path,
        report: Report,
        rungs: tuple[float, ...] = (1.0,),
        limits: Limits,
    ) -> FittedModel:
        from autosft.trainers.loop import Loop, is_out_of_memory, train

        started = time.monotonic()
        tokenizer, tokens = self._tokens(data, limits)
        fits = limits.micro_batch_size or config.batch_size
        while True:
            micro_batch_size = _dividing(config.batch_size, fits)
            torch.manual_seed(seed)
            settings = self._settings(config, task, data, fidelity, seed, micro_batch_size, limits, started)
            module = None
            try:
                module = self._module(config, task, data, seed, limits, tokenizer)
                loop = Loop(module, tokens, pad_token_id(tokenizer), data, settings, report, rungs, folder, limits)
                share_trained = train(loop)
                break
            except ValueError as error:
                # Transformers' words, where a decoder looks for a row's last token.
                if "padding token" not in str(error):
                    raise
                wrong = "its tokenizer has no padding token, and the architecture's own head needs one for its batches"
                raise TrialFailed(wrong) from error
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if micro_batch_size == 1:
                    raise TrialFailed(f"one row of {tokens.max_length} tokens does not fit in memory") from error
            fits = micro_batch_size // 2
            _free(module)
        model = EncoderModel(module.eval(), tokenizer, tokens.max_length, task.labels)
        model.share_trained = share_trained
        model.micro_batch_size = fits if fits < config.batch_size else limits.micro_batch_size
        return model

    def measure(self, config: TransformersConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        from autosft.trainers.loop import Loop, is_out_of_memory

        started = time.monotonic()
        tokenizer, tokens = self._tokens(data, limits)
        settings = self._settings(replace(config, head="mean"), task, data, 1.0, 0, config.batch_size, limits, started)
        module = self._module(replace(config, head="mean"), task, data, 0, limits, tokenizer)
        setup = time.monotonic() - started
        micro = config.batch_size
        while True:
            loop = Loop(
                module,
                tokens,
                pad_token_id(tokenizer),
                data,
                replace(settings, micro_batch_size=micro),
                _ignore,
                (1.0,),
                limits.cache,
                limits,
            )
            try:
                seconds_per_step = loop.time_steps()
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or micro == 1:
                    raise
                micro //= 2
                _free(None)
        # A forward pass takes about a third of a training step's time (measured: 0.13 of 0.31 s with MiniLM).
        rows_per_second = config.batch_size / (0.4 * seconds_per_step)
        run = settings.total_steps * seconds_per_step + len(data.validation) / rows_per_second
        if config.head == "mean-from-probe":
            run += len(data.train) / rows_per_second
        return Cost(setup, run, rows_per_second, micro, tokens.max_length, tokens.share_cut)

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return EncoderModel.load(folder)

    def _tokens(self, data: TrainingData, limits: Limits) -> tuple[Any, TokenCache]:
        with phase("load"):
            tokenizer = load_tokenizer(self.base_model_folder)
            key = weights_key(self.base_model_folder)
            tokens = tokenize(
                data.all,
                data.fingerprint,
                tokenizer,
                key,
                max_length=limits.max_length,
                context_tokens=self.base_model.context_tokens,
                cache=limits.cache,
            )
        return tokenizer, tokens

    def _settings(
        self,
        config: TransformersConfig,
        task: Task,
        data: TrainingData,
        fidelity: float,
        seed: int,
        micro_batch_size: int,
        limits: Limits,
        started: float,
    ) -> Settings:
        from autosft.trainers.loop import Settings

        steps_per_epoch = -(-len(data.train) // config.batch_size)
        limit = limits.time_limit_seconds
        return Settings(
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            micro_batch_size=micro_batch_size,
            total_steps=max(1, round(fidelity * config.num_train_epochs * steps_per_epoch)),
            warmup_share=config.warmup_share,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay,
            label_smoothing=config.label_smoothing,
            class_weights=_class_weights(config, task, data),
            augmentation=_augmentation(config),
            seed=seed,
            deadline=None if limit is None else started + limit,
        )

    def _module(
        self, config: TransformersConfig, task: Task, data: TrainingData, seed: int, limits: Limits, tokenizer: Any
    ) -> PooledClassifier | ArchitectureClassifier:
        if config.head == "architecture":
            model = cast(Any, _own_head(self.base_model_folder, config, task))
            if tokenizer.pad_token_id is not None:
                # A decoder's head reads a row's last token, which it tells from padding by the model's own setting.
                model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
            return ArchitectureClassifier(model).to(device())
        probe = self._probe(task, data, seed, limits) if config.head == "mean-from-probe" else None
        with phase("load"):
            encoder = load_encoder(self.base_model_folder, **_dropout(self.base_model_folder, config.dropout))
            module = PooledClassifier(encoder, len(task.labels), dropout=config.dropout)
            if probe is not None:
                set_linear(module.linear, *probe)
        return module.to(device())

    def _probe(
        self, task: Task, data: TrainingData, seed: int, limits: Limits
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fits the head on frozen features of this run's training rows only: other rows' labels would leak."""
        probe = FrozenHead(self.base_model, self.base_model_folder)
        config = FrozenHeadConfig(normalize=False)
        limit = limits.time_limit_seconds
        with phase("train"):
            features, _, _ = probe.features(data, config, limits)
            deadline = None if limit is None else time.monotonic() + 0.2 * limit
            rows = features.compute(data.train, limits, deadline=deadline, seed=seed)
            values = features.take(rows)
            # Fitted on unit-length features, as frozen_head does; the mean length is folded into the weights.
            scale = float(np.linalg.norm(values, axis=1).mean()) or 1.0
            weights, bias = fit_head(values / scale, data.all.targets()[rows], config, len(task.labels), seed)
        return weights / scale, bias


def default_epochs(num_rows: int) -> int:
    """Returns the length of a full run: 8 passes over a few thousand rows or fewer, falling to 3 for large data.

    Small data need the updates: see the cross-validated figures in `benchmarks/results`.
    """
    return int(np.clip(round(50_000 / max(num_rows, 1)), 3, 8))


def _own_head(folder: Path, config: TransformersConfig, task: Task) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    with phase("load"), quiet_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(task.labels),
            ignore_mismatched_sizes=True,  # A base that is a classifier already has a head for other labels.
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            **_dropout(folder, config.dropout),
        )
    return model  # type: ignore[no-any-return]


def _dropout(folder: Path, dropout: float) -> dict[str, float]:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return {name: dropout for name in _DROPOUT_FIELDS if isinstance(getattr(config, name, None), float)}


def _class_weights(config: TransformersConfig, task: Task, data: TrainingData) -> tuple[float, ...] | None:
    if config.class_weights == "none":
        return None
    counts = np.bincount(data.all.targets()[data.train], minlength=len(task.labels))
    return tuple(float(len(data.train) / (len(task.labels) * max(count, 1))) for count in counts)


def _augmentation(config: TransformersConfig) -> BatchAugmentation | None:
    return None if config.augmentation == "none" else augmentation(config.augmentation)


def _dividing(batch_size: int, at_most: int) -> int:
    """Returns the largest micro-batch that divides the batch, so that accumulated ones add up to it exactly."""
    return next(size for size in range(min(batch_size, at_most), 0, -1) if batch_size % size == 0)


def _free(module: nn.Module | None) -> None:
    if module is not None:
        module.to("meta")
    free_memory()


def _ignore(fidelity: float, outputs: NDArray[np.float32]) -> None:
    """Reports of a timing go nowhere."""
