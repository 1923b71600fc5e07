"""Full fine-tuning of an encoder through `transformers.Trainer`.

What is varied is `TransformersConfig`. The loop itself is the Trainer's; around it stand the head, the schedule, the
rungs, and what to do when memory runs out. That loop is imported where it trains: prediction can do without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from autosft.accounting import phase
from autosft.augment import augmentation
from autosft.augment.base import BatchAugmentation
from autosft.base_models import BaseModel
from autosft.errors import TrialFailed
from autosft.inputs import reader_class
from autosft.inputs.base import Examples, Reader
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData, reading_facts, unheard
from autosft.trainers.encoder import EncoderModel, read_rows
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig, shuffled
from autosft.trainers.linear_head import Fitted, LinearHead
from autosft.trainers.memory import free_memory, what_may_fit
from autosft.trainers.networks import (
    ArchitectureClassifier,
    Network,
    PooledClassifier,
    can_checkpoint,
    checkpointed,
    device,
    last_linear,
    load_encoder,
    load_with_head,
    logits_of,
    rows_per_second,
    set_linear,
)
from autosft.trainers.objectives import OBJECTIVES, Objective, width_of
from autosft.trainers.optimization import freeze
from autosft.trainers.start_head import fit_start_head

if TYPE_CHECKING:
    from autosft.trainers.loop import Settings

#: Dropout fields by the names that architectures give them in their configs.
_DROPOUT_FIELDS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout",
    "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout_rate",
)  # fmt: skip


#: What it takes to know how fast a model predicts.
_PREDICT_SECONDS = 1.0


@dataclass(frozen=True)
class TransformersConfig:
    """What a trial of `transformers` may vary.

    Attributes:
        learning_rate: Peak rate of AdamW at the head.
        num_train_epochs: Length of a full run, in passes over the training rows. Fixed by the plan, never searched:
            under a decaying schedule runs of different length cannot be compared half-way.
        batch_size: Rows per optimizer step; smaller micro-batches are accumulated where memory asks for it.
        weight_decay: AdamW's, apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101), on matrices only.
        warmup_share: Share of the run over which the rate rises.
        dropout: Inside the encoder and before a pooled head (Srivastava et al., JMLR 15, 2014); where an architecture
            has none inside, before its last layer alone.
        layer_decay: Factor on the rate per layer below the head (ULMFiT, arXiv 1801.06146).
        frozen_share: Share of the encoder's layers, or stages, from the embeddings or the stem up, that stay as they
            were pretrained; of random weights none do.
        label_smoothing: Share of the target spread over the other labels (Szegedy et al., arXiv 1512.00567).
        head: "mean-from-probe" starts a mean-pooled head at the logistic regression of `frozen_head`, fitted on this
            run's training rows (linear probing then fine-tuning, arXiv 2202.10054) and softened (`start_head`); "mean"
            starts it at random, as pairs of texts always do; "architecture" takes the model's own classification head,
            and is the only one for images.
        class_weights: "none", or "balanced" for a loss weighted inversely to class counts (King and Zeng, "Logistic
            Regression in Rare Events Data", Political Analysis 9, 2001).
        augmentation: "none" or the name of an augmentation of the input.
        class_name_rows: As how many rows of its class a class's name counts, where `TrainingData` has names.
        contrastive_weight: Of a second loss beside the head's, where each row has one label: it draws the features of
            rows of a class together and those of others apart (Gunel et al., arXiv 2011.01403). Two rows of a class
            then stand in a batch together. 0 is none.
    """

    learning_rate: float = 5e-5
    num_train_epochs: int = 3
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    dropout: float = 0.1
    layer_decay: float = 1.0
    frozen_share: float = 0.0
    label_smoothing: float = 0.0
    head: str = "mean-from-probe"
    class_weights: str = "none"
    augmentation: str = "none"
    class_name_rows: int = 1
    contrastive_weight: float = 0.0


class TransformersTrainer(Trainer):
    """Full fine-tuning of an encoder with `transformers.Trainer`."""

    name: ClassVar[str] = "transformers"
    Config: ClassVar[type[Any]] = TransformersConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset(
        {
            (Input.TEXT, Output.LABEL),
            (Input.TEXT, Output.LABELS),
            (Input.TEXT, Output.NUMBER),
            (Input.TEXT_PAIR, Output.LABEL),
            (Input.TEXT_PAIR, Output.NUMBER),
            (Input.TOKENS, Output.TOKEN_LABELS),
            (Input.IMAGE, Output.LABEL),
        }
    )
    reports_rungs: ClassVar[bool] = True

    @classmethod
    def starts_from(cls, config: Mapping[str, Any]) -> str:
        return "probe" if config["head"] == "mean-from-probe" else "fresh head"

    @classmethod
    def settled(cls, base_model: BaseModel) -> Mapping[str, Any]:
        return {} if base_model.pretrained else {"frozen_share": 0.0, "contrastive_weight": 0.0}

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> TransformersConfig:
        if input is Input.IMAGE:
            return _image_config(base_model, num_rows)
        # A pooled head has one answer for a whole row, where each of its words is to be labelled.
        # Frozen features of two texts read as one hardly tell how they compare, so no probe of them is a good start.
        pooled = "mean" if input is Input.TEXT_PAIR else "mean-from-probe"
        head = "architecture" if output is Output.TOKEN_LABELS else pooled
        epochs = default_epochs(num_rows)
        return TransformersConfig(learning_rate=base_model.learning_rate, num_train_epochs=epochs, head=head)

    @classmethod
    def few_rows_default(cls, base_model: BaseModel, input: Input, output: Output) -> Mapping[str, Any]:
        # Of other encoders the features of all rows are nearly alike at first, and it was not measured with them.
        fits = base_model.sentence_encoder and (input, output) == (Input.TEXT, Output.LABEL)
        return {"contrastive_weight": 1.0} if fits else {}

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
        from autosft.trainers.loop import Loop, division, train

        started = time.monotonic()
        data = data.with_names(config.class_name_rows)
        reader, examples = self._read(data, limits)
        fits, checkpointing = limits.micro_batch_size or config.batch_size, limits.checkpointing
        while True:
            micro_batch_size, _ = division(config.batch_size, fits)
            torch.manual_seed(seed)
            settings = self._settings(config, data, examples, fidelity, seed, micro_batch_size, limits, started)
            network = None
            try:
                network = self._network(config, task, data, seed, limits)
                objective = _objective(config, task, data)
                loop = Loop(network, examples, objective, data, settings, report, rungs, folder, limits)
                with checkpointed(network, checkpointing):
                    share_trained = train(loop)
                break
            except ValueError as error:
                # Transformers' words, where a decoder looks for a row's last token.
                if "padding token" not in str(error):
                    raise
                wrong = "its tokenizer has no padding token, and the architecture's own head needs one for its batches"
                raise TrialFailed(wrong) from error
            except RuntimeError as error:
                # Activations are nothing to save where the model itself was not there yet.
                can, longest = network is not None and can_checkpoint(network), examples.max_length
                tried = micro_batch_size, checkpointing
                fits, checkpointing = what_may_fit(error, *tried, can_checkpoint=can, max_length=longest)
            _free(network)
        objective.settle(last_linear(network))
        reader = reader.cut_at(examples.max_length)
        model = EncoderModel(network.eval(), reader, data.input, data.output, task.labels)
        model.share_trained = share_trained
        model.micro_batch_size = fits if fits < config.batch_size else limits.micro_batch_size
        return model

    def measure(self, config: TransformersConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        from autosft.trainers.loop import Loop

        started = time.monotonic()
        data = data.with_names(config.class_name_rows)
        _, examples = self._read(data, limits)
        probed = config.head == "mean-from-probe" and data.input is not Input.TEXT_PAIR
        config = replace(config, head="mean" if probed else config.head)
        settings = self._settings(config, data, examples, 1.0, 0, config.batch_size, limits, started)
        network, objective = self._network(config, task, data, 0, limits), _objective(config, task, data)
        setup = time.monotonic() - started
        micro, checkpointing, can = config.batch_size, False, can_checkpoint(network)
        while True:
            timed = replace(settings, micro_batch_size=micro)
            loop = Loop(network, examples, objective, data, timed, unheard, (1.0,), limits.cache, limits)
            try:
                with checkpointed(network, checkpointing):
                    seconds_per_step = loop.time_steps()
                break
            except RuntimeError as error:
                longest = examples.max_length
                micro, checkpointing = what_may_fit(error, micro, checkpointing, can_checkpoint=can, max_length=longest)
            _free(None)
        rows = np.concatenate([data.train, data.validation])
        predicts_per_second = rows_per_second(
            lambda some: logits_of(network, examples, some), examples, rows, seconds=_PREDICT_SECONDS
        )
        run = settings.total_steps * seconds_per_step + len(data.validation) / predicts_per_second
        if probed:
            run += len(data.train) / predicts_per_second
        facts = reading_facts(examples, data)
        # Normalisations of images take their statistics of what is computed at once, so it is not divided without need.
        fits = None if data.input is Input.IMAGE and micro == config.batch_size else micro
        return Cost(setup, run, predicts_per_second, fits, checkpointing=checkpointing, **facts)

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return EncoderModel.load(folder)

    def _read(self, data: TrainingData, limits: Limits) -> tuple[Reader, Examples]:
        reading = reader_class(data.input)
        reader, examples, _ = read_rows(reading, self.base_model, self.base_model_folder, data, limits)
        return reader, examples

    def _settings(
        self,
        config: TransformersConfig,
        data: TrainingData,
        examples: Examples,
        fidelity: float,
        seed: int,
        micro_batch_size: int,
        limits: Limits,
        started: float,
    ) -> Settings:
        from autosft.trainers.loop import Settings

        steps_per_epoch = -(-len(examples.of_rows(data.train)) // config.batch_size)
        limit = limits.time_limit_seconds
        return Settings(
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            micro_batch_size=micro_batch_size,
            total_steps=max(1, round(fidelity * config.num_train_epochs * steps_per_epoch)),
            warmup_share=config.warmup_share,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay,
            augmentation=_augmentation(config, data),
            contrastive_weight=config.contrastive_weight if data.output is Output.LABEL else 0.0,
            seed=seed,
            deadline=None if limit is None else started + limit,
        )

    def _network(
        self, config: TransformersConfig, task: Task, data: TrainingData, seed: int, limits: Limits
    ) -> Network:
        width, folder = width_of(data.output, task.labels), self.base_model_folder
        dropout = dropout_fields(folder, config.dropout)
        # Random weights know nothing that is worth keeping, whatever a space of the user's own says.
        frozen_share = config.frozen_share if self.base_model.pretrained else 0.0
        if config.head == "architecture" or data.input is Input.IMAGE:
            model = load_with_head(folder, data.input, data.output, width=width, **dropout)
            # Convolutions have no dropout of their own.
            whole = ArchitectureClassifier(model, dropout=0.0 if dropout else config.dropout)
            freeze(whole, frozen_share)
            return whole.to(device())
        probed = config.head == "mean-from-probe" and data.input is not Input.TEXT_PAIR
        probe = self._probe(task, data, seed, limits) if probed else None
        with phase("load"):
            network = PooledClassifier(load_encoder(folder, **dropout), width, dropout=config.dropout)
            if probe is not None:
                set_linear(network.linear, probe.weights, probe.bias)
        freeze(network, frozen_share)
        return network.to(device())

    def _probe(self, task: Task, data: TrainingData, seed: int, limits: Limits) -> Fitted:
        """Fits the head on frozen features of this run's training rows only: other rows' labels would leak."""
        probe = FrozenHead(self.base_model, self.base_model_folder)
        config = FrozenHeadConfig(normalize=False)
        head = LinearHead(config.C, config.class_weights, seed)
        limit = limits.time_limit_seconds
        with phase("train"):
            features = probe.open(data, config, task, limits).features
            deadline = None if limit is None else time.monotonic() + 0.2 * limit
            order = shuffled(data.train, data, seed)
            rows = features.compute(data.train, limits, deadline=deadline, order=order)
            values, targets = features.take(rows), data.all.targets().take(pa.array(rows))
            # Fitted on unit-length features, as frozen_head does; the mean length is folded into the weights.
            scale = float(np.linalg.norm(values, axis=1).mean()) or 1.0
            fitted = fit_start_head(
                head, data.output, values / scale, targets, num_labels=len(task.labels), limits=limits
            )
        return fitted._replace(weights=fitted.weights / scale)


def _image_config(base_model: BaseModel, num_rows: int) -> TransformersConfig:
    """Returns the untuned default for an image model: no dropout, as vision models are trained."""
    epochs = default_epochs(num_rows) if base_model.pretrained else scratch_epochs(num_rows)
    rate = base_model.learning_rate
    return TransformersConfig(
        learning_rate=rate, num_train_epochs=epochs, weight_decay=0.05, dropout=0.0, head="architecture"
    )


def scratch_epochs(num_rows: int) -> int:
    """Returns the length of a full run of a network with random weights: 40 passes, falling to 10 for large data."""
    return int(np.clip(round(400_000 / max(num_rows, 1)), 10, 40))


def default_epochs(num_rows: int) -> int:
    """Returns the length of a full run: 8 passes over a few thousand rows or fewer, falling to 3 for large data.

    Small data need the updates: see the cross-validated figures in `benchmarks/results`.
    """
    return int(np.clip(round(50_000 / max(num_rows, 1)), 3, 8))


def dropout_fields(folder: Path, dropout: float) -> dict[str, float]:
    """Returns the fields of a base model's config that set its dropout, by an architecture's own names for them."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return {name: dropout for name in _DROPOUT_FIELDS if isinstance(getattr(config, name, None), float)}


def _objective(config: TransformersConfig, task: Task, data: TrainingData) -> Objective:
    objective = OBJECTIVES[data.output](width_of(data.output, task.labels))
    balanced = config.class_weights == "balanced"
    return objective.learn(data.all.targets(), data.train, balanced=balanced, smoothing=config.label_smoothing)


def _augmentation(config: TransformersConfig, data: TrainingData) -> BatchAugmentation | None:
    return None if config.augmentation == "none" else augmentation(config.augmentation, data.input, data.output)


def _free(network: nn.Module | None) -> None:
    if network is not None:
        network.to("meta")
    free_memory()
