"""The audit: runs every check on the data before it is split, carries out the safe fixes, and reports what it found.

The checks live in `autosft.data.checks`; whether the validation set is large enough is asked in `autosft.data.split`.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import TYPE_CHECKING

from autosft.data.checks import columns, duplicates, labels, leaks, missing, names
from autosft.data.checks.subject import Check, Outcome, Subject
from autosft.data.finding import Finding
from autosft.data.source import Source
from autosft.data.texts import shortened
from autosft.errors import DataError, PlanError, did_you_mean, explain
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

#: Checks for every kind, in the order in which they run: each one sees the data as the fixes before it left it.
CHECKS: dict[str, Check] = {
    # Before any row is dropped for saying the same as another one.
    "codes-as-text": columns.codes_as_text,
    "numbers-as-text": columns.numbers_as_text,
    "missing-labels": missing.missing_labels,
    "missing-inputs": missing.missing_inputs,
    "label-spelling": labels.label_spelling,
    "labels-like-missing": labels.labels_like_missing,
    "conflicting-labels": duplicates.conflicting_labels,
    "exact-duplicates": duplicates.exact_duplicates,
    "duplicates-across-splits": duplicates.duplicates_across_splits,
    "near-duplicates-across-splits": duplicates.near_duplicates_across_splits,
    "near-duplicates": duplicates.near_duplicates,
    "rare-classes": labels.rare_classes,
    "unseen-test-labels": labels.unseen_test_labels,
    "id-like-columns": columns.id_like_columns,
    "constant-columns": columns.constant_columns,
    "leaking-columns": leaks.leaking_columns,
    "imbalance": labels.imbalance,
    "many-classes": labels.many_classes,
    "class-names": names.names_of_classes,
}
#: Switches every fix off.
ALL = "all"

_NUM_NAMED = 5


def audit(
    kind: TaskKind, task: Task, source: Source, *, off: Collection[str] = (), seed: int = 0
) -> tuple[Source, Task, tuple[Finding, ...]]:
    """Checks the data, fixes what is safe to fix, and says so.

    Test rows are never dropped, nor altered except for the spelling of their labels.

    Args:
        kind: The task's kind, with checks of its own.
        task: The task; its columns must be in every split.
        source: The data as read.
        off: Names of checks whose fix is not to be carried out, or "all". They still report.
        seed: For the checks that look at a sample.

    Returns:
        The cleaned source; the task, its labels merged and without those that no row is left of; and the findings in
        the order of the checks.

    Raises:
        PlanError: `off` names an unknown check.
        DataError: No training rows, or only one class, are left; the message says which check removed what. Or no row
            has an entity, or test or validation rows share no label with those of training.
    """
    # A kind's own first: what they find would be taken for a missing label or input.
    checks = {**kind.checks, **CHECKS}
    switched_off = _known(off, checks)
    subject = Subject.of(kind, task, source, seed=seed)
    findings: list[Finding] = []
    for name, check in checks.items():
        outcome = check(subject)
        if outcome is None:
            continue
        fixed = outcome.can_fix and not {name, ALL} & switched_off
        if fixed:
            subject = outcome.applied_to(subject)
        findings.append(_finding(name, outcome, fixed=fixed))
        _require_rows(subject, source, findings)
    _require_classes(subject, source, findings)
    _require_entities(subject)
    _require_shared_labels(subject)
    unseen_are_scored = not {"unseen-test-labels", ALL} & switched_off
    return subject.source, _settled(subject, unseen_are_scored=unseen_are_scored), tuple(findings)


def _known(off: Collection[str], checks: Collection[str]) -> set[str]:
    names = {off} if isinstance(off, str) else set(off)
    for name in sorted(names - {*checks, ALL}):
        raise PlanError(
            explain(
                wrong=f"there is no check named '{name}'",
                expected="names of checks whose fix is to be switched off, or 'all'",
                fix=did_you_mean(name, [*checks, ALL]),
            )
        )
    return names


def _finding(name: str, outcome: Outcome, *, fixed: bool) -> Finding:
    action = outcome.fix if fixed else outcome.advice
    return Finding(name, outcome.severity, outcome.message, outcome.count, outcome.examples, action, fixed)


def _settled(subject: Subject, *, unseen_are_scored: bool) -> Task:
    """Returns the task without the labels that the fixes left no row of."""
    task = subject.task
    if not subject.one_label:
        return task
    known = set(subject.label_counts)
    if unseen_are_scored:
        known |= {label for texts in subject.labels.values() for label in texts.unique().to_pylist()}
    labels = tuple(label for label in task.labels if label in known)
    positive = task.metric.positive
    if positive is not None and positive not in subject.label_counts:
        raise DataError(
            explain(
                wrong=f"no training row with the positive label '{positive}' is left",
                expected="rows of the label that the metric is about",
                fix=did_you_mean(positive, subject.label_counts),
            )
        )
    return task.with_labels(labels, task.label_type)


def _require_rows(subject: Subject, source: Source, findings: list[Finding]) -> None:
    if subject.source.train.num_rows:
        _require_validation_rows(subject, source, findings)
        return
    # The last fix left nothing, so what it found in a row is what is wrong with most of them.
    example = next((finding.examples[0] for finding in reversed(findings) if finding.fixed and finding.examples), None)
    story = _story(findings) + ("" if example is None else f", such as {example}")
    raise DataError(
        explain(
            wrong=f"no training rows are left of {source.train.num_rows:,} in {source.origin} ({story})",
            expected=f"rows with an input ({', '.join(subject.task.input_columns)}) and a label "
            f"({subject.task.target_column})",
            fix="check that these are the right columns (target=, inputs=), and the rows behind them",
        )
    )


def _require_validation_rows(subject: Subject, source: Source, findings: list[Finding]) -> None:
    if "validation" not in source.splits or subject.source.splits["validation"].num_rows:
        return
    raise DataError(
        explain(
            wrong=f"no validation rows are left of {source.splits['validation'].num_rows:,} in {source.origin} "
            f"({_story(findings)})",
            expected="validation rows with a label that are neither training nor test rows",
            fix="give others, or none: a part of the training rows is then set aside",
        )
    )


def _require_classes(subject: Subject, source: Source, findings: list[Finding]) -> None:
    if not subject.one_label or len(subject.label_counts) > 1:
        return
    left = ", ".join(f"'{label}'" for label in subject.label_counts) or "none"
    read = ", ".join(f"'{name}'" for name in subject.task.input_columns)
    table = next((finding for finding in findings if finding.check == "codes-as-text"), None)
    fix = "check that this is the right column (target=), or add rows of another class"
    raise DataError(
        explain(
            wrong=f"one class at most is left to learn in column '{subject.task.target_column}' of {source.origin}: "
            f"{left} (rows are told apart by {read} alone; {_story(findings)})",
            expected="training rows of at least two classes",
            fix=fix if table is None else f"{table.action}. {table.message}",
        )
    )


def _require_entities(subject: Subject) -> None:
    task = subject.task
    if subject.kind.output is not Output.TOKEN_LABELS or len(task.labels) > 1:
        return
    raise DataError(
        explain(
            wrong=f"no row of {subject.source.origin} marks anything: every word in column '{task.target_column}' is "
            "outside of all entities",
            expected="rows in which some words have a tag such as B-PER, or spans that mark them",
            fix="check that this is the right column (target=), and that the export kept the annotations",
        )
    )


def _require_shared_labels(subject: Subject) -> None:
    if not subject.one_label:
        return
    for split, texts in subject.labels.items():
        there = dict.fromkeys(texts.drop_null().to_pylist())
        if there and not subject.label_counts.keys() & there.keys():
            raise DataError(
                explain(
                    wrong=f"no label in column '{subject.task.target_column}' of the {split} rows is one of training: "
                    f"the {split} rows have {_some(there)}, the training rows have {_some(subject.label_counts)}",
                    expected=f"{split} rows with the labels that are trained on",
                    fix="map the labels of one to those of the other; where they only stand for answers that are not "
                    "known, leave those cells empty",
                )
            )


def _some(labels: Collection[str]) -> str:
    few = ", ".join(f"'{shortened(label, limit=40)}'" for label in islice(labels, _NUM_NAMED))
    return few + (f" and {len(labels) - _NUM_NAMED:,} more" if len(labels) > _NUM_NAMED else "")


def _story(findings: list[Finding]) -> str:
    told = [f"{finding.check}: {finding.action}" for finding in findings if finding.fixed]
    return "; ".join(told) or "nothing was removed by the audit"
