"""Fine-tuning of a decoder through `trl.SFTTrainer`: all of its weights, or LoRA adapters that are merged at the end.

What is varied is `TrlConfig`. Rows are rendered and tokenised by `autosft.inputs.prompts`; TRL and PEFT are imported
where they train, for prediction can do without. What comes out is a plain Transformers folder.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from autosft.accounting import phase
from autosft.base_models import BaseModel
from autosft.inputs.prompt_tokens import PromptTokens
from autosft.inputs.prompts import PromptReader
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData, reading_facts, unheard
from autosft.trainers.decoder import PROMPT_READERS, TextGenerator, generates, load_decoder
from autosft.trainers.memory import free_memory, what_may_fit
from autosft.trainers.networks import weights_key
from autosft.trainers.precision import forward_share
from autosft.trainers.sft_loop import TIMED_STEPS, UNTIMED_STEPS, Run, Settings, lacks

#: LoRA wants about ten times the rate of full fine-tuning, whatever the model (Schulman et al., "LoRA Without Regret",
#: 2025).
LORA_RATE_FACTOR = 10.0

#: Bytes a parameter takes: a float32 weight, and where all are trained its gradient and AdamW's moments too.
_FULL_BYTES, _LORA_BYTES = 16, 4
#: Share of a GPU's memory from which on what is fixed leaves too little for activations to be kept.
_CROWDED_SHARE = 0.5
#: Share of the memory from which on what is fixed leaves too little for a training at all.
_FULL_SHARE = 0.85


@dataclass(frozen=True)
class TrlConfig:
    """What a trial of `trl` may vary.

    Attributes:
        method: "full" trains all weights, "lora" low-rank adapters beside them (Hu et al., arXiv 2106.09685).
        learning_rate: Peak rate of AdamW where all weights are trained.
        lora_learning_rate: Peak rate of AdamW for adapters.
        num_train_epochs: Length of a full run, in passes over the training rows. Fixed by the plan, never searched.
        batch_size: Rows per optimizer step; smaller micro-batches are accumulated where memory asks for it.
        weight_decay: AdamW's, on matrices only.
        warmup_share: Share of the run over which the rate rises.
        lora_rank: Rank of an adapter.
        lora_alpha_over_rank: Factor on what an adapter adds.
        lora_dropout: On what goes into an adapter.
        lora_target: "all-linear" layers but the output's, or those of "attention".
        neftune_noise_alpha: Strength of the noise on embeddings in training (NEFTune, arXiv 2310.05914); 0 for none.
    """

    method: str = "lora"
    learning_rate: float = 2e-5
    lora_learning_rate: float = 2e-4
    num_train_epochs: int = 3
    batch_size: int = 16
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    lora_rank: int = 16
    lora_alpha_over_rank: float = 2.0
    lora_dropout: float = 0.05
    lora_target: str = "all-linear"
    neftune_noise_alpha: float = 0.0


class TrlTrainer(Trainer):
    """Fine-tuning of a decoder with `trl.SFTTrainer`."""

    name: ClassVar[str] = "trl"
    Config: ClassVar[type[Any]] = TrlConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset(
        {(Input.TEXT, Output.TEXT), (Input.MESSAGES, Output.TEXT)}
    )
    reports_rungs: ClassVar[bool] = True

    @classmethod
    def require(cls) -> None:
        for package in ("trl", "peft"):
            if importlib.util.find_spec(package) is None:
                raise lacks(package, "is not installed")

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> TrlConfig:
        rate = base_model.learning_rate
        epochs = int(np.clip(round(20_000 / max(num_rows, 1)), 1, 3))
        return TrlConfig(learning_rate=rate, lora_learning_rate=LORA_RATE_FACTOR * rate, num_train_epochs=epochs)

    @classmethod
    def starts_from(cls, config: Mapping[str, Any]) -> str:
        # A new adapter has to grow from nothing first.
        return str(config["method"])

    @classmethod
    def fitting(cls, base_model: BaseModel, memory_bytes: int) -> Mapping[str, Any]:
        return {"method": "lora"} if _FULL_BYTES * base_model.num_parameters > _FULL_SHARE * memory_bytes else {}

    @classmethod
    def least_memory_bytes(cls, base_model: BaseModel, config: Mapping[str, Any]) -> int:
        # Frozen weights may be held in half precision.
        return (_LORA_BYTES // 2 if config["method"] == "lora" else _FULL_BYTES) * base_model.num_parameters

    def fit(
        self,
        config: TrlConfig,
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
        from autosft.trainers.loop import division

        started, load = time.monotonic(), partial(self.load_base, config)
        reader, examples = self._read(data, limits)
        steps = max(1, round(fidelity * config.num_train_epochs * -(-len(data.train) // config.batch_size)))
        deadline = None if limits.time_limit_seconds is None else started + limits.time_limit_seconds
        fits = limits.micro_batch_size or config.batch_size
        checkpointing = limits.checkpointing or self._is_crowded(config)
        longest = int(examples.lengths.max(initial=1))
        while True:
            micro_batch_size = division(config.batch_size, fits)[0]
            settings = Settings(steps, micro_batch_size, checkpointing, seed, deadline)
            run = Run(load, config, task, data, reader, examples, settings, limits, folder, report, rungs)
            try:
                model = run.train()
                break
            except RuntimeError as error:
                fits, checkpointing = what_may_fit(error, micro_batch_size, checkpointing, max_length=longest)
            _free(run)
        model.micro_batch_size = fits if fits < config.batch_size else limits.micro_batch_size
        return model

    def measure(self, config: TrlConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        from autosft.trainers.loop import division

        started, load = time.monotonic(), partial(self.load_base, config)
        reader, examples = self._read(data, limits)
        total = config.num_train_epochs * -(-len(data.train) // config.batch_size)
        deadline = None if limits.time_limit_seconds is None else started + limits.time_limit_seconds
        setup = time.monotonic() - started
        fits, checkpointing = config.batch_size, self._is_crowded(config)
        longest = int(examples.lengths.max(initial=1))
        while True:
            micro = division(config.batch_size, fits)[0]
            settings = Settings(TIMED_STEPS + UNTIMED_STEPS, micro, checkpointing, 0, deadline)
            run = Run(load, config, task, data, reader, examples, settings, limits, limits.cache, unheard, (1.0,))
            try:
                seconds_per_step, loading = run.time_steps()
                break
            except RuntimeError as error:
                fits, checkpointing = what_may_fit(error, micro, checkpointing, max_length=longest)
            _free(run)
        seconds_per_row = forward_share() * seconds_per_step / config.batch_size
        if generates(task):
            seconds_per_row += run.time_generation()
        run_seconds = total * seconds_per_step + len(data.validation) * seconds_per_row
        _free(run)
        return Cost(
            setup_seconds=setup + loading,
            run_seconds=run_seconds,
            predict_rows_per_second=1 / seconds_per_row,
            micro_batch_size=micro,
            checkpointing=checkpointing,
            **reading_facts(examples, data),
        )

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return TextGenerator.load(folder)

    def load_base(self, config: TrlConfig) -> Any:
        """Loads the base model: in float32, but a frozen one that would crowd a GPU in bfloat16.

        In float32 merging an adapter loses nothing, and a model predicts elsewhere what it was measured to.
        """
        halved = config.method == "lora" and self._is_crowded(config) and torch.cuda.is_bf16_supported()
        return load_decoder(self.base_model_folder, torch.bfloat16 if halved else torch.float32)

    def _is_crowded(self, config: TrlConfig) -> bool:
        """Whether the model and what trains it take so much of the GPU that activations must be computed twice."""
        if not torch.cuda.is_available():
            return False
        fixed = self.base_model.num_parameters * (_LORA_BYTES if config.method == "lora" else _FULL_BYTES)
        return fixed > _CROWDED_SHARE * torch.cuda.get_device_properties(0).total_memory

    def _read(self, data: TrainingData, limits: Limits) -> tuple[PromptReader, PromptTokens]:
        with phase("load"):
            reader = PROMPT_READERS[data.input].of_base(
                self.base_model_folder, max_length=limits.max_length, context_tokens=self.base_model.context_tokens
            )
            key = f"{data.fingerprint}|{weights_key(self.base_model_folder)}"
            examples = reader.cached(data.all, key, limits.cache)
            return reader.cut_at(examples.max_length), examples


def _free(run: Run) -> None:
    run.network = None
    free_memory()
