from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as reference

from autosft.arrays import from_matrix, to_matrix
from autosft.errors import DataError
from autosft.task import Metric, Task
from autosft.tasks import kind
from autosft.tasks.label_set_metrics import thresholds
from autosft.tasks.label_sets import best_separator, labels_in, read_labels

KIND = kind("multi-label-classification")


def make_task(metric="micro_f1", labels=("a", "b", "c"), columns=(), label_type="string", function=None, **more):
    measure = Metric(metric, KIND.metrics.get(metric, True), None, function)
    return Task(KIND.name, "", ("text",), "y", measure, tuple(labels), label_type, tuple(columns), **more)


def outputs_for(num_rows, shares, seed=0):
    """Targets, rarer and rarer from label to label, and probabilities that are right more often than not."""
    draw = np.random.default_rng(seed)
    odds = np.log(np.array(shares) / (1 - np.array(shares))) + 2 * draw.normal(size=(num_rows, len(shares)))
    probabilities = 1 / (1 + np.exp(-odds))
    targets = draw.random(probabilities.shape) < probabilities
    return from_matrix(targets.astype(np.int8)), from_matrix(probabilities.astype(np.float32))


SHARES = (0.5, 0.2, 0.05)
READ = [
    ([["b", "a"], [], None, ["c"]], ["a; b", "(none)", None, "c"]),
    (["a, b", "[]", None, "c"], ["a; b", "(none)", None, "c"]),
    (["a;b ", "['a', 'b']", " ", "c"], ["a; b", "a; b", None, "c"]),
    (["b|a", "[a, b]", "a|a", "[a c]"], ["a; b", "a; b", "a", "a; c"]),
    (["<b><a>", "<a> <c>", None, "<c>"], ["a; b", "a; c", None, "c"]),
]


@pytest.mark.parametrize(("values", "texts"), READ)
def test_lists_and_texts_with_separators_are_read_alike(values, texts):
    table = pa.table({"y": values})
    assert labels_in([table], "y")[0] in (("a", "b", "c"), ("a", "b"))
    assert KIND.target_texts(make_task(), table).to_pylist() == texts
    targets = KIND.encode_targets(make_task(), table, strict=False)
    assert targets.type == pa.list_(pa.int8(), 3)
    rows = [None if text is None else [int(label in text.split("; ")) for label in "abc"] for text in texts]
    assert targets.to_pylist() == rows
    assert KIND.encode_targets(make_task(), table.slice(2), strict=False).to_pylist() == rows[2:]


def test_a_label_may_hold_a_comma():
    values = ["Food, Drink", "Travel;Food, Drink", "Travel", "Food, Drink;Arts, Crafts"]
    labels, _ = labels_in([pa.table({"y": values})], "y")
    assert labels == ("Arts, Crafts", "Food, Drink", "Travel")
    found = read_labels(make_task(labels=labels), pa.table({"y": values}))
    assert found.to_pylist()[1] == ["Travel", "Food, Drink"]
    assert best_separator(["one", "two"]) is None


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1, 0, 0, None], "b": [1, 0, 1, None], "c": [0, 0, None, None]},
        {"a": [True, False, False, None], "b": [True, False, True, None], "c": [False, False, False, None]},
        {"a": [1.0, 0.0, 0.0, None], "b": ["yes", "no", "Yes", ""], "c": ["0", "0", None, None]},
    ],
)
def test_a_column_a_label_is_read(columns):
    task, table = make_task(columns=("a", "b", "c")), pa.table(columns)
    rows = [[1, 1, 0], [0, 0, 0], [0, 1, 0], None]
    assert KIND.encode_targets(task, table, strict=False).to_pylist() == rows
    assert KIND.target_texts(task, table).to_pylist() == ["a; b", "(none)", "b", None]
    with pytest.raises(DataError, match=r"row 3 .* has no label"):
        KIND.encode_targets(task, table)


def test_a_row_with_another_value_in_a_column_a_label_says_nothing():
    task, table = make_task(labels=("a", "b"), columns=("a", "b")), pa.table({"a": [1, 1], "b": [1, 2]})
    assert KIND.encode_targets(task, table, strict=False).to_pylist() == [[1, 1], None]
    with pytest.raises(DataError, match=r"row 1 .* has no label"):
        KIND.encode_targets(task, table)


def test_a_bad_target_is_named_with_its_row_and_without_strictness_it_is_null():
    table = pa.table({"y": [["a"], ["b", "cc"], None]})
    with pytest.raises(DataError, match=r"row 1 .*, and 1 more rows, has the label 'cc'"):
        KIND.encode_targets(make_task(), table)
    assert KIND.encode_targets(make_task(), table, strict=False).to_pylist() == [[1, 0, 0], None, None]
    with pytest.raises(DataError, match=r"row 2 .* has no label"):
        KIND.encode_targets(make_task(), pa.table({"y": [["a"], [], None]}))
    with pytest.raises(DataError, match="did you mean 'yy'"):
        KIND.encode_targets(make_task(), pa.table({"yy": [["a"]]}))


