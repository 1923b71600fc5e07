"""Kinds with one label a row, whatever is read: targets, scores, and how predictions read.

The metrics live in `autosft.tasks.label_metrics`, the reading of label columns in `autosft.tasks.label_values`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import from_matrix, one_array, to_matrix, to_numbers
from autosft.class_names import class_names
from autosft.data.texts import codes, label_texts
from autosft.errors import DataError, MetricError, explain, nearest
from autosft.task import Input, Output, Task
from autosft.tasks import label_metrics
from autosft.tasks.base import ClassCounts, Scorer, TaskKind, is_scarce
from autosft.tasks.columns import user_column
from autosft.tasks.label_values import original_values

#: A user's function may be slow, so only the commonest labels are tried on it as the same answer for every row, on some
#: of the training rows. Ordered labels, whose best may lie in the middle, are few.
_MOST_CONSTANTS, _MOST_CONSTANT_ROWS = 10, 1_000


class OneLabel(TaskKind):
    """One label a row."""

    output = Output.LABEL
    metrics = label_metrics.METRICS

    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        """Returns positions in `task.labels`, int64."""
        texts = label_texts(user_column(table, task.target_column))
        positions = pc.index_in(texts, value_set=pa.array(task.labels, texts.type))
        if positions.null_count and strict:
            row = pc.index(pc.is_null(positions), True).as_py()
            raise DataError(unknown_target(task, row, texts[row].as_py(), positions.null_count))
        return one_array(positions.cast(pa.int64()))

    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns "prediction" in the labels' original type and "score", the largest probability of each row."""
        values = original_values(task.labels, task.label_type)
        probabilities = to_matrix(outputs)
        best = pa.array(probabilities.argmax(axis=1), pa.int64())
        scores = np.clip(probabilities.max(axis=1), 0.0, 1.0)
        return {"prediction": values.take(best), "score": pa.array(scores, pa.float32())}

    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        positions, probabilities = to_numbers(targets), to_matrix(outputs)
        if task.metric.function is not None:
            return _function_scorer(task, positions, probabilities)

        def score(rows: NDArray[np.int64]) -> NDArray[np.float64]:
            weights = label_metrics.row_weights(rows, len(positions))
            scored = label_metrics.Scored(positions, probabilities, weights, _positive(task))
            return label_metrics.metric_values(task.metric.name, scored)

        return score

    def score(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the deciding metric; where a ranking is undefined (one class only), that of no skill."""
        value = super().score(task, targets, outputs)
        return value if np.isfinite(value) else label_metrics.NO_SKILL.get(task.metric.name, value)

    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        """Returns every metric by name; without a positive label those about one (`f1`) are left out."""
        scored = _all_rows(targets, outputs, _positive(task))
        found = {task.metric.name: self.score(task, targets, outputs)}
        for name in self.metrics:
            if name in found or (scored.positive is None and name in label_metrics.NEEDS_POSITIVE):
                continue
            value = float(label_metrics.metric_values(name, scored)[0])
            found[name] = label_metrics.NO_SKILL[name] if np.isnan(value) else value
        return found

    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the mean negative log-likelihood in nats."""
        return float(label_metrics.negative_log_likelihood(_all_rows(targets, outputs))[0])

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns the labels, the largest probability, and the negative log-likelihood of the label in nats."""
        true, probabilities, names = to_numbers(targets), to_matrix(outputs), pa.array(task.labels, pa.string())
        best = probabilities.argmax(axis=1)
        of_truth = probabilities[np.arange(len(true)), true].astype(np.float64)
        nats = -np.log(np.clip(of_truth, label_metrics.SMALLEST_PROBABILITY, 1.0))
        return pa.table(
            {
                "target": names.take(pa.array(true)),
                "prediction": names.take(pa.array(best)),
                "score": pa.array(np.clip(probabilities.max(axis=1), 0.0, 1.0), pa.float32()),
                "right": pa.array(best == true),
                "loss": pa.array(nats),
            }
        )

    def class_counts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> ClassCounts:
        true, best = to_numbers(targets), to_matrix(outputs).argmax(axis=1)
        counted = [np.bincount(rows, minlength=len(task.labels)) for rows in (true[true == best], best, true)]
        return ClassCounts(tuple(task.labels), *counted)

    def confidences(
        self, task: Task, targets: pa.Array, outputs: pa.Array
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns each row's largest probability, and whether it is that of its label."""
        probabilities = to_matrix(outputs)
        right = probabilities.argmax(axis=1) == to_numbers(targets)
        return probabilities.max(axis=1).astype(np.float64), np.asarray(right)

    def constant(self, task: Task, train: pa.Array, like: pa.Array) -> pa.Array:
        """Returns the shares of the labels, of which the commonest counts; or one label alone that the metric prefers.

        Of the kind's own metrics only those about one label prefer another than the commonest: that one.
        """
        counts = np.bincount(to_numbers(train.drop_null()), minlength=len(task.labels))
        preferred = None
        if task.metric.function is not None:
            preferred = _preferred(task, to_numbers(train.drop_null()), counts)
        elif task.metric.name in label_metrics.ABOUT_POSITIVE:
            preferred = _positive(task)
        said = counts / max(counts.sum(), 1) if preferred is None else np.arange(len(counts)) == preferred
        return from_matrix(np.tile(said.astype(np.float32), (len(like), 1)))

    def strata(self, task: Task, table: pa.Table) -> NDArray[np.int64]:
        numbers = codes(label_texts(table.column(task.target_column)))
        return np.asarray(numbers - numbers.min(initial=0))

    def facts(self, task: Task, targets: pa.Array) -> dict[str, bool]:
        counts = _counts(targets)
        return {
            "imbalanced": bool(counts.max() >= 3 * counts.min()),
            "few_rows_per_class": is_scarce(counts),
        }

    def class_rows(self, task: Task) -> pa.Table | None:
        names = class_names(task.labels) if self.input is Input.TEXT else None
        if names is None:
            return None
        return pa.table({"text": names, "target": pa.array(range(len(names)), pa.int64())})

    def rows_per_class(self, task: Task, targets: pa.Array) -> float:
        return float(np.median(np.bincount(to_numbers(targets), minlength=len(task.labels))))


def _counts(targets: pa.Array) -> NDArray[np.int64]:
    """Returns the rows of each label that has any."""
    counts = np.bincount(to_numbers(targets.drop_null()))
    return np.asarray(counts[counts > 0])


def _all_rows(targets: pa.Array, outputs: pa.Array, positive: int | None = None) -> label_metrics.Scored:
    return label_metrics.Scored(to_numbers(targets), to_matrix(outputs), np.ones((1, len(targets))), positive)


def _function_scorer(task: Task, targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Scorer:
    values = np.array(original_values(task.labels, task.label_type).to_pylist(), dtype=object)
    true, predicted = values[targets], values[probabilities.argmax(axis=1)]

    def score(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([task.metric.value(true[chosen].tolist(), predicted[chosen].tolist()) for chosen in rows])

    return score


def _preferred(task: Task, targets: NDArray[np.int64], counts: NDArray[np.int64]) -> int | None:
    """Returns the label that the user's function scores best where every row gets it; None where it scores none."""
    values = np.array(original_values(task.labels, task.label_type).to_pylist(), dtype=object)
    some = targets[np.linspace(0, len(targets) - 1, min(len(targets), _MOST_CONSTANT_ROWS), dtype=np.int64)]
    commonest = np.argsort(-counts, kind="stable")[:_MOST_CONSTANTS].tolist()
    positive = _positive(task)
    found = {}
    for label in commonest if positive is None else [*commonest, positive]:
        try:
            score = task.metric.value(values[some].tolist(), [values[label]] * len(some))
        except MetricError:
            continue
        if np.isfinite(score):
            found[label] = score if task.metric.greater_is_better else -score
    return max(found, key=lambda label: found[label], default=None)


def _positive(task: Task) -> int | None:
    return None if task.metric.positive is None else task.labels.index(task.metric.positive)


def unknown_target(task: Task, row: int, label: str | None, count: int) -> str:
    """Returns the message about rows whose label is missing (None) or unknown to the task."""
    where = f"row {row} of column '{task.target_column}'" + (f", and {count - 1} more rows," if count > 1 else "")
    if label is None:
        wrong, fix = f"{where} has no label", "fill in the missing labels or leave those rows out"
    else:
        wrong = f"{where} has the label '{label}', which is not among the {len(task.labels)} of the task"
        match = nearest(label, task.labels)
        fix = f"did you mean '{match}'?" if match else "correct or leave out those rows"
    return explain(wrong=wrong, expected="a label that the training rows have, in every row", fix=fix)
