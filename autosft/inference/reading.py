"""What is known before the kind of task is (Columns), and what comes out (Reading): a kind with its columns."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from autosft.inference.columns import ColumnProfile, Role
from autosft.inference.sentence import Sentence
from autosft.tasks.base import TaskKind


@dataclass(frozen=True)
class Columns:
    """What is known before the kind is.

    Attributes:
        profiles: Every column.
        table: The training rows.
        sentence: What the user wrote.
        target: The target as the user named it, or None.
        inputs: The inputs as the user named them, or None.
        excluded: Columns that were given another part.
        kind: The kind as the user named it, or None.
    """

    profiles: list[ColumnProfile]
    table: pa.Table
    sentence: Sentence
    target: str | None
    inputs: tuple[str, ...] | None
    excluded: frozenset[str]
    kind: TaskKind | None

    def free(self, *roles: Role) -> list[ColumnProfile]:
        """Returns the columns without another part that look like one of these; any, where none is named."""
        return [c for c in self.profiles if c.name not in self.excluded and (not roles or c.role in roles)]

    def may_be(self, kind: str, *, target: str, inputs: tuple[str, ...]) -> bool:
        """Tells whether a reading agrees with what the user named."""
        return (
            (self.kind is None or self.kind.name == kind)
            and self.target in (None, target)
            and self.inputs in (None, inputs)
        )


@dataclass(frozen=True)
class Reading:
    """A kind with its columns.

    Attributes:
        kind: A key of `autosft.tasks.KINDS`.
        target: The column that is predicted; a name for it where it is spread over `target_columns`.
        inputs: What is read.
        reasons: In words.
        target_columns: As in Task.
        runner_up: The second-best reading in words.
        column: The target's profile, where it is one column that labels or numbers are read from.
    """

    kind: str
    target: str
    inputs: tuple[str, ...]
    reasons: tuple[str, ...]
    target_columns: tuple[str, ...] = ()
    runner_up: str | None = None
    column: ColumnProfile | None = None

    def describe(self) -> str:
        """Returns the reading in words, for the choice between two."""
        return f"{self.kind} of {', '.join(map(repr, self.inputs))}, because {self.reasons[0]}"
