"""Every kind of task goes the whole line: infer, audit, plan, search, refit, save, load, predict. One Ray for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autosft
from autosft.data.read import read
from autosft.task import Output
from autosft.tasks import KINDS
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_kinds import Question, question
from autosft.tracking.base import Tracker


@pytest.fixture(params=KINDS)
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Question]:
    return request.param, question(request.param, tmp_path)


def test_the_whole_line(asked: tuple[str, Question], ray_session: None, tmp_path: Path) -> None:
    kind, given = asked
    result = autosft.fit(
        given.sentence,
        given.data,
        models=str(given.base),
        budget="2 trials",
        folder=tmp_path / "run",
        tracker=Tracker(),
    )
    task = result.plan.task
    assert task.kind == kind, result.plan
    assert {arm.trainer for arm in result.plan.arms}
    assert any(trial.fate == "complete" for trial in result.trials), [trial.message for trial in result.trials]

    summary = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert summary["kind"] == kind
    assert summary["metric"] == next(iter(task_kind(kind).metrics))
    low, high = summary["test"]["interval"]
    assert low <= summary["test"]["score"] <= high
    assert (summary["test"]["constant"] is None) == (task_kind(kind).output is Output.TEXT)
    assert summary["refit"]["done"], summary["refit"]["reason"]
    assert summary["refit"]["reload_difference"] < 1e-5

    saved = result.predictor.save(tmp_path / "saved")
    assert not [path for path in saved.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    loaded = autosft.load(saved)
    predicted = loaded.predict(given.new)
    assert len(predicted) == len(given.new)
    assert predicted == result.predict(given.new)
    table = loaded.predict_table(given.new)
    assert table.column_names[: len(given.new[0])] == list(given.new[0])
    assert table.column("prediction").to_pylist() == predicted
    # Rows without names of columns are the same rows.
    bare = [tuple(row[name] for name in task.input_columns) for row in given.new]
    assert loaded.predict([row[0] for row in bare] if len(task.input_columns) == 1 else bare) == predicted
    assert loaded.predict([]) == []
    # What is predicted reads as the data does.
    assert type(predicted[0]) in _types_of_targets(given, task), predicted[0]
    # The default plan and every text about it can be printed.
    assert kind in str(result.plan)
    convention = task_kind(kind).convention
    assert bool(convention) == (task_kind(kind).output is Output.TEXT) and convention in str(result.plan)
    assert str(result)


def _types_of_targets(given: Question, task: autosft.Task) -> set[type]:
    if task.kind == "chat":
        return {str}
    train = read(given.data).train
    return {type(value) for value in train.column(task.target_column).to_pylist()}
