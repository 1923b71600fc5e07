"""Every kind of task goes the whole line: infer, audit, plan, search, refit, save, load, predict. One Ray for all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
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
    fates = [(trial.fate, trial.message) for trial in result.trials]
    assert [fate for fate, _ in fates] == ["complete"] * 2, fates

    summary = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert summary["kind"] == kind
    assert summary["metric"] == next(iter(task_kind(kind).metrics))
    low, high = summary["test"]["interval"]
    assert low <= summary["test"]["score"] <= high
    assert (summary["test"]["constant"] == 8.0) == (task_kind(kind).output is Output.TEXT), "bits in a guessed byte"
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
    _has_its_report(result, kind)
    # The default plan and every text about it can be printed.
    assert kind in str(result.plan)
    convention = task_kind(kind).convention
    assert bool(convention) == (task_kind(kind).output is Output.TEXT) and convention in str(result.plan)
    assert str(result)


def _has_its_report(result: autosft.Result, kind: str) -> None:
    assert not (result.folder / "report.log").exists(), (result.folder / "report.log").read_text()
    html, output = result.report.read_text(encoding="utf-8"), task_kind(kind).output
    sections = set(re.findall(r'<section id="([a-z-]+)"', html))
    wanted = {"leaderboard", "search", "answers", "slices", "errors", "audit", "cost", "plan", "again"}
    assert wanted <= sections, kind
    assert ("calibration" in sections) == (output not in (Output.NUMBER, Output.TEXT))
    assert ('id="classes"' in html) == (output in (Output.LABEL, Output.LABELS, Output.TOKEN_LABELS))
    assert ('id="residuals"' in html) == (output is Output.NUMBER)
    assert ('id="lengths-of-targets"' in html) == (output is Output.TEXT)
    table = pq.read_table(result.folder / "data" / "proof.parquet")
    assert table.num_rows == result.summary["test"]["num_rows"]
    # A generated text's target is a row's text, which stays in the report.
    assert ("target" in table.column_names) == (output is not Output.TEXT)


def _types_of_targets(given: Question, task: autosft.Task) -> set[type]:
    if task.kind == "chat":
        return {str}
    train = read(given.data).train
    return {type(value) for value in train.column(task.target_column).to_pylist()}
