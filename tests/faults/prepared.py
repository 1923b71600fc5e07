"""What the fixtures of faults are made of: a plan that nothing was timed for, and a Ray whose workers die on demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from shell import Shell

import autosft
from autosft.planning.plan import Plan
from autosft.tracking.base import Tracker

#: A package from outside, with an entry point.
PLUGIN = Path(__file__).with_name("plugin")


@dataclass(frozen=True)
class Head:
    """A Ray on two CPUs in this process, which runs in other processes join at `address`."""

    address: str
    folder: Path

    def kill(self, function: str, *, times: int = 1) -> None:
        """The next `times` workers that call this function of `autosft.search.work` are killed there."""
        for at in range(times):
            (self.folder / f"{function}{at}").touch()

    def has_killed(self, function: str) -> bool:
        return not list(self.folder.glob(f"{function}*"))


def planned(shell: Shell, *, trainer: str = "frozen_head", budget: str = "4 trials") -> Plan:
    """Returns a plan that nothing was timed for, whose trials take both CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOSFT_CACHE", str(shell.folder / "cache"))
        return autosft.plan(
            "sort messages by topic", str(shell.data), models=str(shell.model), trainer=trainer, budget=budget,
            max_concurrent=1, timing=False, tracker=Tracker(),
        )  # fmt: skip
