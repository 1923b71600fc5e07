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

from autosft.errors import AutosftError, MetricError, TaskError, explain
from autosft.time_limit import time_limit


class Input(StrEnum):
    """What a model is given for one row: the canonical columns that a kind of task makes of the user's.

    * TEXT: "text", a string.
    * TEXT_PAIR: "text" and "text_pair", strings.
    * TOKENS: "tokens", a list of strings: words that labels are about.
    * MESSAGES: "messages", a list of {"role", "content"}; in training rows the answers to learn are among them.
    * IMAGE: "image", {"path": string, "bytes": binary}, of which one is null; and "content", a hash of the file.
    """

    TEXT = "text"
    TEXT_PAIR = "text-pair"
    TOKENS = "tokens"
    MESSAGES = "messages"
    IMAGE = "image"
    AUDIO = "audio"


class Output(StrEnum):
    """What a model gives back for one row. Targets and outputs are Arrow arrays of one element a row.

    A target is null where a held-out row has none; training rows have one.

    * LABEL: target int64, the position in `Task.labels`; output fixed_size_list<float>[labels], probabilities.
    * LABELS: target fixed_size_list<int8>[labels], 0 or 1; output fixed_size_list<float>[labels], a probability each.
    * NUMBER: target and output double, in the user's unit.
    * TOKEN_LABELS: target list<int16>, a position in `Task.labels` for each token; output
      list<fixed_size_list<float>[labels]>, probabilities of each token.
    * TEXT: target string; output struct<nats: double, text: string>: the negative log-likelihood of the target (null
      in predictions), and what was generated (null where nothing was).
    """

    LABEL = "label"
    LABELS = "labels"
    NUMBER = "number"
    TOKEN_LABELS = "token-labels"
    TEXT = "text"


MetricFunction = Callable[[Sequence[Any], Sequence[Any]], float]
AnswerFunction = Callable[[str], str | None]


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

    def value(self, targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        """Calls the function; what it gives may be NaN or infinite, where it is not defined.

        Raises:
            MetricError: The function raises, asks for the process to end, or gives something that is no number.
            FunctionTimeout: It gives no answer.
        """
        assert self.function is not None
        try:
            with time_limit(f"the metric {self.name}(targets, predictions)"):
                found: Any = self.function(targets, predictions)
        except AutosftError:
            raise
        except (Exception, SystemExit) as error:
            raise self._error(f"raised {type(error).__name__}: {error}") from error
        try:
            if not isinstance(found, str | bytes):
                return float(found)
        except (TypeError, ValueError, RuntimeError):
            pass
        raise self._error(f"gave {found!r:.60} ({type(found).__name__})")

    def _error(self, what: str) -> MetricError:
        return MetricError(
            explain(
                wrong=f"the metric {self.name}(targets, predictions) {what}",
                expected="one number for every list of targets and predictions; NaN where it is not defined",
                fix="correct the function; a run that it stopped goes on with `autosft resume`",
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object; a function is kept as the place it can be imported from."""
        return {
            "name": self.name,
            "greater_is_better": self.greater_is_better,
            "positive": self.positive,
            "function": _place(self.function) if self.function else None,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any], *, strict: bool = True) -> Metric:
        """Rebuilds a metric; see `Task.from_json`."""
        function = _function_at(row["function"], "metric", strict) if row.get("function") else None
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
        labels: Every label as text, in the order of the model's outputs; empty where there are none. For labels of
            tokens they are tags: "O", and "B-" and "I-" of every entity type.
        label_type: Type of the labels in the user's data, so that predictions come back in it: "string", "int",
            "float" or "bool".
        target_columns: Where the target is spread over several columns, one a label, those columns; `target_column` is
            then what the target is called in messages.
        thresholds: Where several labels may hold at once, the probability from which each does; empty until they were
            chosen, which stands for a half.
        answer: A regular expression, or a function of a text, that reads the answer out of a generated text; None where
            nothing is generated to be scored. Of a match the last group counts, or all of it.
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
    target_columns: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    answer: str | AnswerFunction | None = None
    group_column: str | None = None
    time_column: str | None = None
    reasons: tuple[str, ...] = ()
    runner_up: str | None = None

    def with_labels(self, labels: Sequence[str], label_type: str) -> Task:
        """Returns the same task over these labels."""
        return replace(self, labels=tuple(labels), label_type=label_type)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back; functions are kept as the place to import them from."""
        answer = {"function": _place(self.answer)} if callable(self.answer) else self.answer
        row = asdict(replace(self, metric=Metric(""), answer=None))
        return row | {"metric": self.metric.to_json(), "answer": answer}

    @staticmethod
    def from_json(row: Mapping[str, Any], *, strict: bool = True) -> Task:
        """Rebuilds a Task from `to_json`.

        Args:
            row: The JSON object.
            strict: Whether a function that can no longer be imported is an error at once. Otherwise what stands in its
                place raises the error when it is called, which is good enough for who only reads.

        Raises:
            TaskError: A function can no longer be imported.
        """
        lists = {key: tuple(row[key]) for key in row if isinstance(row[key], list)}
        metric, answer = Metric.from_json(row["metric"], strict=strict), row.get("answer")
        if isinstance(answer, Mapping):
            answer = _function_at(answer["function"], "answer", strict)
        return Task(**{**row, **lists, "metric": metric, "answer": answer})


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _function_at(place: str, argument: str, strict: bool) -> Any:
    """Imports a function; where that cannot be done and `strict` is off, returns one that says so when called."""
    module, _, qualname = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        return found
    except (ImportError, AttributeError) as error:
        message = explain(
            wrong=f"the function {place} can no longer be imported ({error})",
            expected="a function at the top level of an importable module",
            fix=f"put it back where Python finds it under that name, or start a new run with {argument}=",
        )
        if strict:
            raise TaskError(message) from error

    def gone(*_: object) -> Any:
        raise TaskError(message)

    gone.__module__, gone.__qualname__ = module, qualname
    return gone
