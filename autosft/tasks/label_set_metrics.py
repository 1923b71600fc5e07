"""The metrics of outputs with several labels a row, on weighted rows, and the thresholds that decide them.

Weights say how often each row counts, shape (resamples, rows). Labels are columns; no framework is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from autosft.tasks import ranking_metrics
from autosft.tasks.label_metrics import SMALLEST_PROBABILITY

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

METRICS: Mapping[str, bool] = MappingProxyType(
    {
        "micro_f1": True,
        "macro_f1": True,
        "samples_f1": True,
        "subset_accuracy": True,
        "hamming_loss": False,
        "macro_average_precision": True,
    }
)

#: A label's own threshold counts as much as the common one where it has this many positive rows. On GoEmotions, judged
#: by thresholds from 200 to 3,000 other rows of three trainers: for macro F1, 1 is the best of 1, 2, 10 and 50, or with
#: 200 rows at most .01 below it; for micro F1, 200 is above the common one alone throughout, where 1 is up to .01 below
#: it (benchmarks/README.md).
_HALF_TRUSTED_AT: Mapping[str, float] = MappingProxyType({"macro_f1": 1, "micro_f1": 200})

#: Metrics that count wrong labels: the likelier of two answers is the better one, whatever the label's F1.
_COUNT_ERRORS = frozenset({"hamming_loss", "subset_accuracy"})


@dataclass(frozen=True)
class Decided:
    """Rows to be scored; everything that no weight changes is computed once.

    Attributes:
        targets: Whether each label holds, shape (rows, labels).
        probabilities: Shape (rows, labels).
        predictions: The labels that are predicted, shape (rows, labels).
    """

    targets: Flags
    probabilities: NDArray[np.float32]
    predictions: Flags

    @cached_property
    def counts(self) -> Floats:
        """Labels of each row that are right, and that hold or are predicted, shape (rows, 2)."""
        right = (self.targets & self.predictions).sum(axis=1)
        return np.stack([right, self.targets.sum(axis=1) + self.predictions.sum(axis=1)], axis=1).astype(np.float64)

    @cached_property
    def right(self) -> Floats:
        """Shape (rows, labels)."""
        return (self.targets & self.predictions).astype(np.float64)

    @cached_property
    def named(self) -> Floats:
        """Whether a label holds, plus whether it is predicted, shape (rows, labels)."""
        return self.targets.astype(np.float64) + self.predictions

    @cached_property
    def row_f1(self) -> Floats:
        """F1 of each row's own labels; 1 where there are none and none are predicted."""
        right, named = self.counts.T
        return np.asarray(np.divide(2 * right, named, out=np.ones_like(right), where=named > 0))

    @cached_property
    def row_errors(self) -> Floats:
        """Share of the labels that are wrong in each row."""
        return np.asarray((self.targets != self.predictions).mean(axis=1))


def metric_values(name: str, decided: Decided, weights: Floats) -> Floats:
    """Returns one metric for each resample, shape (resamples,).

    Labels that occur neither among the targets nor among the predictions of a resample do not enter macro averages; of
    the average precision, those that hold for no row do not.
    """
    return _FUNCTIONS[name](decided, weights)


def negative_log_likelihood(targets: Flags, probabilities: NDArray[np.float32]) -> float:
    """Returns the mean over rows of their labels' summed negative log-probabilities, in nats."""
    of_truth = np.where(targets, probabilities, 1 - probabilities).astype(np.float64)
    return float(-np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0)).sum(axis=1).mean()) if len(targets) else 0.0


def thresholds(targets: Flags, probabilities: NDArray[np.float32], metric: str) -> Floats:
    """Returns for each label the probability from which it is predicted, shape (labels,).

    F1 averaged over labels is greatest where each label has the threshold of its own greatest F1; F1 over all labels
    at once, where all have one in common (Lipton et al. 2014, arXiv 1402.1892), as far as the probabilities of all are
    right: where a label's are not, one of its own mends them. A label with few positive rows has an unreliable
    threshold of its own: it stands between the two, in log-odds, the nearer to its own the more positive rows there
    are. Other metrics have the common one.

    Args:
        metric: The metric that decides.
    """
    num_labels = targets.shape[1]
    common = _best_threshold(targets.ravel(), probabilities.ravel(), count_errors=metric in _COUNT_ERRORS)
    if metric not in _HALF_TRUSTED_AT:
        return np.full(num_labels, common)
    if metric == "micro_f1":
        own = _best_together(targets, probabilities, common)
    else:
        own = np.array([_best_threshold(targets[:, at], probabilities[:, at]) for at in range(num_labels)])
    positives = targets.sum(axis=0)
    trust = positives / (positives + _HALF_TRUSTED_AT[metric])
    return _odds_to_share(trust * _log_odds(own) + (1 - trust) * _log_odds(np.full(num_labels, common)))


