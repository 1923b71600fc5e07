"""Texts that answer what the label answers: an answer beside a question and its context, the reasons for a label.

Names raise the suspicion; a small model out of fold, or the label at the beginning of the text, confirms it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.checks.subject import Subject
from autosft.data.texts import as_text, codes, shortened

_QUESTIONS = {"question", "query", "problem"}
_CONTEXTS = {"context", "passage", "document", "paragraph", "abstract", "article", "evidence", "facts"}
_ANSWERS = {"answer"}
_REASONS = {"explanation", "rationale", "justification", "reasoning", "conclusion", "resolution"}
#: So called, an answer is no text that the label judges, whatever stands beside it.
_LONG = {"long", "full", "ideal", "detailed"}

#: Rows, characters per text and folds of the small model: a second or two, and only where names raise a suspicion.
_MAX_ROWS, _MAX_CHARACTERS, _FOLDS = 2_000, 2_000, 3
_MIN_ROWS, _MAX_CLASSES = 60, 50
#: How much surer the labels are told than from the other texts: in accuracy, and in standard errors.
_MARGIN, _STANDARD_ERRORS = 0.05, 3.0
#: Share of rows that begin with their own label, beyond chance; and what may stand before.
_BEGINS = 0.5
_BEFORE = " \t\r\n\"'([{*_#-"


def answering_texts(subject: Subject, table: pa.Table, labels: pa.Array) -> dict[str, str]:
    """Returns the columns of text that say what the label says, each with how that shows.

    Args:
        subject: Only texts that one label a row is told from are looked at.
        table: A sample of the training rows.
        labels: Their labels, none of them null.
    """
    task = subject.task
    left_out = {task.target_column, task.group_column, task.time_column}
    names = [field.name for field in table.schema if field.name not in left_out and _may_hold_text(field.type)]
    texts = {name: pc.fill_null(as_text(table.column(name)), "") for name in names}
    texts = {name: column for name, column in texts.items() if _is_prose(column)}
    found = {}
    for name, column in texts.items():
        share = _share_beginning_with_label(column, labels)
        if share >= _BEGINS:
            found[name] = f"begins with the label's own name in {share:.0%} of the rows"
    suspects = [name for name in texts if name not in found and _is_suspect(name, names)]
    others = [name for name in texts if name not in found and name not in suspects]
    return found | (_told(texts, labels, suspects, others) if suspects and others else {})


def _may_hold_text(column_type: pa.DataType) -> bool:
    listed = pa.types.is_list(column_type) or pa.types.is_large_list(column_type)
    inner = column_type.value_type if listed or pa.types.is_dictionary(column_type) else column_type
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _is_prose(texts: pa.Array) -> bool:
    """Tells whether texts differ and have several words, at least two in three of them."""
    spaced = pc.sum(pc.match_substring_regex(texts, r"\S\s+\S+\s+\S")).as_py() or 0
    return bool(3 * spaced >= 2 * len(texts) and 5 * pc.count_distinct(texts).as_py() > len(texts))


def _is_suspect(name: str, names: list[str]) -> bool:
    words = _words(name)
    if words & _REASONS:
        return True
    if not words & _ANSWERS or not any(_words(other) & _QUESTIONS for other in names if other != name):
        return False
    # Without either, the answer is what the label judges.
    return bool(words & _LONG) or any(_words(other) & _CONTEXTS for other in names if other != name)


def _words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", spaced.casefold())
    return {*words, *(word.removesuffix("s") for word in words)}


def _share_beginning_with_label(texts: pa.Array, labels: pa.Array) -> float:
    """Returns the share of rows whose text begins with its own label, beyond what chance gives: 0 none, 1 all."""
    beginnings = [text.lstrip(_BEFORE).casefold() for text in texts.to_pylist()]
    wanted = [label.casefold() for label in labels.to_pylist()]
    shuffled = [wanted[i] for i in np.random.default_rng(0).permutation(len(wanted))]
    own, chance = (np.mean(list(map(_begins, beginnings, names))) for names in (wanted, shuffled))
    return float((own - chance) / (1 - chance)) if chance < 1 else 0.0


def _begins(text: str, label: str) -> bool:
    return text.startswith(label) and not text[len(label) : len(label) + 1].isalnum()


def _told(texts: Mapping[str, pa.Array], labels: pa.Array, suspects: list[str], others: list[str]) -> dict[str, str]:
    """Returns the suspects from which the label is told far better than from any other text or the commonest label."""
    classes = codes(labels)
    counts = np.bincount(classes)
    enough = np.flatnonzero(np.isin(classes, np.flatnonzero(counts >= _FOLDS)))
    rows = np.sort(np.random.default_rng(0).permutation(enough)[:_MAX_ROWS])
    classes = classes[rows]
    if len(rows) < _MIN_ROWS or not 2 <= len(np.unique(classes)) <= _MAX_CLASSES:
        return {}
    cut = {name: pc.utf8_slice_codeunits(texts[name].take(pa.array(rows)), 0, _MAX_CHARACTERS) for name in texts}
    best, most = max((_accuracy(cut[name].to_pylist(), classes), name) for name in others)
    majority = float(np.bincount(classes).max()) / len(classes)
    baseline = max(best, majority)
    found = {}
    for name in suspects:
        accuracy = _accuracy(cut[name].to_pylist(), classes)
        error = math.sqrt(2 * accuracy * (1 - accuracy) / len(classes))
        if accuracy - baseline > max(_MARGIN, _STANDARD_ERRORS * error):
            than = f"'{shortened(most, limit=24)}' tells" if best > majority else "the commonest label is"
            found[name] = f"its words tell {accuracy:.0%} of the labels, {than} {baseline:.0%}"
    return found


def _accuracy(texts: list[str], classes: NDArray[np.int64]) -> float:
    """Returns the accuracy of a small linear model on folds that it was not fitted on."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=20_000, token_pattern=r"(?u)\w+"),
        LogisticRegression(C=10.0, max_iter=100),
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(np.mean(cross_val_predict(model, texts, classes, cv=folds) == classes))
