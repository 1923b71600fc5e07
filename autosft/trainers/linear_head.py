"""A regularized linear head from scikit-learn, fitted on features that somebody else computed."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import to_matrix, to_numbers
from autosft.errors import TrialFailed
from autosft.task import Output
from autosft.trainers.base import Limits

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    Features: TypeAlias = NDArray[np.float32] | csr_matrix

#: What a fit takes, and of it each row for a feature and a label. On Banking77: 5 seconds for 9,000 rows of 384
#: features and 77 labels.
_SECONDS_AT_ALL, _SECONDS_EACH = 0.2, 2e-8

#: The logit of what no training row was, and with the other sign of what every one was.
_NEVER = 20.0

#: Share of the time for a head after which the pace of its labels is known.
_PACE_SHARE = 0.1


class Fitted(NamedTuple):
    """A head.

    Attributes:
        weights: Shape (width, size).
        bias: Shape (width,).
        prior: What it would answer to every row alike, as logits; shape (width,).
        share: Share of its labels and of their rows that there was time for.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    prior: NDArray[np.float32]
    share: float = 1.0

    def softened(self, share: float) -> Fitted:
        """Returns a head whose answers are this one's to a share, and otherwise the prior's."""
        share_of = np.float32(share)
        return self._replace(weights=self.weights * share_of, bias=self.prior + (self.bias - self.prior) * share_of)


def head_seconds(num_rows: int, size: int, num_labels: int) -> float:
    """Estimates the seconds that `LinearHead.fit` takes."""
    return _SECONDS_AT_ALL + _SECONDS_EACH * num_rows * size * max(1, num_labels)


def head_rows(seconds: float, size: int, num_labels: int) -> int:
    """Returns how many rows `LinearHead.fit` is estimated to take so many seconds for."""
    return int(max(0.0, seconds - _SECONDS_AT_ALL) / (_SECONDS_EACH * size * max(1, num_labels)))


def each_label_first(targets: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Returns positions in random order, but for one of each label, which come before all others.

    A label that a head is not shown can never be predicted, and its rows cost the log loss dearly.
    """
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    _, firsts = np.unique(targets[shuffled], return_index=True)
    firsts.sort()  # Fewer than there are labels are no sample of them where they come by label.
    return np.concatenate([shuffled[firsts], np.delete(shuffled, firsts)])


@dataclass(frozen=True)
class LinearHead:
    """How a head is fitted: a logistic regression for labels, a ridge regression for numbers.

    Attributes:
        C: Inverse of the L2 penalty, in scikit-learn's convention.
        class_weights: "none", or "balanced" for weights inverse to class counts.
    """

    C: float
    class_weights: str
    seed: int

    def fit(
        self,
        output: Output,
        features: Features,
        targets: pa.Array,
        *,
        num_labels: int,
        limits: Limits,
        deadline: float | None = None,
    ) -> Fitted:
        """Fits the head.

        Args:
            features: Shape (rows, size), dense or sparse.
            limits: Of the training; where labels are fitted one by one, its stop file is looked at between them.
            deadline: Monotonic time by which labels that are fitted one by one, frequent ones first, are to be done.

        Raises:
            TrialFailed: The targets are all the same, or the stop file appeared.
        """
        if output is Output.NUMBER:
            return _fit_number(features, to_numbers(targets), self)
        if output is Output.LABELS:
            return _fit_labels(features, to_matrix(targets), self, limits, deadline)
        return _fit_label(features, to_numbers(targets), self, num_labels)


def _fit_label(features: Features, targets: NDArray[np.int64], head: LinearHead, num_labels: int) -> Fitted:
    """Fits a multinomial logistic regression.

    A label without rows in `targets` gets zero weights and a bias that keeps it from being predicted.
    """
    present = np.unique(targets)
    if len(present) < 2:
        raise TrialFailed("the training rows of this trial hold one label only, so no head can be fitted")
    coefficients, intercept = _logistic(features, targets, head)
    if len(present) == 2:  # scikit-learn keeps one row for two classes; softmax needs both.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weights = np.zeros((num_labels, features.shape[1]), np.float32)
    bias = np.full(num_labels, intercept.min() - _NEVER, np.float32)
    weights[present], bias[present] = coefficients, intercept
    shares = np.log(np.bincount(targets, minlength=num_labels)[present] / len(targets))
    prior = np.full(num_labels, shares.min() - _NEVER, np.float32)
    prior[present] = shares
    return Fitted(weights, bias, prior)


def _fit_labels(
    features: Features, targets: NDArray[Any], head: LinearHead, limits: Limits, deadline: float | None
) -> Fitted:
    """Fits a logistic regression a label; a label that no row or every row has gets its constant answer.

    Where the pace of the first labels says that there is no time for all, the others see fewer rows, at random. A label
    that there is no time for at all gets the log odds of its share.
    """
    import sklearn.linear_model  # noqa: F401 - or the first label's time would be that of loading it

    started, num_rows, width = time.monotonic(), *targets.shape
    weights, bias = np.zeros((width, features.shape[1]), np.float32), np.zeros(width, np.float32)
    counts = np.count_nonzero(targets, axis=0)
    seen = np.ones(width)  # The share of the rows that each label is fitted on.
    todo = [at for at in np.argsort(-counts, kind="stable") if 0 < counts[at] < num_rows]
    bias[counts == 0], bias[counts == num_rows] = -_NEVER, _NEVER
    prior = np.where(counts == 0, -_NEVER, np.where(counts == num_rows, _NEVER, 0.0)).astype(np.float32)
    prior[todo] = np.log(counts[todo] / (num_rows - counts[todo]))
    for place, at in enumerate(todo):
        limits.raise_if_stopped()
        now, is_whole = time.monotonic(), features.shape[0] == num_rows
        if deadline is not None and is_whole and now - started > _PACE_SHARE * (deadline - started):
            share = (deadline - now) / ((now - started) / place * (len(todo) - place)) if place else 1.0
            if share < 1:
                rows = np.random.default_rng(head.seed).permutation(num_rows)[: max(1, int(share * num_rows))]
                features, targets = features[rows], targets[rows]
        of_label = targets[:, at]
        if (deadline is not None and now >= deadline) or of_label.min() == of_label.max():
            bias[at], seen[at] = prior[at], 0.0
            continue
        coefficients, intercept = _logistic(features, of_label, head)
        weights[at], bias[at], seen[at] = coefficients[0], intercept[0], features.shape[0] / num_rows
    return Fitted(weights, bias, prior, float(seen.mean()))


def _logistic(features: Features, targets: NDArray[Any], head: LinearHead) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight = "balanced" if head.class_weights == "balanced" else None
    model = LogisticRegression(C=head.C, max_iter=300, tol=1e-3, class_weight=weight, random_state=head.seed)
    with warnings.catch_warnings():
        # A head stopped at 300 iterations predicts as well as a converged one; the trial's score judges it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # One or two rows a class are no regression, whatever their number suggests.
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        model.fit(features, targets)
    return model.coef_, model.intercept_


def _fit_number(features: Features, targets: NDArray[np.float64], head: LinearHead) -> Fitted:
    from sklearn.linear_model import Ridge

    mean, scale = float(targets.mean()), float(targets.std())
    if not scale:
        raise TrialFailed("the training rows of this trial all have the same number, so no head can be fitted")
    model = Ridge(alpha=1.0 / head.C).fit(features, (targets - mean) / scale)
    weights, bias = model.coef_[None] * scale, np.array([model.intercept_ * scale + mean])
    return Fitted(weights.astype(np.float32), bias.astype(np.float32), np.array([mean], np.float32))
