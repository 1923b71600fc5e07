"""Kinds whose target is a text that is generated: targets, scores, predictions, and the checks they share.

Likelihood is counted in bits per byte of the target, so that models with different tokenizers can be compared.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import one_array, to_numbers
from autosft.counting import counted
from autosft.data.checks.subject import NUM_EXAMPLES, Check, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.texts import codes, shortened
from autosft.errors import DataError, TaskError, explain
from autosft.task import AnswerFunction, Output, Task
from autosft.tasks.base import Scorer, TaskKind
from autosft.time_limit import time_limit

BITS_PER_BYTE = "bits_per_byte"
EXACT_MATCH = "exact_match"
_BITS_OF_A_BYTE = 8.0


def several_answers(subject: Subject) -> Outcome | None:
    """Finds training rows with the same prompt and different answers. Reported only: several may be right."""
    prompts, answers = codes(subject.texts["train"]), codes(subject.labels["train"])
    usable = (answers >= 0) & ~np.asarray(pc.equal(subject.texts["train"], "").to_numpy(zero_copy_only=False))
    pairs = np.unique(np.stack([prompts[usable], answers[usable]]), axis=1)
    answers_per_prompt = np.bincount(pairs[0], minlength=len(prompts) + 1)
    several = usable & (answers_per_prompt[prompts] > 1)
    if not several.any():
        return None
    num_prompts = int((answers_per_prompt > 1).sum())
    rows = np.flatnonzero(several)
    _, first = np.unique(prompts[rows], return_index=True)
    return Outcome(
        Severity.INFO,
        f"Prompts with several different answers: {num_prompts:,} (in {counted(int(several.sum()), 'row')}).",
        num_prompts,
        examples=tuple(
            _with_its_rows(subject, rows[prompts[rows] == prompts[row]]) for row in rows[np.sort(first)[:NUM_EXAMPLES]]
        ),
        advice="leave them where each answer is right; no model can be sure of the one that a test row has",
    )


def _with_its_rows(subject: Subject, rows: NDArray[np.int64]) -> str:
    prompt = subject.shown("train")[int(rows[0])].as_py()
    return shortened(f"{subject.places('train', rows)}: {prompt}")


class GeneratedText(TaskKind):
    """One text a row, which the model writes."""

    output = Output.TEXT
    metrics = MappingProxyType({BITS_PER_BYTE: False, EXACT_MATCH: True})
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType({"several-answers": several_answers})
    knowing_nothing = "guessing every byte"

    @abstractmethod
    def target_values(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns the texts to learn as the user wrote them, string; null where one is missing or blank.

        Raises:
            DataError: The target column is missing or cannot be read.
        """

    def guessing(self, task: Task) -> float | None:
        return _BITS_OF_A_BYTE if task.metric.function is None and task.metric.name == BITS_PER_BYTE else None

    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        texts = one_array(self.target_values(task, table))
        if texts.null_count and strict:
            row = pc.index(pc.is_null(texts), True).as_py()
            more = f", and {texts.null_count - 1} more rows," if texts.null_count > 1 else ""
            raise DataError(
                explain(
                    wrong=f"row {row} of column '{task.target_column}'{more} has no text to learn",
                    expected="a text in every training row",
                    fix="fill in the missing texts or leave those rows out",
                )
            )
        return texts

    def target_texts(self, task: Task, table: pa.Table) -> pa.Array:
        return pc.utf8_trim_whitespace(one_array(self.target_values(task, table)).cast(pa.large_string()))

    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns "prediction", the generated text. There is no score: a likely text need not be a good one."""
        return {"prediction": one_array(outputs).field("text")}

    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        metric = task.metric
        if metric.function is not None:
            return _function_scorer(task, targets, outputs)
        if metric.name == EXACT_MATCH:
            hits = _hits(task, targets, outputs)
            return lambda rows: hits[rows].mean(axis=1)
        nats, num_bytes = _nats(outputs), _num_bytes(targets)
        return lambda rows: nats[rows].sum(axis=1) / math.log(2) / num_bytes[rows].sum(axis=1)

    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        """Returns every metric by name; without generated texts the exact match is left out."""
        found = {task.metric.name: self.score(task, targets, outputs), BITS_PER_BYTE: _bits(targets, outputs)}
        if one_array(outputs).field("text").null_count < len(outputs):
            found[EXACT_MATCH] = float(_hits(task, targets, outputs).mean())
        return found

    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns bits per byte."""
        return _bits(targets, outputs)

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns the texts and, as the loss, bits per byte; a row is right where the generated answer is the target's.

        Without a generated text it is neither.
        """
        written = one_array(outputs).field("text")
        hits = pa.array(_hits(task, targets, outputs) > 0)
        return pa.table(
            {
                "target": one_array(targets).cast(pa.string()),
                "prediction": written.cast(pa.string()),
                "score": pa.nulls(len(targets), pa.float32()),
                "right": pc.if_else(pc.is_valid(written), hits, pa.scalar(None, pa.bool_())),
                "loss": pa.array(_nats(outputs) / math.log(2) / _num_bytes(targets)),
            }
        )


def answers(task: Task, texts: list[str | None]) -> list[str | None]:
    """Returns the answer that each text holds, stripped; None where it holds none.

    Without `task.answer` the whole text is the answer.

    Raises:
        TaskError: `task.answer` is not a regular expression, or a function that raises or gives no text.
        FunctionTimeout: It gives no answer.
    """
    read = task.answer
    if callable(read):
        found = [None if text is None else _read_answer(read, text) for text in texts]
    elif read is None:
        found = list(texts)
    else:
        pattern = _pattern(read)
        found = [None if text is None else _last_answer(pattern, text) for text in texts]
    return [None if answer is None else answer.strip() for answer in found]


def _read_answer(read: AnswerFunction, text: str) -> str | None:
    name = getattr(read, "__qualname__", repr(read))
    with time_limit(f"answer={name} {_of(text)}"):
        try:
            found = read(text)
        except (Exception, SystemExit) as error:  # Of the user's own.
            what = f"raised {type(error).__name__}: {error}"
            raise _no_answer(name, what, text) from error
    if found is None or isinstance(found, str):
        return found
    raise _no_answer(name, f"gave {found!r:.60} ({type(found).__name__})", text)


def _no_answer(name: str, what: str, text: str) -> TaskError:
    return TaskError(
        explain(
            wrong=f"answer={name} {what} {_of(text)}",
            expected="a text, or None where a text holds no answer",
            fix="correct the function; a run that it stopped goes on with `autosft resume`",
        )
    )


def _of(text: str) -> str:
    return f"(text: {shortened(repr(text), limit=80)})"


def _last_answer(pattern: re.Pattern[str], text: str) -> str | None:
    # Of nested repetitions a pattern may try more ways to match than anybody can wait for.
    with time_limit(f"answer='{pattern.pattern}' {_of(text)}"):
        matches = list(pattern.finditer(text))
    if not matches:
        return None
    # A group that took no part in the match is None: then all of the match counts.
    last = matches[-1].group(pattern.groups)
    return last if last is not None else matches[-1].group(0)


def _pattern(written: str) -> re.Pattern[str]:
    try:
        return re.compile(written)
    except re.error as error:
        raise TaskError(
            explain(
                wrong=f"answer='{written}' is not a regular expression ({error})",
                expected=r"a pattern whose last group is the answer, such as 'Answer: (\d+)'",
                fix="correct the pattern, or pass a function that reads the answer out of a text",
            )
        ) from error


def _hits(task: Task, targets: pa.Array, outputs: pa.Array) -> NDArray[np.float64]:
    """Returns 1 for each row whose generated text holds the target's answer, else 0; a target without one is missed."""
    wanted = answers(task, one_array(targets).to_pylist())
    given = answers(task, one_array(outputs).field("text").to_pylist())
    return np.array([want is not None and want == have for want, have in zip(wanted, given, strict=True)], np.float64)


def _nats(outputs: pa.Array) -> NDArray[np.float64]:
    return to_numbers(one_array(outputs).field("nats")).astype(np.float64)


def _num_bytes(targets: pa.Array) -> NDArray[np.float64]:
    """Returns the length of each target in UTF-8; one byte for an empty text, which an end still has to be told of."""
    lengths = pc.fill_null(pc.binary_length(one_array(targets)), 1)
    return np.maximum(np.asarray(lengths.to_numpy(zero_copy_only=False), np.float64), 1.0)


def _bits(targets: pa.Array, outputs: pa.Array) -> float:
    if not len(targets):
        return math.nan
    return float(_nats(outputs).sum() / math.log(2) / _num_bytes(targets).sum())


def _function_scorer(task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
    true = np.array(one_array(targets).to_pylist(), dtype=object)
    given = np.array([text or "" for text in one_array(outputs).field("text").to_pylist()], dtype=object)

    def score(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([task.metric.value(true[chosen].tolist(), given[chosen].tolist()) for chosen in rows])

    return score
