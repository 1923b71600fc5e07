"""A regularized linear head from scikit-learn, fitted on features that somebody else computed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import to_matrix, to_numbers
from autosft.errors import TrialFailed
from autosft.task import Output


def head_seconds(num_rows: int, size: int, num_labels: int) -> float:
    """Estimates the seconds that `fit_head` takes. On Banking77: 5 for 9,000 rows of 384 features and 77 labels."""
    return 0.2 + 2e-8 * num_rows * size * max(1, num_labels)


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
        features: NDArray[np.float32],
        targets: pa.Array,
        *,
        num_labels: int,
        standardised: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fits the head; returns weights (width, size) and bias (width,).

        Args:
            standardised: Whether a head for numbers gives them with mean 0 and standard deviation 1, as a training
                wants them, and not in their own unit.

        Raises:
            TrialFailed: The targets are all the same.
        """
        if output is Output.NUMBER:
            return _fit_number(features, to_numbers(targets), self, standardised=standardised)
        if output is Output.LABELS:
            return _fit_labels(features, to_matrix(targets), self)
        return _fit_label(features, to_numbers(targets), self, num_labels)


def _fit_label(
    features: NDArray[np.float32], targets: NDArray[np.int64], head: LinearHead, num_labels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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
    bias = np.full(num_labels, intercept.min() - 20.0, np.float32)
    weights[present], bias[present] = coefficients, intercept
    return weights, bias


def _fit_labels(
    features: NDArray[np.float32], targets: NDArray[Any], head: LinearHead
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fits a logistic regression a label; a label that no row or every row has gets its constant answer."""
    width = targets.shape[1]
    weights, bias = np.zeros((width, features.shape[1]), np.float32), np.zeros(width, np.float32)
    for at in range(width):
        of_label = targets[:, at]
        if of_label.min() == of_label.max():
            bias[at] = 20.0 if of_label[0] else -20.0
            continue
        coefficients, intercept = _logistic(features, of_label, head)
        weights[at], bias[at] = coefficients[0], intercept[0]
    return weights, bias


def _logistic(
    features: NDArray[np.float32], targets: NDArray[Any], head: LinearHead
) -> tuple[NDArray[Any], NDArray[Any]]:
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


def _fit_number(
    features: NDArray[np.float32], targets: NDArray[np.float64], head: LinearHead, *, standardised: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from sklearn.linear_model import Ridge

    mean, scale = float(targets.mean()), float(targets.std())
    if not scale:
        raise TrialFailed("the training rows of this trial all have the same number, so no head can be fitted")
    model = Ridge(alpha=1.0 / head.C).fit(features, (targets - mean) / scale)
    weights, bias = model.coef_[None].astype(np.float32), np.array([model.intercept_], np.float32)
    if standardised:
        return weights, bias
    return weights * np.float32(scale), (bias * scale + mean).astype(np.float32)
