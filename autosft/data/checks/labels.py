"""What the labels look like: their spellings, how many rows each has, and whether training knows those of the test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from autosft.counting import counted
from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.texts import as_text, label_texts, shortened
from autosft.task import Task

# Below this a fold's score says next to nothing about the class.
RARE_ROWS = 5
# The majority class alone then reaches 91 % accuracy between two classes.
IMBALANCED_RATIO = 10
MANY_CLASSES = 20
FEW_ROWS_PER_CLASS = 20
# Of a label that more rows have, or of one of two, somebody meant to say something.
RARE_SHARE = 0.1
_MISSING_MARKS = frozenset({"n/a", "#n/a", "na", "nan", "null", "none", "-", "?"})
_DISTANT_METRICS = ("accuracy", "weighted_f1")


def label_spelling(subject: Subject) -> Outcome | None:
    """Finds labels that differ only by case or white space; the most frequent spelling in training wins everywhere."""
    task = subject.task
    if not subject.one_label or not pa.types.is_string(subject.source.train.column(task.target_column).type):
        return None
    raw = {name: as_text(table.column(task.target_column)) for name, table in subject.source.splits.items()}
    groups: dict[str, set[str]] = defaultdict(set)
    for texts in raw.values():
        for spelling in pc.unique(texts).to_pylist():
            if spelling is not None and spelling.strip():
                groups[" ".join(spelling.split()).casefold()].add(spelling)
    variants = {key: spellings for key, spellings in groups.items() if len(spellings) > 1}
    if not variants:
        return None
    counts = subject.label_counts
    winners = {
        key: min((spelling.strip() for spelling in spellings), key=lambda text: (-counts.get(text, 0), text))
        for key, spellings in variants.items()
    }
    mapping = {spelling: winners[key] for key, spellings in variants.items() for spelling in spellings}
    changed = {old: new for old, new in mapping.items() if old != new}
    num_rows = sum(int(pc.sum(pc.is_in(texts, pa.array(list(changed), texts.type))).as_py()) for texts in raw.values())
    shown = []
    for spellings in list(variants.values())[:NUM_EXAMPLES]:
        odd = next(spelling for spelling in sorted(spellings) if spelling in changed)
        shown.append(f"{_first_place(subject, raw, odd)}: {' / '.join(repr(one) for one in sorted(spellings))}")
    return Outcome(
        Severity.WARNING,
        f"Labels that differ only by case or white space: {len(variants):,} (in {counted(num_rows, 'row')}).",
        num_rows,
        examples=tuple(map(shortened, shown)),
        fix="merged into the most frequent spelling, in every split",
        advice="give each label one spelling",
        repaired=_respelled(subject, changed),
    )


def labels_like_missing(subject: Subject) -> Outcome | None:
    """Finds rare labels that are usual marks of a missing answer. They stay, since "None" may be an answer too."""
    counts = subject.label_counts
    if not subject.one_label or len(counts) < 3:
        return None
    few = RARE_SHARE * sum(counts.values())
    suspects = {label: n for label, n in counts.items() if label.casefold() in _MISSING_MARKS and n < few}
    if not suspects:
        return None
    listed = " and ".join(f"'{label}' ({counted(count, 'row')})" for label, count in suspects.items())
    looks = "looks like a missing answer and is" if len(suspects) == 1 else "look like missing answers and are each"
    return Outcome(
        Severity.WARNING,
        f"The label{'' if len(suspects) == 1 else 's'} {listed} {looks} trained on as a class of its own.",
        sum(suspects.values()),
        examples=tuple(
            shortened(f"{_first_place(subject, {'train': subject.labels['train']}, label)}: {label}")
            for label in list(suspects)[:NUM_EXAMPLES]
        ),
        advice="if so, remove these rows or leave their cells empty",
    )


def rare_classes(subject: Subject) -> Outcome | None:
    """Finds classes with fewer than five training rows; those with a single row are never validated on."""
    rare = {label: count for label, count in subject.label_counts.items() if count < RARE_ROWS}
    if not subject.one_label or not rare:
        return None
    single = sum(count == 1 for count in rare.values())
    note = f"; {counted(single, 'class')} with a single row can only be trained on" if single else ""
    return Outcome(
        Severity.WARNING,
        f"Classes with fewer than {RARE_ROWS} training rows: {len(rare):,}{note}.",
        len(rare),
        examples=tuple(
            shortened(f"{label}: {counted(count, 'row')} ({_first_place(subject, subject.labels, label)})")
            for label, count in list(rare.items())[-NUM_EXAMPLES:]
        ),
        advice="collect more rows of these classes, or merge them into others",
    )


def unseen_test_labels(subject: Subject) -> Outcome | None:
    """Finds labels of validation or test that training lacks.

    The fix adds them to the task's labels, so that such rows are scored, as errors: nothing was trained to predict
    them. Without it those rows are not scored.
    """
    judges = {name: labels for name, labels in subject.labels.items() if name != "train"}
    if not subject.one_label or not judges:
        return None
    found = pc.value_counts(pa.concat_arrays(list(judges.values())).drop_null())
    unseen = {row["values"]: row["counts"] for row in found.to_pylist() if row["values"] not in subject.label_counts}
    if not unseen:
        return None
    num_rows = sum(unseen.values())
    known = tuple(label for label in subject.task.labels if label in subject.label_counts)
    task = subject.task.with_labels((*known, *sorted(unseen)), subject.task.label_type)
    return Outcome(
        Severity.WARNING,
        f"Labels in validation or test that training lacks: {len(unseen):,} (in {counted(num_rows, 'row')}).",
        num_rows,
        examples=tuple(
            shortened(f"{label}: {counted(count, 'row')} ({_first_place(subject, judges, label)})")
            for label, count in sorted(unseen.items())[:NUM_EXAMPLES]
        ),
        fix="these rows are scored, and count as errors",
        advice="these rows are not scored; add training rows with these labels",
        repaired=replace(subject, task=task),
    )


def imbalance(subject: Subject) -> Outcome | None:
    """Finds a largest class with at least ten times the rows of the smallest."""
    counts = list(subject.label_counts.items())
    if not subject.one_label or len(counts) < 2:
        return None
    (largest, most), (smallest, fewest) = counts[0], counts[-1]
    if most < IMBALANCED_RATIO * fewest:
        return None
    share = most / sum(subject.label_counts.values())
    hides = subject.task.metric.name in _DISTANT_METRICS
    return Outcome(
        Severity.WARNING if hides else Severity.INFO,
        f"The largest class has {most / fewest:.0f} times the rows of the smallest; always answering "
        f"'{shortened(largest, limit=40)}' is right on {share:.0%} of the rows.",
        len(counts),
        examples=(shortened(f"{largest}: {counted(most, 'row')}"), shortened(f"{smallest}: {counted(fewest, 'row')}")),
        advice="metric='macro_f1' counts every class alike" if hides else "class weights are worth a try",
    )


def many_classes(subject: Subject) -> Outcome | None:
    """Finds twenty classes or more with fewer than twenty training rows each on average."""
    counts = subject.label_counts
    average = sum(counts.values()) / max(len(counts), 1)
    if not subject.one_label or len(counts) < MANY_CLASSES or average >= FEW_ROWS_PER_CLASS:
        return None
    return Outcome(
        Severity.INFO,
        f"{len(counts):,} classes with {average:.1f} training rows each on average.",
        len(counts),
        advice="few rows a class favour frozen encoders; more rows would help most",
    )


def _first_place(subject: Subject, labels: Mapping[str, pa.Array], label: str) -> str:
    """Returns where a label stands first."""
    found = {name: pc.index(texts, pa.scalar(label, texts.type)).as_py() for name, texts in labels.items()}
    return next(subject.place(name, at) for name, at in found.items() if at >= 0)


def _respelled(subject: Subject, changed: dict[str, str]) -> Subject:
    task = subject.task
    column = task.target_column
    source, labels = subject.source, dict(subject.labels)
    for name, table in source.splits.items():
        texts = as_text(table.column(column))
        at = pc.index_in(texts, value_set=pa.array(list(changed), texts.type))
        texts = pc.coalesce(pa.array(list(changed.values()), texts.type).take(at), texts)
        field = table.schema.field(column)
        source = source.with_split(
            name, table.set_column(table.column_names.index(column), column, texts.cast(field.type))
        )
        labels[name] = label_texts(pa.chunked_array([texts]))
    return replace(subject, task=_with_spellings(task, changed), source=source, labels=labels)


def _with_spellings(task: Task, changed: dict[str, str]) -> Task:
    stripped = {old.strip(): new for old, new in changed.items()}
    labels = dict.fromkeys(stripped.get(label, label) for label in task.labels)
    positive = task.metric.positive
    metric = replace(task.metric, positive=None if positive is None else stripped.get(positive, positive))
    return replace(task, labels=tuple(labels), metric=metric)
