"""Kinds with several labels a row, whatever is read: targets, scores, and how predictions read.

The metrics and thresholds live in `autosft.tasks.label_set_metrics`, the reading of columns in
`autosft.tasks.label_sets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import from_matrix, one_array, to_matrix
from autosft.class_names import class_names
from autosft.counting import counted
from autosft.data.checks.subject import NUM_EXAMPLES, Check, Outcome, Subject, left_out
from autosft.data.finding import Severity
from autosft.data.texts import shortened
from autosft.errors import DataError
from autosft.task import Input, Output, Task
from autosft.tasks import label_set_metrics
from autosft.tasks.base import ClassCounts, Scorer, TaskKind, is_scarce
from autosft.tasks.label_metrics import SMALLEST_PROBABILITY, row_weights
from autosft.tasks.label_sets import odd_cells, read_labels
from autosft.tasks.label_values import original_values
from autosft.tasks.one_label import unknown_target

#: Target text of a row that says it has no labels.
NO_LABELS = "(none)"


def unreadable_labels(subject: Subject) -> Outcome | None:
    """Finds rows in which a column a label says neither that the label holds nor that it does not."""
    remarks = {name: odd_cells(subject.task, table) for name, table in subject.source.splits.items()}
    what = "Rows with a cell that says neither 0 nor 1 of a label"
    advice = "write 0 and 1, or true and false"
    return left_out(subject, what, remarks, test="such test rows are not scored", advice=advice)


def unseen_labels(subject: Subject) -> Outcome | None:
    """Finds labels of validation or test that training lacks.

    The fix adds them to the task's labels, so that such rows are scored, those labels as missed. Without it those rows
    are not scored, and rows to validate on are an error.
    """
    task = subject.task
    if task.target_columns:
        return None
    labels = {name: read_labels(task, table) for name, table in subject.source.splits.items()}
    known = set(pc.unique(labels.pop("train").flatten()).to_pylist())
    remarks: list[tuple[str, int, str]] = []
    unseen: set[str] = set()
    for name, lists in labels.items():
        flat, rows = lists.flatten(), pc.list_parent_indices(lists)
        odd = pc.invert(pc.is_in(flat, pa.array(sorted(known), flat.type)))
        found = dict(zip(rows.filter(odd).to_pylist(), flat.filter(odd).to_pylist(), strict=True))
        unseen |= set(flat.filter(odd).to_pylist())
        remarks += [(name, row, label) for row, label in found.items()]
    if not remarks:
        return None
    added = [label for label in sorted(unseen) if label not in task.labels]
    return Outcome(
        Severity.WARNING,
        f"Labels in validation or test that training lacks: {len(unseen):,} (in {counted(len(remarks), 'row')}).",
        len(remarks),
        examples=tuple(
            shortened(f"{subject.place(name, row)}: {label}") for name, row, label in remarks[:NUM_EXAMPLES]
        ),
        fix="these rows are scored, and such labels count as missed",
        advice="these rows are not scored; add training rows with these labels",
        repaired=replace(subject, task=task.with_labels((*task.labels, *added), task.label_type)),
    )


def rows_without_any_label(subject: Subject) -> Outcome | None:
    """Finds training rows that say that no label holds. Reported only: they are learned as that."""
    none = pc.equal(subject.labels["train"], NO_LABELS)
    rows = np.flatnonzero(pc.fill_null(none, False).to_numpy(zero_copy_only=False))
    if not len(rows):
        return None
    return Outcome(
        Severity.INFO,
        f"Training rows with an empty set of labels: {len(rows):,} ({len(rows) / len(none):.0%}).",
        len(rows),
        examples=subject.examples("train", rows),
        advice="they are learned as having none of the labels; where the labels are not known, leave the cell empty",
    )


class SeveralLabels(TaskKind):
    """Any number of labels a row, none included.

    A label is predicted from a threshold on (`task.thresholds`). Where none were chosen yet, predictions take a half,
    and scores are of thresholds that are chosen on one half of the rows for the other, so that they are what a model
    can reach with thresholds of its own.
    """

    output = Output.LABELS
    metrics = label_set_metrics.METRICS
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {
            "unreadable-labels": unreadable_labels,
            "unseen-labels": unseen_labels,
            "rows-without-any-label": rows_without_any_label,
        }
    )

    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        """Returns 0 or 1 for each of `task.labels`, fixed_size_list<int8>; zeros are a row without labels."""
        lists = read_labels(task, table)
        labels = lists.flatten()
        positions = pc.index_in(labels, value_set=pa.array(task.labels, labels.type))
        rows = pc.list_parent_indices(lists)
        missing = pc.is_null(lists).to_numpy(zero_copy_only=False)
        unknown = rows.filter(pc.is_null(positions)).to_numpy(zero_copy_only=False)
        if strict and (missing.any() or len(unknown)):
            bad = np.unique(np.concatenate([np.flatnonzero(missing), unknown]))
            label = None if missing[bad[0]] else labels[pc.index(rows, int(bad[0])).as_py()].as_py()
            if label is not None:
                of_row = labels.filter(pc.equal(rows, int(bad[0]))).to_pylist()
                label = next(text for text in of_row if text not in task.labels)
            raise DataError(unknown_target(task, int(bad[0]), label, len(bad)))
        missing[unknown] = True
        holds = np.zeros((len(lists), len(task.labels)), np.int8)
        known = pc.is_valid(positions)
        holds[rows.filter(known).to_numpy(), positions.filter(known).to_numpy()] = 1
        holds[missing] = 0
        return pa.FixedSizeListArray.from_arrays(pa.array(holds.ravel()), len(task.labels), mask=pa.array(missing))

    def target_texts(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns the labels of each row, sorted and joined by "; "."""
        texts = [None if found is None else "; ".join(sorted(found)) for found in read_labels(task, table).to_pylist()]
        return pa.array([NO_LABELS if text == "" else text for text in texts], pa.large_string())

    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns "prediction", a list of labels in their original type, and "score".

        The score is how sure the least sure of the predicted labels is; where none is predicted, how sure it is that
        the likeliest does not hold.
        """
        probabilities = np.clip(to_matrix(outputs), 0.0, 1.0)
        holds = probabilities >= _thresholds(task)
        values = original_values(task.labels, task.label_type)
        offsets = pa.array(np.concatenate([[0], np.cumsum(holds.sum(axis=1))]), pa.int32())
        prediction = pa.ListArray.from_arrays(offsets, values.take(pa.array(np.nonzero(holds)[1])))
        least = np.where(holds, probabilities, 1.0).min(axis=1, initial=1.0)
        score = np.where(holds.any(axis=1), least, 1.0 - probabilities.max(axis=1, initial=0.0))
        return {"prediction": prediction, "score": pa.array(score, pa.float32())}

    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        decided = _decided(task, targets, outputs)
        if task.metric.function is None:
            return lambda rows: label_set_metrics.metric_values(
                task.metric.name, decided, row_weights(rows, len(decided.targets))
            )
        values = np.array(original_values(task.labels, task.label_type).to_pylist(), dtype=object)
        true = [values[holds].tolist() for holds in decided.targets]
        predicted = [values[holds].tolist() for holds in decided.predictions]
        return lambda rows: np.array(
            [task.metric.value([true[at] for at in chosen], [predicted[at] for at in chosen]) for chosen in rows]
        )

    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        decided, weights = _decided(task, targets, outputs), np.ones((1, len(targets)))
        found = {name: float(label_set_metrics.metric_values(name, decided, weights)[0]) for name in self.metrics}
        return {task.metric.name: self.score(task, targets, outputs)} | found

    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the mean negative log-likelihood of a row's labels in nats."""
        return label_set_metrics.negative_log_likelihood(to_matrix(targets).astype(bool), to_matrix(outputs))

    def tuned(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Task:
        """Returns the task with the thresholds that are best for its metric on these rows."""
        if not len(targets):
            return task
        holds = to_matrix(targets).astype(bool)
        chosen = label_set_metrics.thresholds(holds, to_matrix(outputs), task.metric.name)
        return replace(task, thresholds=tuple(map(float, chosen)))

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns the sets of labels, the least sure answer's probability, and the summed negative log-likelihood.

        A row is right where its whole set is.
        """
        holds, probabilities = to_matrix(targets).astype(bool), to_matrix(outputs).astype(np.float64)
        predicted = probabilities >= _thresholds(task)
        of_truth = np.clip(np.where(holds, probabilities, 1 - probabilities), SMALLEST_PROBABILITY, 1.0)
        of_answer = np.where(predicted, probabilities, 1 - probabilities).min(axis=1, initial=1.0)
        return pa.table(
            {
                "target": _label_lists(task, holds),
                "prediction": _label_lists(task, predicted),
                "score": pa.array(of_answer, pa.float32()),
                "right": pa.array((holds == predicted).all(axis=1)),
                "loss": pa.array(-np.log(of_truth).sum(axis=1)),
            }
        )

    def class_counts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> ClassCounts:
        holds, predicted = to_matrix(targets).astype(bool), to_matrix(outputs) >= _thresholds(task)
        counted = [part.sum(axis=0, dtype=np.int64) for part in (holds & predicted, predicted, holds)]
        return ClassCounts(tuple(task.labels), *counted)

    def confidences(
        self, task: Task, targets: pa.Array, outputs: pa.Array
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns each label's probability in each row, and whether it holds."""
        return to_matrix(outputs).astype(np.float64).ravel(), to_matrix(targets).astype(bool).ravel()

    def constant(self, task: Task, train: pa.Array, like: pa.Array) -> pa.Array:
        """Returns the share of the rows that each label holds of."""
        shares = to_matrix(train.drop_null()).mean(axis=0, dtype=np.float64)
        return from_matrix(np.tile(shares.astype(np.float32), (len(like), 1)))

    def strata(self, task: Task, table: pa.Table) -> NDArray[np.int64]:
        """Returns the rarest label of each row, so that every part has some of it; the last number is of no label."""
        holds = to_matrix(one_array(self.encode_targets(task, table, strict=False))).astype(bool)
        counts = np.append(holds.sum(axis=0), len(holds) + 1)
        each = np.where(np.column_stack([holds, np.ones(len(holds), bool)]), counts, len(holds) + 2)
        return np.asarray(each.argmin(axis=1), dtype=np.int64)

    def facts(self, task: Task, targets: pa.Array) -> dict[str, bool]:
        counts = _counts(targets)
        return {
            "imbalanced": bool(len(counts)) and bool(counts.max() >= 3 * counts.min()),
            "few_rows_per_class": is_scarce(counts),
        }

    def class_rows(self, task: Task) -> pa.Table | None:
        names = class_names(task.labels) if self.input is Input.TEXT else None
        if names is None:
            return None
        return pa.table({"text": names, "target": from_matrix(np.eye(len(names), dtype=np.int8))})

    def rows_per_class(self, task: Task, targets: pa.Array) -> float:
        return float(np.median(_positives(targets)))


def _counts(targets: pa.Array) -> NDArray[np.int64]:
    """Returns the rows of each label that has any."""
    counts = _positives(targets)
    return counts[counts > 0]


def _decided(task: Task, targets: pa.Array, outputs: pa.Array) -> label_set_metrics.Decided:
    holds, probabilities = to_matrix(targets).astype(bool), to_matrix(outputs)
    if task.thresholds:
        predictions = probabilities >= _thresholds(task)
    else:
        predictions = label_set_metrics.crossfitted(holds, probabilities, task.metric.name)
    return label_set_metrics.Decided(holds, probabilities, predictions)


def _thresholds(task: Task) -> NDArray[np.float64]:
    return np.array(task.thresholds or [0.5] * len(task.labels))


def _label_lists(task: Task, holds: NDArray[np.bool_]) -> pa.Array:
    """Returns the names of the labels that hold, list<string>."""
    rows, positions = np.nonzero(holds)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(holds)))])
    names = pa.array(task.labels, pa.string()).take(pa.array(positions))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names)


def _positives(targets: pa.Array) -> NDArray[np.int64]:
    return np.asarray(to_matrix(targets.drop_null()).sum(axis=0, dtype=np.int64))
