"""Two processes that want one run's folder: one works, the other is told at once; nobody waits for the dead."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from harm import fault
from prepared import Head
from shell import Shell, assert_explained, ended, wait_for_line

from autosft.planning.plan import Plan

pytestmark = pytest.mark.faults


def test_who_comes_second_is_told_at_once_and_a_dead_ones_lock_does_not_stay(
    shell: Shell, quick: Plan, head: Head, tmp_path: Path
) -> None:
    shell.run = tmp_path / "run"
    quick.save(tmp_path / "plan.json")
    fit = ("fit", str(tmp_path / "plan.json"), "--folder", str(shell.run), "--cluster", head.address)
    first = shell.start(*fit, faults=(fault("autosft.calibration:calibrate", "hang"),))
    try:
        wait_for_line(first, "trial 3")
        started = time.monotonic()
        others = [shell.start(*fit), shell.start("resume", str(shell.run))]
        assert_explained(ended(others[0]), "holds an unfinished run")
        assert_explained(ended(others[1]), "another process works on")
        assert time.monotonic() - started < 30
        before = shell.events()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    done = shell.resume("--cluster", head.address)
    assert done.returncode == 0, done.stderr
    assert shell.events()[: len(before)] == before and shell.summary()["num_trials"] == 4


def test_of_two_that_begin_at_the_same_time_exactly_one_works(
    shell: Shell, quick: Plan, head: Head, tmp_path: Path
) -> None:
    shell.run = tmp_path / "run"
    quick.save(tmp_path / "plan.json")
    fit = ("fit", str(tmp_path / "plan.json"), "--folder", str(shell.run), "--cluster", head.address)
    both = [ended(process) for process in [shell.start(*fit), shell.start(*fit)]]
    assert sorted(done.returncode for done in both) == [0, 2], [done.stderr for done in both]
    [refused] = [done for done in both if done.returncode]
    assert_explained(refused)
    assert "another process works on" in refused.stderr or "unfinished run" in refused.stderr
    assert shell.summary()["num_trials"] == 4
