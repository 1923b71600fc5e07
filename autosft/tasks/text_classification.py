"""Text classification: one or more text columns in, one label out."""

from __future__ import annotations

import pyarrow as pa

from autosft.task import Input, Task
from autosft.tasks.columns import one_text
from autosft.tasks.one_label import OneLabel


class TextClassification(OneLabel):
    """One label for a text."""

    name = "text-classification"
    input = Input.TEXT

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return one_text(task, table)
