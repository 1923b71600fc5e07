"""Text classification: one or more text columns in, one label out.

The metrics live in `autosft.tasks.label_metrics`, the reading of label columns in `autosft.tasks.label_values`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.texts import label_texts
from autosft.errors import DataError, did_you_mean, explain, nearest
from autosft.task import Input, Output, Task
from autosft.tasks import label_metrics
from autosft.tasks.base import TaskKind
from autosft.tasks.label_values import original_values, plain


class TextClassification(TaskKind):
    """One label for a text."""

    name = "text-classification"
    input = Input.TEXT
    output = Output.LABEL
    metrics = label_metrics.METRICS

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns one string column "text": the input columns joined by a line break, missing values as "".

        Raises:
            DataError: An input column is missing, or holds lists or other values without a text form.
        """
        columns = [_as_text(name, _column(table, name)) for name in task.input_columns]
        joined = pc.binary_join_element_wise(*columns, "\n", null_handling="replace", null_replacement="")
        return pa.table({"text": joined})

    def encode_targets(self, task: Task, table: pa.Table) -> NDArray[Any]:
        """Returns positions in `task.labels`, int64, shape (rows,).

        Raises:
            DataError: The target column is missing, or a row has no label or one that the task does not know.
        """
        texts = label_texts(_column(table, task.target_column))
        positions = pc.index_in(texts, value_set=pa.array(task.labels, texts.type))
        if positions.null_count:
            row = pc.index(pc.is_null(positions), True).as_py()
            raise DataError(_unknown_target(task, row, texts[row].as_py(), positions.null_count))
        return np.asarray(positions.to_numpy(), dtype=np.int64)

    def decode(self, task: Task, outputs: NDArray[np.float32]) -> dict[str, pa.Array]:
        """Returns "prediction" in the labels' original type and "score", the largest probability of each row."""
        values = original_values(task.labels, task.label_type)
        best = pa.array(outputs.argmax(axis=1) if len(outputs) else [], pa.int64())
        scores = np.clip(outputs.max(axis=1), 0.0, 1.0) if len(outputs) else outputs[:, 0]
        return {"prediction": values.take(best), "score": pa.array(scores, pa.float32())}

    def score(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
        """Returns the deciding metric; where a ranking is undefined (one class only), that of no skill."""
        value = float(self.resample(task, targets, outputs, np.arange(len(targets), dtype=np.int64)[None])[0])
        return value if np.isfinite(value) else label_metrics.NO_SKILL.get(task.metric.name, value)

    def scores(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> dict[str, float]:
        """Returns every metric by name; without a positive label those about one (`f1`) are left out."""
        scored = label_metrics.Scored(targets, outputs, np.ones((1, len(targets))), _positive(task))
        found = {task.metric.name: self.score(task, targets, outputs)}
        for name in self.metrics:
            if name in found or (scored.positive is None and name in label_metrics.NEEDS_POSITIVE):
                continue
            value = float(label_metrics.metric_values(name, scored)[0])
            found[name] = label_metrics.NO_SKILL[name] if np.isnan(value) else value
        return found

    def resample(
        self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns the deciding metric for each resample, shape (resamples,); NaN where a ranking is undefined."""
        if task.metric.function is not None:
            return self._resample_function(task, targets, outputs, rows)
        weights = label_metrics.row_weights(rows, len(targets))
        scored = label_metrics.Scored(targets, outputs, weights, _positive(task))
        return label_metrics.metric_values(task.metric.name, scored)

    def loss(self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
        """Returns the mean negative log-likelihood in nats."""
        scored = label_metrics.Scored(targets, outputs, np.ones((1, len(targets))))
        return float(label_metrics.negative_log_likelihood(scored)[0])

    def _resample_function(
        self, task: Task, targets: NDArray[Any], outputs: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        function = task.metric.function
        assert function is not None
        values = original_values(task.labels, task.label_type).to_pylist()
        predictions = outputs.argmax(axis=1)
        scores = [
            float(function([values[i] for i in targets[chosen]], [values[i] for i in predictions[chosen]]))
            for chosen in rows
        ]
        return np.array(scores, dtype=np.float64)


def _positive(task: Task) -> int | None:
    return None if task.metric.positive is None else task.labels.index(task.metric.positive)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(
            explain(
                wrong=f"column '{name}' is missing (found: {', '.join(table.column_names)})",
                expected="the columns that the task was set up with",
                fix=did_you_mean(name, table.column_names),
            )
        )
    return table.column(name)


def _as_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return plain(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            explain(
                wrong=f"column '{name}' of type {column.type} cannot be read as text ({error})",
                expected="text or single values in every input column",
                fix="turn the column into text, or leave it out with inputs=",
            )
        ) from error


def _unknown_target(task: Task, row: int, label: str | None, count: int) -> str:
    where = f"row {row} of column '{task.target_column}'" + (f", and {count - 1} more rows," if count > 1 else "")
    if label is None:
        wrong, fix = f"{where} has no label", "fill in the missing labels or leave those rows out"
    else:
        wrong = f"{where} has the label '{label}', which is not among the {len(task.labels)} of the task"
        match = nearest(label, task.labels)
        fix = f"did you mean '{match}'?" if match else "correct or leave out those rows"
    return explain(wrong=wrong, expected="a label that the training rows have, in every row", fix=fix)
