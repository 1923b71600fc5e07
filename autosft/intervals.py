"""How sure a score is: bootstrap intervals over rows or groups of rows, and how lucky the best of many is.

Which metric is resampled, and how, lives in `autosft.tasks`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.errors import MetricError
from autosft.task import Task
from autosft.tasks.base import TaskKind

# Row positions held at once: 32 MB of int64, whatever the number of rows.
_POSITIONS_AT_ONCE = 4_000_000

#: What one interval may take. Built-in metrics are done in a fraction of it; a ranking over many classes or a user's
#: function would take minutes, and an interval from a hundred resamples is nearly as good as one from a thousand.
SECONDS = 3.0

#: Resamples that are made whatever they take: of fewer, even the lowest and the highest say little.
_FEWEST = 20

#: Rows that the metric is timed on at most; beyond, its time grows with them.
_ROWS_TIMED = 50_000

_RESAMPLES, _RESAMPLES_OF_A_GAIN = 1000, 2000

#: Half a 95 % interval over a standard error.
STANDARD_ERRORS = 1.96


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in the metric's own unit."""

    low: float
    high: float

    @staticmethod
    def around(middle: float, standard_error: float) -> Interval:
        """Returns the interval of what is distributed normally."""
        return Interval(middle - STANDARD_ERRORS * standard_error, middle + STANDARD_ERRORS * standard_error)

    @property
    def standard_error(self) -> float:
        """The standard error that it stands for where what it is of is distributed normally."""
        return (self.high - self.low) / (2 * STANDARD_ERRORS)


def bootstrap(
    kind: TaskKind,
    task: Task,
    targets: pa.Array,
    outputs: pa.Array,
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    groups: NDArray[Any] | None = None,
    seconds: float = SECONDS,
) -> Interval:
    """Returns the percentile bootstrap interval (Efron 1979) of the deciding metric.

    A percentile interval has no width where every resample scores the same, as when every row is right: with few
    rows that says little. Resamples on which the metric is undefined are left out.

    Args:
        kind: The task's kind, which resamples the metric.
        task: The task, with the metric that decides.
        targets: Encoded targets, one a row.
        outputs: A model's outputs for the same rows.
        seed: Chooses the resampled rows.
        resamples: Number of resamples.
        groups: Rows of one value are drawn together, shape (rows,), as they may be right or wrong together. Where all
            rows are of one group there is nothing to draw, and rows are drawn.
        seconds: When they are over the interval is from the resamples made so far, though from 20 at least.
    """
    scores = _resampled(kind.scorer(task, targets, outputs), len(targets), seed, resamples, groups, seconds)
    return _percentiles(scores, fallback=kind.score(task, targets, outputs))


