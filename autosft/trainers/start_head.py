"""The fitted head that a fine-tuning starts from: as unsure of the rows that it was fitted on as it is of others.

A head knows few rows nearly by heart, the more so the less their features say. A training that starts from it sees
hardly an error, so the encoder learns little, and what is known by heart serves no other row. So its answers are drawn
towards the prior until its loss on its own rows is what it is, by cross-validation, on rows that it has not seen. With
MiniLM and ten rows a class that is worth seven points of accuracy on 24 emotions and nothing on 77 intents
(`benchmarks/start_head.py`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import sigmoid, softmax, to_matrix, to_numbers
from autosft.task import Output
from autosft.trainers.base import Limits
from autosft.trainers.linear_head import Fitted, LinearHead, head_seconds

#: Folds of the cross-validation; where they are estimated to take longer than this, one fold in five is held out once.
_NUM_FOLDS, _SECONDS = 5, 4.0

#: What is left of a head's answers at least: without any the encoder would not learn at all at first.
_LEAST = 0.1

_TINY = 1e-9


def fit_start_head(
    head: LinearHead,
    output: Output,
    features: NDArray[np.float32],
    targets: pa.Array,
    *,
    num_labels: int,
    limits: Limits,
) -> Fitted:
    """Fits a head on features of unit length, and softens it.

    A head for numbers gives them with mean 0 and standard deviation 1 over these rows, as a training wants them.

    Args:
        features: Shape (rows, size).

    Raises:
        TrialFailed: The targets are all the same, or the stop file appeared.
    """
    if output is Output.NUMBER:
        numbers = to_numbers(targets)
        targets = pa.array((numbers - numbers.mean()) / (numbers.std() or 1.0))
    whole = head.fit(output, features, targets, num_labels=num_labels, limits=limits)
    elsewhere = _loss_elsewhere(head, output, features, targets, num_labels, limits)
    return whole if elsewhere is None else whole.softened(_share(whole, output, features, targets, elsewhere))


def _share(whole: Fitted, output: Output, features: NDArray[np.float32], targets: pa.Array, elsewhere: float) -> float:
    """Returns the share of a head's answers with which its loss on its own rows is that elsewhere."""
    low, high = _LEAST, 1.0
    # The loss falls from the prior's to the fitted head's.
    for _ in range(12):
        middle = (low + high) / 2
        if _losses(whole.softened(middle), output, features, targets).mean() > elsewhere:
            low = middle
        else:
            high = middle
    return high


def _loss_elsewhere(
    head: LinearHead, output: Output, features: NDArray[np.float32], targets: pa.Array, num_labels: int, limits: Limits
) -> float | None:
    """Returns the mean loss of heads like this one on rows that they have not seen, None where there are too few."""
    num_rows = len(features)
    is_long = _NUM_FOLDS * head_seconds(num_rows, features.shape[1], num_labels) > _SECONDS
    losses = []
    for fold in range(1 if is_long else _NUM_FOLDS):
        is_held = _folds(output, targets, head.seed) == fold
        own, others = targets.filter(pa.array(~is_held)), targets.filter(pa.array(is_held))
        if output is not Output.LABELS and len(own.unique()) < 2:
            return None
        fitted = head.fit(output, features[~is_held], own, num_labels=num_labels, limits=limits)
        found = _losses(fitted, output, features[is_held], others)
        if output is Output.LABEL:  # Of a label that it was not shown a head knows nothing, and this one has been.
            found = found[np.isin(to_numbers(others), to_numbers(own))]
        losses.append(found)
    together = np.concatenate(losses)
    return float(together.mean()) if len(together) else None


def _folds(output: Output, targets: pa.Array, seed: int) -> NDArray[np.int64]:
    """Returns each row's fold, rows of a label in turn."""
    order = np.random.default_rng(seed).permutation(len(targets))
    if output is Output.LABEL:
        order = order[np.argsort(to_numbers(targets)[order], kind="stable")]
    folds = np.empty(len(targets), np.int64)
    folds[order] = np.arange(len(targets)) % _NUM_FOLDS
    return folds


def _losses(fitted: Fitted, output: Output, features: NDArray[np.float32], targets: pa.Array) -> NDArray[np.floating]:
    """Returns a head's loss on each row: log loss, its mean over labels, or squared error."""
    logits = features @ fitted.weights.T + fitted.bias
    if output is Output.NUMBER:
        return np.asarray((logits[:, 0] - to_numbers(targets)) ** 2)
    if output is Output.LABELS:
        right = np.where(to_matrix(targets), sigmoid(logits), 1 - sigmoid(logits))
        return np.asarray(-np.log(np.maximum(right, _TINY)).mean(axis=1))
    right = softmax(logits)[np.arange(len(targets)), to_numbers(targets)]
    return np.asarray(-np.log(np.maximum(right, _TINY)))
