"""Rows that repeat or contradict each other, within training rows and across splits.

How similar texts are found lives in `autosft.data.checks.similarity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.checks.similarity import similar_pairs
from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.texts import codes, shortened

# Jaccard similarity of character 5-grams from which two texts are reported, and from which one of them is dropped.
REPORTED_SIMILARITY = 0.8
DROPPED_SIMILARITY = 0.9


def conflicting_labels(subject: Subject) -> Outcome | None:
    """Finds training texts with several labels: the majority's rows are kept where it has more than half of them."""
    if not subject.one_label:
        return None
    texts, labels = codes(subject.texts["train"]), codes(subject.labels["train"])
    usable = (labels >= 0) & ~_blank(subject)
    num_labels = int(labels.max(initial=0)) + 1
    pairs, pair_counts = np.unique(texts[usable] * num_labels + labels[usable], return_counts=True)
    pair_texts = pairs // num_labels
    labels_per_text = np.bincount(pair_texts, minlength=len(texts) + 1)
    if labels_per_text.max(initial=0) < 2:
        return None
    rows_per_text = np.bincount(texts[usable], minlength=len(texts) + 1)
    majority = pairs[pair_counts * 2 > rows_per_text[pair_texts]]
    conflicting = usable & (labels_per_text[texts] > 1)
    keep = ~conflicting | np.isin(texts * num_labels + labels, majority)
    num_texts = int((labels_per_text > 1).sum())
    return Outcome(
        Severity.WARNING,
        f"Training texts with more than one label: {num_texts:,} (in {counted(int(conflicting.sum()), 'row')}).",
        num_texts,
        examples=_conflict_examples(subject, texts, np.flatnonzero(conflicting)),
        fix=f"kept the label of the majority where more than half agree, dropped {counted(int((~keep).sum()), 'row')}",
        advice="decide on one label for each of these texts",
        keep={"train": keep},
    )


def exact_duplicates(subject: Subject) -> Outcome | None:
    """Finds training rows with the same input, white space apart, and the same label; the first is kept."""
    texts, labels = codes(subject.texts["train"]), codes(subject.labels["train"])
    key = texts * (int(labels.max(initial=0)) + 2) + labels + 1
    _, first, same = np.unique(key, return_index=True, return_inverse=True)
    keep = _blank(subject)
    keep[first] = True
    count = int((~keep).sum())
    if not count:
        return None
    return Outcome(
        Severity.INFO,
        f"Training rows that repeat an earlier one with the same target: {count:,}.",
        count,
        examples=_repeats(
            subject, "train", np.flatnonzero(~keep), lambda row: subject.place("train", first[same[row]])
        ),
        fix=f"dropped {counted(count, 'row')}, keeping the first of each",
        advice="repeated rows weigh more in training; the split keeps them on one side",
        keep={"train": keep},
    )


def duplicates_across_splits(subject: Subject) -> Outcome | None:
    """Finds rows whose text, case and white space apart, also stands in a split that judges them."""
    keep = {}
    for name, judges in (("train", ("validation", "test")), ("validation", ("test",))):
        others = [subject.folded[judge] for judge in judges if judge in subject.folded]
        if name in subject.folded and others:
            found = pc.is_in(subject.folded[name], value_set=pa.concat_arrays(others))
            keep[name] = ~pc.and_(found, pc.not_equal(subject.folded[name], "")).to_numpy(zero_copy_only=False)
    keep = {name: mask for name, mask in keep.items() if not mask.all()}
    if not keep:
        return None
    count = sum(int((~mask).sum()) for mask in keep.values())
    where = ", ".join(f"{int((~mask).sum()):,} in {name}" for name, mask in keep.items())
    first = next(iter(keep))

    def twin(row: int) -> str:
        judges = [name for name in ("test", "validation") if name in subject.folded and name != first]
        found = {name: pc.index(subject.folded[name], subject.folded[first][row]).as_py() for name in judges}
        return next(subject.place(name, at) for name, at in found.items() if at >= 0)

    return Outcome(
        Severity.WARNING,
        f"Rows whose text also stands among the rows that judge the model: {where}.",
        count,
        examples=_repeats(subject, first, np.flatnonzero(~keep[first]), twin),
        fix=f"dropped {counted(count, 'row')}, none of them from test",
        advice="scores on these rows measure memory, not skill",
        keep=keep,
    )


