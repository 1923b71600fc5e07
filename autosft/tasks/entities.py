"""Tags of words and the entities they mark: schemes, the canonical BIO, and the metrics that count entities.

Tags are read alike whatever their scheme: an entity begins where IOB1, BIO, BIOES and BILOU all say that one begins.
That is also how conlleval, and seqeval's default mode, read tags that break their scheme.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]

OUTSIDE = "O"

METRICS: Mapping[str, bool] = MappingProxyType(
    {
        "entity_f1": True,
        "entity_precision": True,
        "entity_recall": True,
        "macro_entity_f1": True,
        "token_accuracy": True,
    }
)


class Mark(IntEnum):
    """Where in an entity a tag says that its word stands."""

    OUTSIDE = 0
    BEGIN = 1
    INSIDE = 2
    END = 3
    SINGLE = 4


#: Prefixes by scheme: B and I of IOB1 and BIO, E and S of BIOES, L and U of BILOU, M and W of BMEWO.
_MARKS = {
    "B": Mark.BEGIN, "I": Mark.INSIDE, "M": Mark.INSIDE, "E": Mark.END, "L": Mark.END, "S": Mark.SINGLE,
    "U": Mark.SINGLE, "W": Mark.SINGLE,
}  # fmt: skip
_PREFIXED = re.compile(rf"([{''.join(_MARKS)}])-(.+)")


def split_tag(tag: str | None, types: frozenset[str] | None = None) -> tuple[Mark, str] | None:
    """Returns a tag's mark and type, ("", for "O"); None where it is none.

    Args:
        types: The types there are. A tag that is a type by itself, without a prefix, is inside an entity of that type.
            Without them only tags with a prefix are known.
    """
    if tag is None:
        return None
    tag = tag.strip()
    if tag == OUTSIDE:
        return Mark.OUTSIDE, ""
    if types is not None and tag in types:
        return Mark.INSIDE, tag
    found = _PREFIXED.fullmatch(tag)
    return (_MARKS[found[1]], found[2]) if found else None


def bio_labels(types: Sequence[str]) -> tuple[str, ...]:
    """Returns the canonical tags of these entity types: "O", then "B-X" and "I-X" of each, types sorted."""
    return (OUTSIDE, *(f"{mark}-{name}" for name in sorted(set(types)) for mark in "BI"))


def types_of(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the entity types of canonical tags, in their order."""
    return tuple(label[2:] for label in labels[1::2])