def crossfitted(targets: Flags, probabilities: NDArray[np.float32], metric: str) -> Flags:
    """Returns predictions where each half of the rows is judged by thresholds chosen on the other half.

    A score with thresholds chosen on the very rows that it judges would flatter models with rare labels.
    """
    num_rows = len(targets)
    first = np.zeros(num_rows, bool)
    first[np.random.default_rng(0).permutation(num_rows)[: num_rows // 2]] = True
    predictions = probabilities >= 0.5
    for chosen, judged in ((first, ~first), (~first, first)):
        if chosen.any():
            predictions[judged] = probabilities[judged] >= thresholds(targets[chosen], probabilities[chosen], metric)
    return predictions


def _best_together(targets: Flags, probabilities: NDArray[np.float32], common: float) -> Floats:
    """Returns a threshold a label, each the best for F1 over all labels with the others where they stand by then."""
    found = np.full(targets.shape[1], common)
    predicted = probabilities >= common
    right, named = (targets & predicted).sum(axis=0), targets.sum(axis=0) + predicted.sum(axis=0)
    for at in np.flatnonzero(targets.any(axis=0)):
        of_label, scores = targets[:, at], probabilities[:, at]
        others = int(right.sum() - right[at]), int(named.sum() - named[at])
        found[at] = _best_threshold(of_label, scores, others=others)
        predicted = scores >= found[at]
        right[at], named[at] = (of_label & predicted).sum(), of_label.sum() + predicted.sum()
    return found


def _best_threshold(
    targets: Flags,
    scores: NDArray[np.float32],
    *,
    count_errors: bool = False,
    others: tuple[int, int] = (0, 0),
) -> float:
    """Returns the middle of the gap between scores where F1 is greatest, or errors fewest; a half without positives.

    Args:
        others: What other labels add to F1: how many are right, and how many hold or are predicted.
    """
    positives = int(targets.sum())
    if not positives:
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    right, predicted = np.cumsum(targets[order]), np.arange(1, len(ranked) + 1)
    gain = 2 * right - predicted if count_errors else 2 * (right + others[0]) / (predicted + positives + others[1])
    below = np.append(ranked[1:], 0.0)
    gain = np.where(ranked > below, gain, -np.inf)
    at = int(gain.argmax())
    if 2 * others[0] > gain[at] * (positives + others[1]):  # Best where it is predicted nowhere.
        return float(1 + ranked[0]) / 2
    return float(ranked[at] + below[at]) / 2


def _log_odds(shares: Floats) -> Floats:
    inside = np.clip(shares, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(np.log(inside / (1 - inside)))


def _odds_to_share(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _micro_f1(decided: Decided, weights: Floats) -> Floats:
    right, named = (weights @ decided.counts).T
    return _share(2 * right, named)


def _macro_f1(decided: Decided, weights: Floats) -> Floats:
    named = weights @ decided.named
    f1 = _share(2 * (weights @ decided.right), named)
    return _share(f1.sum(axis=1), (named > 0).sum(axis=1))


def _samples_f1(decided: Decided, weights: Floats) -> Floats:
    return _mean(decided.row_f1, weights)


def _subset_accuracy(decided: Decided, weights: Floats) -> Floats:
    return _mean((decided.row_errors == 0).astype(np.float64), weights)


def _hamming_loss(decided: Decided, weights: Floats) -> Floats:
    return _mean(decided.row_errors, weights)


def _macro_average_precision(decided: Decided, weights: Floats) -> Floats:
    total, defined = np.zeros(len(weights)), np.zeros(len(weights))
    for at in range(decided.targets.shape[1]):
        scores = decided.probabilities[:, at].astype(np.float64)
        values = ranking_metrics.average_precision(scores, decided.targets[:, at], weights)
        total += np.nan_to_num(values)
        defined += ~np.isnan(values)
    return _share(total, defined)


def _mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray(weights @ values / weights.sum(axis=1))


def _share(part: Floats, whole: Floats | Numbers) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


_FUNCTIONS: dict[str, Callable[[Decided, Floats], Floats]] = {
    "micro_f1": _micro_f1,
    "macro_f1": _macro_f1,
    "samples_f1": _samples_f1,
    "subset_accuracy": _subset_accuracy,
    "hamming_loss": _hamming_loss,
    "macro_average_precision": _macro_average_precision,
}
