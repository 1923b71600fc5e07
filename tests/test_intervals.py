from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from autosft import intervals
from autosft.arrays import from_matrix, to_matrix
from autosft.intervals import SECONDS, bootstrap, expected_seconds, paired_gain, standard_error_of_mean
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
    return pa.array(targets), from_matrix(outputs)


def test_the_interval_has_the_width_that_theory_gives():
    targets, outputs = rows_right(0.8, 500)
    interval = bootstrap(KIND, make_task(), targets, outputs, seed=0)
    error = math.sqrt(0.8 * 0.2 / 500)
    assert (interval.low, interval.high) == pytest.approx((0.8 - 1.96 * error, 0.8 + 1.96 * error), abs=0.008)
    assert interval.standard_error == pytest.approx(error, rel=0.1)
    assert interval == bootstrap(KIND, make_task(), targets, outputs, seed=0)


def test_rows_that_come_in_groups_are_less_sure():
    targets, outputs = rows_right(0.8, 500)
    alone = bootstrap(KIND, make_task(), targets, outputs, seed=0)
    grouped = bootstrap(KIND, make_task(), targets, outputs, seed=0, groups=np.arange(500) // 50)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("groups", [np.arange(500)[::-1], np.zeros(500, int)])
def test_groups_of_one_row_and_a_single_group_are_as_sure_as_rows(groups):
    """Resamples of one group alone would all be the same, as if the score were certain."""
    targets, outputs = rows_right(0.8, 500)
    alone = bootstrap(KIND, make_task(), targets, outputs, seed=0)
    grouped = bootstrap(KIND, make_task(), targets, outputs, seed=0, groups=groups)
    assert grouped.standard_error == pytest.approx(alone.standard_error, rel=0.1)


def test_groups_of_unequal_size_are_drawn_whole():
    targets, _ = rows_right(0.5, 60)
    groups = np.repeat([7, -3, 5, 9], [30, 10, 15, 5])[np.random.default_rng(0).permutation(60)]
    seen = []

    def keep(rows):
        seen.append(rows[0])
        return np.zeros(1)

    intervals._resampled(keep, len(targets), 0, 50, groups, SECONDS)
    for rows in seen:
        times = np.bincount(rows, minlength=60)
        drawn = {code: set(times[groups == code]) for code in np.unique(groups)}
        assert all(len(counts) == 1 for counts in drawn.values())
        assert sum(counts.pop() for counts in drawn.values()) == 4


def test_many_groups_are_resampled_in_little_time():
    targets, outputs = rows_right(0.9, 20_000)
    start = time.process_time()
    bootstrap(KIND, make_task(), targets, outputs, seed=0, resamples=100, groups=np.arange(20_000) // 2)
    assert time.process_time() - start < 1.0


def test_the_error_of_a_mean_is_that_over_groups():
    values = np.random.default_rng(0).normal(size=40)
    error = standard_error_of_mean(values)
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(40))
    assert standard_error_of_mean(np.repeat(values, 25), np.repeat(np.arange(40), 25)) == pytest.approx(error)
    assert standard_error_of_mean(values, np.zeros(40)) == pytest.approx(error), "one group says nothing of others"
    assert math.isnan(standard_error_of_mean(values[:1]))


@pytest.mark.parametrize("metric", [name for name in KIND.metrics if name != "f1"])
@pytest.mark.parametrize("targets", [[0], [1, 1, 1], [0, 1]])
def test_few_rows_or_one_class_give_finite_bounds(metric, targets):
    outputs = from_matrix(np.full((len(targets), 2), 0.5, dtype=np.float32))
    interval = bootstrap(KIND, make_task(metric=metric), pa.array(targets), outputs, seed=0, resamples=50)
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


class Timed:
    """Stands in for a kind and for the clock: a metric that takes its time, and remembers what it was shown."""

    def __init__(self, seconds_each=0.0, seconds_a_call=0.0):
        self.seconds_each, self.seconds_a_call = seconds_each, seconds_a_call
        self.now = 0.0
        self.rows = []
        self.scores = []

    def score(self, task, targets, outputs):
        return float(outputs.to_numpy().mean())

    def scorer(self, task, targets, outputs):
        numbers = outputs.to_numpy()

        def score(rows):
            self.now += self.seconds_a_call + self.seconds_each * len(rows)
            self.rows.append(rows)
            self.scores.append(numbers[rows].mean(axis=1))
            return self.scores[-1]

        return score


def numbers(num, seed=0):
    return pa.array(np.random.default_rng(seed).random(num))


@pytest.fixture
def timed(monkeypatch):
    def make(seconds_each=0.0, seconds_a_call=0.0):
        kind = Timed(seconds_each, seconds_a_call)
        monkeypatch.setattr(intervals, "time", SimpleNamespace(monotonic=lambda: kind.now))
        return kind

    return make


@pytest.mark.parametrize("num_rows", [1, 7, 333])
def test_the_same_rows_are_drawn_however_many_are_drawn_at_once(timed, num_rows, monkeypatch):
    """Odd numbers of rows, since NumPy's generator makes two small numbers of each large one."""
    outputs = pa.array(np.arange(num_rows, dtype=float))
    found = []
    for seconds_each, at_once in ((0.0, 4_000_000), (0.0029, 4_000_000), (0.0, 5 * num_rows)):
        monkeypatch.setattr(intervals, "_POSITIONS_AT_ONCE", at_once)
        kind = timed(seconds_each)
        found.append((bootstrap(kind, None, outputs, outputs, seed=3), [len(rows) for rows in kind.rows]))
        together = np.random.default_rng(3).integers(num_rows, size=(1000, num_rows))
        np.testing.assert_array_equal(np.concatenate(kind.rows), together)
    (first, chunks), (second, _), (third, smaller) = found
    assert first == second == third
    assert max(smaller) == 5 < max(chunks)


@pytest.mark.parametrize(("seconds_each", "least", "most"), [(1e-5, 1000, 1000), (0.029, 90, 104), (1.0, 20, 20)])
def test_a_slow_metric_gets_fewer_resamples_and_20_at_least(timed, seconds_each, least, most):
    outputs = numbers(50)
    kind = timed(seconds_each)
    interval = bootstrap(kind, None, outputs, outputs, seed=0)
    made = np.concatenate(kind.scores)
    assert least <= len(made) <= most
    assert kind.now <= max(SECONDS + seconds_each, 20 * seconds_each)
    assert made.min() <= interval.low < interval.high <= made.max()
    if len(made) == 20:
        assert (interval.low, interval.high) == (made.min(), made.max()), "few resamples say less, not more"

    kind = timed(seconds_each)
    paired_gain(kind, make_task(), outputs, outputs, outputs[::-1], seed=0)
    assert kind.now <= max(SECONDS + 2 * seconds_each, 40 * seconds_each)


@pytest.mark.parametrize("same", [lambda outputs: outputs, lambda outputs: from_matrix(to_matrix(outputs).copy())])
def test_equal_outputs_are_not_resampled(timed, same):
    kind, outputs = timed(), from_matrix(np.random.default_rng(0).random((50, 2)))
    gain, interval = paired_gain(kind, make_task(), outputs, outputs, same(outputs), seed=0)
    assert (gain, interval.low, interval.high) == (0, 0, 0)
    assert not kind.rows


#: Seconds of each resample, and of each call beside.
TIMES = [(1e-4, 0), (1e-4, 5e-4), (0.001, 0), (0.029, 0), (0.5, 0)]


@pytest.mark.parametrize("groups", [None, np.arange(200) // 5])
@pytest.mark.parametrize(("seconds_each", "seconds_a_call"), TIMES)
def test_what_intervals_take_is_predicted(timed, seconds_each, seconds_a_call, groups):
    outputs = numbers(50)
    kind = timed(seconds_each, seconds_a_call)
    predicted = expected_seconds(kind, make_task(), outputs, outputs, num_rows=200, in_groups=groups is not None)
    kind, outputs = timed(seconds_each, seconds_a_call), numbers(200, seed=1)
    for _ in range(2):
        bootstrap(kind, make_task(), outputs, outputs, seed=0, groups=groups)
    paired_gain(kind, make_task(), outputs, outputs, outputs[::-1], seed=0, groups=groups)
    # What a call costs is shared by a thousand resamples of rows, and of groups by none.
    assert predicted == pytest.approx(kind.now, rel=0.05 if groups is not None or not seconds_a_call else 0.5)


def test_a_users_function_is_timed_on_as_many_rows_as_there_will_be(timed):
    def slow(targets, predictions):
        clock.now += 1e-4 * len(targets)
        return 0.5

    clock, (targets, outputs) = timed(), rows_right(0.8, 100)
    task = Task("text-classification", "", ("text",), "label", Metric("slow", function=slow), ("0", "1"))
    # 0.1 s a call: 20 for each model and 40 for the gain, where the caps hold 30 and 30.
    assert expected_seconds(KIND, task, targets, outputs, num_rows=1000) == pytest.approx(3 + 3 + 4, rel=0.01)
    assert clock.now < 0.2


def test_what_a_single_call_costs_does_not_make_a_quick_metric_look_slow(timed):
    """As every built-in metric is: slow for one resample, quick for a thousand at once."""
    outputs = numbers(50)
    kind = timed(1e-5, seconds_a_call=0.002)
    assert expected_seconds(kind, make_task(), outputs, outputs, num_rows=200) < 1.0


def test_what_a_metric_loads_at_its_first_call_does_not_make_it_look_slow(timed):
    loaded = []

    def metric(targets, predictions):
        clock.now += 1e-5 if loaded else 0.7
        loaded.append(True)
        return 0.5

    clock, (targets, outputs) = timed(), rows_right(0.8, 100)
    task = Task("text-classification", "", ("text",), "label", Metric("loads", function=metric), ("0", "1"))
    assert expected_seconds(KIND, task, targets, outputs, num_rows=1000) < 1.0
