"""Kinds with one number a row, whatever is read: targets, scores, and how predictions read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import one_array, to_numbers
from autosft.data.checks.subject import Check, Outcome, Subject, left_out
from autosft.data.texts import label_texts, shortened
from autosft.errors import DataError, explain
from autosft.task import Output, Task
from autosft.tasks.base import Scorer, TaskKind
from autosft.tasks.columns import user_column
from autosft.tasks.label_values import plain

Floats = NDArray[np.float64]

METRICS: Mapping[str, bool] = MappingProxyType(
    {"spearman": True, "pearson": True, "r2": True, "rmse": False, "mae": False}
)

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

#: Splits give every part the same share of each tenth of the numbers.
_NUM_STRATA = 10


def unreadable_numbers(subject: Subject) -> Outcome | None:
    """Finds targets that are there and are no finite number: infinity, or a word."""
    remarks = {}
    for name, table in subject.source.splits.items():
        written = label_texts(user_column(table, subject.task.target_column))
        odd = pc.and_(pc.is_valid(written), pc.is_null(_numbers(subject.task, table)))
        rows = np.flatnonzero(odd.to_numpy(zero_copy_only=False)).tolist()
        remarks[name] = {row: repr(written[row].as_py()) for row in rows}
    what = f"Rows whose '{subject.task.target_column}' is no finite number"
    advice = "correct them, or leave those rows out"
    return left_out(subject, what, remarks, test="such test rows are not scored", advice=advice)


#: Changed copies of texts were worth 3 points of accuracy with 500 rows and .8 with thousands (Wei and Zou, arXiv
#: 1901.11196); numbers were not looked at.
_FEW_ROWS = 1_000


class OneNumber(TaskKind):
    """One number a row, in the user's unit."""

    output = Output.NUMBER
    metrics = METRICS
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType({"unreadable-numbers": unreadable_numbers})

    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        """Returns the numbers, double; what is not a finite number counts as missing."""
        numbers = _numbers(task, table)
        if numbers.null_count and strict:
            row = pc.index(pc.is_null(numbers), True).as_py()
            value = shortened(repr(plain(user_column(table, task.target_column))[row].as_py()), limit=40)
            wrong = f"row {row} of column '{task.target_column}' is no finite number: {value}"
            fix = "fill in the missing numbers or leave those rows out"
            raise DataError(explain(wrong=wrong, expected="a number in every row", fix=fix))
        return numbers

    def facts(self, task: Task, targets: pa.Array) -> dict[str, bool]:
        return {"few_rows": len(targets) < _FEW_ROWS}

    def target_texts(self, task: Task, table: pa.Table) -> pa.Array:
        return _numbers(task, table).cast(pa.large_string())

    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns "prediction", the number."""
        return {"prediction": outputs}

    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        true, predicted = to_numbers(targets).astype(np.float64), to_numbers(outputs).astype(np.float64)
        if task.metric.function is None:
            measure = _FUNCTIONS[task.metric.name]
            return lambda rows: np.array([measure(true[chosen], predicted[chosen]) for chosen in rows])
        return lambda rows: np.array(
            [task.metric.value(true[chosen].tolist(), predicted[chosen].tolist()) for chosen in rows]
        )

    def score(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the deciding metric; a correlation with numbers that are all the same is that of no skill."""
        value = super().score(task, targets, outputs)
        return 0.0 if np.isnan(value) and task.metric.name in ("spearman", "pearson", "r2") else value

    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        true, predicted = to_numbers(targets).astype(np.float64), to_numbers(outputs).astype(np.float64)
        found = {name: measure(true, predicted) for name, measure in _FUNCTIONS.items()}
        found = {name: 0.0 if np.isnan(value) else value for name, value in found.items()}
        return {task.metric.name: self.score(task, targets, outputs)} | found

    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the mean squared error over the variance of the targets."""
        true, predicted = to_numbers(targets).astype(np.float64), to_numbers(outputs).astype(np.float64)
        return float(np.mean((true - predicted) ** 2) / (true.var() or 1.0))

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns the numbers and, as the loss, the size of the error in the user's unit; none is right or wrong."""
        true, predicted = to_numbers(targets).astype(np.float64), to_numbers(outputs).astype(np.float64)
        return pa.table(
            {
                "target": pa.array(true),
                "prediction": pa.array(predicted),
                "score": pa.nulls(len(true), pa.float32()),
                "right": pa.nulls(len(true), pa.bool_()),
                "loss": pa.array(np.abs(true - predicted)),
            }
        )

    def constant(self, task: Task, train: pa.Array, like: pa.Array) -> pa.Array:
        """Returns the mean."""
        mean = float(np.mean(to_numbers(train.drop_null()))) if len(train) > train.null_count else 0.0
        return pa.array(np.full(len(like), mean), pa.float64())

    def strata(self, task: Task, table: pa.Table) -> NDArray[np.int64]:
        numbers = to_numbers(_numbers(task, table)).astype(np.float64)
        if not len(numbers):
            return np.zeros(0, np.int64)
        edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _NUM_STRATA + 1)[1:-1]))
        return np.searchsorted(edges, np.nan_to_num(numbers), side="right").astype(np.int64)


def _numbers(task: Task, table: pa.Table) -> pa.Array:
    """Returns the target column as double, null where it holds no finite number.

    Raises:
        DataError: It holds none at all, but values of another type.
    """
    column = plain(user_column(table, task.target_column))
    if _is_text(column.type):
        texts = label_texts(column)
        column = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(None, texts.type))
    try:
        numbers = one_array(column).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        wrong = f"column '{task.target_column}' cannot be read as numbers ({error})"
        raise DataError(explain(wrong=wrong, expected="a number in every row", fix="clean the column")) from error
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))


def _is_text(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(column_type) or pa.types.is_large_string(column_type))


def _spearman(true: Floats, predicted: Floats) -> float:
    return _pearson(_ranks(true), _ranks(predicted))


def _ranks(values: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)


def _pearson(true: Floats, predicted: Floats) -> float:
    left, right = true - true.mean(), predicted - predicted.mean()
    spread = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / spread if spread else float("nan")


def _r2(true: Floats, predicted: Floats) -> float:
    total = float(((true - true.mean()) ** 2).sum())
    return 1.0 - float(((true - predicted) ** 2).sum()) / total if total else float("nan")


_FUNCTIONS: dict[str, Callable[[Floats, Floats], float]] = {
    "spearman": _spearman,
    "pearson": _pearson,
    "r2": _r2,
    "rmse": lambda true, predicted: float(np.sqrt(np.mean((true - predicted) ** 2))),
    "mae": lambda true, predicted: float(np.mean(np.abs(true - predicted))),
}
