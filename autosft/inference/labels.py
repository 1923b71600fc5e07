"""The labels of a task, for every output that has some. How they are written in columns, the kinds of task know."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from autosft.data.texts import label_texts
from autosft.errors import TaskError, explain
from autosft.task import Output, Task
from autosft.tasks.base import TaskKind
from autosft.tasks.entities import bio_labels
from autosft.tasks.entity_columns import entity_types
from autosft.tasks.label_sets import labels_in
from autosft.tasks.label_values import label_type, sorted_labels


def with_labels(kind: TaskKind, task: Task, tables: Sequence[pa.Table]) -> Task:
    """Returns the task with the labels that occur in these tables, training rows first.

    Raises:
        TaskError: A row may have several labels, and none has any.
    """
    if kind.output is Output.LABEL:
        texts = [label_texts(table.column(task.target_column)) for table in tables]
        of_type = label_type(tables[0].schema.field(task.target_column).type)
        return task.with_labels(sorted_labels(pa.concat_arrays(texts)), of_type)
    if kind.output is Output.LABELS:
        if task.target_columns:
            return task.with_labels(task.target_columns, "string")
        labels, of_type = labels_in(tables, task.target_column)
        if not labels:
            raise TaskError(
                explain(
                    wrong=f"no row has a label in column '{task.target_column}'",
                    expected="a list of labels in each row, empty where none holds",
                    fix="fill in its labels, or name the column to predict with target='...'",
                )
            )
        return task.with_labels(labels, of_type)
    if kind.output is Output.TOKEN_LABELS:
        types = {name for table in tables for name in entity_types(task, table)}
        return task.with_labels(bio_labels(sorted(types)), "string")
    return task