def types_of_tags(tags: pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
    """Returns the entity types of tags, sorted.

    Where fewer than half of the tags other than "O" have a known prefix, none is taken for one: each tag is a type.
    """
    counted = pc.value_counts(tags.drop_null())
    counts = {row["values"].strip(): row["counts"] for row in counted.to_pylist()}
    counts = {tag: count for tag, count in counts.items() if tag and tag != OUTSIDE}
    split = {tag: split_tag(tag) for tag in counts}
    prefixed = sum(counts[tag] for tag, found in split.items() if found)
    if 2 * prefixed < sum(counts.values()):
        return tuple(sorted(counts))
    return tuple(sorted({found[1] for found in split.values() if found}))


def canonical(marks: Numbers, kinds: Numbers, first: NDArray[np.bool_]) -> tuple[Numbers, NDArray[np.bool_]]:
    """Returns canonical positions in `bio_labels`, and which words begin an entity.

    Args:
        marks: A Mark for each word, rows one after the other, shape (words,).
        kinds: Positions among the types, -1 outside, shape (words,).
        first: Whether a word is the first of its row, shape (words,).
    """
    before_mark = np.concatenate([[Mark.OUTSIDE], marks[:-1]])[: len(marks)]
    before_kind = np.concatenate([[-1], kinds[:-1]])[: len(kinds)]
    closed = np.isin(before_mark, (Mark.OUTSIDE, Mark.END, Mark.SINGLE)) | (before_kind != kinds) | first
    begins = np.isin(marks, (Mark.BEGIN, Mark.SINGLE)) | (np.isin(marks, (Mark.INSIDE, Mark.END)) & closed)
    return np.where(marks == Mark.OUTSIDE, 0, 1 + 2 * kinds + ~begins).astype(np.int64), begins


def repaired(positions: Numbers, first: NDArray[np.bool_]) -> Numbers:
    """Returns positions in `bio_labels` with every entity opened by its "B-", as a model's own may not be."""
    marks = np.where(positions == 0, Mark.OUTSIDE, np.where(positions % 2 == 1, Mark.BEGIN, Mark.INSIDE))
    return canonical(marks, (positions - 1) // 2, first)[0]


@dataclass(frozen=True)
class Entities:
    """Entities of many rows; each array has shape (entities,).

    Attributes:
        starts: First word, counted through all rows.
        ends: Word after the last one.
        kinds: Position among the types.
    """

    starts: Numbers
    ends: Numbers
    kinds: Numbers

    @staticmethod
    def of(positions: Numbers, first: NDArray[np.bool_]) -> Entities:
        """Reads canonical positions in `bio_labels`, rows one after the other."""
        starts = np.flatnonzero(positions % 2 == 1)
        borders = np.append(np.flatnonzero((positions == 0) | (positions % 2 == 1) | first), len(positions))
        ends = borders[np.searchsorted(borders, starts, side="right")]
        return Entities(starts, ends, (positions[starts] - 1) // 2)

    def keys(self, num_words: int, num_types: int) -> Numbers:
        """Returns a number for each entity that another has only where words and type are the same."""
        return (self.starts * (num_words + 1) + self.ends) * num_types + self.kinds


@dataclass(frozen=True)
class Counts:
    """What the metrics count in each row.

    Attributes:
        matched: Entities found with the right words and type, shape (rows, types).
        predicted: Entities predicted, likewise.
        true: Entities there are, likewise.
        correct: Words with the right tag, shape (rows,).
        words: Words, likewise.
    """

    matched: Floats
    predicted: Floats
    true: Floats
    correct: Floats
    words: Floats

    @staticmethod
    def of(true: Numbers, predicted: Numbers, lengths: Numbers, num_types: int) -> Counts:
        """Compares canonical positions, rows of these lengths one after the other."""
        first, row = row_starts(lengths), np.repeat(np.arange(len(lengths)), lengths)
        ours, theirs = Entities.of(predicted, first), Entities.of(true, first)
        found = np.isin(ours.keys(len(row), num_types), theirs.keys(len(row), num_types), assume_unique=True)

        def tally(entities: Entities, chosen: NDArray[np.bool_] | None = None) -> Floats:
            cells = row[entities.starts] * num_types + entities.kinds
            cells = cells if chosen is None else cells[chosen]
            counted = np.bincount(cells, minlength=len(lengths) * num_types)
            return counted.reshape(len(lengths), num_types).astype(np.float64)

        correct = np.bincount(row[true == predicted], minlength=len(lengths)).astype(np.float64)
        return Counts(tally(ours, found), tally(ours), tally(theirs), correct, lengths.astype(np.float64))


def row_starts(lengths: Numbers) -> NDArray[np.bool_]:
    """Returns whether each word is the first of its row, from the rows' numbers of words."""
    first = np.zeros(int(lengths.sum()), np.bool_)
    first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    return first


def metric_values(name: str, counts: Counts, weights: Floats) -> Floats:
    """Returns one metric for several weightings of the rows.

    Where nothing is to be found and nothing was, precision, recall and F1 are 0, as in seqeval. The macro average is
    over the types that are there or were predicted.

    Args:
        name: A key of METRICS.
        weights: How often each row counts, shape (weightings, rows).

    Returns:
        Shape (weightings,).
    """
    if name == "token_accuracy":
        return np.asarray(_ratio(weights @ counts.correct, weights @ counts.words))
    if name == "macro_entity_f1":
        matched, predicted, true = (weights @ part for part in (counts.matched, counts.predicted, counts.true))
        there = (predicted + true) > 0
        return np.asarray(_ratio((_ratio(2 * matched, predicted + true) * there).sum(axis=1), there.sum(axis=1)))
    parts = (counts.matched, counts.predicted, counts.true)
    matched, predicted, true = (weights @ part.sum(axis=1) for part in parts)
    if name == "entity_precision":
        return _ratio(matched, predicted)
    return _ratio(matched, true) if name == "entity_recall" else _ratio(2 * matched, predicted + true)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
