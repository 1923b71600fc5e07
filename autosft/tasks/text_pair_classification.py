"""Classification of a pair of texts, such as a premise and a hypothesis, or a question and an answer."""

from __future__ import annotations

import pyarrow as pa

from autosft.task import Input, Task
from autosft.tasks.columns import two_texts
from autosft.tasks.one_label import OneLabel


class TextPairClassification(OneLabel):
    """One label for two texts."""

    name = "text-pair-classification"
    input = Input.TEXT_PAIR

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return two_texts(task, table)
