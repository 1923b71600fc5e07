"""A number from a text."""

from __future__ import annotations

import pyarrow as pa

from autosft.task import Input, Task
from autosft.tasks.columns import one_text
from autosft.tasks.one_number import OneNumber


class TextRegression(OneNumber):
    """One number for a text."""

    name = "text-regression"
    input = Input.TEXT

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return one_text(task, table)
