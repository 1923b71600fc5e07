"""Columns that give the target away: a code beside the label, the label's name inside the text, or one telling word.

Texts that answer what the label answers are found in `autosft.data.checks.answers`. Looks at a sample of the training
rows; nothing is changed, because only the user knows what is there at prediction.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.checks.answers import answering_texts
from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.texts import as_text, codes, shortened

MAX_SAMPLE_ROWS = 5_000
#: Share of rows whose label a column must give away.
DETERMINED = 0.98
#: Share of rows that name their own label, when few others do.
_NAMES_LABEL = 0.8
_MIN_ROWS = 20
_MIN_LABEL_LENGTH = 3
# A smaller class shares some word by chance.
_MIN_CLASS_ROWS = 10


def leaking_columns(subject: Subject) -> Outcome | None:
    """Finds columns whose value, or a word inside it, tells the label of nearly every row."""
    if not subject.one_label or len(subject.label_counts) < 2:
        return None
    table, labels = _sample(subject)
    if table.num_rows < _MIN_ROWS:
        return None
    reasons = {}
    for field in table.schema:
        if field.name == subject.task.target_column or pa.types.is_nested(field.type):
            continue
        if field.name in subject.task.input_columns and not subject.reads_text:
            continue  # Not the name of a file is read, but what is in it.
        reason = _leak(as_text(table.column(field.name)), labels, is_input=field.name in subject.task.input_columns)
        if reason:
            reasons[field.name] = reason
    if subject.reads_text:
        reasons = {**answering_texts(subject, table, labels), **reasons}
    if not reasons:
        return None
    inputs = [name for name in reasons if name in subject.task.input_columns]
    return Outcome(
        Severity.WARNING if inputs else Severity.INFO,
        f"Columns that give the target away: {', '.join(map(shortened, reasons))}.",
        len(reasons),
        examples=tuple(shortened(f"{name}: {reason}") for name, reason in list(reasons.items())[:NUM_EXAMPLES]),
        advice=f"check that {', '.join(map(repr, inputs))} will be there, and filled in, when the model predicts"
        if inputs
        else "none of them is an input; keep it so",
    )


def _sample(subject: Subject) -> tuple[pa.Table, pa.Array]:
    rows = np.flatnonzero(pc.is_valid(subject.labels["train"]).to_numpy(zero_copy_only=False))
    if len(rows) > MAX_SAMPLE_ROWS:
        rows = np.sort(np.random.default_rng(subject.seed).choice(rows, MAX_SAMPLE_ROWS, replace=False))
    chosen = pa.array(rows)
    return subject.source.train.take(chosen), subject.labels["train"].take(chosen)


def _leak(values: pa.Array, labels: pa.Array, *, is_input: bool) -> str | None:
    """Says how a column gives the labels away, or returns None."""
    share = _determined_by_value(codes(values), codes(labels))
    if share >= DETERMINED:
        return f"its value tells the label of {share:.0%} of the rows"
    if not is_input:
        return None
    named = _share_naming_label(pc.utf8_lower(values), labels)
    if named >= _NAMES_LABEL:
        return f"holds the label's own name in {named:.0%} of the rows"
    word = _telling_word(values, labels)
    return f"the word '{shortened(word, limit=30)}' alone tells the label" if word else None


def _determined_by_value(values: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Returns the share of rows that guessing each value's commonest label gets right; 0 where that proves nothing."""
    num_labels = int(labels.max()) + 1
    # With few rows a value, every value would tell its own rows' labels by chance.
    if len(np.unique(values)) * 5 > len(values) or len(np.unique(values)) < 2:
        return 0.0
    majority = np.bincount(labels).max() / len(labels)
    table = np.zeros((int(values.max()) + 2, num_labels), np.int64)
    np.add.at(table, (values + 1, labels), 1)
    share = float(table.max(axis=1).sum() / len(labels))
    # A rare class missed altogether must not pass for a tell-tale column.
    return share if 1 - share < 0.2 * (1 - majority) else 0.0


def _share_naming_label(texts: pa.Array, labels: pa.Array) -> float:
    """Returns the share of rows whose text holds its own label, less how often texts hold that label anyway."""
    own = other = 0.0
    for label in pc.unique(labels).to_pylist():
        if len(label) < _MIN_LABEL_LENGTH:
            continue
        holds = np.asarray(pc.fill_null(pc.match_substring(texts, label.lower()), False).to_numpy(zero_copy_only=False))
        mine = np.asarray(pc.equal(labels, label).to_numpy(zero_copy_only=False))
        own += float((holds & mine).sum())
        other += float((holds & ~mine).sum()) / max(1, int((~mine).sum())) * int(mine.sum())
    return max(0.0, (own - other) / len(labels))


def _telling_word(texts: pa.Array, labels: pa.Array) -> str | None:
    """Returns a word that nearly all rows of one class hold and hardly any other row, if such words tell most rows."""
    cleaned = pc.replace_substring_regex(pc.utf8_lower(pc.fill_null(texts, "")), r"[^\pL\pN_]+", " ")
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(cleaned))
    flat = pc.list_flatten(words)
    rows = np.asarray(pc.list_parent_indices(words).to_numpy(zero_copy_only=False), np.int64)
    encoded = pc.dictionary_encode(flat)
    word = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
    label = codes(labels)
    num_words, num_labels = len(encoded.dictionary), int(label.max()) + 1
    once = np.unique(rows * num_words + word) if num_words else np.zeros(0, np.int64)
    rows, word = once // max(num_words, 1), once % max(num_words, 1)
    rows_with_word = np.bincount(word, minlength=num_words)
    pairs, together = np.unique(word * num_labels + label[rows], return_counts=True)
    word_of, label_of = pairs // num_labels, pairs % num_labels
    class_rows = np.bincount(label, minlength=num_labels)
    tells = (
        (together >= DETERMINED * class_rows[label_of])
        & (together >= DETERMINED * rows_with_word[word_of])
        & (class_rows[label_of] >= _MIN_CLASS_ROWS)
    )
    told = np.unique(label_of[tells])
    share = 1.0 if num_labels == 2 and len(told) else class_rows[told].sum() / len(label)
    return str(encoded.dictionary[int(word_of[tells][0])].as_py()) if share >= _NAMES_LABEL else None
