from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as reference

from autosft.arrays import from_matrix, to_matrix, to_numbers
from autosft.errors import DataError, TaskError
from autosft.task import Metric, Task
from autosft.tasks import kind

KIND = kind("text-classification")


def make_task(
    labels=("a", "b"), metric="accuracy", positive=None, label_type="string", inputs=("text",), function=None
):
    return Task(
        kind="text-classification",
        description="",
        input_columns=tuple(inputs),
        target_column="label",
        metric=Metric(metric, metric != "log_loss", positive, function),
        labels=tuple(labels),
        label_type=label_type,
    )


def outputs_for(num_rows, num_labels, seed=0):
    """Targets and better-than-chance probabilities, with ties; the last label is never a target."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(max(2, num_labels - 1), size=num_rows)
    logits = rng.normal(size=(num_rows, num_labels)).round(1)
    logits[np.arange(num_rows), targets] += 1
    odds = np.exp(logits)
    return pa.array(targets), from_matrix((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))


def by_scikit_learn(name, targets, outputs, positive):
    """Takes NumPy arrays, as scikit-learn does."""
    predictions, last = outputs.argmax(axis=1), outputs[:, -1]
    binary = outputs.shape[1] == 2
    average = {"pos_label": positive, "average": "binary"} if binary and positive is not None else {"average": "macro"}
    present = np.unique(targets)
    rest = [(targets == k, outputs[:, k]) for k in present]
    return {
        "accuracy": lambda: reference.accuracy_score(targets, predictions),
        "macro_f1": lambda: reference.f1_score(targets, predictions, average="macro"),
        "weighted_f1": lambda: reference.f1_score(targets, predictions, average="weighted"),
        "f1": lambda: reference.f1_score(targets, predictions, pos_label=positive),
        "precision": lambda: reference.precision_score(targets, predictions, zero_division=0, **average),
        "recall": lambda: reference.recall_score(targets, predictions, zero_division=0, **average),
        "balanced_accuracy": lambda: reference.recall_score(
            targets, predictions, labels=present, average="macro", zero_division=0
        ),
        "mcc": lambda: reference.matthews_corrcoef(targets, predictions),
        "log_loss": lambda: reference.log_loss(targets, outputs, labels=range(outputs.shape[1])),
        "roc_auc": lambda: (
            reference.roc_auc_score(targets, last) if binary else np.mean([reference.roc_auc_score(*r) for r in rest])
        ),
        "average_precision": lambda: (
            reference.average_precision_score(targets, last)
            if binary
            else np.mean([reference.average_precision_score(*r) for r in rest])
        ),
    }[name]()


CASES = [(name, 2, 1) for name in KIND.metrics] + [(name, 6, None) for name in KIND.metrics if name != "f1"]


@pytest.mark.parametrize(("name", "num_labels", "positive"), CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_metric_agrees_with_scikit_learn_on_all_rows_and_on_resamples(name, num_labels, positive):
    targets, outputs = outputs_for(200, num_labels)
    labels = [str(i) for i in range(num_labels)]
    task = make_task(labels, name, None if positive is None else labels[positive])
    positions, probabilities = to_numbers(targets), to_matrix(outputs)
    assert KIND.score(task, targets, outputs) == pytest.approx(
        by_scikit_learn(name, positions, probabilities, positive), abs=1e-6
    )
    rows = np.random.default_rng(1).integers(200, size=(5, 200))
    expected = [by_scikit_learn(name, positions[chosen], probabilities[chosen], positive) for chosen in rows]
    assert KIND.scorer(task, targets, outputs)(rows) == pytest.approx(expected, abs=1e-6)


def test_scores_name_every_metric_and_leave_out_f1_without_a_positive_label():
    targets, outputs = outputs_for(50, 2)
    assert set(KIND.scores(make_task(positive="b"), targets, outputs)) == set(KIND.metrics)
    assert set(KIND.scores(make_task(), targets, outputs)) == set(KIND.metrics) - {"f1"}


def test_f1_without_a_positive_label_says_how_to_name_one():
    with pytest.raises(TaskError, match="positive="):
        KIND.score(make_task(metric="f1"), *outputs_for(10, 2))


@pytest.mark.parametrize("name", [name for name in KIND.metrics if name != "f1"])
def test_rows_of_one_class_have_a_finite_score(name):
    _, outputs = outputs_for(4, 2)
    assert np.isfinite(KIND.score(make_task(metric=name), pa.array([0] * 4), outputs))


def test_a_users_function_sees_labels_in_their_original_type():
    seen = []

    def off_by(targets, predictions):
        seen.append((targets, predictions))
        return float(np.mean(np.abs(np.subtract(targets, predictions))))

    task = make_task(("1", "2", "10"), "off_by", label_type="int", function=off_by)
    outputs = from_matrix(np.eye(3, dtype=np.float32)[[0, 2, 1]])
    assert KIND.score(task, pa.array([0, 1, 2]), outputs) == pytest.approx(16 / 3)
    assert seen[0] == ([1, 2, 10], [1, 10, 2])


def test_several_input_columns_are_joined_and_missing_values_are_empty():
    table = pa.table({"title": ["A", None, "C"], "body": ["x", "y", None], "n": [1, 2, 3]})
    encoded = KIND.encode_inputs(make_task(inputs=("title", "body", "n")), table)
    assert encoded.to_pydict() == {"text": ["A\nx\n1", "\ny\n2", "C\n\n3"]}


@pytest.mark.parametrize(
    "column_type",
    [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.dictionary(pa.int8(), pa.string()))],
)
def test_lists_of_texts_are_joined_by_a_space(column_type):
    values = [["One.", "Two."], ["", None, "Three."], [], None]
    table = pa.table({"title": list("abcd"), "text": pa.array(values, pa.list_(pa.string())).cast(column_type)})
    task = make_task(inputs=("title", "text"))
    assert KIND.encode_inputs(task, table)["text"].to_pylist() == ["a\nOne. Two.", "b\nThree.", "c\n", "d\n"]
    assert KIND.encode_inputs(task, table.slice(1))["text"].to_pylist() == ["b\nThree.", "c\n", "d\n"]
    nothing = pa.table({"text": [[], [], None]})
    assert KIND.encode_inputs(make_task(), nothing)["text"].to_pylist() == ["", "", ""]


@pytest.mark.parametrize(
    ("values", "labels", "label_type"),
    [
        ([" ham", "spam ", "ham"], ("ham", "spam"), "string"),
        ([3, 1, 10], ("1", "3", "10"), "int"),
        ([1.0, 2.5, 1.0], ("1", "2.5"), "float"),
        ([True, False, True], ("false", "true"), "bool"),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b"), "string"),
    ],
)
def test_labels_survive_encoding_and_come_back_in_their_type(values, labels, label_type):
    task, table = make_task(labels, label_type=label_type), pa.table({"label": values})
    targets = KIND.encode_targets(task, table)
    assert targets.type == pa.int64()
    outputs = from_matrix(np.eye(len(labels), dtype=np.float32)[to_numbers(targets)] * np.float32(0.5))
    decoded = KIND.decode(task, table, outputs)
    plain = [value.strip() if isinstance(value, str) else value for value in table["label"].to_pylist()]
    assert decoded["prediction"].to_pylist() == plain
    assert decoded["score"].to_pylist() == [0.5] * len(plain)


def test_no_rows_decode_to_no_predictions():
    decoded = KIND.decode(make_task(), pa.table({"text": pa.array([], pa.string())}), from_matrix(np.zeros((0, 2))))
    assert [len(column) for column in decoded.values()] == [0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a", None, "b"], "row 1 .* has no label"),
        (["a", "b", " "], "row 2 .* has no label"),
        (["apple", "applr"], "row 1 .* 'applr'.*\n.*\n.*did you mean 'apple'"),
    ],
)
def test_a_bad_target_is_named_with_its_row(rows, message):
    with pytest.raises(DataError, match=message):
        KIND.encode_targets(make_task(("a", "apple", "b")), pa.table({"label": rows}))


def test_a_bad_target_that_is_not_asked_for_is_null():
    table = pa.table({"label": ["b", None, " ", "c", "a"]})
    assert KIND.encode_targets(make_task(), table, strict=False).to_pylist() == [1, None, None, None, 0]


def share_of_c(targets, predictions):
    """The recall of "c", which nobody knows to be about it."""
    return sum(p == "c" for t, p in zip(targets, predictions, strict=True) if t == "c") / targets.count("c")


def distance(targets, predictions):
    return -float(np.mean(np.abs(np.subtract(targets, predictions))))


def undefined_but_for_b(targets, predictions):
    return 1.0 if predictions[0] == "b" else [][0]


CONSTANTS = [
    # labels, metric, positive, function, training targets, score on the rows 0, 0, 0, 1, 2
    ("abc", "accuracy", None, None, [0, 0, 1, 2], 0.6),
    ("abc", "accuracy", "c", None, [0, 0, 1, 2], 0.6),
    ("abc", "recall", "c", None, [0, 0, 1, 2], 1.0),
    ("abc", "precision", "c", None, [0, 0, 1, 2], 0.2),
    ("abc", "f1", "c", None, [0, 0, 1, 2], 1 / 3),
    ("abc", "recall", None, None, [0, 0, 1, 2], 1 / 3),
    ("abc", "macro_f1", None, None, [0, 0, 1, 2], 0.25),
    ("abc", "roc_auc", "c", None, [0, 0, 1, 2], 0.5),
    ("abc", "average_precision", "c", None, [0, 0, 1, 2], 0.2),
    ("abc", "log_loss", None, None, [0, 0, 1, 2], 0.6 * np.log(2) + 0.4 * np.log(4)),
    ("abc", "own", None, share_of_c, [0, 0, 1, 2], 1.0),
    ("123", "own", None, distance, [0, 0, 0, 1, 1, 2, 2, 2], -0.8),
    ("abc", "own", None, undefined_but_for_b, [0, 0, 1, None], 1.0),
]


@pytest.mark.parametrize(("labels", "metric", "positive", "function", "train", "expected"), CONSTANTS)
def test_the_same_answer_for_every_row_is_the_one_that_the_metric_likes_best(
    labels, metric, positive, function, train, expected
):
    task = make_task(tuple(labels), metric, positive, "int" if labels == "123" else "string", function=function)
    targets = pa.array([0, 0, 0, 1, 2])
    constant = KIND.constant(task, pa.array(train), targets)
    assert len({tuple(row) for row in constant.to_pylist()}) == 1
    assert KIND.score(task, targets, constant) == pytest.approx(expected)


def test_the_same_answer_is_found_at_once_among_many_labels():
    labels = tuple(f"c{at:05}" for at in range(10_000))
    train = pa.array(np.random.default_rng(0).integers(10_000, size=100_000))
    started = time.process_time()
    for metric, function in (("macro_f1", None), ("recall", None), ("own", lambda t, p: float(np.mean(t == p)))):
        KIND.constant(make_task(labels, metric, None, function=function), train, pa.array([0, 1]))
    assert time.process_time() - started < 2


def test_a_missing_or_unreadable_input_column_is_a_data_error():
    with pytest.raises(DataError, match="did you mean 'texts'"):
        KIND.encode_inputs(make_task(), pa.table({"texts": ["x"]}))
    with pytest.raises(DataError, match="cannot be read as text"):
        KIND.encode_inputs(make_task(), pa.table({"text": [[1]]}))


def test_an_unknown_kind_gets_the_nearest_match():
    with pytest.raises(TaskError, match="did you mean 'text-classification'"):
        kind("text-clasification")
