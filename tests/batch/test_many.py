"""What is handed to `fit_many` reaches a job's own process as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autosft.batch.job import Job, as_given, checked
from autosft.batch.many import _in_cache, _keys
from autosft.data.read import read
from autosft.errors import PlanError
from autosft.task import Metric, Task

TASK = Task("text-classification", "Sort", ("text",), "label", Metric("accuracy"), ("x", "y"))


def made(place: Path, **more: Any) -> Job:
    (place / "rows.csv").write_text("text,label\na,x\nb,y\n")
    row = {"name": "one", "task": "Sort", "data": "rows.csv", **more}
    return checked([(row, None)], base=place, place="the jobs")[0]


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


def test_tasks_and_metrics_cross_as_json(tmp_path: Path) -> None:
    job = made(tmp_path, task=TASK, metric=Metric("macro_f1"))
    crossed = json.loads(json.dumps(job.arguments))
    assert as_given(crossed) == {**crossed, "task": TASK, "metric": Metric("macro_f1")}
    [again] = checked([(_keys(job), None)], base=tmp_path, place="the jobs")
    assert again == job


def test_numbers_of_numpy_are_plain_ones(tmp_path: Path) -> None:
    given = {"positive": np.int64(1), "seed": np.int64(3), "priority": np.float32(2), "gpus_per_trial": np.float64(0.5)}
    job = made(tmp_path, **given)
    assert job.digest == made(tmp_path, positive=1, seed=3, priority=2, gpus_per_trial=0.5).digest
    assert (job.arguments["positive"], job.priority) == (1, 2.0)
    assert json.loads(json.dumps(job.to_json())) == job.to_json()


def test_names_of_any_collection_are_a_list_in_its_order(tmp_path: Path) -> None:
    for given in (("title", "body"), pd.Index(["title", "body"]), {"title": 1, "body": 2}.keys()):
        assert made(tmp_path, inputs=given).arguments["inputs"] == ["title", "body"]
    assert made(tmp_path, models=[tmp_path]).arguments["models"] == [str(tmp_path)]


def test_a_value_that_no_json_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"positive is Timestamp\(.*, not a text, a number, or true or"):
        made(tmp_path, positive=pd.Timestamp("2024-01-01"))
    with pytest.raises(PlanError, match=r"task is \{'kind': 'x'\}, not a sentence"):
        made(tmp_path, task={"kind": "x"})


def test_a_set_of_names_makes_the_same_job_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n")
    row = "{'name': 'one', 'task': 'Sort', 'data': 'rows.csv', 'inputs': {'text', 'title', 'body', 'more'}}"
    program = (
        "from pathlib import Path\nfrom autosft.batch.job import checked\n"
        f"[job] = checked([({row}, None)], base=Path.cwd(), place='here')\nprint(job.digest, job.arguments['inputs'])"
    )
    told = {
        subprocess.check_output(
            [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed}, text=True
        )
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
    assert "['body', 'more', 'text', 'title']" in told.pop()
