from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics as reference

from autosft.errors import DataError
from autosft.task import Metric, Task
from autosft.tasks import kind

KIND = kind("text-regression")


def make_task(metric="spearman", function=None):
    return Task(KIND.name, "", ("text",), "y", Metric(metric, KIND.metrics.get(metric, False), None, function))


def numbers(num_rows, *, ties, seed=0):
    """Targets, and outputs that are near them; with ties, both in halves."""
    draw = np.random.default_rng(seed)
    targets = draw.normal(3, 1, num_rows)
    outputs = targets + draw.normal(0, 1, num_rows)
    return (np.round(2 * values) / 2 for values in (targets, outputs)) if ties else (targets, outputs)


def by_others(name, targets, outputs):
    return {
        "spearman": lambda: stats.spearmanr(targets, outputs)[0],
        "pearson": lambda: stats.pearsonr(targets, outputs)[0],
        "r2": lambda: reference.r2_score(targets, outputs),
        "rmse": lambda: reference.root_mean_squared_error(targets, outputs),
        "mae": lambda: reference.mean_absolute_error(targets, outputs),
    }[name]()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", KIND.metrics)
def test_each_metric_agrees_with_scipy_and_scikit_learn_on_all_rows_and_on_resamples(name, ties):
    targets, outputs = numbers(150, ties=ties)
    task, true, predicted = make_task(name), pa.array(targets), pa.array(outputs)
    assert KIND.score(task, true, predicted) == pytest.approx(by_others(name, targets, outputs))
    rows = np.random.default_rng(1).integers(150, size=(6, 150))
    expected = [by_others(name, targets[chosen], outputs[chosen]) for chosen in rows]
    assert KIND.scorer(task, true, predicted)(rows) == pytest.approx(expected)
    assert KIND.scores(task, true, predicted)[name] == pytest.approx(by_others(name, targets, outputs))


@pytest.mark.parametrize("name", KIND.metrics)
def test_the_metrics_direction_is_that_of_better_outputs(name):
    targets, outputs = numbers(100, ties=False)
    gain = KIND.score(make_task(name), pa.array(targets), pa.array(targets))
    gain -= KIND.score(make_task(name), pa.array(targets), pa.array(outputs))
    assert gain > 0 if KIND.metrics[name] else gain < 0
    assert KIND.loss(make_task(), pa.array(targets), pa.array(outputs)) > 0.1


@pytest.mark.parametrize("name", KIND.metrics)
def test_numbers_that_are_all_the_same_have_a_finite_score(name):
    same, other = pa.array([2.0, 2.0, 2.0]), pa.array([1.0, 2.0, 3.0])
    for targets, outputs in ((same, other), (other, same), (same, same)):
        assert np.isfinite(KIND.score(make_task(name), targets, outputs))
        assert all(map(np.isfinite, KIND.scores(make_task(name), targets, outputs).values()))


@pytest.mark.parametrize(
    "values",
    [[1, None, 3], [1.0, float("nan"), 3.0], ["1", "", " 3 "], [1.0, float("inf"), 3.0], ["1", None, "3e0"]],
)
def test_numbers_are_read_from_any_column_and_what_is_none_is_missing(values):
    table = pa.table({"y": values})
    try:
        found = KIND.encode_targets(make_task(), table, strict=False)
    except DataError:
        pytest.fail("a blank is a missing number")
    assert found.type == pa.float64() and found.to_pylist() == [1.0, None, 3.0]
    with pytest.raises(DataError, match="row 1 of column 'y' is no finite number"):
        KIND.encode_targets(make_task(), table)


def test_text_that_is_no_number_is_a_data_error():
    table = pa.table({"y": ["1", "many", "-2e1"]})
    with pytest.raises(DataError, match="row 1 of column 'y' is no finite number: 'many'"):
        KIND.encode_targets(make_task(), table)
    assert KIND.encode_targets(make_task(), table, strict=False).to_pylist() == [1.0, None, -20.0]
    with pytest.raises(DataError, match="cannot be read as numbers"):
        KIND.encode_targets(make_task(), pa.table({"y": [[1.0], [2.0]]}))


def test_predictions_are_numbers_in_the_users_unit():
    outputs = pa.array([1.5, -2.0])
    assert KIND.decode(make_task(), pa.table({}), outputs)["prediction"].to_pylist() == [1.5, -2.0]


def test_strata_are_tenths_of_the_numbers():
    strata = KIND.strata(make_task(), pa.table({"y": np.random.default_rng(0).permutation(200)}))
    assert np.bincount(strata).tolist() == [20] * 10
    assert len(set(KIND.strata(make_task(), pa.table({"y": [1.0] * 5})))) == 1


def test_a_users_function_sees_numbers():
    task = make_task("worst", lambda targets, predictions: float(np.abs(np.subtract(targets, predictions)).max()))
    assert KIND.score(task, pa.array([1.0, 2.0]), pa.array([1.5, 4.0])) == 2.0


def test_a_task_survives_json():
    task = make_task("rmse")
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_a_search_is_told_where_rows_are_few():
    assert KIND.facts(make_task(), pa.array([1.0] * 999)) == {"few_rows": True}
    assert KIND.facts(make_task(), pa.array([1.0] * 1000)) == {"few_rows": False}
