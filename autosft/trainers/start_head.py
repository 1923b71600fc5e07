"""The fitted head that a fine-tuning starts from: as unsure of the rows that it was fitted on as it is of others.

`benchmarks/start_head.py` measures what that is worth.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import sigmoid, softmax, to_matrix, to_numbers
from autosft.task import Output
from autosft.trainers.base import Limits
from autosft.trainers.linear_head import Fitted, LinearHead, head_seconds

#: Folds of the cross-validation, and what they may take, in seconds and of a training's time limit; where they are
#: estimated to take longer, one of them is held out once.
_NUM_FOLDS, _SECONDS, _TIME_SHARE = 5, 4.0, 0.05

#: What is left of a head's answers at least: without any the encoder would not learn at all at first.
_LEAST = 0.1

_TINY = 1e-9

#: The latest heads of this process, by what they were fitted on: the trials of a search start from the same one.
_kept = dict[str, Fitted]()
_MOST_KEPT = 8


def fit_start_head(
    head: LinearHead,
    output: Output,
    features: NDArray[np.float32],
    targets: pa.Array,
    *,
    num_labels: int,
    limits: Limits,
) -> Fitted:
    """Fits a head, and draws its answers towards the prior until its loss on its own rows is what it is on others.

    A head knows few rows nearly by heart, the more so the less their features say. A training that starts from it sees
    hardly an error: the encoder learns little, and what is known by heart serves no other row. The loss on others is
    cross-validated. A head for numbers gives them with mean 0 and standard deviation 1 over these rows, as a training
    wants them.

    Args:
        features: Shape (rows, size), of about unit length.
        limits: Of the training. Where its time does not allow to hold out one fold, the head stays as it was fitted.

    Raises:
        TrialFailed: The targets are all the same, or the stop file appeared.
    """
    head = replace(head, seed=0)  # It makes no difference to what is fitted here.
    if output is Output.NUMBER:
        numbers = to_numbers(targets)
        targets = pa.array((numbers - numbers.mean()) / (numbers.std() or 1.0))
    folds = _num_folds(head_seconds(len(features), features.shape[1], num_labels), limits)
    values = to_matrix(targets) if output is Output.LABELS else to_numbers(targets)
    seen = hashlib.blake2b(repr((head, num_labels, folds)).encode())
    for array in (features, values):
        seen.update(np.ascontiguousarray(array).data)
    key = seen.hexdigest()
    if key not in _kept:
        fitted = head.fit(output, features, targets, num_labels=num_labels, limits=limits)
        elsewhere = _loss_elsewhere(head, output, features, targets, num_labels, limits, folds)
        if elsewhere is not None:
            fitted = fitted.softened(_share(fitted, output, features, targets, elsewhere))
        _kept[key] = fitted
        if len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]
    return _kept[key]


def _num_folds(seconds: float, limits: Limits) -> int:
    """Returns how many folds there is time for, where a head takes so many seconds: all, one or none."""
    limit = limits.time_limit_seconds
    allowed = _SECONDS if limit is None else min(_SECONDS, _TIME_SHARE * limit)
    if _NUM_FOLDS * seconds <= allowed:
        return _NUM_FOLDS
    return int(limit is None or seconds <= _TIME_SHARE * limit)


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
    head: LinearHead,
    output: Output,
    features: NDArray[np.float32],
    targets: pa.Array,
    num_labels: int,
    limits: Limits,
    num_folds: int,
) -> float | None:
    """Returns the mean loss of heads like this one on rows that they have not seen, None where there are too few."""
    losses, folds = list[NDArray[np.floating]](), _folds(output, targets)
    for fold in range(num_folds):
        is_held = folds == fold
        own, others = targets.filter(pa.array(~is_held)), targets.filter(pa.array(is_held))
        if output is not Output.LABELS and len(own.unique()) < 2:
            return None
        fitted = head.fit(output, features[~is_held], own, num_labels=num_labels, limits=limits)
        found = _losses(fitted, output, features[is_held], others)
        if output is Output.LABEL:  # Of a label that it was not shown a head knows nothing, and this one has been.
            found = found[np.isin(to_numbers(others), to_numbers(own))]
        losses.append(found)
    found = np.concatenate([np.zeros(0), *losses])
    return float(found.mean()) if len(found) else None


def _folds(output: Output, targets: pa.Array) -> NDArray[np.int64]:
    """Returns each row's fold, rows of a label in turn."""
    order = np.random.default_rng(0).permutation(len(targets))
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
