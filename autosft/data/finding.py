"""The Finding: one thing the audit noticed about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding matters: "error" stops a run, "warning" should be read, "info" is for the record."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing the audit noticed.

    Attributes:
        check: The check's name in kebab case, which also switches its fix off ("exact-duplicates").
        severity: How much it matters.
        message: What was found, in one sentence.
        count: Number of rows (or columns, or classes) concerned.
        examples: A few of them as text, shortened: rows with their place in the data, counted from 0.
        action: What was done about it ("dropped 12 rows"), or what the user could do; empty when nothing is needed.
        fixed: Whether `action` was carried out.
    """

    check: str
    severity: Severity
    message: str
    count: int
    examples: tuple[str, ...] = ()
    action: str = ""
    fixed: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Finding:
        return Finding(**{**row, "severity": Severity(row["severity"]), "examples": tuple(row["examples"])})
