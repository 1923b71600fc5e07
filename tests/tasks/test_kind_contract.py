"""What every kind of task must do, whatever it is about."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from autosft.arrays import from_matrix, to_numbers
from autosft.errors import DataError
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import KINDS, kind

LABELS = ("a", "b", "c")
NUM_LABELS = len(LABELS)
TABLE = pa.table(
    {
        "first": ["one", None, "three", "four"],
        "second": ["x", "y", "z", None],
        "label": list("abca"),
        "number": [3.0, -1.5, 0.25, 3.0],
    }
)

#: The target column by output; kinds with other outputs or inputs are tested by themselves.
TARGETS = {Output.LABEL: "label", Output.NUMBER: "number"}
TEXTS = (Input.TEXT, Input.TEXT_PAIR)


@pytest.fixture(params=KINDS)
def found(request):
    return kind(request.param)


@pytest.fixture
def task(found):
    if found.output not in TARGETS or found.input not in TEXTS:
        pytest.skip("only kinds that give texts one label or number have rows here")
    return make_task(found, *next(iter(found.metrics.items())))


def make_task(found, metric, greater, labels=LABELS, positive=None):
    labels = labels if found.output is Output.LABEL else ()
    return Task(found.name, "", ("first", "second"), TARGETS[found.output], Metric(metric, greater, positive), labels)


def right_outputs(targets, num_labels=NUM_LABELS, share=0.9):
    """Returns outputs that are right: the share for the label, or the very number."""
    if pa.types.is_floating(targets.type):
        return targets
    rest = (1 - share) / (len(LABELS) - 1)
    chosen = np.eye(len(LABELS), dtype=bool)[to_numbers(targets)]
    return from_matrix(np.where(chosen, share, rest).astype(np.float32)[:, :num_labels])


def some_targets(output, num_rows, num_labels=NUM_LABELS, moved=0):
    """Returns targets; those that are moved are wrong in every row."""
    positions = (np.arange(num_rows) + moved) % num_labels
    return pa.array(positions if output is Output.LABEL else positions * positions + np.arange(num_rows) / num_rows)


def test_a_kind_is_registered_under_its_own_name(found):
    assert KINDS[found.name].partition(":")[2] == type(found).__name__


def test_inputs_are_encoded_row_by_row_without_gaps(found, task):
    encoded = found.encode_inputs(task, TABLE)
    assert encoded.num_rows == TABLE.num_rows
    assert all(column.null_count == 0 for column in encoded.columns)
    again = found.encode_inputs(task, TABLE.slice(2))
    assert again.to_pylist() == encoded.slice(2).to_pylist()


def test_what_knows_nothing_says_the_same_of_every_row_and_is_scored_below_what_is_right(found, task):
    targets = found.encode_targets(task, TABLE)
    constant = found.constant(task, targets, targets)
    assert constant.type == right_outputs(targets).type
    predicted = found.decode(task, found.encode_inputs(task, TABLE), constant)["prediction"].to_pylist()
    assert len(predicted) == TABLE.num_rows and len(set(predicted)) == 1
    sign = 1 if task.metric.greater_is_better else -1
    assert sign * found.score(task, targets, constant) < sign * found.score(task, targets, right_outputs(targets))


def test_right_outputs_decode_to_the_targets(found, task):
    outputs = right_outputs(found.encode_targets(task, TABLE))
    decoded = found.decode(task, found.encode_inputs(task, TABLE), outputs)
    assert decoded["prediction"].to_pylist() == TABLE[task.target_column].to_pylist()
    if found.output is Output.LABEL:
        assert decoded["score"].to_pylist() == pytest.approx([0.9] * TABLE.num_rows)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_every_metric_prefers_right_outputs_to_wrong_ones(found, num_classes):
    if found.output not in TARGETS:
        pytest.skip("only kinds with one label or number have targets here")
    for name, greater in found.metrics.items():
        labels = LABELS[:num_classes]
        positive = labels[1] if num_classes == 2 and found.output is Output.LABEL else None
        if name == "f1" and positive is None:
            continue
        task = make_task(found, name, greater, labels, positive)
        targets, other = (some_targets(found.output, 20, num_classes, moved) for moved in (0, 1))
        right, wrong = right_outputs(targets, num_classes), right_outputs(other, num_classes)
        gain = found.score(task, targets, right) - found.score(task, targets, wrong)
        assert gain > 0 if greater else gain < 0, name
        assert found.loss(task, targets, right) < found.loss(task, targets, wrong)
        assert found.scores(task, targets, right)[name] == pytest.approx(found.score(task, targets, right))


def test_resampling_all_rows_gives_the_score(found, task):
    targets = some_targets(found.output, 12)
    wrong = right_outputs(some_targets(found.output, 12, moved=1))
    outputs = pa.concat_arrays([wrong[:4], right_outputs(targets)[4:]])
    rows = np.stack([np.arange(12), np.arange(12)[::-1], np.arange(12) % 4])
    scores = found.scorer(task, targets, outputs)(rows)
    assert scores.shape == (3,)
    assert scores[:2] == pytest.approx([found.score(task, targets, outputs)] * 2)
    assert scores[2] != pytest.approx(scores[0]), "the rows that are all wrong"


def test_a_missing_target_is_an_error_or_null(found, task):
    table = TABLE.set_column(TABLE.column_names.index(task.target_column), task.target_column, pa.nulls(4, pa.string()))
    with pytest.raises(DataError, match="row 0"):
        found.encode_targets(task, table)
    encoded = found.encode_targets(task, table, strict=False)
    assert encoded.null_count == 4
    assert encoded.type == found.encode_targets(task, TABLE).type


def test_a_task_survives_json(task):
    whole = replace(task, target_columns=("first", "second"), thresholds=(0.25, 0.5), reasons=("why",))
    assert Task.from_json(json.loads(json.dumps(whole.to_json()))) == whole
