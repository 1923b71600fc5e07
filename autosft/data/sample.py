"""A random sample of the training rows, where there are more than a run can read in its time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autosft.data.source import Source
from autosft.data.texts import codes
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

#: Rows of each label that a sample holds at least, where there are as many.
_ROWS_OF_A_LABEL = 20


def sampled(kind: TaskKind, task: Task, source: Source, *, most_rows: int, seed: int) -> Source:
    """Returns the source with at most so many of its training rows, in their order; other splits are left whole.

    The rows are drawn alike, but for labels that would have next to none.
    """
    num_rows = source.train.num_rows
    if num_rows <= most_rows:
        return source
    order = np.random.default_rng(seed).permutation(num_rows)
    turn = np.arange(num_rows)
    if kind.output is Output.LABEL:
        turn[_rank_of_label(codes(kind.target_texts(task, source.train))[order]) < _ROWS_OF_A_LABEL] = -1
    chosen = np.zeros(num_rows, np.bool_)
    chosen[order[np.argsort(turn, kind="stable")[:most_rows]]] = True
    note = f"There is time to read a random sample of {most_rows:,} of {num_rows:,} training rows."
    return replace(source.filtered({"train": chosen}), notes=(*source.notes, note))


def _rank_of_label(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns for each row how many rows before it have its label, shape (rows,)."""
    order = np.argsort(labels, kind="stable")
    _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(first, counts)
    return ranks
