"""The labels of a task, for every output that has some. How they are written in columns, the kinds of task know."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from autosft.data.texts import label_texts
from autosft.task import Output, Task
from autosft.tasks.base import TaskKind
from autosft.tasks.entities import bio_labels
from autosft.tasks.entity_columns import entity_types
from autosft.tasks.label_sets import labels_in
from autosft.tasks.label_values import label_type, sorted_labels


def with_labels(kind: TaskKind, task: Task, tables: Sequence[pa.Table]) -> Task:
    """Returns the task with the labels that occur in these tables, training rows first."""
    if kind.output is Output.LABEL:
        texts = [label_texts(table.column(task.target_column)) for table in tables]
        of_type = label_type(tables[0].schema.field(task.target_column).type)
        return task.with_labels(sorted_labels(pa.concat_arrays(texts)), of_type)
    if kind.output is Output.LABELS:
        if task.target_columns:
            return task.with_labels(task.target_columns, "string")
        return task.with_labels(*labels_in(tables, task.target_column))
    if kind.output is Output.TOKEN_LABELS:
        types = {name for table in tables for name in entity_types(task, table)}
        return task.with_labels(bio_labels(sorted(types)), "string")
    return task
