"""What is handed to `fit_many` reaches a job's own process as it was."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from autosft.batch.many import _in_cache, _spilled
from autosft.data.read import read
from autosft.task import Metric, Task


def test_rows_held_in_memory_are_read_back_as_they_were() -> None:
    rows = [{"text": "one", "label": "x", "stars": 4}, {"text": "two", "label": "y", "stars": None}]
    path = _in_cache(rows)
    assert read(path).train.to_pylist() == read(rows).train.to_pylist()
    assert _in_cache(pd.DataFrame(rows[:1])) != path
    assert _in_cache(list(rows)) == path, "the same rows are written once"


def test_splits_stay_splits(tmp_path: Path) -> None:
    given = {"train": [{"text": "a", "label": "x"}], "validation": [{"text": "b", "label": "y"}]}
    found = read(_in_cache({name: pd.DataFrame(rows) for name, rows in given.items()})).splits
    assert {name: table.to_pylist() for name, table in found.items()} == given


def test_tasks_and_metrics_cross_as_json() -> None:
    task = Task("text-classification", "Sort", ("text",), "label", Metric("accuracy"), ("x", "y"))
    found = _spilled({"name": "one", "task": task, "data": "rows.csv"})
    assert Task.from_json(found["task"]) == task
