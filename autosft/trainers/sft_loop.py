"""`trl.SFTTrainer` as autosft drives it: rows tokenised before, reports at rungs, and limits.

TRL and PEFT are imported only when a training begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from autosft.accounting import phase
from autosft.errors import MissingExtraError, TrialFailed, explain
from autosft.inputs.prompt_tokens import PromptTokens, longest_answer
from autosft.inputs.prompts import PromptReader
from autosft.inputs.text import pad_token_id
from autosft.task import Task
from autosft.trainers.base import Limits, Report, TrainingData
from autosft.trainers.decoder import TextGenerator
from autosft.trainers.networks import as_loaded, quiet_transformers
from autosft.trainers.optimization import Clockwork, check_loss
from autosft.trainers.precision import forward_share, trains_in_bf16

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig

    from autosft.trainers.with_trl import TrlConfig

#: Steps that a timing takes, and how many of them come before the clock starts; rows it generates for.
TIMED_STEPS, UNTIMED_STEPS, _TIMED_ROWS = 6, 2, 4
#: Where steps are slow, fewer will do.
_TIMED_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """One training in TRL's own terms.

    Attributes:
        total_steps: Optimizer steps of the run.
        micro_batch_size: Rows per forward pass.
        checkpointing: Whether activations are computed again in the backward pass instead of being kept.
        deadline: Monotonic time by which training and its last report must be over, or None.
    """

    total_steps: int
    micro_batch_size: int
    checkpointing: bool
    seed: int
    deadline: float | None


@dataclass
class Run:
    """Everything one training needs, put together."""

    load: Callable[[], Any]
    config: TrlConfig
    task: Task
    data: TrainingData
    reader: PromptReader
    examples: PromptTokens
    settings: Settings
    limits: Limits
    folder: Path
    report: Report
    rungs: tuple[float, ...]
    network: Any = None

    def train(self) -> TextGenerator:
        """Trains to the end, the time limit, or a rung at which the caller stops it.

        Raises:
            TrialFailed: The loss is not a number, or the stop file appeared.
            RuntimeError: Out of memory, see `memory.is_out_of_memory`.
        """
        limit = None if self.settings.deadline is None else self.settings.deadline - time.monotonic()
        clockwork = Clockwork(self.settings.total_steps, limit)
        sft = self._sft_trainer(clockwork)
        sft.add_callback(_rungs_callback(self, clockwork))
        with phase("train"), quiet_transformers():
            clockwork.start()
            sft.train()
        model = self._fitted(sft)
        self.evaluate(model, 1.0)
        model.share_trained = clockwork.step / self.settings.total_steps
        return model

    def time_steps(self) -> tuple[float, float]:
        """Returns seconds per optimizer step over a few real steps, and those of loading the model."""
        started = time.monotonic()
        # Rates next to nothing: the model is used to time generation afterwards.
        self.config = replace(self.config, learning_rate=1e-12, lora_learning_rate=1e-12)
        clockwork = Clockwork(self.settings.total_steps, None)
        sft = self._sft_trainer(clockwork)
        loading = time.monotonic() - started
        ends: list[float] = []
        sft.add_callback(timing_callback(ends, self.settings.deadline))
        with quiet_transformers():
            begun = time.perf_counter()
            sft.train()
        self._fitted(sft)
        skipped = min(UNTIMED_STEPS, len(ends) - 1)
        since = ends[skipped - 1] if skipped else begun
        return (ends[-1] - since) / (len(ends) - skipped), loading

    def time_generation(self) -> float:
        """Returns seconds per row that is generated; an untrained model goes on to the longest answer allowed."""
        model = TextGenerator(self.network, self.reader, self.data.input)
        table = self.data.all.table().take(pa.array(self.data.train[:_TIMED_ROWS]))
        started = time.perf_counter()
        model.predict(table)
        return (time.perf_counter() - started) / max(1, len(table))

    def evaluate(self, model: TextGenerator, fidelity: float) -> None:
        """Reports outputs for the validation rows."""
        rows = self.data.validation
        if not len(rows):
            return
        table = self.data.all.table().take(pa.array(rows))
        outputs = model.judge(self.task, table, self.data.all.targets().take(pa.array(rows)))
        if not np.isfinite(outputs.field("nats").drop_null().to_numpy(zero_copy_only=False)).all():
            raise TrialFailed("the model's outputs became NaN or infinite")
        self.report(fidelity, outputs)

    def at_rung(self, network: Any, fidelity: float) -> None:
        """Reports from the middle of a training, and goes on with it."""
        was_training = network.training
        self.evaluate(TextGenerator(network.eval(), self.reader, self.data.input), fidelity)
        network.train(was_training)

    def _sft_trainer(self, clockwork: Clockwork) -> Any:
        trl = _imported("trl")
        from datasets import Dataset

        with phase("load"), quiet_transformers():
            torch.manual_seed(self.settings.seed)
            self.network = self.load()
            self._set_generation()
            made = _trainer_class(trl)(
                model=self.network,
                args=self._arguments(trl),
                # With "labels" TRL neither tokenises nor masks.
                train_dataset=Dataset(self.examples.table(self.data.train)),
                processing_class=self.reader.tokenizer,
                peft_config=self._adapters(),
            )
        from transformers import PrinterCallback

        made.remove_callback(PrinterCallback)
        made.clockwork, made.warmup_steps = clockwork, self._warmup_steps
        made.lengths = self.examples.lengths[self.data.train].tolist()
        return made

    @property
    def _warmup_steps(self) -> int:
        return round(self.config.warmup_share * self.settings.total_steps)

    def _arguments(self, trl: Any) -> SFTConfig:
        on_gpu = torch.cuda.is_available()
        arguments = self._sft_config(trl, on_gpu)
        if arguments.n_gpu > 1:
            # TRL refuses to split batches over devices in one process; a trial has one device in any case.
            arguments._n_gpu = 1
        return arguments

    def _sft_config(self, trl: Any, on_gpu: bool) -> SFTConfig:
        config, settings = self.config, self.settings
        arguments = trl.SFTConfig(
            output_dir=str(self.folder),
            max_steps=settings.total_steps,
            learning_rate=config.lora_learning_rate if config.method == "lora" else config.learning_rate,
            weight_decay=config.weight_decay,
            per_device_train_batch_size=settings.micro_batch_size,
            gradient_accumulation_steps=config.batch_size // settings.micro_batch_size,
            gradient_checkpointing=settings.checkpointing,
            neftune_noise_alpha=config.neftune_noise_alpha or None,
            max_length=None,  # The reader has cut the rows, from the side that hurts least.
            # Rows of similar length stand in a batch together, so that little is padded.
            train_sampling_strategy="group_by_length",
            seed=settings.seed,
            bf16=trains_in_bf16(),
            use_cpu=not on_gpu,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=on_gpu,
        )
        return cast("SFTConfig", arguments)

    def _adapters(self) -> Any:
        if self.config.method != "lora":
            return None
        config = self.config
        return _imported("peft").LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha_over_rank * config.lora_rank,
            lora_dropout=config.lora_dropout,
            target_modules="all-linear" if config.lora_target == "all-linear" else _attention_layers(self.network),
            task_type="CAUSAL_LM",
        )

    def _set_generation(self) -> None:
        from transformers import GenerationConfig

        longest = longest_answer(self.examples.answer_lengths(self.data.train))
        tokenizer = self.reader.tokenizer
        # The base model's own would sample, and bound the length otherwise.
        self.network.generation_config = GenerationConfig(
            do_sample=False,
            # Half of the context is the prompt's, as it is in training.
            max_new_tokens=max(1, min(longest, self.reader.context_tokens // 2)),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=list(self.reader.stop_ids),
            pad_token_id=pad_token_id(tokenizer),
        )

    def _fitted(self, sft: Any) -> TextGenerator:
        """Returns the trained model without what TRL, PEFT and Accelerate put around it."""
        network = sft.accelerator.unwrap_model(sft.model, keep_fp32_wrapper=False)
        generation = self.network.generation_config
        if self.config.method == "lora":
            network = network.merge_and_unload()
        as_loaded(network)
        network.generation_config = generation
        network.config.use_cache = True
        if self.settings.checkpointing:
            with quiet_transformers():
                network.gradient_checkpointing_disable()
        for parameter in network.parameters():
            parameter.grad = None
        self.network = network.eval()
        return TextGenerator(self.network, self.reader, self.data.input)


def _trainer_class(trl: Any) -> type[Any]:
    """Returns SFTTrainer with a schedule that can end early, and without losses that are no numbers."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class AnnealedTrainer(trl.SFTTrainer):  # type: ignore[misc]
        clockwork: Clockwork
        warmup_steps: int
        lengths: list[int]

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            # The same sampler as without this, which would turn every row into Python values to count its tokens.
            batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(batch_size, lengths=self.lengths)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = _schedule(optimizer or self.optimizer, self.clockwork, self.warmup_steps)
            return self.lr_scheduler

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return check_loss(super().compute_loss(*args, **kwargs), self.state.global_step)

    return AnnealedTrainer


