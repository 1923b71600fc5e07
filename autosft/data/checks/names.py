"""Names of classes that are words: where rows are few, each is one more text of its class."""

from __future__ import annotations

from autosft.data.checks.subject import Outcome, Subject
from autosft.data.finding import Severity


def names_of_classes(subject: Subject) -> Outcome | None:
    """Finds classes with few rows whose names are words, and has the names count as rows to train on.

    `benchmarks/class_names.py` measures what that is worth.
    """
    kind, task = subject.kind, subject.task
    names = kind.class_rows(task)
    if names is None:
        return None
    targets = kind.encode_targets(task, subject.source.train, strict=False)
    if not kind.facts(task, targets)["few_rows_per_class"]:
        return None
    shown = [f"'{label}': {text}" for label, text in zip(task.labels, names["text"].to_pylist(), strict=True)]
    return Outcome(
        Severity.INFO,
        f"Rows are few, and the names of the {names.num_rows:,} classes are words.",
        names.num_rows,
        tuple(shown[:3]),
        fix="each name is offered as a row to train on, and none is scored on",
        advice="each name could be a row to train on",
        repaired=subject,
    )
