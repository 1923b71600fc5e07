"""A prompt and its completion: instructions, questions with answers, anything written after something read."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from autosft.arrays import one_array
from autosft.task import Input, Task
from autosft.tasks.columns import one_text
from autosft.tasks.generated_text import GeneratedText


class CausalLm(GeneratedText):
    """One text to read, one text to write."""

    name = "causal-lm"
    input = Input.TEXT
    convention: ClassVar[str] = (
        "the loss is of the completion and its end alone, a row is a sequence of its own, and the base model's own "
        "template and tokenizer are used: this is the same for every trial"
    )

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns the column "text": the input columns that are not blank, joined by a blank line."""
        columns = [_filled(task, table, name).to_pylist() for name in task.input_columns]
        # Not with Arrow: its join leaves a row out altogether where every column is null (as of 26).
        joined = ["\n\n".join(text for text in row if text is not None) for row in zip(*columns, strict=True)]
        return pa.table({"text": pa.array(joined, pa.string())})

    def target_values(self, task: Task, table: pa.Table) -> pa.Array:
        return one_array(_filled(task, table, task.target_column))


def _filled(task: Task, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Returns a column as text, null where it is blank."""
    texts = one_text(replace(task, input_columns=(name,)), table).column("text")
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts)
