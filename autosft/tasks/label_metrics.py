"""The metrics of one-label outputs, on weighted rows, so that one call scores every bootstrap resample.

Weights say how often each row counts, shape (resamples, rows). Labels are positions; no framework is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from autosft.errors import TaskError, explain
from autosft.tasks import ranking_metrics

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

METRICS: Mapping[str, bool] = MappingProxyType(
    {
        "accuracy": True,
        "macro_f1": True,
        "weighted_f1": True,
        "f1": True,
        "precision": True,
        "recall": True,
        "balanced_accuracy": True,
        "mcc": True,
        "log_loss": False,
        "roc_auc": True,
        "average_precision": True,
    }
)
NEEDS_POSITIVE = frozenset({"f1"})
# Of predicted labels; where there is a positive one, they count no other.
ABOUT_POSITIVE = frozenset({"f1", "precision", "recall"})

# What an undefined score is reported as on the full rows: the score of a model that knows nothing.
NO_SKILL: Mapping[str, float] = MappingProxyType({"roc_auc": 0.5, "average_precision": 0.0})

# A probability below this is taken for it; float32 cannot tell 1 from 1 minus less.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Scored:
    """Rows to be scored.

    Attributes:
        targets: Positions of the true labels, shape (rows,).
        probabilities: Shape (rows, labels).
        weights: How often each row counts, shape (resamples, rows).
        positive: Position of the label that one-sided metrics are about, or None.
    """

    targets: Positions
    probabilities: NDArray[np.float32]
    weights: Floats
    positive: int | None = None

    @cached_property
    def predictions(self) -> Positions:
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.predictions == self.targets)

    @cached_property
    def support(self) -> Floats:
        """Weight of each true label, shape (resamples, labels)."""
        return _sum_by_label(self.weights, self.targets, self.probabilities.shape[1])

    @cached_property
    def predicted(self) -> Floats:
        """Weight of each predicted label, shape (resamples, labels)."""
        return _sum_by_label(self.weights, self.predictions, self.probabilities.shape[1])

    @cached_property
    def true_positives(self) -> Floats:
        """Weight of the rows of each label that were predicted right: the confusion matrices' diagonals."""
        return _sum_by_label(self.weights * self.correct, self.targets, self.probabilities.shape[1])


def metric_values(name: str, scored: Scored) -> Floats:
    """Returns one metric for each resample, shape (resamples,); NaN where a ranking metric is undefined.

    Classes that occur neither among the targets nor among the predictions of a resample do not enter its averages,
    and a division by zero counts as 0: both as scikit-learn does.

    Raises:
        TaskError: The metric needs a positive label and there is none.
    """
    if name in NEEDS_POSITIVE and scored.positive is None:
        raise TaskError(
            explain(
                wrong=f"the metric '{name}' has no positive label",
                expected="the label whose detection it measures",
                fix="pass positive='...', or choose 'macro_f1'",
            )
        )
    return _FUNCTIONS[name](scored)


def row_weights(rows: Positions, num_rows: int) -> Floats:
    """Returns how often each row occurs in each resample, from row positions of shape (resamples, rows)."""
    offsets = np.arange(len(rows), dtype=np.int64)[:, None] * num_rows
    counts = np.bincount((rows + offsets).ravel(), minlength=len(rows) * num_rows)
    return counts.reshape(len(rows), num_rows).astype(np.float64)


def negative_log_likelihood(scored: Scored) -> Floats:
    """Returns the mean negative log-probability of the true labels, in nats."""
    chosen = scored.probabilities[np.arange(len(scored.targets)), scored.targets].astype(np.float64)
    nats = -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0))
    return np.asarray(scored.weights @ nats / scored.weights.sum(axis=1))


def _accuracy(scored: Scored) -> Floats:
    return np.asarray(scored.weights @ scored.correct.astype(np.float64) / scored.weights.sum(axis=1))


def _f1_by_label(scored: Scored) -> Floats:
    return _share(2 * scored.true_positives, scored.support + scored.predicted)


def _macro(values: Floats, scored: Scored) -> Floats:
    present = (scored.support + scored.predicted) > 0
    return np.asarray((values * present).sum(axis=1) / present.sum(axis=1))


def _macro_f1(scored: Scored) -> Floats:
    return _macro(_f1_by_label(scored), scored)


def _weighted_f1(scored: Scored) -> Floats:
    return np.asarray((_f1_by_label(scored) * scored.support).sum(axis=1) / scored.support.sum(axis=1))


def _f1(scored: Scored) -> Floats:
    return np.asarray(_f1_by_label(scored)[:, scored.positive])


def _precision(scored: Scored) -> Floats:
    values = _share(scored.true_positives, scored.predicted)
    return _macro(values, scored) if scored.positive is None else np.asarray(values[:, scored.positive])


def _recall(scored: Scored) -> Floats:
    values = _share(scored.true_positives, scored.support)
    return _macro(values, scored) if scored.positive is None else np.asarray(values[:, scored.positive])


def _balanced_accuracy(scored: Scored) -> Floats:
    recall = _share(scored.true_positives, scored.support)
    return np.asarray(recall.sum(axis=1) / (scored.support > 0).sum(axis=1))


def _mcc(scored: Scored) -> Floats:
    """Matthews' correlation for any number of classes (Gorodkin 2004), from the confusion matrix's margins."""
    total = scored.weights.sum(axis=1)
    covariance = scored.true_positives.sum(axis=1) * total - (scored.support * scored.predicted).sum(axis=1)
    spread = (total**2 - (scored.predicted**2).sum(axis=1)) * (total**2 - (scored.support**2).sum(axis=1))
    return _share(covariance, np.sqrt(spread))


def _roc_auc(scored: Scored) -> Floats:
    if scored.probabilities.shape[1] == 2 or scored.positive is not None:
        return _for_label(ranking_metrics.roc_auc, scored, 1 if scored.positive is None else scored.positive)
    return _mean_over_labels(ranking_metrics.roc_auc, scored)


def _average_precision(scored: Scored) -> Floats:
    if scored.positive is not None:
        return _for_label(ranking_metrics.average_precision, scored, scored.positive)
    return _mean_over_labels(ranking_metrics.average_precision, scored)


def _for_label(metric: Callable[[Floats, NDArray[np.bool_], Floats], Floats], scored: Scored, label: int) -> Floats:
    column = scored.probabilities[:, label].astype(np.float64)
    return metric(column, np.asarray(scored.targets == label), scored.weights)


def _mean_over_labels(metric: Callable[[Floats, NDArray[np.bool_], Floats], Floats], scored: Scored) -> Floats:
    """Returns the mean over the labels for which the metric is defined, one against the rest."""
    by_label = np.stack([_for_label(metric, scored, int(label)) for label in np.unique(scored.targets)])
    defined = ~np.isnan(by_label)
    totals, counts = np.where(defined, by_label, 0.0).sum(axis=0), defined.sum(axis=0)
    return np.asarray(np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0))


def _sum_by_label(weights: Floats, labels: Positions, num_labels: int) -> Floats:
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums = np.zeros((len(weights), num_labels))
    sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


_FUNCTIONS: dict[str, Callable[[Scored], Floats]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _mcc,
    "log_loss": negative_log_likelihood,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
}
