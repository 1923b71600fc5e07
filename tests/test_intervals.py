from __future__ import annotations

import time

import numpy as np
import pytest

from autosft.intervals import bootstrap, paired_gain, standard_error_of_accuracy
from autosft.task import Metric, Task
from autosft.tasks import kind

KIND = kind("text-classification")


def make_task(num_labels=2, metric="accuracy"):
    labels = tuple(str(i) for i in range(num_labels))
    return Task("text-classification", "", ("text",), "label", Metric(metric, metric != "log_loss"), labels)


def rows_right(share, num_rows, num_labels=2, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(num_labels, size=num_rows)
    predicted = np.where(np.arange(num_rows) < share * num_rows, targets, (targets + 1) % num_labels)
    outputs = np.full((num_rows, num_labels), 0.1 / num_labels, dtype=np.float32)
    outputs[np.arange(num_rows), predicted] += 0.9
    return targets, outputs


def test_the_interval_has_the_width_that_theory_gives():
    targets, outputs = rows_right(0.8, 500)
    interval = bootstrap(KIND, make_task(), targets, outputs, seed=0)
    half = 1.96 * standard_error_of_accuracy(500, 0.8)
    assert (interval.low, interval.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.008)
    assert interval == bootstrap(KIND, make_task(), targets, outputs, seed=0)


def test_rows_that_come_in_groups_are_less_sure():
    targets, outputs = rows_right(0.8, 500)
    alone = bootstrap(KIND, make_task(), targets, outputs, seed=0)
    grouped = bootstrap(KIND, make_task(), targets, outputs, seed=0, groups=np.arange(500) // 50)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("metric", [name for name in KIND.metrics if name != "f1"])
@pytest.mark.parametrize("targets", [[0], [1, 1, 1], [0, 1]])
def test_few_rows_or_one_class_give_finite_bounds(metric, targets):
    outputs = np.full((len(targets), 2), 0.5, dtype=np.float32)
    interval = bootstrap(KIND, make_task(metric=metric), np.array(targets), outputs, seed=0, resamples=50)
    assert np.isfinite([interval.low, interval.high]).all()
    assert interval.low <= interval.high


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_a_better_model_has_a_positive_gain_in_every_metric(metric):
    targets, old = rows_right(0.6, 400, 4)
    _, new = rows_right(0.8, 400, 4)
    gain, interval = paired_gain(KIND, make_task(4, metric), targets, new, old, seed=0)
    assert 0 < interval.low < gain < interval.high
    backwards, mirrored = paired_gain(KIND, make_task(4, metric), targets, old, new, seed=0)
    assert (backwards, mirrored.high) == pytest.approx((-gain, -interval.low))


def test_pairing_makes_equal_models_equal():
    targets, outputs = rows_right(0.7, 100)
    gain, interval = paired_gain(KIND, make_task(), targets, outputs, outputs, seed=0)
    assert (gain, interval.low, interval.high) == (0, 0, 0)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_thousand_resamples_of_a_large_test_set_are_quick(metric):
    targets, outputs = rows_right(0.9, 3000, 77)
    start = time.process_time()
    bootstrap(KIND, make_task(77, metric), targets, outputs, seed=0)
    assert time.process_time() - start < 1.5
