"""The Task: what is to be predicted from which columns, and which metric decides.

Framework-neutral values only. How a kind of task reads columns and scores outputs lives in `autosft.tasks`; how a
sentence becomes a Task lives in `autosft.infer`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from autosft.errors import TaskError, explain


class Input(StrEnum):
    """What a model is given for one row."""

    TEXT = "text"
    TEXT_PAIR = "text-pair"
    TOKENS = "tokens"
    MESSAGES = "messages"
    IMAGE = "image"
    AUDIO = "audio"


class Output(StrEnum):
    """What a model gives back for one row."""

    LABEL = "label"
    LABELS = "labels"
    NUMBER = "number"
    TOKEN_LABELS = "token-labels"
    TEXT = "text"


MetricFunction = Callable[[Sequence[Any], Sequence[Any]], float]


@dataclass(frozen=True)
class Metric:
    """The number that decides between two models.

    Attributes:
        name: A name from the task kind's table, or the function's own name.
        greater_is_better: The metric's natural direction.
        positive: The label (as text) that a binary F1, precision or recall is about.
        function: A user's own metric, called as `function(targets, predictions)` with labels in their original type.
    """

    name: str
    greater_is_better: bool = True
    positive: str | None = None
    function: MetricFunction | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object; a function is kept as the place it can be imported from."""
        place = f"{self.function.__module__}:{self.function.__qualname__}" if self.function else None
        return {
            "name": self.name,
            "greater_is_better": self.greater_is_better,
            "positive": self.positive,
            "function": place,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Metric:
        """Rebuilds a metric; raises TaskError when its function can no longer be imported."""
        function = _import_function(row["function"]) if row.get("function") else None
        return Metric(row["name"], row["greater_is_better"], row["positive"], function)


@dataclass(frozen=True)
class Task:
    """What is to be predicted from which columns, and which metric decides.

    Attributes:
        kind: Name of the kind of task, a key of `autosft.tasks.KINDS`.
        description: The user's sentence.
        input_columns: Columns the model reads, in order.
        target_column: Column it predicts.
        metric: The metric that decides.
        labels: Every label as text, in the order of the model's outputs; empty where there are none.
        label_type: Type of the labels in the user's data, so that predictions come back in it: "string", "int",
            "float" or "bool".
        group_column: Rows that share a value here never stand on both sides of a split.
        time_column: Where given, validation and proof rows are the latest ones.
        reasons: Why the sentence and the columns were read this way, one sentence each.
        runner_up: The second-best reading in words, or None.
    """

    kind: str
    description: str
    input_columns: tuple[str, ...]
    target_column: str
    metric: Metric
    labels: tuple[str, ...] = ()
    label_type: str = "string"
    group_column: str | None = None
    time_column: str | None = None
    reasons: tuple[str, ...] = ()
    runner_up: str | None = None

    def with_labels(self, labels: Sequence[str], label_type: str) -> Task:
        """Returns the same task over these labels."""
        return replace(self, labels=tuple(labels), label_type=label_type)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back."""
        return asdict(replace(self, metric=Metric("", True))) | {"metric": self.metric.to_json()}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Task:
        """Rebuilds a Task from `to_json`."""
        lists = {key: tuple(row[key]) for key in ("input_columns", "labels", "reasons")}
        return Task(**{**row, **lists, "metric": Metric.from_json(row["metric"])})


def gone_function(place: str, error: TaskError) -> MetricFunction:
    """Returns what stands for a function that can no longer be imported: it keeps its place, and raises when called."""

    def function(targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        raise error

    function.__module__, _, function.__qualname__ = place.partition(":")
    return function


def _import_function(place: str) -> MetricFunction:
    module, _, qualname = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise TaskError(
            explain(
                wrong=f"the metric function {place} can no longer be imported ({error})",
                expected="a function at the top level of an importable module",
                fix="put it back where Python finds it under that name, or start a new run with metric=",
            )
        ) from error
