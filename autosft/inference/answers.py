"""What reads the answer out of a text: the user's pattern or function, else the marks that data sets put before it."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from autosft.arrays import one_array
from autosft.errors import TaskError, explain
from autosft.task import AnswerFunction, Metric, Output, Task
from autosft.tasks.base import TaskKind
from autosft.tasks.generated_text import EXACT_MATCH, answers

#: What stands before an answer at the end of its text, with the pattern that reads it: of GSM8K, MATH and their like.
_MARKS = (
    ("####", r"####\s*(.+)"),
    ("\\boxed{", r"\\boxed\{(.+)\}"),
    ("The answer is", r"The answer is:?\s*(.+?)\.?\s*$"),
)
_NEARLY_ALL = 0.95
_SAMPLE = 1000


def choose_answer(
    kind: TaskKind, task: Task, asked: str | AnswerFunction | None, metric: Metric, table: pa.Table
) -> tuple[str | AnswerFunction | None, tuple[str, ...]]:
    """Returns what reads the answer out of a text, None where the whole text counts, and why.

    Args:
        kind: The kind of task.
        task: The task so far; its columns are chosen.
        asked: As the user gave it, or None.
        metric: The metric that decides.
        table: The training rows.

    Raises:
        TaskError: The kind generates nothing, the pattern cannot be read, or no training row holds an answer.
    """
    if asked is not None:
        return asked, (_check(kind, replace(task, answer=asked), table),)
    if kind.output is not Output.TEXT or metric.name != EXACT_MATCH:
        return None, ()
    for mark, pattern in _MARKS:
        share = pc.mean(pc.match_substring(_texts(kind, task, table), mark).cast(pa.float64())).as_py()
        if share is not None and share >= _NEARLY_ALL:
            return pattern, (f"the answer of a text is what stands after '{mark}'",)
    return None, ()


def _check(kind: TaskKind, task: Task, table: pa.Table) -> str:
    """Returns a reason that says how many texts hold an answer; raises TaskError where that cannot be right."""
    if kind.output is not Output.TEXT:
        raise TaskError(
            explain(
                wrong=f"answer= is given, and {kind.name} generates no text",
                expected="a kind that does: causal-lm or chat",
                fix="leave answer= out, or name the kind with kind=",
            )
        )
    texts = _texts(kind, task, table)[:_SAMPLE].to_pylist()
    found = sum(answer is not None for answer in answers(task, texts))
    called = f"answer='{task.answer}'" if isinstance(task.answer, str) else "the function given as answer="
    if not found:
        raise TaskError(
            explain(
                wrong=f"{called} finds no answer in the first {len(texts):,} texts of '{task.target_column}'",
                expected="a pattern, or a function of a text, that finds the answer in the texts to learn",
                fix=f"correct it; the first text ends in {(texts[0] or '')[-60:]!r}" if texts else "look at the data",
            )
        )
    return f"{called} finds an answer in {found / len(texts):.0%} of the texts"


def _texts(kind: TaskKind, task: Task, table: pa.Table) -> pa.Array:
    return one_array(kind.encode_targets(task, table, strict=False))
