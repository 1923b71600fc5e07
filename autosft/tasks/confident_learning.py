"""Which labels are probably wrong, by confident learning (Northcutt et al., JAIR 2021, arXiv 1911.00068)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suspected_labels(
    targets: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the rows whose label is probably wrong, the surest first, and the label that each probably has.

    A label is confidently another one where the model gives that one at least as much as it gives it, on average, to
    rows that are labelled with it. Of a row's confident labels the likeliest counts, if it is likelier than the given
    one: rows of a label that the model hardly ever gives are no accusation of those of others.

    Args:
        targets: Positions of the given labels, shape (rows,).
        probabilities: Of a model that did not train on the row, shape (rows, labels).
    """
    num_labels = probabilities.shape[1]
    counts = np.bincount(targets, minlength=num_labels)
    own = probabilities[np.arange(len(targets)), targets]
    thresholds = np.bincount(targets, weights=own, minlength=num_labels) / np.maximum(counts, 1)
    # A label that no row has cannot be one that a row should have.
    thresholds[counts == 0] = np.inf
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    likeliest = confident.argmax(axis=1)
    margins = confident.max(axis=1) - own
    rows = np.flatnonzero((margins > 0) & (likeliest != targets))
    rows = rows[np.argsort(-margins[rows], kind="stable")]
    return rows.astype(np.int64), likeliest[rows].astype(np.int64)
