"""The contract of a trainer: how (config, task, data) becomes a fitted model that reports as it goes.

One contract serves timing, trials and the refit alike. No kind of task is named here, only inputs and outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.base_models import BaseModel
from autosft.data.data import Rows
from autosft.errors import TrialFailed
from autosft.inputs.base import Examples
from autosft.task import Input, Output, Task

#: Rows that are named where some are cut.
NUM_CUT_ROWS = 5


@dataclass(frozen=True)
class TrainingData:
    """The rows that one training sees.

    Attributes:
        input: What rows hold for a model to read.
        output: What their targets are.
        all: Every row the search may see; caches are keyed by it, never by a fold.
        train: Positions in `all` to train on.
        validation: Positions in `all` to report on; empty when refitting on everything.
        fingerprint: Hash of what `all` holds for a model to read.
        names: Positions in `all` of the names of classes, rows that nobody gave and that never validate; mostly none.
    """

    input: Input
    output: Output
    all: Rows
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    fingerprint: str
    names: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def with_names(self, times: int) -> TrainingData:
        """Returns the same data with the name of each class among the training rows, so many times."""
        return replace(self, train=np.concatenate([self.train, np.repeat(self.names, times)]))


@dataclass(frozen=True)
class Limits:
    """What one training may use.

    Attributes:
        num_threads: CPU threads.
        time_limit_seconds: A training that would take longer anneals to its end earlier; None for no limit.
        micro_batch_size: Largest batch known to fit in memory, or None.
        checkpointing: Whether even one row is known to fit only where activations are computed twice.
        max_length: Tokens a row is cut at; None lets the trainer choose.
        cache: Folder for tokens and features that several trainings share.
        stop_file: When this file appears the training stops at its next step by raising TrialFailed; None for never.
    """

    num_threads: int
    cache: Path
    max_length: int | None = None
    time_limit_seconds: float | None = None
    micro_batch_size: int | None = None
    checkpointing: bool = False
    stop_file: Path | None = None

    def raise_if_stopped(self) -> None:
        """Raises TrialFailed once the stop file is there."""
        if self.stop_file is not None and self.stop_file.exists():
            raise TrialFailed("it was stopped before its end")


def unheard(fidelity: float, outputs: pa.Array) -> None:
    """Takes a report and drops it: nobody waits for those of a timing."""


@dataclass(frozen=True)
class Cost:
    """What a full run of an arm was measured to cost on this machine.

    Attributes:
        setup_seconds: Loading and caching, paid once per worker.
        run_seconds: Training one full run (fidelity 1) of the untuned default, validation included.
        predict_rows_per_second: Speed of prediction.
        micro_batch_size: Largest batch that fitted, or None where batches play no role.
        max_length: Tokens that rows are cut at; None where they are read whole.
        share_cut: Share of the rows that are cut there.
        share_unknown: Share of their tokens that the model has no word for.
        cut_rows: Numbers of the first few rows that are cut, as in the data's file.
        checkpointing: Whether activations have to be computed twice, so that a batch fits in memory.
    """

    setup_seconds: float
    run_seconds: float
    predict_rows_per_second: float
    micro_batch_size: int | None
    max_length: int | None
    share_cut: float
    share_unknown: float = 0.0
    checkpointing: bool = False
    cut_rows: tuple[int, ...] = ()


def reading_facts(examples: Examples, data: TrainingData) -> dict[str, Any]:
    """Returns what reading the rows told, as fields of a `Cost`."""
    rows = data.all.numbers("row")
    cut = rows[examples.cut]
    cut = cut[cut >= 0]  # Nobody gave the names of classes.
    return {
        "max_length": examples.max_length,
        "share_cut": len(cut) / max(1, int((rows >= 0).sum())),
        "share_unknown": examples.share_unknown,
        "cut_rows": tuple(cut[:NUM_CUT_ROWS].tolist()),
    }


class Report(Protocol):
    """Called by a trainer at each rung: the share of the full run done, and outputs for the validation rows."""

    def __call__(self, fidelity: float, outputs: pa.Array) -> None: ...


class FittedModel(ABC):
    """A trained model in memory.

    Attributes:
        micro_batch_size: Largest batch that fitted in memory while it was trained, where a smaller one had to be found.
        share_trained: Share of the training asked for that its time limit allowed.
    """

    micro_batch_size: int | None = None
    share_trained: float = 1.0

    @abstractmethod
    def predict(self, inputs: pa.Table) -> pa.Array:
        """Returns outputs for canonical input columns, one a row, see `autosft.task.Output`."""

    def judge(self, task: Task, inputs: pa.Table, targets: pa.Array) -> pa.Array:
        """Returns outputs that can be scored against these targets; most outputs are what `predict` returns."""
        return self.predict(inputs)

    def scaled(self, temperature: float) -> FittedModel | None:
        """Returns the model with its logits divided by a temperature, or None where no layer can take that in.

        Only a model whose outputs are `Output.LABEL` is asked. It predicts the same labels, and may share its weights
        with this one.
        """
        return None

    def averaged(self, others: Sequence[FittedModel]) -> FittedModel | None:
        """Returns a model whose weights are the mean of this one's and the others', or None where that makes no sense.

        The others come from the same trainer and configuration, and differ by their seed.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the model in its ecosystem's own format (safetensors, no pickle) into an existing empty folder."""


