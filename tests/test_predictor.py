from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import autosft
from autosft.predictor import FORMAT
from autosft.task import Metric, Task


def write_model(folder: Path, **changes: object) -> Path:
    task = Task("text-classification", "sort", ("text",), "label", Metric("accuracy"), ("a", "b")).to_json()
    row = {"format": FORMAT, "kind": task["kind"], "trainer": "frozen_head", "task": task, "versions": {}} | changes
    (folder / "autosft.json").write_text(json.dumps(row))
    return folder


def test_a_models_folder_cannot_have_modules_imported(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    row = json.loads((folder / "autosft.json").read_text())
    row["task"]["metric"] |= {"name": "mine", "function": "antigravity:geohash"}
    row["task"]["answer"] = {"function": "antigravity:geohash"}
    (folder / "autosft.json").write_text(json.dumps(row))
    task = autosft.load(folder).task
    assert task.metric.function is None and task.answer is None
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no finished model"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        (f'{{"format": {FORMAT}}}', "cannot be read"),
        ('{"format": 99}', "model format 99"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "autosft.json").write_text(content)
    with pytest.raises(autosft.RunFolderError, match=words):
        autosft.load(tmp_path)


def test_a_trainer_that_is_not_registered_here_is_named(tmp_path: Path) -> None:
    model = autosft.load(write_model(tmp_path, trainer="frozen_hed"))
    with pytest.raises(autosft.PlanError, match="frozen_head"):
        model.predict(["a text"])


def test_a_file_is_no_models_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    with pytest.raises(autosft.RunFolderError, match="is a file, not a"):
        autosft.load(tmp_path / "rows.csv")


@pytest.mark.parametrize("text", ["hi", "a great thing, really"])
def test_a_bare_text_is_not_taken_for_a_path(tmp_path: Path, text: str) -> None:
    model = autosft.load(write_model(tmp_path))
    with pytest.raises(autosft.DataError, match=r"list"):
        model.predict(text)
    with pytest.raises(autosft.DataError, match=r"no file or folder no\.csv"):
        model.predict("no.csv")