@pytest.mark.parametrize(("values", "label_type"), [([[1, 10], [2]], "int"), ([["x", "y"], ["z"]], "string")])
def test_labels_come_back_in_their_type(values, label_type):
    table = pa.table({"y": values})
    labels, found = labels_in([table], "y")
    task = make_task(labels=labels, label_type=found)
    assert found == label_type
    outputs = from_matrix(to_matrix(KIND.encode_targets(task, table)).astype(np.float32) * 0.8)
    decoded = KIND.decode(task, table, outputs)
    assert decoded["prediction"].to_pylist() == [sorted(row) for row in values]


def test_a_row_is_as_sure_as_its_least_sure_label():
    outputs = from_matrix(np.float32([[0.9, 0.6, 0.1], [0.1, 0.3, 0.2]]))
    decoded = KIND.decode(make_task(), pa.table({}), outputs)
    assert decoded["prediction"].to_pylist() == [["a", "b"], []]
    assert decoded["score"].to_pylist() == pytest.approx([0.6, 0.7])
    lower = KIND.decode(make_task(thresholds=(0.95, 0.5, 0.1)), pa.table({}), outputs)
    assert lower["prediction"].to_pylist() == [["b", "c"], ["c"]]
    none = KIND.decode(make_task(), pa.table({}), from_matrix(np.zeros((0, 3), np.float32)))
    assert [len(column) for column in none.values()] == [0, 0]


def by_scikit_learn(name, targets, outputs, cuts):
    predictions = outputs >= cuts
    return {
        "micro_f1": lambda: reference.f1_score(targets, predictions, average="micro"),
        "macro_f1": lambda: reference.f1_score(targets, predictions, average="macro"),
        "samples_f1": lambda: reference.f1_score(targets, predictions, average="samples", zero_division=1.0),
        "subset_accuracy": lambda: reference.accuracy_score(targets, predictions),
        "hamming_loss": lambda: reference.hamming_loss(targets, predictions),
        "macro_average_precision": lambda: reference.average_precision_score(targets, outputs, average="macro"),
    }[name]()


@pytest.mark.parametrize("name", KIND.metrics)
def test_each_metric_agrees_with_scikit_learn_on_all_rows_and_on_resamples(name):
    targets, outputs = outputs_for(300, SHARES)
    cuts = (0.4, 0.3, 0.2)
    task = make_task(name, thresholds=cuts)
    true, probabilities = to_matrix(targets), to_matrix(outputs).round(2)
    outputs = from_matrix(probabilities)
    assert KIND.score(task, targets, outputs) == pytest.approx(by_scikit_learn(name, true, probabilities, cuts))
    rows = np.random.default_rng(1).integers(300, size=(5, 300))
    expected = [by_scikit_learn(name, true[chosen], probabilities[chosen], cuts) for chosen in rows]
    assert KIND.scorer(task, targets, outputs)(rows) == pytest.approx(expected)
    assert KIND.scores(task, targets, outputs)[name] == pytest.approx(KIND.score(task, targets, outputs))


def test_the_loss_is_the_likelihood_of_a_rows_labels():
    targets, outputs = from_matrix(np.int8([[1, 0, 0]])), from_matrix(np.float32([[0.5, 0.25, 0.5]]))
    assert KIND.loss(make_task(), targets, outputs) == pytest.approx(-np.log(0.5 * 0.75 * 0.5), abs=1e-6)


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1"])
def test_tuned_thresholds_beat_a_half_on_other_rows(metric):
    seen, unseen = outputs_for(3000, SHARES, seed=1), outputs_for(3000, SHARES, seed=2)
    halves = make_task(metric, thresholds=(0.5,) * 3)
    tuned = KIND.tuned(halves, *seen)
    assert len(tuned.thresholds) == 3 and KIND.score(tuned, *unseen) > KIND.score(halves, *unseen) + 0.01
    assert KIND.score(tuned, *unseen) == pytest.approx(KIND.score(replace(halves, thresholds=()), *unseen), abs=0.02)
    assert Task.from_json(json.loads(json.dumps(tuned.to_json()))) == tuned


def test_a_label_whose_probabilities_are_too_low_has_a_lower_threshold():
    targets, outputs = (to_matrix(part) for part in outputs_for(3000, SHARES))
    outputs = outputs * np.float32([1, 1, 0.3])
    common = thresholds(targets.astype(bool), outputs, "samples_f1")
    own = thresholds(targets.astype(bool), outputs, "macro_f1")
    together = thresholds(targets.astype(bool), outputs, "micro_f1")
    assert len(set(common)) == 1 and own[0] > own[2] + 0.03 and together[0] > together[2] + 0.03
    unseen_targets, unseen = (to_matrix(part) for part in outputs_for(3000, SHARES, seed=2))
    unseen = unseen * np.float32([1, 1, 0.3])
    score, before = (reference.f1_score(unseen_targets, unseen >= cuts, average="micro") for cuts in (together, common))
    assert score > before + 0.01


