"""Metrics of an ordering of rows by score, on weighted rows, so that one call scores every bootstrap resample.

Ties are handled as scikit-learn does. Metrics of decided labels live in `autosft.tasks.label_metrics`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def roc_auc(scores: Floats, is_positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Returns the probability that a positive row scores above a negative one, ties counting half.

    Args:
        scores: Shape (rows,).
        is_positive: Shape (rows,).
        weights: How often each row counts, shape (resamples, rows).

    Returns:
        Shape (resamples,); NaN where a resample has no positive or no negative row.
    """
    positives, negatives = _by_distinct_score(scores, is_positive, weights)
    negatives_above = np.cumsum(negatives, axis=1)
    pairs = positives.sum(axis=1) * negatives_above[:, -1]
    lost = (positives * (negatives_above - negatives / 2)).sum(axis=1)
    return _ratio(pairs - lost, pairs)


def average_precision(scores: Floats, is_positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Returns the precision averaged over the steps of recall, without interpolation.

    Arguments as in `roc_auc`; NaN where a resample has no positive row.
    """
    positives, negatives = _by_distinct_score(scores, is_positive, weights)
    found = np.cumsum(positives, axis=1)
    shown = found + np.cumsum(negatives, axis=1)
    precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
    return _ratio((positives * precision).sum(axis=1), found[:, -1])


def _by_distinct_score(scores: Floats, is_positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Returns the weight of positive and of negative rows at each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = weights[:, order]
    total = np.add.reduceat(ordered, starts, axis=1)
    positives = np.add.reduceat(ordered * is_positive[order], starts, axis=1)
    return positives, total - positives


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