def _schedule(optimizer: Any, clockwork: Clockwork, warmup_steps: int) -> Any:
    """Returns Transformers' linear schedule, which time moves on where it is further along than the steps."""
    total = clockwork.total_steps

    def factor(step: int) -> float:
        at = max(float(step), clockwork.progress * total)
        return at / warmup_steps if at < warmup_steps else max(0.0, (total - at) / max(1, total - warmup_steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _rungs_callback(run: Run, clockwork: Clockwork) -> Any:
    """Returns what reports at rungs, and ends the training when its time is up or its stop file appears."""
    from transformers import TrainerCallback

    limit, rungs = clockwork.limit_seconds, [rung for rung in run.rungs if rung < 1]
    reported: list[float] = []

    class Rungs(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            clockwork.step = state.global_step
            run.limits.raise_if_stopped()
            if limit is not None:
                # The report at the end takes what one at a rung took; before there was one, what steps tell of it.
                per_row = forward_share() * clockwork.seconds_per_step / run.config.batch_size
                last = max(reported, default=per_row * len(run.data.validation))
                clockwork.limit_seconds = limit - last
            if clockwork.progress >= 1:
                control.should_training_stop = True
            elif rungs and clockwork.progress >= rungs[0]:
                started = time.monotonic()
                run.at_rung(kwargs["model"], rungs.pop(0))
                reported.append(time.monotonic() - started)
            return control

    return Rungs()


def timing_callback(ends: list[float], deadline: float | None) -> Any:
    """Returns what notes when each step ended, and stops a timing whose steps are slow or whose time is up."""
    from transformers import TrainerCallback

    class Timing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())
            slow = len(ends) > UNTIMED_STEPS and ends[-1] - ends[0] > _TIMED_SECONDS
            control.should_training_stop |= slow or (deadline is not None and time.monotonic() >= deadline)
            return control

    return Timing()


def _attention_layers(network: nn.Module) -> list[str]:
    """Returns the names of the linear layers inside attention blocks, whatever an architecture calls them."""
    from transformers.pytorch_utils import Conv1D

    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and any("attn" in part or "attention" in part for part in name.split("."))
    ]


def _imported(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise lacks(package, f"cannot be imported ({error})") from error


def lacks(package: str, why: str) -> MissingExtraError:
    """Returns the error for a package that is not there."""
    wrong = f"the trainer trl needs the package {package}, which {why}"
    return MissingExtraError(explain(wrong=wrong, expected="trl and peft", fix="pip install 'autosft[llm]'"))
