"""Rows to look at: where the model is most wrong, and where the label may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from autosft.arrays import to_matrix, to_numbers
from autosft.counting import counted
from autosft.planning.plan import Plan
from autosft.proof import Evidence
from autosft.report.blocks import Block, Column, Listing, Said, Section, Table
from autosft.report.rows import has_images, picked, row_texts, thumbnails
from autosft.task import Output
from autosft.tasks import kind as task_kind
from autosft.tasks.confident_learning import suspected_labels

#: Rows of the user's that a report holds at most, of each sort.
MOST_ERRORS, MOST_SUSPECTS = 30, 15

_PRIVATE = (
    "These are rows of your data, shortened; so are the audit's examples further down. The model's card holds none: "
    "think of that before you hand this page on."
)

#: The check of `label_errors.py` among the plan's findings.
_SUSPECTS_CHECK = "label-errors"

_LOSSES = {
    Output.LABEL: "nats",
    Output.LABELS: "nats",
    Output.NUMBER: "the target's unit",
    Output.TOKEN_LABELS: "nats",
    Output.TEXT: "bits per byte",
}


def worst_errors(evidence: Evidence) -> Section | None:
    """Returns the rows that went worst, those that are right left out; None where the kind says nothing of rows."""
    kind = task_kind(evidence.task.kind)
    verdicts = kind.verdicts(evidence.task, evidence.targets, evidence.shipped)
    if verdicts.column("loss").null_count == verdicts.num_rows:
        return None
    right = np.asarray(pc.fill_null(verdicts.column("right"), False).to_numpy(), np.bool_)
    losses = to_numbers(verdicts.column("loss")).astype(np.float64)
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-np.nan_to_num(losses[wrong]), kind="stable")][:MOST_ERRORS]
    if not len(worst):
        return Section("errors", "Worst errors", (Said("No row that was scored is wrong.", "good"),))
    table = picked(evidence.rows, worst)
    places = table.column("row").to_pylist()
    images = thumbnails(table) if has_images(table) else None
    texts = row_texts(table)
    is_word_by_word = kind.output is Output.TOKEN_LABELS
    rows = []
    for at, row in enumerate(worst.tolist()):
        target, prediction = (verdicts.column(name)[row].as_py() for name in ("target", "prediction"))
        if is_word_by_word:
            words = _words(table, at)
            target, prediction = _entities(words, target), _entities(words, prediction)
        rows.append(
            (
                *([images[at]] if images else []),
                texts[at],
                _in_words(target),
                _in_words(prediction),
                verdicts.column("score")[row].as_py(),
                losses[row],
                places[at],
            )
        )
    noun = "entities" if is_word_by_word else "is"
    columns = (
        *([Column("image", "image")] if images else []),
        Column("row reads", "data"),
        Column(noun if is_word_by_word else "target", "data"),
        Column("predicted", "data"),
        Column("sure", "share", "the probability of what was predicted"),
        Column("how wrong", "number", f"in {_LOSSES[kind.output]}: what the rows are ordered by"),
        Column("row", "count", "its place in the data, counted from 0"),
    )
    if all(row[-3] is None for row in rows):
        columns = tuple(column for column in columns if column.name != "sure")
        rows = [(*row[:-3], *row[-2:]) for row in rows]
    caption = f"The {counted(len(rows), 'row')} that went worst"
    told = (
        f"{len(wrong):,} of {counted(len(right), 'row')} wrong; the worst come first."
        if kind.output is not Output.NUMBER and kind.output is not Output.TEXT
        else "The rows that are farthest off come first."
    )
    return Section(
        "errors",
        "Worst errors",
        (Said(told), Said(_PRIVATE, "muted"), Table("errors-table", caption, columns, tuple(rows))),
    )


def suspected_label_errors(plan: Plan, evidence: Evidence | None) -> Section | None:
    """Returns rows whose label is probably wrong; None where no such look makes sense."""
    blocks: list[Block] = []
    if evidence is not None and task_kind(plan.task.kind).output is Output.LABEL:
        blocks += _held_out(evidence)
    for finding in plan.findings:
        if finding.check == _SUSPECTS_CHECK:
            blocks.append(Said(f"Before the search, among the training rows: {finding.message}; {finding.action}."))
            blocks += [Listing(finding.examples)] if finding.examples else []
    if not blocks:
        return None
    return Section("suspects", "Labels that may be wrong", tuple(blocks))


def _held_out(evidence: Evidence) -> list[Block]:
    true, probabilities = to_numbers(evidence.targets), to_matrix(evidence.shipped)
    suspects, likelier = suspected_labels(true, probabilities)
    scored = f"{counted(len(true), 'row')} that {'was' if len(true) == 1 else 'were'} scored"
    if not len(suspects):
        return [Said(f"None of the {scored} has a label that the model confidently denies.")]
    shown = suspects[:MOST_SUSPECTS]
    table, names = picked(evidence.rows, shown), evidence.task.labels
    rows = [
        (
            text,
            names[true[row]],
            names[other],
            float(probabilities[row, other]),
            float(probabilities[row, true[row]]),
            at,
        )
        for text, row, other, at in zip(
            row_texts(table), shown.tolist(), likelier.tolist(), table.column("row").to_pylist(), strict=False
        )
    ]
    columns = (
        Column("row reads", "data"),
        Column("label", "data"),
        Column("looks like", "data"),
        Column("probability", "share", "of what it looks like"),
        Column("of its label", "share"),
        Column("row", "count", "its place in the data, counted from 0"),
    )
    verb = "has" if len(suspects) == 1 else "have"
    told = (
        f"Of the {scored}, {len(suspects):,} {verb} a label that the model, which did not "
        "train on them, confidently takes for another (confident learning, Northcutt et al. 2021). Some are errors of "
        "the model and some of the labels: a person can tell. They were scored as they are labelled."
    )
    left = len(suspects) - len(rows)
    return [Said(told), Table("suspects-table", "Labels to look at", columns, tuple(rows), left_out=left)]


def _words(table: Any, at: int) -> list[str]:
    return [word or "" for word in table.column("tokens")[at].as_py() or []]


def _entities(words: Sequence[str], tags: Sequence[str] | None) -> str:
    """Returns the entities that tags mark, in words: "Paris (location), ...". "none" where there are none."""
    found: list[tuple[str, list[str]]] = []
    for word, tag in zip(words, tags or [], strict=False):
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag.startswith("I-") and found:
            found[-1][1].append(word)
    return "; ".join(f"{' '.join(parts)} ({name})" for name, parts in found) or "none"


def _in_words(value: Any) -> str:
    if value is None:
        return "(nothing)"
    if isinstance(value, list):
        return ", ".join(value) or "(none)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
