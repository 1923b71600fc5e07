"""Any number of labels for a text, such as the emotions in it."""

from __future__ import annotations

import pyarrow as pa

from autosft.task import Input, Task
from autosft.tasks.columns import one_text
from autosft.tasks.several_labels import SeveralLabels


class MultiLabelClassification(SeveralLabels):
    """Several labels for a text."""

    name = "multi-label-classification"
    input = Input.TEXT

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return one_text(task, table)
