"""Classification of a pair of texts, such as a premise and a hypothesis, or a question and an answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import pyarrow as pa

from autosft.data.checks.subject import Check
from autosft.task import Input, Task
from autosft.tasks.columns import PAIR_CHECKS, two_texts
from autosft.tasks.one_label import OneLabel


class TextPairClassification(OneLabel):
    """One label for two texts."""

    name = "text-pair-classification"
    input = Input.TEXT_PAIR
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType({**OneLabel.checks, **PAIR_CHECKS})

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        return two_texts(task, table)