def paired_gain(
    kind: TaskKind,
    task: Task,
    targets: pa.Array,
    outputs_new: pa.Array,
    outputs_old: pa.Array,
    *,
    task_old: Task | None = None,
    seed: int,
    resamples: int = _RESAMPLES_OF_A_GAIN,
    groups: NDArray[Any] | None = None,
    seconds: float = SECONDS,
) -> tuple[float, Interval]:
    """Returns by how much the new outputs are better than the old ones, and its interval.

    Both are scored on the same resampled rows, so what they share cancels. Positive is better, also for metrics
    where less is better. Arguments as in `bootstrap`.

    Args:
        task_old: By which the old outputs are judged, where that is not `task`: with thresholds of their own.
    """
    old = task_old or task
    if old == task and outputs_new.equals(outputs_old):
        return 0.0, Interval(0.0, 0.0)
    sign = 1.0 if task.metric.greater_is_better else -1.0

    score_new, score_old = kind.scorer(task, targets, outputs_new), kind.scorer(old, targets, outputs_old)

    def resample(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return sign * (score_new(rows) - score_old(rows))

    gain = sign * (kind.score(task, targets, outputs_new) - kind.score(old, targets, outputs_old))
    gains = _resampled(resample, len(targets), seed, resamples, groups, seconds)
    return gain, _percentiles(gains, fallback=gain)


def expected_seconds(
    kind: TaskKind, task: Task, targets: pa.Array, outputs: pa.Array, *, num_rows: int, in_groups: bool = False
) -> float:
    """Predicts what the intervals of two models and of the gain take on `num_rows` rows, by timing the metric.

    Args:
        targets: Of other rows, which stand in for those to come.
        outputs: For the same rows.
        in_groups: Whether groups of rows will be drawn.
    """
    timed = min(num_rows, _ROWS_TIMED)
    stand_in = pa.array(np.resize(np.arange(len(targets)), timed))
    score = kind.scorer(task, targets.take(stand_in), outputs.take(stand_in))
    each = 0.0
    # A library that the metric loads at its first call is no part of what each takes.
    undefined_where_it_raises(score, np.arange(min(timed, 2))[None])
    # One resample alone is slow for its size with a quick metric, and with a slow one all that there is time for. Those
    # of groups are made one by one, and the first of all is slower than the others.
    for num in (1, 1 if in_groups else _FEWEST):
        started = time.monotonic()
        undefined_where_it_raises(score, np.tile(np.arange(timed), (num, 1)))
        each = (time.monotonic() - started) / num * num_rows / timed
        if each * _FEWEST > SECONDS / 10:
            break
    intervals = ((_RESAMPLES, each), (_RESAMPLES, each), (_RESAMPLES_OF_A_GAIN, 2 * each))
    return sum(max(_FEWEST * cost, min(num * cost, SECONDS)) for num, cost in intervals)


def standard_error_of_mean(values: NDArray[np.float64], groups: NDArray[Any] | None = None) -> float:
    """Returns the standard error of a mean over rows, or over groups of rows; NaN for fewer than two rows.

    By the sums of the groups' residuals (Liang and Zeger 1986), which for groups of one row is the usual one.

    Args:
        values: One a row, shape (rows,).
        groups: As for `bootstrap`.
    """
    sums = values - values.mean()
    if groups is not None and len(np.unique(groups)) > 1:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=sums)
    num = len(sums)
    return math.sqrt(num / (num - 1) * float((sums**2).sum())) / len(values) if num > 1 else math.nan


def expected_best(number: int) -> float:
    """Returns how many standard errors the best of so many equals stands above their mean, by chance.

    Blom's approximation of the largest of normal deviates (1958).
    """
    return 0.0 if number < 2 else NormalDist().inv_cdf((number - 0.375) / (number + 0.25))


def _resampled(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    num_rows: int,
    seed: int,
    resamples: int,
    groups: NDArray[Any] | None,
    seconds: float,
) -> NDArray[np.float64]:
    """Returns the statistic of each resample, in chunks that double as long as the time left holds them."""
    draw, at_once = _draws(num_rows, seed, groups)
    started, made = time.monotonic(), 0
    chunks = [np.zeros(0)]
    while made < resamples:
        spent = max(1e-9, time.monotonic() - started)
        fits = made * (seconds - spent) / spent
        if made >= _FEWEST and fits < 1:
            break
        num = int(max(1, min(made, fits, at_once, resamples - made)))
        chunks.append(undefined_where_it_raises(statistic, draw(num)))
        made += num
    return np.concatenate(chunks)


def undefined_where_it_raises(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the statistic of each resample; NaN where a user's metric raises, as many do of rows of one class."""
    try:
        return statistic(rows)
    except MetricError:
        if len(rows) == 1:
            return np.full(1, np.nan)
        return np.concatenate([undefined_where_it_raises(statistic, row[None]) for row in rows])


def _draws(num_rows: int, seed: int, groups: NDArray[Any] | None) -> tuple[Callable[[int], NDArray[np.int64]], int]:
    """Returns what draws so many resamples' row positions, shape (resamples, rows), and how many it can at once.

    Which rows are drawn does not depend on how many are drawn at once.
    """
    rng = np.random.default_rng(seed)
    inverse, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if groups is not None:
        _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        at_once = max(1, _POSITIONS_AT_ONCE // max(1, num_rows))
        return lambda num: rng.integers(num_rows, size=(num, num_rows)), at_once
    members, starts = np.argsort(inverse, kind="stable"), np.cumsum(counts) - counts

    def draw(num: int) -> NDArray[np.int64]:
        assert num == 1, "resamples of groups are of unequal length"
        drawn = rng.integers(len(counts), size=len(counts))
        sizes = counts[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows: NDArray[np.int64] = members[np.repeat(starts[drawn], sizes) + within]
        return rows[None]

    return draw, 1


def _percentiles(values: NDArray[np.float64], *, fallback: float) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(fallback, fallback)
    # This definition makes few resamples give a wider interval, where NumPy's own would make it narrower.
    low, high = np.quantile(values, [0.025, 0.975], method="weibull")
    return Interval(float(low), float(high))
