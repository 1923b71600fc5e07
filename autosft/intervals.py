"""How sure a score is: bootstrap intervals over rows or groups of rows, and the standard error of an accuracy.

Which metric is resampled, and how, lives in `autosft.tasks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosft.task import Task
from autosft.tasks.base import TaskKind

# Row positions held at once: 32 MB of int64, whatever the number of rows.
_POSITIONS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in the metric's own unit."""

    low: float
    high: float


def bootstrap(
    kind: TaskKind,
    task: Task,
    targets: NDArray[Any],
    outputs: NDArray[np.float32],
    *,
    seed: int,
    resamples: int = 1000,
    groups: NDArray[Any] | None = None,
) -> Interval:
    """Returns the percentile bootstrap interval (Efron 1979) of the deciding metric.

    A percentile interval has no width where every resample scores the same, as when every row is right: with few
    rows that says little. Resamples on which the metric is undefined are left out.

    Args:
        kind: The task's kind, which resamples the metric.
        task: The task, with the metric that decides.
        targets: Encoded targets, shape (rows,).
        outputs: A model's outputs for the same rows.
        seed: Chooses the resampled rows.
        resamples: Number of resamples.
        groups: Rows of one value are drawn together, shape (rows,).
    """
    scores = [kind.resample(task, targets, outputs, rows) for rows in _draw(len(targets), seed, resamples, groups)]
    return _percentiles(scores, fallback=kind.score(task, targets, outputs))


def paired_gain(
    kind: TaskKind,
    task: Task,
    targets: NDArray[Any],
    outputs_new: NDArray[np.float32],
    outputs_old: NDArray[np.float32],
    *,
    seed: int,
    resamples: int = 2000,
    groups: NDArray[Any] | None = None,
) -> tuple[float, Interval]:
    """Returns by how much the new outputs are better than the old ones, and its interval.

    Both are scored on the same resampled rows, so what they share cancels. Positive is better, also for metrics
    where less is better. Arguments as in `bootstrap`.
    """
    sign = 1.0 if task.metric.greater_is_better else -1.0
    gain = sign * (kind.score(task, targets, outputs_new) - kind.score(task, targets, outputs_old))
    gains = [
        sign * (kind.resample(task, targets, outputs_new, rows) - kind.resample(task, targets, outputs_old, rows))
        for rows in _draw(len(targets), seed, resamples, groups)
    ]
    return gain, _percentiles(gains, fallback=gain)


def standard_error_of_accuracy(num_rows: int, accuracy: float) -> float:
    """Returns the binomial standard error of an accuracy in [0, 1] measured on independent rows."""
    return math.sqrt(accuracy * (1 - accuracy) / num_rows) if num_rows else math.inf


def _draw(num_rows: int, seed: int, resamples: int, groups: NDArray[Any] | None) -> Iterator[NDArray[np.int64]]:
    """Yields row positions of shape (some resamples, rows); all of them together are `resamples`."""
    rng = np.random.default_rng(seed)
    if groups is not None:
        _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
        members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        for _ in range(resamples):
            chosen = rng.integers(len(members), size=len(members))
            yield np.concatenate([members[group] for group in chosen])[None]
        return
    at_once = max(1, _POSITIONS_AT_ONCE // max(1, num_rows))
    for start in range(0, resamples, at_once):
        yield rng.integers(num_rows, size=(min(at_once, resamples - start), num_rows))


def _percentiles(chunks: list[NDArray[np.float64]], *, fallback: float) -> Interval:
    values = np.concatenate(chunks) if chunks else np.array([])
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(fallback, fallback)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
