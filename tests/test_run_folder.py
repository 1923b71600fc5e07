"""A run's folder: who may have it, who may write it, and what a crash or a careless hand leaves in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from autosft.batch.folder import BatchFolder
from autosft.errors import RunFolderError
from autosft.run_folder import RunFolder

HOLD = """
import sys
from autosft.run_folder import RunFolder
with RunFolder(__import__("pathlib").Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run")
    made.write(made.plan, {"format": 1})
    return made


def test_a_new_run_takes_a_new_or_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert RunFolder.create("empty").path == tmp_path / "empty"
    assert RunFolder.create("deep/new").path == tmp_path / "deep" / "new"
    assert RunFolder.create(None).path.parent == tmp_path / "runs"
    assert not any((tmp_path / "deep" / "new").iterdir())


def test_runs_and_batches_that_begin_in_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Noon:
            return cls(2024, 3, 31, 12)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("autosft.run_folder.datetime", Noon)
    runs = [RunFolder.create(None).path.name for _ in range(3)]
    assert runs == ["2024-03-31_12-00-00", "2024-03-31_12-00-00_2", "2024-03-31_12-00-00_3"]
    batches = [BatchFolder.open(None).path.name for _ in range(2)]
    assert batches == ["batch_2024-03-31_12-00-00", "batch_2024-03-31_12-00-00_2"]


def test_a_folder_cannot_be_named_where_runs_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("in the way")
    for begin in (RunFolder.create, BatchFolder.open):
        with pytest.raises(RunFolderError, match="cannot be written"):
            begin(None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"notes.txt": ""}, "not a run's folder"),
        ({"plan.json": "{}"}, "an unfinished run.*\n.*\n.*autosft resume"),
        ({"plan.json": "{}", "result.json": "{}"}, "a finished run"),
    ],
)
def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, content: dict[str, str], said: str) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunFolderError, match=said):
        RunFolder.create(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(content)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="cannot be written"):
        RunFolder.create(tmp_path / "run")


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for folder in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(RunFolderError, match=r"is a file|cannot be written"):
            RunFolder.create(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plan.json", '{"format": 2}', "format 2"),
        ("plan.json", '{"format": 1, "task', "cannot be read"),
        ("plan.json", "[1]", "not an object"),
        ("plan.json", b"\xff\xfe\x00", "cannot be read"),
        ("plan.json", "", "cannot be read"),
        ("result.json", '{"format": 99}', "format 99"),
        ("result.json", "half", "cannot be read"),
    ],
)
def test_damage_and_newer_formats_are_named(run: RunFolder, name: str, content: str | bytes, said: str) -> None:
    (run.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunFolderError, match=said) as raised:
        RunFolder.open(run.path)
    assert name in str(raised.value)


@pytest.mark.parametrize("made", [True, False])
def test_what_is_no_run_is_not_opened(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "other"
    if made:
        folder.mkdir()
    with pytest.raises(RunFolderError, match="not a run's folder" if made else "does not exist"):
        RunFolder.open(folder)


def test_a_second_process_is_kept_out_until_the_first_one_ends_or_dies(run: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another process"), run.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.locked():
        pass


def test_a_write_that_fails_leaves_what_was_there(run: RunFolder) -> None:
    run.write(run.result, {"format": 1, "score": 0.5})
    with pytest.raises(TypeError):
        run.write(run.result, {"format": 1, "score": object()})
    assert run.read(run.result) == {"format": 1, "score": 0.5}
    (run.path / "other").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot be written"):
        run.write(run.path / "other" / "file.json", {})


def test_numbers_that_json_lacks_are_written_as_null(run: RunFolder) -> None:
    run.write(run.result, {"format": 1, "scores": (float("nan"), 0.5, float("-inf"))})
    assert json.loads(run.result.read_text(), parse_constant=pytest.fail) == {"format": 1, "scores": [None, 0.5, None]}


def test_reopening_takes_the_result_and_nothing_else(run: RunFolder) -> None:
    run.write(run.result, {"format": 1})
    run.reopen()
    run.reopen()
    assert not run.result.exists()
    assert json.loads(run.plan.read_text()) == {"format": 1}
