"""A number from a pair of texts, such as how alike they are."""

from __future__ import annotations

import pyarrow as pa

from autosft.task import Input, Task
from autosft.tasks.columns import two_texts
from autosft.tasks.one_number import OneNumber


class TextPairRegression(OneNumber):
    """One number for two texts."""

    name = "text-pair-regression"
    input = Input.TEXT_PAIR

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return two_texts(task, table)
