"""Progress for a person: a live table in a terminal, plain lines elsewhere. Writes to standard error only."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, TextIO, cast

from autosft.budget import format_seconds
from autosft.planning.plan import Plan
from autosft.search.trial import Trial
from autosft.tracking.base import Tracker

_PHASES = {
    "read": "Reading the data",
    "audit": "Checking the data",
    "measure": "Timing a few real steps",
    "search": "Searching",
    "finals": "Training the best again, on other rows or with other seeds",
    "refit": "Training the winner on all rows",
    "prove": "Scoring winner and default",
}


#: After so long without a line, one tells how far a trial has come.
_QUIET_SECONDS = 10.0


class _Heard:
    """A stream that nobody may listen to any more: a terminal that was closed, or a pipe whose reader ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainProgress(Tracker):
    """A line a phase and a line an ended trial; of a long trial also one at its rungs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = cast(TextIO, _Heard(stream or sys.stderr))
        self._started = self._printed = time.monotonic()

    def phase(self, name: str) -> None:
        self._print(_PHASES.get(name, name))

    def note(self, message: str) -> None:
        self._print(message)

    def planned(self, plan: Plan) -> None:
        for line in str(plan).splitlines():
            print(f"          {line}", file=self._stream, flush=True)

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        if fidelity < 1 and time.monotonic() - self._printed > _QUIET_SECONDS:
            self._print(f"trial {trial.number} has done {fidelity:.0%} of its training: {score:.4f}, {trial.arm}")

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        self._print(_trial_line(trial, best, seconds_left))

    def _print(self, message: str) -> None:
        self._printed = time.monotonic()
        print(f"[{time.monotonic() - self._started:6.1f}s] {message}", file=self._stream, flush=True)


class Phases(PlainProgress):
    """A line a phase, and no plan: for whoever prints the plan as the answer."""

    def planned(self, plan: Plan) -> None:
        """Says nothing."""


class LiveProgress(PlainProgress):
    """The same lines, above a table of the running trials that is redrawn in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream)
        self._running: dict[int, tuple[Trial, float, float | None]] = {}
        self._counts = {"complete": 0, "stopped": 0, "failed": 0}
        self._best: Trial | None = None
        self._ends_at: float | None = None
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
        self._is_live = False

    def phase(self, name: str) -> None:
        super().phase(name)
        if name == "search" and not self._is_live:
            self._live.start()
            self._is_live = True
        elif name != "search":
            self.closed()

    def started(self, trial: Trial) -> None:
        self._running[trial.number] = (trial, time.monotonic(), None)

    def reported(self, trial: Trial, fidelity: float, score: float) -> None:
        _, since, _ = self._running.get(trial.number, (trial, time.monotonic(), None))
        self._running[trial.number] = (trial, since, fidelity)

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        self._running.pop(trial.number, None)
        self._counts[trial.fate] = self._counts.get(trial.fate, 0) + 1
        self._best = best
        self._ends_at = None if seconds_left is None else time.monotonic() + seconds_left
        super().ended(trial, best, seconds_left)

    def closed(self) -> None:
        if self._is_live:
            self._live.stop()
            self._is_live = False

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        counts = ", ".join(f"{count} {fate}" for fate, count in self._counts.items())
        title = f"{counts}, {len(self._running)} running"
        if self._best is not None and self._best.score is not None:
            title += f"; best {self._best.score:.4f} (trial {self._best.number}{self._best.length})"
        if self._ends_at is not None:
            title += f"; {format_seconds(max(0.0, self._ends_at - time.monotonic()))} left"
        table = Table(box=None)
        for name in ("trial", "arm", "done", "score so far", "seconds"):
            table.add_column(name, justify="left" if name == "arm" else "right")
        for trial, since, fidelity in self._running.values():
            done = "" if fidelity is None else f"{fidelity:.0%}"
            score = "" if trial.score is None else f"{trial.score:.4f}"
            table.add_row(str(trial.number), Text(trial.arm), done, score, f"{time.monotonic() - since:.0f}")
        return Group(Text(title), table)  # A table's own title would be folded to the table's width.

    def _print(self, message: str) -> None:
        # Through the console, so that the line lands above the live table.
        self._console.print(f"[{time.monotonic() - self._started:6.1f}s] {message}", markup=False, highlight=False)


def progress(stream: TextIO | None = None) -> Tracker:
    """Returns the tracker that suits a stream: a live table in a terminal, plain lines elsewhere."""
    chosen = stream or sys.stderr
    return LiveProgress(chosen) if chosen.isatty() else PlainProgress(chosen)


def _trial_line(trial: Trial, best: Trial | None, seconds_left: float | None) -> str:
    name = trial.arm + (" (default)" if trial.is_default else "")
    if trial.fate == "failed":
        text = f"trial {trial.number} failed: {name}: {trial.message}"
    else:
        stopped = f" stopped at {trial.reports[-1][0]:.0%}" if trial.fate == "stopped" and trial.reports else ""
        score = "" if trial.score is None else f"{trial.score:.4f}"
        length = trial.length if trial.fate == "complete" else stopped
        text = f"trial {trial.number}{length}: {score} in {trial.seconds.get('total', 0.0):.1f}s, {name}"
    if best is not None and best.score is not None:
        text += f"; best {best.score:.4f} (trial {best.number}{best.length})"
    if seconds_left is not None:
        text += f"; {format_seconds(max(0.0, seconds_left))} left"
    return text
