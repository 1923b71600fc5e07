"""From the user's words and rows to a Task and checked Data: read, infer, audit, split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.cache import cache_folder
from autosft.data.audit import audit
from autosft.data.data import Data, materialise
from autosft.data.finding import Finding
from autosft.data.read import read
from autosft.data.source import Source
from autosft.data.split import check_split
from autosft.infer import infer
from autosft.planning.plan import DataOrigin
from autosft.task import Metric, MetricFunction, Task
from autosft.tasks import kind as task_kind


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
    fixes_off: Collection[str] = ()
    seed: int = 0

    @property
    def origin(self) -> DataOrigin:
        """Where the rows can be read again; "" for what is held in memory."""
        return DataOrigin(_place(self.data) or "", _place(self.test))


@dataclass(frozen=True)
class Prepared:
    """A task, and data that fit it."""

    task: Task
    data: Data
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]


def understand(question: Question) -> tuple[Task, Source]:
    """Reads the data and works out the task.

    Raises:
        DataError: The data cannot be read.
        TaskError: The task cannot be worked out; says which argument settles it.
    """
    source = read(question.data, test=question.test)
    if isinstance(question.task, Task):
        return question.task, source
    task = infer(
        question.task,
        source,
        target=question.target,
        inputs=question.inputs,
        metric=question.metric,
        positive=question.positive,
        group=question.group,
        time=question.time,
    )
    return task, source


def check(question: Question, task: Task, source: Source) -> Prepared:
    """Audits the rows, splits them, and writes them where workers map them into memory.

    Raises:
        DataError: Nothing is left to train on; says what removed it.
        PlanError: A name in `fixes_off` is no check.
    """
    clean, task, findings = audit(task, source, off=question.fixes_off, seed=question.seed)
    kind = task_kind(task.kind)
    data, split = materialise(kind, task, clean, folder=cache_folder() / "data", seed=question.seed)
    return Prepared(task, data, (*findings, *check_split(task, data)), (*source.notes, *split.reasons))


def _place(data: Any) -> str | None:
    if data is None:
        return None
    if isinstance(data, Path):
        return str(data.absolute())
    if isinstance(data, str):
        return str(Path(data).absolute()) if Path(data).exists() else data
    return ""