def test_the_same_answer_for_every_row_is_the_best_set_of_labels():
    targets, _ = outputs_for(3000, (0.45, 0.1, 0.08))
    same = from_matrix(np.tile(np.float32([0.45, 0.1, 0.08]), (3000, 1)))
    task = KIND.tuned(make_task("micro_f1"), targets, same)
    names = KIND.decode(task, pa.table({}), same)["prediction"].to_pylist()
    assert {tuple(row) for row in names} == {("a",)}


def test_where_probabilities_are_right_micro_f1_has_nearly_one_threshold():
    draw = np.random.default_rng(0)
    outputs = draw.beta(1, 3, size=(20_000, 4)).astype(np.float32)
    found = thresholds(draw.random(outputs.shape) < outputs, outputs, "micro_f1")
    assert np.ptp(found) < 0.05


def test_a_rare_labels_threshold_is_drawn_to_the_common_one():
    targets, outputs = (to_matrix(part) for part in outputs_for(3000, (0.5, 0.5)))
    targets = targets.astype(bool)
    targets[:, 1] = False
    assert len(set(thresholds(targets, outputs, "macro_f1"))) == 2, "no row has it: only the common one is left for it"
    targets[np.argsort(outputs[:, 1])[0], 1] = True
    with_one = thresholds(targets, outputs, "macro_f1")[1]
    alone = thresholds(targets[:, 1:], outputs[:, 1:], "macro_f1")[0]
    assert alone < with_one < thresholds(targets, outputs, "samples_f1")[0]


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1"])
def test_a_score_without_thresholds_is_not_flattered_by_rare_labels(metric):
    # Noise alone: thresholds chosen on the rows that they judge find the one positive row of each label.
    draw = np.random.default_rng(0)
    targets, outputs = np.zeros((200, 40), np.int8), draw.random((200, 40)).astype(np.float32)
    targets[draw.integers(200, size=40), np.arange(40)] = 1
    task = make_task(metric, labels=tuple(map(str, range(40))))
    targets, outputs = from_matrix(targets), from_matrix(outputs)
    assert KIND.score(task, targets, outputs) < 0.03
    flattered = KIND.score(KIND.tuned(task, targets, outputs), targets, outputs)
    assert flattered > 2 * KIND.score(task, targets, outputs) or metric == "micro_f1"


def test_few_rows_and_no_positive_rows_have_a_finite_score():
    for num_rows in (1, 2, 3):
        outputs = from_matrix(np.full((num_rows, 3), 0.3, np.float32))
        targets = from_matrix(np.zeros((num_rows, 3), np.int8))
        for name in KIND.metrics:
            assert np.isfinite(KIND.score(make_task(name), targets, outputs)), name
            assert np.isfinite(KIND.tuned(make_task(name), targets, outputs).thresholds).all()


@pytest.mark.parametrize("name", KIND.metrics)
def test_a_resample_of_many_rows_and_labels_is_quick(name):
    targets, outputs = outputs_for(5000, np.linspace(0.01, 0.3, 28))
    score = KIND.scorer(make_task(name, labels=tuple(map(str, range(28)))), targets, outputs)
    rows = np.random.default_rng(0).integers(5000, size=(20, 5000))
    started = time.perf_counter()
    score(rows)
    assert time.perf_counter() - started < 20 * 0.05, "milliseconds a resample, on a busy machine too"


def test_a_users_function_sees_lists_of_labels_in_their_type():
    seen = []

    def first(targets, predictions):
        seen.append((targets, predictions))
        return 1.0

    task = make_task("first", ("1", "2"), label_type="int", function=first, thresholds=(0.5, 0.5))
    KIND.score(task, from_matrix(np.int8([[1, 1], [0, 0]])), from_matrix(np.float32([[0.9, 0.1], [0.6, 0.7]])))
    assert seen == [([[1, 2], []], [[1], [1, 2]])]


def test_rows_are_stratified_by_their_rarest_label():
    table = pa.table({"y": [["a"], ["a", "b"], ["a", "c"], ["a", "b"], [], None]})
    strata = KIND.strata(make_task(), table).tolist()
    assert strata == [0, 1, 2, 1, 3, 3]


def test_facts_count_the_rows_of_each_label():
    targets = from_matrix(np.array([[1, i % 3 == 0, i % 9 == 0] for i in range(180)], np.int8))
    assert KIND.facts(make_task(), targets) == {"imbalanced": True, "few_rows_per_class": False}
    assert KIND.facts(make_task(), targets.slice(0, 20)) == {"imbalanced": True, "few_rows_per_class": True}
    assert KIND.rows_per_class(make_task(), targets) == 60
    nothing = from_matrix(np.zeros((3, 3), np.int8))
    assert KIND.facts(make_task(), nothing) == {"imbalanced": False, "few_rows_per_class": False}


def test_what_knows_nothing_says_the_same_labels_of_every_row():
    targets, _ = outputs_for(400, SHARES)
    constant = KIND.constant(make_task(), targets, targets)
    assert len({tuple(row) for row in constant.to_pylist()}) == 1
    # The frequent label alone, right in half of the rows, and missing the others.
    assert 0.4 < KIND.score(make_task(), targets, constant) < 0.65
