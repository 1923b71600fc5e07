"""The contract of a kind of task: how its columns are read, its outputs scored and its predictions worded.

No framework is named here or in any kind. Arrays are NumPy, tables are Arrow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.task import Input, Output, Task


class TaskKind(ABC):
    """One kind of task. Stateless: every method takes the Task.

    Class attributes:
        name: The kind's public name, in kebab case.
        input: What its models are given.
        output: What its models give back.
        metrics: Names a user may choose from, mapped to whether greater is better; the first is the default.
    """

    name: ClassVar[str]
    input: ClassVar[Input]
    output: ClassVar[Output]
    metrics: ClassVar[Mapping[str, bool]]

    @abstractmethod
    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns the canonical input columns of `self.input` (for text: one string column "text"), row by row.

        Raises:
            DataError: An input column of the task is missing.
        """

    @abstractmethod
    def encode_targets(self, task: Task, table: pa.Table) -> NDArray[Any]:
        """Returns the targets as trainers want them (for one label: int64 positions in `task.labels`), shape (rows,).

        Raises:
            DataError: A target is missing or unknown to the task.
        """

    @abstractmethod
    def decode(self, task: Task, outputs: NDArray[np.float32]) -> dict[str, pa.Array]:
        """Returns the columns that `predict` adds: "prediction" in the labels' original type, and "score" in [0, 1]."""

    @abstractmethod
    def score(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
        """Returns the task's deciding metric in its natural direction."""

    @abstractmethod
    def scores(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> dict[str, float]:
        """Returns every metric of the kind by name, the deciding one included."""

    @abstractmethod
    def resample(
        self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns the deciding metric on resampled rows, for bootstrap intervals.

        Args:
            rows: Row positions, shape (resamples, rows).

        Returns:
            One score per resample, shape (resamples,).
        """

    @abstractmethod
    def loss(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
        """Returns the loss that compares two models beyond the metric (for labels: mean negative log-likelihood)."""
