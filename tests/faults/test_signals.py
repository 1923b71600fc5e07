"""Ctrl-C, a supervisor's SIGTERM and a terminal that is closed: an answer where there is one, and never a mess."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harm import fault
from shell import QUICK, Shell, ended, wait_for_line

from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan

pytestmark = pytest.mark.faults


@pytest.fixture
def fresh(shell: Shell, tmp_path: Path) -> Shell:
    """The same data, model and cache for another run."""
    shell.run = tmp_path / "run"
    return shell


def planned_fit(fresh: Shell, plan: Plan) -> subprocess.Popen[str]:
    """Starts a run whose plan is made: there, reading, audit and timing are not what is asked about."""
    path = fresh.run.with_name("plan.json")
    plan.save(path)
    return fresh.start("fit", str(path), "--folder", str(fresh.run))


@pytest.mark.parametrize(
    ("words", "number"),
    [("trial 0:", signal.SIGINT), ("trial 0:", signal.SIGTERM), ("Training the winner", signal.SIGINT)],
    ids=["Ctrl-C in the search", "SIGTERM in the search", "Ctrl-C in the refit"],
)
def test_it_ends_with_the_best_model_so_far(fresh: Shell, words: str, number: signal.Signals) -> None:
    process = fresh.fit("--trainer", "frozen_head", "--budget", "3m" if words == "trial 0:" else "2 trials")
    wait_for_line(process, words)
    # A terminal sends Ctrl-C to every process, a supervisor its SIGTERM to the one it started.
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    started = time.monotonic()
    done = ended(process, within_seconds=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 30
    assert fresh.summary()["interrupted"] is True
    assert (fresh.run / "model" / "autosft.json").exists()
    assert not fresh.left_behind()


def test_a_terminal_that_is_closed_leaves_the_best_model_so_far(fresh: Shell) -> None:
    inner, outer = os.openpty()
    process = fresh.fit("--trainer", "frozen_head", "--budget", "3m", terminal=outer)
    os.close(outer)
    read = b""
    while b"trial 0:" not in read:
        read += os.read(inner, 65536)
    # The kernel tells every process in it, and whatever is written from now on is an error.
    os.close(inner)
    assert process.wait(timeout=90) == 0
    assert fresh.summary()["interrupted"] is True
    assert not fresh.left_behind()


def test_what_is_started_to_outlive_its_terminal_does_not_hear_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupt.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_is_not_lost_where_python_only_prints_what_is_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        interrupt.requested = True
        Finalized()
        time.sleep(10)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("sent", ["Ctrl-C", "Ctrl-C twice", "SIGTERM"])
def test_before_there_is_a_model_it_ends_at_once(fresh: Shell, quick: Plan, sent: str) -> None:
    process = planned_fit(fresh, quick)
    wait_for_line(process, "Searching")
    if sent == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGINT)
    if sent == "Ctrl-C twice":
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    done = ended(process, within_seconds=60)
    assert time.monotonic() - started < 15
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not fresh.left_behind()
    assert (fresh.run / "plan.json").exists() and not (fresh.run / "result.json").exists()
    if sent == "SIGTERM":
        assert fresh.resume().returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_before_there_is_a_plan_nothing_is_left(fresh: Shell, number: signal.Signals, tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    done = ended(
        fresh.fit(*QUICK, environment={"TMPDIR": str(scratch)}, faults=(fault("autosft.api:_plan", number.name),))
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not fresh.run.exists()
    assert not list(scratch.glob("autosft-*")), "temporary files go too"
    assert not fresh.left_behind()


def test_nobody_who_listens_is_no_reason_to_fail(fresh: Shell, quick: Plan) -> None:
    process = planned_fit(fresh, quick)
    wait_for_line(process, "Searching")
    assert process.stderr is not None and process.stdout is not None
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert fresh.summary()["num_trials"] == 4
