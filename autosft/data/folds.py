"""Assigning rows to folds: stratified by label, with rows that belong together always in one fold.

How many folds there are, and which of them validate, is decided in `autosft.data.split`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

_LARGEST_FIRST_SHARE = 0.34


def connected(keys: Sequence[Numbers], num_rows: int) -> Numbers:
    """Returns the unit of each row: rows that share a value of any key, directly or through others, are one unit.

    Args:
        keys: Arrays of shape (rows,); -1 stands for no value, which nothing shares.
        num_rows: Number of rows.

    Returns:
        Unit numbers from 0, shape (rows,).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(num_rows)
    links = [np.zeros((2, 0), np.int64)]
    for key in keys:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        linked = key >= 0
        links.append(np.stack([rows[linked], first[inverse][linked]]))
    left, right = np.concatenate(links, axis=1)
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(num_rows, num_rows))
    _, units = connected_components(graph, directed=False)
    return np.asarray(units, dtype=np.int64)


def stratified(
    labels: Numbers, units: Numbers, *, num_folds: int, rng: np.random.Generator, every_class_in_first: bool
) -> Numbers:
    """Assigns each unit to a fold so that every label is spread evenly.

    Units of several rows go first, the largest ahead, each to the fold that has least of its labels so far (the greedy
    rule of scikit-learn's StratifiedGroupKFold, with shares in place of standard deviations); single rows fill up.

    Args:
        labels: Label numbers from 0, shape (rows,).
        units: Unit numbers from 0, shape (rows,).
        num_folds: Number of folds.
        rng: Breaks ties.
        every_class_in_first: Give fold 0 a row of every label that has two single rows or more, unless that alone
            would make it hold more than a third of the rows.

    Returns:
        Fold numbers, shape (rows,).
    """
    num_labels = int(labels.max(initial=0)) + 1
    filled = np.zeros((num_folds, num_labels), np.int64)
    folds = np.full(len(labels), -1, np.int64)
    sizes = np.bincount(units)
    _place_groups(folds, labels, units, filled, rng)
    singles = np.flatnonzero(sizes[units] == 1)
    singles = singles[rng.permutation(len(singles))]
    by_label = singles[np.argsort(labels[singles], kind="stable")]
    num_wanting = int((np.bincount(labels[singles], minlength=num_labels) > 1).sum())
    first = every_class_in_first and num_wanting <= _LARGEST_FIRST_SHARE * len(labels)
    totals = filled.sum(axis=1)
    for rows in np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1):
        if len(rows):
            _place_singles(folds, rows, filled[:, labels[rows[0]]], totals, rng, first=first)
    return folds


def _place_groups(folds: Numbers, labels: Numbers, units: Numbers, filled: Numbers, rng: np.random.Generator) -> None:
    sizes = np.bincount(units)
    label_totals = np.maximum(np.bincount(labels, minlength=filled.shape[1]), 1)
    rows = np.argsort(units, kind="stable")
    ends = np.cumsum(sizes)
    shuffled = rng.permutation(len(sizes))
    for unit in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        if sizes[unit] < 2:
            break
        members = rows[ends[unit] - sizes[unit] : ends[unit]]
        present, counts = np.unique(labels[members], return_counts=True)
        overlap = (filled[:, present] * counts / label_totals[present]).sum(axis=1) / counts.sum()
        # Between folds with as little of these labels, the smaller one.
        best = int(np.argmin(overlap + 1e-3 * filled.sum(axis=1) / len(labels)))
        folds[members] = best
        filled[best, present] += counts


def _place_singles(
    folds: Numbers, rows: Numbers, of_label: Numbers, totals: Numbers, rng: np.random.Generator, *, first: bool
) -> None:
    """Gives each row of one label to the fold with the fewest rows of it; updates `totals` (rows by fold)."""
    order = rng.permutation(len(totals))
    start = of_label.copy()
    if first and len(rows) > 1 and start[0] == 0:
        start[0] = -1
    heap = [(int(start[fold]), int(totals[fold]), int(order[fold]), fold) for fold in range(len(totals))]
    heapq.heapify(heap)
    for row in rows.tolist():
        count, total, tie, fold = heap[0]
        folds[row] = fold
        totals[fold] += 1
        heapq.heapreplace(heap, (max(count, 0) + 1, total + 1, tie, fold))
