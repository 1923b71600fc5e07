"""The Trial: one (arm, config, fidelity, fold, seed) with its scores, cost and fate; and the log they are kept in.

`trials.jsonl` is the only truth about trials: a line an event, appended and synced, replayed by `resume`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autosft.disk import writing
from autosft.errors import RunFolderError, explain

#: A trial's outputs for the validation rows, in its folder.
OUTPUTS_FILE = "outputs.arrow"


#: From here on a run is called a full one: time ends trainings a step or two early.
_FULL = 0.995
#: Share of a full run below which a model is called hardly trained at all.
_HARDLY = 0.05


@dataclass(frozen=True)
class Trial:
    """One training and what came of it.

    Attributes:
        number: In the order in which they began.
        arm: Name of its arm.
        config: The whole configuration.
        fidelity: Share of a full run: what was asked for, and once complete, what its time allowed.
        fold: Fold that it was validated on; None for a refit on everything.
        seed: Of shuffling, dropout and head.
        is_default: Whether the configuration is the arm's untuned default.
        fate: "complete", "stopped" or "failed"; "running" while it has not ended, "interrupted" where the user cut it
            off, so that it counts for nothing and `resume` runs it again.
        score: The deciding metric on the validation rows, or None.
        interval: 95 % bootstrap interval of the score over the validation rows, or None.
        loss: The task kind's loss on the validation rows, or None.
        reports: (share of a full run, score) pairs on the way, as if it ran as far as was asked for; see `curve`.
        seconds: Worker seconds by phase.
        message: Why it failed.
        rung: Share of a full run that was asked for.
        stage: "search", or "finals" for a repetition on another fold or with another seed.
    """

    number: int
    arm: str
    config: Mapping[str, Any]
    fidelity: float
    fold: int | None
    seed: int
    is_default: bool
    fate: str = "running"
    score: float | None = None
    interval: tuple[float, float] | None = None
    loss: float | None = None
    reports: tuple[tuple[float, float], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    rung: float = 1.0
    stage: str = "search"

    @property
    def length(self) -> str:
        """Words the share of a full run that it was trained for, empty for a full one."""
        return f" at {_percent(self.fidelity)}" if self.fidelity < _FULL else ""

    @property
    def trained(self) -> str:
        """Says how long it was trained, empty for a full run."""
        if not self.length:
            return ""
        hardly = ", which is hardly at all" if self.fidelity < _HARDLY else ""
        return f"trained for {_percent(self.fidelity)} of a full run{hardly}"

    @property
    def identity(self) -> str:
        """Tells its configuration from others."""
        return identity(self.arm, self.config)

    @property
    def reached(self) -> float:
        """Share of a full run that it came to: what its time allowed once complete, else where it last reported."""
        return self.fidelity if self.fate == "complete" or not self.reports else self.reports[-1][0]

    @property
    def seconds_again(self) -> float:
        """Seconds that the same training takes another time: the features of its rows are there."""
        return self.seconds.get("total", 0.0) - self.seconds.get("features", 0.0)

    @property
    def curve(self) -> tuple[tuple[float, float], ...]:
        """Its reports at the shares of a full run that it really had been trained for.

        While it runs nobody knows what its time will allow, so the log counts by what was asked for.
        """
        return tuple((share / self.rung * self.fidelity, score) for share, score in self.reports)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Trial:
        interval = tuple(row["interval"]) if row["interval"] else None
        return Trial(**{**row, "interval": interval, "reports": tuple(tuple(pair) for pair in row["reports"])})


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.1g}%"


def identity(arm: str, config: Mapping[str, Any]) -> str:
    """Returns what tells a configuration of an arm from all others."""
    return json.dumps([arm, config], sort_keys=True)


class TrialLog:
    """Appends events to a file of JSON lines, each synced to disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _drop_torn_end(path)

    def append(self, event: str, **values: Any) -> None:
        """Writes one event.

        Raises:
            RunFolderError: The disk is full; what of the line came through is cut off when the log is opened again.
        """
        line = json.dumps({"event": event, **values}, ensure_ascii=False) + "\n"
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> Iterator[dict[str, Any]]:
        """Yields every event so far; see `read_events`."""
        return read_events(self.path)

    def trials(self) -> list[Trial]:
        """Returns the trials that ended, in the order in which they did."""
        return [row["trial"] for row in self.events() if row["event"] == "ended"]

    def begun(self) -> list[Trial]:
        """Returns every trial that ever began, as it was then."""
        return [Trial.from_json(row["trial"]) for row in self.events() if row["event"] == "started"]

    def spent_seconds(self) -> float:
        """Returns what the run had spent at its last event."""
        return max((float(row.get("spent_seconds", 0.0)) for row in self.events()), default=0.0)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yields every event of a log that may be written to meanwhile; an "ended" one carries its Trial.

    Raises:
        RunFolderError: A line was damaged by something other than a crash.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    # Not `splitlines`, which also breaks at line ends of Unicode's own that JSON leaves as they are.
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            yield row | ({"trial": Trial.from_json(row["trial"])} if row["event"] == "ended" else {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = f"{path}, line {number} cannot be read ({type(error).__name__}: {error})"
            fix = "restore the file, or remove that line: its trial is then run again"
            raise RunFolderError(explain(wrong=wrong, expected="an event as it was written", fix=fix)) from error


def _drop_torn_end(path: Path) -> None:
    """Cuts off a last line that a crash left without its end: its event did not happen."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
