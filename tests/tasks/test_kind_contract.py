"""What every kind of task must do, whatever it is about."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from autosft.task import Metric, Output, Task
from autosft.tasks import KINDS, kind

LABELS = ("a", "b", "c")
TABLE = pa.table({"first": ["one", None, "three", "four"], "second": ["x", "y", "z", None], "target": list("abca")})


@pytest.fixture(params=KINDS)
def found(request):
    return kind(request.param)


@pytest.fixture
def task(found):
    if found.output is not Output.LABEL:
        pytest.skip("only kinds with one label have rows here")
    default, greater = next(iter(found.metrics.items()))
    return Task(found.name, "", ("first", "second"), "target", Metric(default, greater), LABELS)


def right_outputs(targets, share=0.9):
    rest = (1 - share) / (len(LABELS) - 1)
    return np.where(np.eye(len(LABELS), dtype=bool)[targets], share, rest).astype(np.float32)


def test_a_kind_is_registered_under_its_own_name(found):
    assert KINDS[found.name].partition(":")[2] == type(found).__name__


def test_inputs_are_encoded_row_by_row_without_gaps(found, task):
    encoded = found.encode_inputs(task, TABLE)
    assert encoded.num_rows == TABLE.num_rows
    assert all(column.null_count == 0 for column in encoded.columns)
    again = found.encode_inputs(task, TABLE.slice(2))
    assert again.to_pylist() == encoded.slice(2).to_pylist()


def test_right_outputs_decode_to_the_targets(found, task):
    decoded = found.decode(task, right_outputs(found.encode_targets(task, TABLE)))
    assert decoded["prediction"].to_pylist() == TABLE["target"].to_pylist()
    assert decoded["score"].to_pylist() == pytest.approx([0.9] * TABLE.num_rows)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_every_metric_prefers_right_outputs_to_wrong_ones(found, num_classes):
    for name, greater in found.metrics.items():
        labels = LABELS[:num_classes]
        positive = labels[1] if num_classes == 2 else None
        if name == "f1" and positive is None:
            continue
        task = Task(found.name, "", ("first",), "target", Metric(name, greater, positive), labels)
        targets = np.arange(20) % num_classes
        right = right_outputs(targets)[:, :num_classes]
        wrong = right_outputs((targets + 1) % num_classes)[:, :num_classes]
        gain = found.score(task, targets, right) - found.score(task, targets, wrong)
        assert gain > 0 if greater else gain < 0, name
        assert found.loss(task, targets, right) < found.loss(task, targets, wrong)
        assert found.scores(task, targets, right)[name] == pytest.approx(found.score(task, targets, right))


def test_resampling_all_rows_gives_the_score(found, task):
    targets = np.arange(12) % len(LABELS)
    outputs = right_outputs(np.where(np.arange(12) < 4, (targets + 1) % len(LABELS), targets))
    rows = np.stack([np.arange(12), np.arange(12)[::-1], np.arange(12) % 4])
    scores = found.resample(task, targets, outputs, rows)
    assert scores.shape == (3,)
    assert scores[:2] == pytest.approx([found.score(task, targets, outputs)] * 2)
    assert scores[2] != pytest.approx(scores[0]), "the rows that are all wrong"


def test_a_task_survives_json(task):
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
