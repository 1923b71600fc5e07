"""A disk that fills up, in every phase and place: exit 2 with words, and once there is room nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harm import fault
from prepared import Head
from shell import Shell, assert_explained, ended

import autosft
from autosft.errors import RunFolderError
from autosft.planning.plan import Plan
from autosft.search.trial import Trial, TrialLog
from autosft.tracking.base import Tracker

pytestmark = pytest.mark.faults


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes, where this machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk; the tests by RLIMIT_FSIZE stand in")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as file:
        for num_bytes in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(num_bytes)):
                    pass
            except OSError:
                continue


class Filling(Tracker):
    """Fills a disk when a phase begins, or once a trial has ended."""

    def __init__(self, disk: Path, when: str) -> None:
        self.disk, self.when = disk, when

    def phase(self, name: str) -> None:
        if name == self.when:
            fill(self.disk)

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        if self.when == "a trial ended":
            fill(self.disk)


def test_of_the_runs_folder_in_every_phase(quick: Plan, head: Head, disk: Path) -> None:
    run, log = disk / "run", TrialLog(disk / "run" / "trials.jsonl")
    finished: list[Trial] = []
    for when in ("a trial ended", "refit", "prove"):
        with pytest.raises(RunFolderError, match=r"(?i)cannot be written .*no space left[^$]*To fix"):
            if run.exists():
                autosft.resume(run, tracker=Filling(disk, when))
            else:
                autosft.fit(quick, folder=run, tracker=Filling(disk, when))
        (disk / "ballast").unlink()
        assert not (run / "result.json").exists()
        trials = TrialLog(log.path).trials()
        assert trials[: len(finished)] == finished and len(trials) >= 1
        assert all(trial.fate == "complete" for trial in trials), "a full disk is no fault of a trial's"
        finished = trials
    result = autosft.resume(run, tracker=Tracker())
    assert list(result.trials[: len(finished)]) == finished and len(result.trials) == 4
    assert result.predict(["card chip pin visa"])


def test_while_a_result_is_written_again_the_earlier_model_stays(quick: Plan, head: Head, disk: Path) -> None:
    run = disk / "run"
    one = replace(quick, budget=autosft.Budget.parse("1 trials", refit=False))
    answer = autosft.fit(one, folder=run, tracker=Tracker()).predict(["card chip pin visa"])
    with pytest.raises(RunFolderError, match=r"(?i)no space left"):
        autosft.resume(run, budget="+1 trials", tracker=Filling(disk, "prove"))
    assert autosft.load(run).predict(["card chip pin visa"]) == answer


@pytest.mark.parametrize("place", ["cache", "temporary files"])
def test_of_what_is_no_runs_folder(
    quick: Plan, head: Head, disk: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "cache":
        monkeypatch.setenv("AUTOSFT_CACHE", str(disk))
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
    fill(disk)
    with pytest.raises(RunFolderError, match=r"(?i)cannot be written .*no space left[^$]*To fix"):
        autosft.fit(quick, folder=tmp_path / "run", tracker=Tracker())
    (disk / "ballast").unlink()
    if (tmp_path / "run" / "plan.json").exists():
        assert len(autosft.resume(tmp_path / "run", tracker=Tracker()).trials) == 4


def test_where_nothing_can_be_mounted_a_limit_stands_in(shell: Shell, quick: Plan, head: Head, tmp_path: Path) -> None:
    shell.run = tmp_path / "run"
    quick.save(tmp_path / "plan.json")
    full = fault("autosft.search.search:Search._record", "files:1500", nth=1)
    fit = ("fit", str(tmp_path / "plan.json"), "--folder", str(shell.run), "--cluster", head.address)
    done = ended(shell.start(*fit, faults=(full,)))
    assert_explained(done, "cannot be written")
    before = [trial.number for trial in TrialLog(shell.run / "trials.jsonl").trials()]
    done = shell.resume("--cluster", head.address)
    assert done.returncode == 0, done.stderr
    after = [trial.number for trial in TrialLog(shell.run / "trials.jsonl").trials()]
    assert after[: len(before)] == before and len(set(after)) == len(after) == 4