def near_duplicates_across_splits(subject: Subject) -> Outcome | None:
    """Finds training rows that nearly repeat a validation or test text; the closest are dropped from training."""
    judges = [name for name in ("validation", "test") if name in subject.folded]
    if not judges or not subject.reads_text:
        return None
    train = subject.folded["train"]
    texts = pa.concat_arrays([train, *(subject.folded[name] for name in judges)])
    pairs, similarity = similar_pairs(texts, split_at=len(train), threshold=REPORTED_SIMILARITY)
    # Equal texts are the business of `duplicates_across_splits`.
    pairs, similarity = _unequal(texts, pairs, similarity)
    if not len(pairs):
        return None
    rows = np.unique(pairs[:, 0])
    keep = np.ones(len(train), dtype=bool)
    keep[pairs[similarity >= DROPPED_SIMILARITY, 0]] = False
    dropped = int((~keep).sum())
    outcome = Outcome(
        Severity.WARNING if dropped else Severity.INFO,
        f"Training rows that nearly repeat a validation or test text: {len(rows):,}, of them {dropped:,} with a "
        f"similarity of {DROPPED_SIMILARITY} or more.",
        len(rows),
        examples=_pair_examples(subject, ("train", *judges), pairs, similarity),
        fix=f"dropped the closest {counted(dropped, 'row')} from training",
        advice="look at the examples: scores may be a little too good",
    )
    return replace(outcome, keep={"train": keep}) if dropped else outcome


def near_duplicates(subject: Subject) -> Outcome | None:
    """Finds training rows that nearly repeat another one. Reported only."""
    if not subject.reads_text:
        return None
    texts = subject.folded["train"]
    pairs, similarity = similar_pairs(texts, split_at=None, threshold=DROPPED_SIMILARITY)
    pairs, similarity = _unequal(texts, pairs, similarity)
    if not len(pairs):
        return None
    count = len(np.unique(pairs))
    return Outcome(
        Severity.WARNING if count > 0.1 * len(texts) else Severity.INFO,
        f"Training rows that nearly repeat another one: {count:,}.",
        count,
        examples=_pair_examples(subject, ("train",), pairs, similarity),
        advice=""
        if subject.task.group_column
        else "if they come from one origin, name the column that tells it with group= so that a split keeps it whole",
    )


def _unequal(
    texts: pa.Array, pairs: NDArray[np.int64], similarity: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the pairs whose texts differ; one that repeats the other several times has the same set of 5-grams."""
    left, right = (texts.take(pa.array(side)) for side in pairs.T)
    differ = pc.not_equal(left, right).to_numpy(zero_copy_only=False)
    return pairs[differ], similarity[differ]


def _blank(subject: Subject) -> NDArray[np.bool_]:
    return np.array(pc.equal(subject.texts["train"], "").to_numpy(zero_copy_only=False))


def _conflict_examples(subject: Subject, texts: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[str, ...]:
    shown, names = [], subject.shown("train")
    for text in dict.fromkeys(texts[rows].tolist()):
        of_text = rows[texts[rows] == text]
        labels = " / ".join(dict.fromkeys(subject.labels["train"].take(pa.array(of_text)).to_pylist()))
        name = shortened(names[int(of_text[0])].as_py(), limit=40)
        shown.append(shortened(f"{subject.places('train', of_text)}: {name}: {labels}"))
        if len(shown) == NUM_EXAMPLES:
            break
    return tuple(shown)


def _repeats(subject: Subject, split: str, rows: NDArray[np.int64], earlier: Callable[[int], str]) -> tuple[str, ...]:
    """Returns the first few of these rows with their places and that of the row which each repeats."""
    few = rows[:NUM_EXAMPLES].tolist()
    shown = subject.shown(split).take(pa.array(few)).to_pylist()
    return tuple(
        shortened(f"{subject.place(split, row)}, as {earlier(row)}: {text}")
        for row, text in zip(few, shown, strict=True)
    )


def _pair_examples(
    subject: Subject, splits: Sequence[str], pairs: NDArray[np.int64], similarity: NDArray[np.float64]
) -> tuple[str, ...]:
    """Returns the closest pairs: their places, and one of the texts. Positions count through all splits."""
    starts = np.cumsum([0, *(len(subject.folded[name]) for name in splits)])

    def place(position: int) -> str:
        at = int(np.searchsorted(starts, position, side="right")) - 1
        return subject.place(splits[at], position - int(starts[at]))

    best = pairs[np.argsort(-similarity, kind="stable")[:NUM_EXAMPLES]].tolist()
    shown = subject.shown(splits[0]).take(pa.array([one for one, _ in best])).to_pylist()
    return tuple(
        shortened(f"{place(one)} ~ {place(other)}: {text}") for (one, other), text in zip(best, shown, strict=True)
    )
