"""From the user's words and rows to a Task and checked Data: read, infer, audit, split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autosft.cache import cache_folder
from autosft.data.align import refuse_lacking
from autosft.data.audit import audit
from autosft.data.checks.validation import check_split
from autosft.data.data import Data, Rows, materialise
from autosft.data.finding import Finding
from autosft.data.read import read
from autosft.data.sample import sampled
from autosft.data.source import Source
from autosft.data.texts import as_text
from autosft.errors import DataError, PlanError, explain
from autosft.infer import infer
from autosft.inputs.language import language_of
from autosft.planning.plan import DataOrigin, Plan
from autosft.task import AnswerFunction, Metric, MetricFunction, Task
from autosft.tasks import kind as task_kind

#: Of libraries that draw, some take no larger one; and seeds of folds and repetitions are counted on from it.
_LARGEST_SEED = 2**31


@dataclass(frozen=True)
class Question:
    """What the user asked, as given to `fit`. Fields are `fit`'s arguments of the same name."""

    task: str | Task
    data: object
    test: object | None = None
    target: str | None = None
    inputs: Sequence[str] | None = None
    metric: str | Metric | MetricFunction | None = None
    positive: object | None = None
    group: str | None = None
    time: str | None = None
    kind: str | None = None
    answer: str | AnswerFunction | None = None
    fixes_off: Collection[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _LARGEST_SEED:
            wrong = f"the seed is {self.seed}"
            raise PlanError(explain(wrong=wrong, expected=f"0 to {_LARGEST_SEED:,}", fix="leave seed= out"))

    @property
    def origin(self) -> DataOrigin:
        """Where the rows can be read again; "" for what is held in memory."""
        off = (self.fixes_off,) if isinstance(self.fixes_off, str) else tuple(self.fixes_off)
        return DataOrigin(_place(self.data) or "", _place(self.test), off)


@dataclass(frozen=True)
class Prepared:
    """A task, and data that fit it.

    Attributes:
        language: As `inputs.language` tells it, None where the input is no text.
        most_rows: Training rows that a sample was drawn of; None where all were read.
    """

    task: Task
    data: Data
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]
    language: str | None = None
    most_rows: int | None = None


def understand(question: Question) -> tuple[Task, Source]:
    """Reads the data and works out the task.

    Raises:
        DataError: The data cannot be read, or a split lacks a column that the task needs.
        TaskError: The task cannot be worked out; says which argument settles it.
    """
    source = read(question.data, test=question.test)
    task = question.task
    if not isinstance(task, Task):
        task = infer(
            task,
            source,
            target=question.target,
            inputs=question.inputs,
            metric=question.metric,
            positive=question.positive,
            group=question.group,
            time=question.time,
            kind=question.kind,
            answer=question.answer,
        )
    targets = task.target_columns or (task.target_column,)
    needed = (*task.input_columns, *targets, task.group_column, task.time_column)
    refuse_lacking(source.lacking, [name for name in needed if name is not None])
    return task, source


def check(question: Question, task: Task, source: Source, *, most_rows: int | None = None) -> Prepared:
    """Audits the rows, splits them, and writes them where workers map them into memory.

    Args:
        most_rows: Of more training rows a sample is drawn; None takes all.

    Raises:
        DataError: Nothing is left to train on; says what removed it.
        PlanError: A name in `fixes_off` is no check.
    """
    kind = task_kind(task.kind)
    if most_rows is not None and source.train.num_rows > most_rows:
        source = sampled(kind, task, source, most_rows=most_rows, seed=question.seed)
    else:
        most_rows = None
    clean, task, findings = audit(kind, task, source, off=question.fixes_off, seed=question.seed)
    named = any(finding.check == "class-names" and finding.fixed for finding in findings)
    data, split = materialise(kind, task, clean, folder=cache_folder() / "data", seed=question.seed, named=named)
    reasons = (*source.notes, *split.reasons)
    language = _language(data)
    return Prepared(task, data, (*findings, *check_split(kind, task, data)), reasons, language, most_rows)


def with_rows(plan: Plan) -> Plan:
    """Returns the plan with its checked rows on this disk: read and checked again where the cache lost or damaged them.

    Raises:
        PlanError: They were held in memory only, cannot be found, or are no longer what the plan was made for.
    """
    if plan.data.is_sound():
        return plan
    origin = plan.origin
    lost = f"the checked rows of this plan are no longer in {plan.data.folder}, or no longer whole"
    if not origin.data or origin.test == "":
        wrong = f"{lost}, and they came from memory"
        raise PlanError(explain(wrong=wrong, expected="the cache that `plan` wrote", fix="plan again from the data"))
    off = "all" if origin.fixes_off == ("all",) else origin.fixes_off
    question = Question(plan.task, origin.data, origin.test, fixes_off=off, seed=plan.seed)
    try:
        data = check(question, *understand(question), most_rows=origin.most_rows).data
    except DataError as error:
        wrong = f"{lost}, and they cannot be read again: {str(error).splitlines()[0]}"
        raise PlanError(explain(wrong=wrong, expected=f"the data at {origin.data}", fix="put them back")) from error
    if plan.data.named is None:
        # A plan from before there were names goes on without.
        data = replace(data, named=None)
    data = replace(data, most_validation=plan.data.most_validation)
    if _content(data) != _content(plan.data):
        place = origin.test if origin.test and data.fingerprint == plan.data.fingerprint else origin.data
        wrong = f"{lost}, and {place} now holds other rows"
        raise PlanError(explain(wrong=wrong, expected="the data that the plan was made for", fix="plan again"))
    return replace(plan, data=data)


def _content(data: Data) -> tuple[object, ...]:
    """Returns what tells these checked rows from others, wherever they lie."""
    held_out = None if data.held_out_folder is None else data.held_out_folder.name
    return data.fingerprint, held_out, data.num_folds, dict(data.parts), data.named is not None


def _language(data: Data) -> str | None:
    """Tells the language from rows spread evenly over the data; None where they hold no text."""
    rows = data.training(None)[0]
    some = np.linspace(0, len(rows) - 1, min(len(rows), 300), dtype=np.int64)
    table = Rows(rows.path, some).table()
    names = [name for name in ("text", "text_pair", "tokens", "messages") if name in table.column_names]
    texts = [text for name in names for text in as_text(table.column(name)).to_pylist()]
    return language_of(texts) if texts else None


def _place(data: Any) -> str | None:
    if data is None:
        return None
    if isinstance(data, Path):
        return str(data.absolute())
    if isinstance(data, str):
        return str(Path(data).absolute()) if Path(data).exists() else data
    return ""
