"""Contrastive fine-tuning of a text encoder through sentence-transformers, then a linear head on its features.

The idea is SetFit's (Tunstall et al., arXiv 2209.11055), with a loss on batches in the place of sampled pairs. What is
varied is `ContrastiveConfig`; the library is imported where it trains: prediction can do without.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from autosft.base_models import BaseModel
from autosft.errors import MissingExtraError, TrialFailed, explain
from autosft.inputs import reader_class
from autosft.inputs.base import Examples, Reader
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData, reading_facts, unheard
from autosft.trainers.encoder import EncoderModel, read_rows
from autosft.trainers.linear_head import head_seconds
from autosft.trainers.memory import free_memory, is_out_of_memory
from autosft.trainers.networks import PooledClassifier, device, load_encoder
from autosft.trainers.objectives import width_of
from autosft.trainers.precision import forward_share
from autosft.trainers.with_transformers import default_epochs, dropout_fields

#: Of the rate that full fine-tuning under a head wants. With MiniLM on 616 training rows of Banking77, scored on 154
#: others (a standard error is 0.03): 0.84 after 4 epochs at 1, 0.85 after 3 and 0.86 after 6 at 0.25, with C at 10;
#: untrained 0.85. Of C from 3 to 1000 after those 6, 30 was best with 0.88. A triplet loss was level, its hardest
#: triplets alone and a temperature of 0.05 were a point or two behind.
_RATE_FACTOR = 0.25


@dataclass(frozen=True)
class ContrastiveConfig:
    """What a trial of `contrastive` may vary.

    Attributes:
        learning_rate: Peak rate of AdamW.
        num_train_epochs: Length of a full run, in passes over the training rows. Fixed by the plan, never searched.
        batch_size: Rows that are compared with each other in an optimizer step; where memory asks for it, that many in
            smaller groups, which are compared within themselves.
        rows_per_class: Rows of a class that stand in a batch together; two are the fewest that have anything in common.
        temperature: What cosine similarities are divided by in the loss, 0.1 as in its paper (arXiv 2004.11362); the
            lower, the more the hard rows count.
        weight_decay: AdamW's, on matrices only.
        warmup_share: Share of the run over which the rate rises.
        dropout: Inside the encoder.
        C: Inverse of the L2 penalty of the logistic regression, as in `FrozenHeadConfig`.
        class_weights: Of the logistic regression: "none", or "balanced" for weights inverse to class counts.
    """

    learning_rate: float = 5e-5
    num_train_epochs: int = 3
    batch_size: int = 64
    rows_per_class: int = 2
    temperature: float = 0.1
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    dropout: float = 0.1
    C: float = 30.0
    class_weights: str = "none"


class ContrastiveTrainer(Trainer):
    """Contrastive fine-tuning with `SentenceTransformerTrainer`, then the logistic regression of `frozen_head`."""

    name: ClassVar[str] = "contrastive"
    Config: ClassVar[type[Any]] = ContrastiveConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset({(Input.TEXT, Output.LABEL)})
    reports_rungs: ClassVar[bool] = True
    # Where rows are few it is as good as full fine-tuning, within the noise (`benchmarks/README.md`).
    joins_late: ClassVar[bool] = True

    @classmethod
    def require(cls) -> None:
        package = "sentence-transformers"
        if importlib.util.find_spec("sentence_transformers") is None:
            wrong = f"the trainer {cls.name} needs the package {package}, which is not installed"
            raise MissingExtraError(explain(wrong=wrong, expected=package, fix="pip install 'autosft[text]'"))

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> ContrastiveConfig:
        # Epochs as in full fine-tuning, so that a run costs about the same.
        rate = _RATE_FACTOR * base_model.learning_rate
        return ContrastiveConfig(learning_rate=rate, num_train_epochs=default_epochs(num_rows))

    def fit(
        self,
        config: ContrastiveConfig,
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
        from autosft.trainers.contrastive_loop import MIN_BATCH_SIZE, Run, Settings
        from autosft.trainers.loop import division

        started = time.monotonic()
        reader, examples = self._read(data, limits)
        deadline = None if limits.time_limit_seconds is None else started + limits.time_limit_seconds
        steps = max(1, round(fidelity * _total_steps(config, data)))
        fits = limits.micro_batch_size or config.batch_size
        while True:
            micro_batch_size, _ = division(config.batch_size, fits)
            torch.manual_seed(seed)
            network = self._network(config, task, data)
            settings = Settings(steps, micro_batch_size, seed, deadline)
            run = Run(network, examples, config, task, data, settings, limits, folder, report, rungs)
            try:
                share_trained = run.train()
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if micro_batch_size <= MIN_BATCH_SIZE:
                    wrong = f"{micro_batch_size} rows of length {examples.max_length} do not fit in memory"
                    raise TrialFailed(wrong) from error
            # Out here, where the error no longer holds what was computed.
            fits = micro_batch_size // 2
            network.to("meta")
            free_memory()
        reader = reader.cut_at(examples.max_length)
        model = EncoderModel(network.eval(), reader, data.input, data.output, task.labels)
        model.share_trained = share_trained
        model.micro_batch_size = fits if fits < config.batch_size else limits.micro_batch_size
        return model

    def measure(self, config: ContrastiveConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        started = time.monotonic()
        # Importing the library is part of what a worker pays once.
        from autosft.trainers.contrastive_loop import MIN_BATCH_SIZE, TIMING_STEPS, Run, Settings

        _, examples = self._read(data, limits)
        network = self._network(config, task, data)
        setup = time.monotonic() - started
        deadline = None if limits.time_limit_seconds is None else started + limits.time_limit_seconds
        micro = config.batch_size
        while True:
            settings = Settings(TIMING_STEPS, micro, 0, deadline)
            run = Run(network, examples, config, task, data, settings, limits, limits.cache, unheard)
            try:
                seconds_per_step = run.time_steps()
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or micro <= MIN_BATCH_SIZE:
                    raise
            micro //= 2
            free_memory()
        rows_per_second = config.batch_size / (forward_share() * seconds_per_step)
        seconds = _total_steps(config, data) * seconds_per_step
        seconds += (len(data.train) + len(data.validation)) / rows_per_second
        seconds += head_seconds(len(data.train), network.linear.in_features, len(task.labels))
        # A larger batch is not divided because of what fitted whole: rows are compared within what is computed at once.
        fits = micro if micro < config.batch_size else None
        return Cost(setup, seconds, rows_per_second, fits, **reading_facts(examples, data))

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return EncoderModel.load(folder)

    def _read(self, data: TrainingData, limits: Limits) -> tuple[Reader, Examples]:
        reading = reader_class(data.input)
        reader, examples, _ = read_rows(reading, self.base_model, self.base_model_folder, data, limits)
        return reader, examples

    def _network(self, config: ContrastiveConfig, task: Task, data: TrainingData) -> PooledClassifier:
        """Returns the encoder under a head that is still to be fitted."""
        encoder = load_encoder(self.base_model_folder, **dropout_fields(self.base_model_folder, config.dropout))
        return PooledClassifier(encoder, width_of(data.output, task.labels), normalize=True).to(device())


def _total_steps(config: ContrastiveConfig, data: TrainingData) -> int:
    return config.num_train_epochs * -(-len(data.train) // config.batch_size)
