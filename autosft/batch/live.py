"""A batch for a person who watches it: a live table in a terminal, plain lines elsewhere; on standard error only."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from autosft.budget import format_seconds

_PHASES = {
    "read": "reading", "audit": "checking", "measure": "timing", "search": "searching", "finals": "finals",
    "refit": "refitting", "prove": "proving",
}  # fmt: skip

#: After so long without a line, one tells how far the jobs are.
_QUIET_SECONDS = 60.0


@dataclass(frozen=True)
class Line:
    """How a job stands.

    Attributes:
        state: "waiting", "running", "finished", "failed", "unfinished" or "not started".
        seconds: What it was given this time.
        summary: Its `result.json`, once it is finished.
    """

    state: str
    seconds: float | None = None
    note: str = ""
    reason: str = ""
    summary: Mapping[str, Any] | None = None
    phase: str = ""
    metric: str = ""
    arm: str = ""
    score: float | None = None
    interval: Sequence[float] | None = None
    num_trials: int = 0
    slots: int = 0
    since: float = 0.0
    took_seconds: float = 0.0


class View:
    """Lines for a log: one where a job's state changes, and now and then one for all that run."""

    def __init__(self, names: Sequence[str], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines = {name: Line("waiting") for name in names}
        self._started = self._printed = time.monotonic()
        self._left: float | None = None
        self._spent = 0.0

    def note(self, message: str) -> None:
        """Says something about the whole batch."""
        self._print(message)

    def line(self, name: str, line: Line) -> None:
        """A job's state changed."""
        before = self._lines[name]
        if line.state == "running":
            line = replace(line, since=time.monotonic())
            given = f", {format_seconds(line.seconds)}" if line.seconds is not None else ""
            self._print(f"{name}: {line.note or 'begins'}{given}")
        elif line.state == "finished" and line.summary:
            line = replace(line, took_seconds=time.monotonic() - before.since, num_trials=before.num_trials)
            self._print(f"{name}: finished in {format_seconds(line.took_seconds)}, {_proven(line.summary or {})}")
        elif line.state == "finished":
            self._print(f"{name}: kept, it is finished")
        else:
            self._print(f"{name}: {line.state}: {line.reason}")
        self._lines[name] = line

    def heard(self, name: str, message: Mapping[str, Any]) -> None:
        """A running job said something."""
        line = self._lines[name]
        if message["event"] == "phase":
            line = replace(line, phase=_PHASES.get(message["phase"], message["phase"]))
        elif message["event"] == "planned":
            line = replace(line, metric=message["metric"])
        elif message["event"] == "trial":
            line = replace(line, arm=message["arm"])
        elif message["event"] == "trial_ended":
            best = message["best"]
            line = replace(line, num_trials=line.num_trials + 1, score=best.get("score"), interval=best.get("interval"))
        self._lines[name] = line

    def slots(self, name: str, num_slots: int) -> None:
        """A running job has so many slots now."""
        self._lines[name] = replace(self._lines[name], slots=num_slots)

    def look(self, *, spent_seconds: float, left_seconds: float | None) -> None:
        """Time went by."""
        self._spent, self._left = spent_seconds, left_seconds
        if time.monotonic() > self._printed + _QUIET_SECONDS:
            running = [f"{name} {_progress(line)}" for name, line in self._lines.items() if line.state == "running"]
            self._print(f"{self.title()}: {'; '.join(running)}")

    def title(self) -> str:
        """Says how many jobs are where, and what is left of the time."""
        states = [line.state for line in self._lines.values()]
        order = ("finished", "failed", "running", "waiting", "unfinished", "not started")
        parts = [f"{states.count(state)} {state}" for state in order if state in states]
        left = f"; {format_seconds(max(0.0, self._left))} left" if self._left is not None else ""
        return ", ".join(parts) + left

    def closed(self) -> None:
        """The batch is over."""

    def _print(self, message: str) -> None:
        self._printed = time.monotonic()
        print(f"[{time.monotonic() - self._started:7.1f}s] {message}", file=self._stream, flush=True)


class LiveView(View):
    """The same lines, above a table of all jobs that is redrawn in place."""

    def __init__(self, names: Sequence[str], stream: TextIO | None = None) -> None:
        super().__init__(names, stream)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream)
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=2, transient=True)
        self._live.start()

    def look(self, *, spent_seconds: float, left_seconds: float | None) -> None:
        self._spent, self._left = spent_seconds, left_seconds

    def closed(self) -> None:
        self._live.stop()

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("job", "state", "budget", "used", "best so far", "95 % interval", "trials", "slots", "arm"):
            table.add_column(name, justify="right" if name in ("budget", "used", "trials", "slots") else "left")
        # What runs comes first, where there are more jobs than lines.
        order = ("running", "failed", "waiting", "finished")
        ranked = sorted(
            self._lines.items(), key=lambda item: order.index(item[1].state) if item[1].state in order else 1
        )
        shown = ranked[: max(4, self._console.height - 5)]
        for name, line in shown:
            table.add_row(*(Text(cell) for cell in _cells(name, line)))
        hidden = len(ranked) - len(shown)
        return Group(Text(self.title()), table, *([Text(f"and {hidden} more")] if hidden else []))

    def _print(self, message: str) -> None:
        self._printed = time.monotonic()
        self._console.print(f"[{time.monotonic() - self._started:7.1f}s] {message}", markup=False, highlight=False)


def view_for(names: Sequence[str], stream: TextIO | None = None) -> View:
    """Returns what suits a stream: a live table in a terminal, plain lines elsewhere."""
    chosen = stream or sys.stderr
    return LiveView(names, chosen) if chosen.isatty() else View(names, chosen)


def _cells(name: str, line: Line) -> list[str]:
    state = line.phase or line.state if line.state == "running" else line.state
    seconds = "" if line.seconds is None else format_seconds(line.seconds)
    used = time.monotonic() - line.since if line.state == "running" else line.took_seconds
    score, interval = line.score, line.interval
    if line.summary is not None:
        score, interval = line.summary["test"]["score"], line.summary["test"]["interval"]
    metric = line.summary["metric"] if line.summary is not None else line.metric
    best = "" if score is None else f"{metric} {score:.4f}"
    held = "" if not interval or None in interval else f"[{interval[0]:.4f}, {interval[1]:.4f}]"
    trials, slots = str(line.num_trials or ""), str(line.slots or "") if line.state == "running" else ""
    arm = line.reason if line.state in ("failed", "unfinished", "not started") else line.arm
    return [name, state, seconds, format_seconds(used) if used else "", best, held, trials, slots, arm]


def _progress(line: Line) -> str:
    best = f", best {line.metric} {line.score:.4f}" if line.score is not None else ""
    return f"{line.phase or 'starting'} ({line.num_trials} trial{'' if line.num_trials == 1 else 's'}{best})"


def _proven(summary: Mapping[str, Any]) -> str:
    test = summary["test"]
    if test["score"] is None:
        return f"{summary['metric']} not defined"
    low, high = test["interval"]
    held = f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else ""
    return f"{summary['metric']} {test['score']:.4f}{held}"
