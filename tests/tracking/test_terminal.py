"""Progress for a person: plain lines where nothing can be redrawn, a live table in a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from autosft.search.trial import Trial
from autosft.tracking.base import Tracker
from autosft.tracking.terminal import LiveProgress, PlainProgress, progress

TRIAL = Trial(0, "frozen_head/tiny", {}, 1.0, 0, 0, True, seconds={"total": 2.0})
DONE = replace(TRIAL, fate="complete", score=0.75)
SESSION = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_terminal import play
from autosft.tracking.terminal import progress
play(progress(), pause=0.8)
"""


def play(tracker: Tracker, *, pause: float = 0.0) -> None:
    """What a short run tells its tracker."""
    tracker.phase("read")
    tracker.phase("search")
    tracker.started(TRIAL)
    tracker.reported(replace(TRIAL, score=0.5), 1 / 3, 0.5)
    time.sleep(pause)
    tracker.ended(DONE, DONE, 75.0)
    tracker.started(replace(TRIAL, number=1, is_default=False))
    tracker.ended(replace(TRIAL, number=1, is_default=False, fate="failed", message="NaN"), DONE, -3.0)
    tracker.started(replace(TRIAL, number=2))
    time.sleep(pause)
    stopped = replace(DONE, number=2, fate="stopped", score=0.25, reports=((1 / 3, 0.25),))
    tracker.ended(stopped, DONE, None)
    tracker.note("a note with [brackets]")
    tracker.phase("refit")
    tracker.closed()


class Notebook(io.StringIO):
    """A stream as Jupyter has it: no terminal, and no file number either."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


@pytest.mark.parametrize("stream", [io.StringIO(), Notebook()])
def test_elsewhere_than_in_a_terminal_there_are_plain_lines(stream: io.StringIO) -> None:
    tracker = progress(stream)
    assert type(tracker) is PlainProgress
    play(tracker)
    written = stream.getvalue()
    assert "\x1b" not in written and "\r" not in written
    lines = [re.sub(r"^\[ *\d+\.\ds\] ", "", line) for line in written.splitlines()]
    assert lines == [
        "Reading the data",
        "Searching",
        "trial 0: 0.7500 in 2.0s, frozen_head/tiny (default); best 0.7500 (trial 0); 1m 15s left",
        "trial 1 failed: frozen_head/tiny: NaN; best 0.7500 (trial 0); 0s left",
        "trial 2 stopped at 33%: 0.2500 in 2.0s, frozen_head/tiny (default); best 0.7500 (trial 0)",
        "a note with [brackets]",
        "Training the winner on all rows",
    ]


def test_a_training_that_was_cut_short_says_so_and_so_does_the_best() -> None:
    stream = io.StringIO()
    tracker = progress(stream)
    short = replace(DONE, fidelity=0.07)
    tracker.started(TRIAL)
    tracker.ended(short, short, None)
    assert "trial 0 at 7%: 0.7500" in stream.getvalue()
    assert "best 0.7500 (trial 0 at 7%)" in stream.getvalue()


def test_a_terminal_gets_a_table_of_what_runs_that_goes_away_and_the_same_lines() -> None:
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION, os.path.dirname(__file__)], stderr=other, stdin=other, env=environment
    )
    os.close(other)
    written = read_all(main)
    assert process.wait(30) == 0
    assert "1 running" in written and "score so far" in written and "33%" in written
    assert re.search(r"1 complete, 0 stopped, 1 failed, 1 running; best 0\.7500 \(trial 0\)", written)
    assert "\x1b[2K" in written, "the table is redrawn in place"
    assert "trial 1 failed: frozen_head/tiny: NaN" in written
    assert "a note with [brackets]" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is there again at the end"


def read_all(terminal: int) -> str:
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # The other side is closed.
            part = b""
        if not part:
            return written.decode()
        written += part


def test_a_tracker_does_not_raise_whatever_it_hears() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    tracker: Any = progress(Terminal())
    assert isinstance(tracker, LiveProgress)
    tracker.reported(TRIAL, 0.5, 0.5)
    tracker.ended(DONE, None, None)
    tracker.closed()
    tracker.closed()


def test_of_a_long_trial_a_line_says_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr("autosft.tracking.terminal.time.monotonic", lambda: now[0])
    tracker = PlainProgress(stream)
    for second, share in ((5.0, 1 / 9), (30.0, 1 / 3), (90.0, 1.0)):
        now[0] = second
        tracker.reported(TRIAL, share, 0.5)
    assert stream.getvalue() == "[  30.0s] trial 0 has done 33% of its training: 0.5000, frozen_head/tiny\n"
