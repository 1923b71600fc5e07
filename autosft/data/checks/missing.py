"""Rows without a label or without anything to read."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.checks.subject import Outcome, Subject
from autosft.data.finding import Severity
from autosft.task import Output

#: What a row has that is to be learned, where nobody would call it a label.
_TARGETS = {Output.NUMBER: "number", Output.TEXT: "text to learn"}


def missing_labels(subject: Subject) -> Outcome | None:
    """Finds null and blank labels. Test rows stay: they are reported, and not scored."""
    return _missing(subject, what="label", missing=_masks(subject, of_labels=True))


def missing_inputs(subject: Subject) -> Outcome | None:
    """Finds rows whose input columns are all null or blank. Test rows stay, and are scored."""
    return _missing(subject, what="input", missing=_masks(subject, of_labels=False))


def _masks(subject: Subject, *, of_labels: bool) -> dict[str, NDArray[np.bool_]]:
    if of_labels:
        found = {name: pc.is_null(labels) for name, labels in subject.labels.items()}
    else:
        found = {name: pc.equal(texts, "") for name, texts in subject.texts.items()}
    return {name: mask.to_numpy(zero_copy_only=False) for name, mask in found.items()}


def _missing(subject: Subject, *, what: str, missing: dict[str, NDArray[np.bool_]]) -> Outcome | None:
    counts = {name: int(mask.sum()) for name, mask in missing.items() if mask.any()}
    if not counts:
        return None
    keep = {name: ~missing[name] for name in counts if name != "test"}
    dropped = sum(counts[name] for name in keep)
    where = ", ".join(f"{count:,} in {name}" for name, count in counts.items())
    test, target = "", _TARGETS.get(subject.kind.output, "label")
    if "test" in counts:
        test = f"test rows without a {target} are not scored" if what == "label" else "test rows stay and are scored"
    no_score = what == "label" and "test" in counts and counts["test"] == len(missing["test"])
    first = next(iter(keep or counts))
    shown = subject.shown(first) if what == "label" else subject.labels[first]
    return Outcome(
        Severity.ERROR if no_score else Severity.WARNING,
        f"Rows without {f'a {target}' if what == 'label' else 'any input'}: {where}."
        + (" No test row can be scored." if no_score else ""),
        sum(counts.values()),
        examples=subject.examples(first, np.flatnonzero(missing[first]), shown),
        fix="; ".join(part for part in (f"dropped {counted(dropped, 'row')}" if dropped else "", test) if part),
        advice=test if not dropped else "fill in what is missing or leave those rows out",
        keep=keep,
    )
