"""Entities among words: named entity recognition, and whatever else gives each word a tag.

Schemes and metrics live in `autosft.tasks.entities`, the reading of columns in `autosft.tasks.entity_columns`, checks
of the data in `autosft.tasks.entity_checks`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import from_matrix, one_array, to_matrix, to_numbers
from autosft.data.texts import as_text, input_texts, label_texts, shortened, squeeze
from autosft.errors import DataError, explain
from autosft.task import Input, Output, Task
from autosft.tasks import entities
from autosft.tasks.base import ClassCounts, Scorer, TaskKind
from autosft.tasks.columns import user_column
from autosft.tasks.entities import Counts, Entities, Numbers, row_starts
from autosft.tasks.entity_checks import CHECKS
from autosft.tasks.entity_columns import Reading, Trouble, holds_words, read_targets, read_words
from autosft.tasks.label_metrics import SMALLEST_PROBABILITY, row_weights
from autosft.tasks.label_values import plain

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string()), ("text", pa.string())])
_FIX = {
    Trouble.LENGTH: "give every word one tag",
    Trouble.UNREADABLE: "correct it, or leave that row out",
    Trouble.UNSEEN: "correct it, or add training rows with entities of that type",
}


class TokenClassification(TaskKind):
    """One tag a word.

    Rows are words with tags (IOB1, BIO, BIOES, BILOU, or bare types), or texts with spans; the input column tells
    which. Texts are cut into words here. `task.labels` are canonical BIO tags, see `entities.bio_labels`.
    """

    name = "token-classification"
    input = Input.TOKENS
    output = Output.TOKEN_LABELS
    metrics = entities.METRICS
    checks = CHECKS

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns "tokens"; of texts also "text", and "offsets": list<int32>, where each token starts in it."""
        words = read_words(task, table)
        if words.texts is None:
            return pa.table({"tokens": words.tokens})
        offsets = pa.array([starts.astype(np.int32) for starts in words.starts], pa.list_(pa.int32()))
        return pa.table({"tokens": words.tokens, "text": pa.array(words.texts, pa.string()), "offsets": offsets})

    def encode_targets(self, task: Task, table: pa.Table, *, strict: bool = True) -> pa.Array:
        """Returns positions in `task.labels`, list<int16>, canonical whatever the scheme of the user's tags."""
        found = read_targets(task, table)
        if strict and not found.has_target.all():
            raise DataError(_no_target(task, table, found))
        lengths = np.where(found.has_target, found.lengths, 0)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        values = found.positions[np.repeat(found.has_target, found.lengths)].astype(np.int16)
        mask = None if found.has_target.all() else pa.array(~found.has_target)
        return pa.ListArray.from_arrays(offsets, pa.array(values, pa.int16()), mask=mask)

    def decode(self, task: Task, inputs: pa.Table, outputs: pa.Array) -> dict[str, pa.Array]:
        """Returns "prediction" and "score".

        "prediction" is a list of BIO tags for rows that came as words, and a list of {"start", "end", "label", "text"}
        for texts, in characters, the end exclusive. "score" is the smallest probability of a predicted tag in the row:
        a row is as sure as its least sure word; it is 1 where there is no word.
        """
        lengths, probabilities = _flat(outputs)
        positions, first = _predicted(lengths, probabilities)
        best = np.append(probabilities.max(axis=1, initial=0.0), 1.0)
        # The 1 at the end keeps the last start inside; rows without words are set apart.
        least = np.minimum.reduceat(best, np.cumsum(lengths) - lengths) if len(lengths) else np.zeros(0)
        score = pa.array(np.clip(np.where(lengths > 0, least, 1.0), 0.0, 1.0), pa.float32())
        if "text" in inputs.column_names:
            return {"prediction": _spans(task, inputs, lengths, positions, first), "score": score}
        tags = pa.array(task.labels, pa.string()).take(pa.array(positions))
        return {"prediction": pa.ListArray.from_arrays(_offsets(lengths), tags), "score": score}

    def scorer(self, task: Task, targets: pa.Array, outputs: pa.Array) -> Scorer:
        """Entities are counted once a row; a user's metric is given lists of BIO tags, one list a row."""
        if task.metric.function is not None:
            true, predicted = _tag_lists(task, targets, outputs)
            value = task.metric.value
            return lambda rows: np.array(
                [value([true[row] for row in chosen], [predicted[row] for row in chosen]) for chosen in rows]
            )
        counts = _counts(task, targets, outputs)
        return lambda rows: entities.metric_values(task.metric.name, counts, row_weights(rows, len(targets)))

    def scores(self, task: Task, targets: pa.Array, outputs: pa.Array) -> dict[str, float]:
        counts, every = _counts(task, targets, outputs), np.ones((1, len(targets)))
        found = {task.metric.name: self.score(task, targets, outputs)}
        return found | {name: float(entities.metric_values(name, counts, every)[0]) for name in self.metrics}

    def loss(self, task: Task, targets: pa.Array, outputs: pa.Array) -> float:
        """Returns the mean negative log-likelihood of a word's tag in nats."""
        _, true, probabilities = _aligned(targets, outputs)
        chosen = probabilities[np.arange(len(true)), true].astype(np.float64)
        return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)).mean()) if len(true) else 0.0

    def verdicts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> pa.Table:
        """Returns the tags, the least sure word's probability, and the summed negative log-likelihood of the tags.

        A row is right where every tag is.
        """
        lengths, true, probabilities = _aligned(targets, outputs)
        predicted, _ = _predicted(lengths, probabilities)
        row, names = np.repeat(np.arange(len(lengths)), lengths), pa.array(task.labels, pa.string())
        of_truth = np.clip(probabilities[np.arange(len(true)), true].astype(np.float64), SMALLEST_PROBABILITY, 1.0)
        least = np.ones(len(lengths))
        np.minimum.at(least, row, probabilities.max(axis=1, initial=0.0))
        wrong = np.bincount(row[true != predicted], minlength=len(lengths))
        return pa.table(
            {
                "target": pa.ListArray.from_arrays(_offsets(lengths), names.take(pa.array(true))),
                "prediction": pa.ListArray.from_arrays(_offsets(lengths), names.take(pa.array(predicted))),
                "score": pa.array(least, pa.float32()),
                "right": pa.array(wrong == 0),
                "loss": pa.array(np.bincount(row, weights=-np.log(of_truth), minlength=len(lengths))),
            }
        )

    def class_counts(self, task: Task, targets: pa.Array, outputs: pa.Array) -> ClassCounts:
        """Returns entities by type; one is found where its words and its type are."""
        counts = _counts(task, targets, outputs)
        summed = [part.sum(axis=0).astype(np.int64) for part in (counts.matched, counts.predicted, counts.true)]
        return ClassCounts(entities.types_of(task.labels), *summed)

    def confidences(
        self, task: Task, targets: pa.Array, outputs: pa.Array
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns the largest probability of each word's tags, and whether it is that of its tag."""
        _, true, probabilities = _aligned(targets, outputs)
        return probabilities.max(axis=1, initial=0.0).astype(np.float64), probabilities.argmax(axis=1) == true

    def constant(self, task: Task, train: pa.Array, like: pa.Array) -> pa.Array:
        """Returns the shares of the tags for every word."""
        counts = np.bincount(to_numbers(one_array(train).flatten()), minlength=len(task.labels))
        lengths = to_numbers(pc.fill_null(pc.list_value_length(one_array(like)), 0))
        shares = np.tile((counts / max(counts.sum(), 1)).astype(np.float32), (int(lengths.sum()), 1))
        return pa.ListArray.from_arrays(_offsets(lengths), from_matrix(shares))

    def identities(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns words joined by a space, and texts as they are."""
        column = plain(user_column(table, task.input_columns[0]))
        if not holds_words(column.type):
            return input_texts(table, task.input_columns)
        return squeeze(pc.binary_join(read_words(task, table).tokens, " ").cast(pa.large_string()))

    def target_texts(self, task: Task, table: pa.Table) -> pa.Array:
        column = plain(user_column(table, task.target_column))
        if holds_words(column.type):
            # A list without any tag is no missing one.
            return one_array(pc.binary_join(column.cast(pa.list_(pa.string())), " ")).cast(pa.large_string())
        return as_text(column) if pa.types.is_nested(column.type) else label_texts(column)

    def strata(self, task: Task, table: pa.Table) -> NDArray[np.int64]:
        """Returns a number for the rarest type of entity in each row, counted in rows; 0 where it has none."""
        found = read_targets(task, table)
        row = np.repeat(np.arange(len(found.lengths)), found.lengths)
        begins = found.positions % 2 == 1
        cells = np.unique(np.stack([row[begins], (found.positions[begins] - 1) // 2]), axis=1)
        rank = np.bincount(cells[1], minlength=1)
        strata = np.zeros(len(found.lengths), np.int64)
        # The rarest type is written last, so it stands.
        order = np.argsort(-rank[cells[1]], kind="stable")
        strata[cells[0][order]] = cells[1][order] + 1
        return strata

    def rows_per_class(self, task: Task, targets: pa.Array) -> float:
        """Returns the median number of entities of a type."""
        positions = np.asarray(targets.drop_null().flatten().to_numpy(zero_copy_only=False), np.int64)
        types = len(entities.types_of(task.labels))
        if not types:
            return float(len(targets))
        return float(np.median(np.bincount((positions[positions % 2 == 1] - 1) // 2, minlength=types)))


def _no_target(task: Task, table: pa.Table, found: Reading) -> str:
    row, count = int(np.argmin(found.has_target)), int((~found.has_target).sum())
    where = f"row {row} of column '{task.target_column}'" + (f", and {count - 1} more rows," if count > 1 else "")
    remark = next((remark for remark in found.remarks if remark.row == row and remark.trouble in _FIX), None)
    if remark is None:
        wrong, fix = f"{where} has no tags", "fill in the missing tags or leave those rows out"
    else:
        wrong, fix = f"{where} cannot be learned: {remark.words}", _FIX[remark.trouble]
    text = shortened(table.column(task.input_columns[0])[row].as_py(), limit=60)
    return explain(wrong=f"{wrong} ({text})", expected="a known tag for every word", fix=fix)


def _flat(outputs: pa.Array) -> tuple[Numbers, NDArray[np.float32]]:
    """Returns words a row, and their probabilities one row after the other, shape (words, labels)."""
    whole = one_array(outputs)
    lengths = pc.fill_null(whole.value_lengths(), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, np.int64), to_matrix(whole.flatten())


def _offsets(lengths: Numbers) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _predicted(lengths: Numbers, probabilities: NDArray[np.float32]) -> tuple[Numbers, NDArray[np.bool_]]:
    """Returns the likeliest tags, canonical, and whether each word is the first of its row."""
    first = row_starts(lengths)
    return entities.repaired(probabilities.argmax(axis=1).astype(np.int64), first), first


def _spans(task: Task, inputs: pa.Table, lengths: Numbers, positions: Numbers, first: NDArray[np.bool_]) -> pa.Array:
    types = entities.types_of(task.labels)
    found = Entities.of(positions, first)
    begins = np.cumsum(lengths) - lengths
    rows = np.searchsorted(np.cumsum(lengths), found.starts, side="right")
    texts, tokens, offsets = (inputs.column(name).to_pylist() for name in ("text", "tokens", "offsets"))
    spans: list[list[dict[str, object]]] = [[] for _ in texts]
    for row, start, end, kind in zip(rows, found.starts, found.ends, found.kinds, strict=True):
        last = int(end - begins[row]) - 1
        here, there = offsets[row][int(start - begins[row])], offsets[row][last] + len(tokens[row][last])
        text = texts[row][here:there]
        spans[row].append({"start": here, "end": there, "label": types[kind], "text": text})
    return pa.array(spans, pa.list_(_SPAN))


def _aligned(targets: pa.Array, outputs: pa.Array) -> tuple[Numbers, Numbers, NDArray[np.float32]]:
    """Returns words a row (0 where it has no target), their true positions and probabilities, rows in order."""
    whole = one_array(targets)
    there = np.asarray(whole.is_valid().to_numpy(zero_copy_only=False))
    lengths, probabilities = _flat(outputs)
    probabilities = probabilities[np.repeat(there, lengths)]
    lengths = np.where(there, lengths, 0)
    true = np.asarray(whole.flatten().to_numpy(zero_copy_only=False), np.int64)
    assert len(true) == len(probabilities), "targets and outputs are about other words"
    return lengths, true, probabilities


def _counts(task: Task, targets: pa.Array, outputs: pa.Array) -> Counts:
    lengths, true, probabilities = _aligned(targets, outputs)
    positions, _ = _predicted(lengths, probabilities)
    return Counts.of(true, positions, lengths, len(entities.types_of(task.labels)))


def _tag_lists(task: Task, targets: pa.Array, outputs: pa.Array) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the true and the predicted tags of each row."""
    lengths, true, probabilities = _aligned(targets, outputs)
    names, cuts = np.array(task.labels, dtype=object), np.cumsum(lengths)[:-1]
    predicted, _ = _predicted(lengths, probabilities)
    first, second = ([part.tolist() for part in np.split(names[tags], cuts)] for tags in (true, predicted))
    return first, second