class Trainer(ABC):
    """One ecosystem or method, bound to a base model.

    Class attributes:
        name: The trainer's public name, a key of `autosft.trainers.TRAINERS`.
        Config: Frozen dataclass with one field per tunable, its unit in the docstring and its default.
        trains: Pairs of input and output that it can train.
        reports_rungs: Whether it reports before the end, so that a scheduler can stop it.
        is_probe: Whether it trains a head on frozen features alone, so that its score says what a base model is worth.
        only_base: What it starts from where there is no base model to choose.
        joins_late: Whether, unless it is named, it races only where time is ample: it is another way to what a trainer
            that always races reaches.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    trains: ClassVar[frozenset[tuple[Input, Output]]]
    reports_rungs: ClassVar[bool] = False
    is_probe: ClassVar[bool] = False
    only_base: ClassVar[BaseModel | None] = None
    joins_late: ClassVar[bool] = False

    def __init__(self, base_model: BaseModel, base_model_folder: Path) -> None:
        self.base_model = base_model
        self.base_model_folder = base_model_folder

    @classmethod
    def require(cls) -> None:
        """Makes sure that the packages it trains with are here, without importing them.

        Raises:
            MissingExtraError: One is not; the message names the extra that brings it.
        """
        return None

    @classmethod
    @abstractmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> Any:
        """Returns the untuned default for this base model, number of training rows, and pair of input and output."""

    @classmethod
    def few_rows_default(cls, base_model: BaseModel, input: Input, output: Output) -> Mapping[str, Any]:
        """Returns the fields of the untuned default that are others where classes have few rows; mostly none."""
        return {}

    @classmethod
    def fitting(cls, base_model: BaseModel, memory_bytes: int) -> Mapping[str, Any]:
        """Returns the fields that so much memory leaves no choice in, with the value that fits; mostly none."""
        return {}

    @classmethod
    def settled(cls, base_model: BaseModel) -> Mapping[str, Any]:
        """Returns the fields that this base model leaves no choice in, with their untuned default; mostly none."""
        return {}

    @classmethod
    def least_memory_bytes(cls, base_model: BaseModel, config: Mapping[str, Any]) -> int:
        """Returns what a training takes of its device's memory at least, so that a smaller node of a cluster is spared.

        Weights, gradients and the two moments of AdamW, 4 bytes each; what batches take comes on top.
        """
        return 16 * base_model.num_parameters

    @classmethod
    def starts_from(cls, config: Mapping[str, Any]) -> str:
        """Names what a training of this configuration starts from; "" where all start alike.

        After a few steps, trainings that start from different things cannot be compared: a head that was fitted before
        is good at once, a fresh one may end better. So a race ranks only those together that start from the same.
        """
        return ""

    @abstractmethod
    def fit(
        self,
        config: Any,
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
        """Trains `fidelity` of a full run, annealed to its end, and reports at each rung.

        Args:
            fidelity: Share of the full run, in (0, 1].
            folder: Scratch space of this training alone.
            rungs: Shares of *this* run at which to report, ascending, the last one 1.
            limits: Its time limit ends the run early, annealed; the model says how far it came.

        Raises:
            TrialFailed: This training alone cannot be done (loss is not a number, does not fit in memory).
        """

    @abstractmethod
    def measure(self, config: Any, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        """Times a few real steps and says what a full run costs."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> FittedModel:
        """Loads what `FittedModel.save` wrote."""
