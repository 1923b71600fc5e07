"""Checks of tagged words and of texts with spans: what the audit looks at for this kind of task alone.

Rows without any word are found by the check of missing inputs, rows without tags by that of missing labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from autosft.counting import counted
from autosft.data.checks.subject import NUM_EXAMPLES, Check, Outcome, Subject, left_out
from autosft.data.finding import Severity
from autosft.data.texts import shortened
from autosft.tasks.columns import user_column
from autosft.tasks.entities import bio_labels, types_of
from autosft.tasks.entity_columns import (
    Trouble,
    entity_types,
    holds_words,
    openings,
    read_targets,
    read_words,
    unclosed,
)

_NOT_SCORED = "such test rows are not scored"


def tag_counts(subject: Subject) -> Outcome | None:
    """Finds rows with more or fewer tags than words; they are not trained on."""
    return _left_out(subject, Trouble.LENGTH, "with another number of tags than of words", "give every word one tag")


def unknown_tags(subject: Subject) -> Outcome | None:
    """Finds rows with tags that are neither "O" nor have a known prefix, or with unreadable spans."""
    what = "with tags or spans that cannot be read"
    advice = "correct them: tags are O, B-TYPE and I-TYPE, spans have a start, an end and a label"
    return _left_out(subject, Trouble.UNREADABLE, what, advice)


def unseen_entity_types(subject: Subject) -> Outcome | None:
    """Finds entity types in validation or test that training lacks.

    The fix adds them to the task, so that such rows are scored, their entities as missed. Without it those rows are
    not scored.
    """
    task = subject.task
    known = set(entity_types(task, subject.source.train))
    others = {name: table for name, table in subject.source.splits.items() if name != "train"}
    unseen = sorted({found for table in others.values() for found in entity_types(task, table)} - known)
    if not unseen:
        return None
    labels = bio_labels((*types_of(task.labels), *unseen))
    asking = replace(task, labels=bio_labels(tuple(name for name in types_of(task.labels) if name in known)))
    remarks = {name: _remarks(replace(subject, task=asking), name, Trouble.UNSEEN) for name in others}
    count = sum(map(len, remarks.values()))
    return Outcome(
        Severity.WARNING,
        f"Entity types in validation or test that training lacks: {', '.join(map(shortened, unseen[:10]))} "
        f"(in {counted(count, 'row')}).",
        count,
        examples=_examples(subject, remarks),
        fix="these rows are scored, and such entities count as missed",
        advice="these rows are not scored; add training rows with entities of these types",
        repaired=replace(subject, task=task.with_labels(labels, task.label_type)),
    )


def tag_scheme(subject: Subject) -> Outcome | None:
    """Tells IOB1 from BIO with broken tags: entities that open with an "I-". Both are read as if it were a "B-"."""
    train = subject.source.train
    if not holds_words(user_column(train, subject.task.input_columns[0]).type):
        return None
    found = openings(subject.task, train)
    if not len(found.inside):
        return None
    count = len(found.inside)
    if not found.num_begin:
        message = f"No entity opens with a B- tag of its own ({count:,} open with I-): the tags were read as IOB1."
        return Outcome(Severity.INFO, message, count, advice="predictions are BIO tags")
    rows = list(dict.fromkeys(found.rows.tolist()))
    return Outcome(
        Severity.WARNING,
        f"Entities that open with I- or E- where others open with B-: {count:,} (in {counted(len(rows), 'row')}).",
        count,
        examples=_examples(subject, {"train": [(row, "an entity opens with I-") for row in rows]}),
        advice="each is read as the beginning of an entity; check that no B- tag got lost",
    )


def unclosed_entities(subject: Subject) -> Outcome | None:
    """Finds entities without the "E-" or "L-" that closes every longer one in BIOES and BILOU."""
    if not holds_words(user_column(subject.source.train, subject.task.input_columns[0]).type):
        return None
    rows = {name: unclosed(subject.task, table) for name, table in subject.source.splits.items()}
    remarks = {name: [(row, "an entity is not closed") for row in found] for name, found in rows.items() if found}
    if not remarks:
        return None
    where = ", ".join(f"{len(found):,} in {name}" for name, found in remarks.items())
    return Outcome(
        Severity.WARNING,
        f"Rows with an entity that no E- or L- tag closes, where others are closed: {where}.",
        sum(map(len, remarks.values())),
        examples=_examples(subject, remarks),
        advice="each is read as ending before the next entity or O; check that no tag got lost",
    )


def spans_outside_text(subject: Subject) -> Outcome | None:
    """Finds spans that reach outside of their text, or hold no word of it."""
    what = "Spans that reach outside of their text, or hold nothing"
    return _put_right(subject, Trouble.OUTSIDE, what, "only the part inside counts; check that offsets are characters")


def overlapping_spans(subject: Subject) -> Outcome | None:
    """Finds spans that share a word with a longer one."""
    what = "Spans that share words with another one"
    return _put_right(subject, Trouble.OVERLAP, what, "the longest counts, for a word can have one tag only")


def spans_cutting_words(subject: Subject) -> Outcome | None:
    """Finds spans that start or end inside of a word."""
    what = "Spans that start or end inside of a word"
    return _put_right(subject, Trouble.CUT, what, "the whole word counts; check that ends are exclusive")


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "tag-counts": tag_counts,
        "unknown-tags": unknown_tags,
        "unseen-entity-types": unseen_entity_types,
        "tag-scheme": tag_scheme,
        "unclosed-entities": unclosed_entities,
        "spans-outside-text": spans_outside_text,
        "overlapping-spans": overlapping_spans,
        "spans-cutting-words": spans_cutting_words,
    }
)


def _left_out(subject: Subject, trouble: Trouble, what: str, advice: str) -> Outcome | None:
    """Reports rows whose targets cannot be used; all but test rows are dropped."""
    remarks = {name: _remarks(subject, name, trouble) for name in subject.source.splits}
    by_row = {name: dict(found) for name, found in remarks.items()}
    shown = _examples(subject, remarks)
    return left_out(subject, f"Rows {what}", by_row, test=_NOT_SCORED, advice=advice, examples=shown)


def _put_right(subject: Subject, trouble: Trouble, what: str, advice: str) -> Outcome | None:
    """Reports spans that are read otherwise than they stand there, in every split."""
    if holds_words(user_column(subject.source.train, subject.task.input_columns[0]).type):
        return None
    remarks = {name: _remarks(subject, name, trouble) for name in subject.source.splits}
    remarks = {name: found for name, found in remarks.items() if found}
    if not remarks:
        return None
    where = ", ".join(f"{len(found):,} in {name}" for name, found in remarks.items())
    count = sum(map(len, remarks.values()))
    return Outcome(Severity.WARNING, f"{what}: {where}.", count, examples=_examples(subject, remarks), advice=advice)


def _remarks(subject: Subject, split: str, trouble: Trouble) -> list[tuple[int, str]]:
    """Returns the rows that have this trouble, as often as they have it, and what it is."""
    found = read_targets(subject.task, subject.source.splits[split])
    return [(remark.row, remark.words) for remark in found.remarks if remark.trouble is trouble]


def _examples(subject: Subject, remarks: Mapping[str, list[tuple[int, str]]]) -> tuple[str, ...]:
    """Returns the first few remarks with their rows' places and words."""
    shown: list[str] = []
    for split, found in remarks.items():
        few = found[: NUM_EXAMPLES - len(shown)]
        rows = subject.source.splits[split].take([row for row, _ in few]) if few else None
        words = read_words(subject.task, rows).tokens.to_pylist() if rows is not None else []
        shown += [
            shortened(f"{subject.place(split, row)}: {remark} ({' '.join(text[:12])})")
            for (row, remark), text in zip(few, words, strict=True)
        ]
    return tuple(shown)
