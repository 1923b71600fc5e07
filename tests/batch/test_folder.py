"""A batch's folder tells from its files alone what became of every job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autosft.batch.folder import BatchFolder
from autosft.batch.job import Job, checked
from autosft.errors import PlanError, RunFolderError
from autosft.run_folder import RunFolder


def job(tmp_path: Path, name: str, **more: Any) -> Job:
    data = tmp_path / "rows.csv"
    data.write_text("text,label\na,x\nb,y\n")
    row = {"name": name, "task": "Sort", "data": str(data), **more}
    return checked([(row, None)], base=tmp_path, place="the test")[0]


def begin(folder: BatchFolder, name: str, *, finish: bool = False) -> None:
    """Leaves what a run leaves that has begun, or finished."""
    place = folder.path / name
    place.mkdir(exist_ok=True)
    for file in ("plan.json", *(["result.json"] if finish else [])):
        (place / file).write_text(json.dumps({"format": 1}))


def test_jobs_that_have_begun_must_stay_the_same(tmp_path: Path) -> None:
    folder = BatchFolder.open(tmp_path / "batch")
    jobs = [job(tmp_path, "done"), job(tmp_path, "begun"), job(tmp_path, "new")]
    assert folder.enter(jobs, budget_seconds=None) == []
    begin(folder, "done", finish=True)
    begin(folder, "begun")
    changed = [job(tmp_path, name, seed=1) for name in ("done", "begun", "new")]
    with pytest.raises(PlanError) as caught:
        folder.enter(changed, budget_seconds=None)
    message = str(caught.value)
    assert "job 'done' finished as another one (seed was None and is 1)" in message
    assert "job 'begun' has begun as another one" in message
    assert "'new'" not in message
    assert "remove a job's folder" in message
    # What has not begun may change, and so may budgets and priorities of all.
    assert folder.enter([*jobs[:2], changed[2]], budget_seconds=None) == []
    cheaper = [job(tmp_path, "done", budget="5m", priority=3), *jobs[1:2], changed[2]]
    assert folder.enter(cheaper, budget_seconds=60.0) == []


def test_jobs_may_be_added_and_left_out(tmp_path: Path) -> None:
    folder = BatchFolder.open(tmp_path / "batch")
    folder.enter([job(tmp_path, "one")], budget_seconds=None)
    notes = folder.enter([job(tmp_path, "two")], budget_seconds=None)
    assert notes == ["no longer among the jobs, and left as they are: one", "new: two"]
    begin(folder, "one")
    with pytest.raises(PlanError, match="job 'one' has begun as another one"):
        folder.enter([job(tmp_path, "one", seed=3), job(tmp_path, "two")], budget_seconds=None)


def test_wall_time_counts_killed_sittings_too(tmp_path: Path) -> None:
    folder = BatchFolder.open(tmp_path / "batch")
    folder.append("opened", spent_seconds=0.0)
    folder.append("started", spent_seconds=5.0, name="one", seconds=60.0, more_seconds=None)
    folder.beat(25.0)
    assert folder.spent_seconds() == 25.0
    folder.append("opened", spent_seconds=25.0)  # What was killed wrote nothing more.
    folder.append("started", spent_seconds=30.0, name="one", seconds=40.0, more_seconds=None)
    folder.append("ended", spent_seconds=60.0, name="one", fate="finished", reason="")
    folder.append("started", spent_seconds=60.0, name="one", seconds=20.0, more_seconds=20.0)
    folder.append("ended", spent_seconds=85.0, name="one", fate="finished", reason="")
    past = folder.past()["one"]
    assert past.wall_seconds == 20 + 30 + 25
    assert (past.given_seconds, past.added_seconds, past.num_extensions, past.fate) == (60.0, 20.0, 1, "finished")
    with folder.log.open("a") as file:
        file.write('{"event": "ended", "na')
    assert folder.past()["one"] == past


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(RunFolderError, match="holds a run, not a batch"):
        BatchFolder.open(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        BatchFolder.open(tmp_path / "file")


def test_a_batch_that_ended_before_its_jobs_were_written_can_begin_anew(tmp_path: Path) -> None:
    folder = BatchFolder.open(tmp_path / "batch")
    with folder.locked():
        (folder.path / ".batch.json.unfinished").write_text("{")
    assert BatchFolder.open(folder.path).path == folder.path
    (folder.path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="something that is no batch"):
        BatchFolder.open(folder.path)


def test_two_processes_cannot_work_on_one_batch(tmp_path: Path) -> None:
    folder = BatchFolder.open(tmp_path / "batch")
    with folder.locked(), pytest.raises(RunFolderError, match="another process works on"), folder.locked():
        pass


def test_a_run_that_was_killed_before_its_plan_was_written_can_begin_anew(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    with run.locked():
        (run.path / ".plan.json.unfinished").write_text("{")
    RunFolder.check_free(run.path)
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError):
        RunFolder.check_free(run.path)
