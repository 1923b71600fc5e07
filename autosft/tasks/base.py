"""The contract of a kind of task: how its columns are read, its outputs scored and its predictions worded.

No framework is named here or in any kind. Targets and outputs are Arrow arrays of one element a row, see
`autosft.task.Output`; tables are Arrow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.data.texts import input_texts, label_texts
from autosft.task import Input, Output, Task

if TYPE_CHECKING:
    from autosft.data.checks.subject import Check

#: Rows per class up to which validation rows matter enough to halve the training for a refit on all of them.
SCARCE_ROWS_PER_CLASS = 50

#: Scores resamples of rows: from row positions of shape (resamples, rows) to one score each, shape (resamples,).
Scorer = Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How often each class was there, was predicted, and both in the same place.

    Attributes:
        names: Of the classes: labels, or types of entities.
        matched: Found where they are, shape (classes,).
        predicted: Found, likewise.
        true: There, likewise.
    """

    names: tuple[str, ...]
    matched: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]


class TaskKind(ABC):
    """One kind of task. Stateless: every method takes the Task.

    Class attributes:
        name: The kind's public name, in kebab case.
        input: What its models are given.
        output: What its models give back.
        metrics: Names a user may choose from, mapped to whether greater is better; the first is the default.
        checks: Checks of the data that only this kind needs, by name; they run before those that every kind has.
        convention: What a loss is of, where that could be otherwise. It is fixed, said in the plan, and never searched:
            losses could not be compared.
        knowing_nothing: What a score is held against for scale, in words: what gives `constant`, or `guessing`.
    """

    name: ClassVar[str]
    input: ClassVar[Input]
    output: ClassVar[Output]
    metrics: ClassVar[Mapping[str, bool]]
    checks: ClassVar[Mapping[str, Check]] = {}
    convention: ClassVar[str] = ""
    knowing_nothing: ClassVar[str] = "the same answer for every row"

    @abstractmethod
    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns the canonical columns of `self.input`, row by row.

        Raises:
            DataError: An input column of the task is missing, or cannot be read as this input.
        """

    def unreadable_inputs(self, task: Task, table: pa.Table) -> dict[int, str]:
        """Returns the rows that no prediction can be made for, with the reason: files that are damaged or not there.

        Raises:
            DataError: As in `encode_inputs`.
        """
        return {}

    @abstractmethod
    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        """Returns the targets of `self.output`, one a row.

        Args:
            strict: Whether a missing or unknown target is an error; else it is null.

        Raises:
            DataError: The target column is missing; with `strict`, a row has no target or one unknown to the task.
        """

    @abstractmethod
    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns the columns that `predict` adds: "prediction" as the user writes targets, and others such as "score".

        Args:
            inputs: The user's rows, as `encode_inputs` returned them.
        """

    @abstractmethod
    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        """Returns a function that gives the deciding metric, in its natural direction, for resampled rows.

        What is the same for every resample is computed once, here. A score may be NaN where it is undefined.
        """

    def score(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the task's deciding metric over all rows, in its natural direction."""
        return float(self.scorer(task, targets, outputs)(np.arange(len(targets), dtype=np.int64)[None])[0])

    @abstractmethod
    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        """Returns every metric of the kind by name, the deciding one included."""

    @abstractmethod
    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the loss that compares two models beyond the metric (for labels: mean negative log-likelihood)."""

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns how each row went: "target" and "prediction" in words, "score", "right" and "loss".

        "score" is how sure the model was, "right" whether it was, both null where that makes no sense; the greater
        "loss" is, the worse the row went.

        Args:
            targets: Of which none is null.
        """
        nothing = pa.nulls(len(targets))
        return pa.table(
            {
                "target": nothing.cast(pa.string()),
                "prediction": nothing.cast(pa.string()),
                "score": nothing.cast(pa.float32()),
                "right": nothing.cast(pa.bool_()),
                "loss": nothing.cast(pa.float64()),
            }
        )

    def class_counts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> ClassCounts | None:
        """Returns how often each class was there and was found; None where there are no classes."""
        return None

    def confidences(
        self, task: Task, targets: pa.Array, outputs: pa.Array
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
        """Returns how sure the model was of what it said and whether it was so, shape (said,); None without that."""
        return None

    def constant(self, task: Task, train: pa.Array, like: pa.Array) -> pa.Array | None:
        """Returns outputs of what says the same of every row: a score near its own comes of knowing nothing.

        Args:
            train: Training targets, which decide what is said.
            like: Targets of the rows that it is said of; only their number and shape are looked at.
        """
        return None

    def guessing(self, task: Task) -> float | None:
        """Returns the score of guessing, where that is known without any outputs and `constant` gives none."""
        return None

    def wording(self, task: Task) -> str:
        """Returns what is predicted, in words: "one of 77 labels"."""
        s = "" if len(task.labels) == 1 else "s"
        return {
            Output.LABEL: f"one of {len(task.labels)} label{s}",
            Output.LABELS: f"any of {len(task.labels)} label{s}",
            Output.NUMBER: "a number",
            Output.TOKEN_LABELS: f"one of {len(task.labels)} tag{s} a token",
            Output.TEXT: "a text",
        }[self.output]

    def tuned(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Task:
        """Returns the task with what only a trained model's outputs can tell, such as thresholds.

        Args:
            targets: Of rows that the model did not train on. outputs: Likewise.
        """
        return task

    def identities(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns a text a row that is the same for rows with the same input, large_string; "" where it is blank."""
        return input_texts(table, task.input_columns)

    def shown(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns a text a row to show a person which row it is, large_string."""
        return self.identities(task, table)

    def target_texts(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns the targets as text, large_string, for messages and to tell them apart; null where one is missing."""
        return label_texts(table.column(task.target_column))

    def strata(self, task: Task, table: pa.Table) -> NDArray[np.int64]:
        """Returns a number a row; splits give every part the same share of rows of each, shape (rows,)."""
        return np.zeros(table.num_rows, np.int64)

    def facts(self, task: Task, targets: pa.Array) -> dict[str, bool]:
        """Returns what search spaces may ask about training targets, by name."""
        return {}

    def class_rows(self, task: Task) -> pa.Table | None:
        """Returns the name of each class as a row, its inputs and its "target"; None where names say nothing."""
        return None

    def rows_per_class(self, task: Task, targets: pa.Array) -> float:
        """Returns how many training rows there are to learn each thing from: the median over the classes."""
        return float(len(targets))


def is_scarce(counts: NDArray[np.int64]) -> bool:
    """Whether classes that have so many rows each have few."""
    return bool(len(counts)) and bool(np.median(counts) < SCARCE_ROWS_PER_CLASS)
