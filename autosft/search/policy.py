"""What a policy is: it decides which training comes next; the search carries it out and tells what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autosft.search.trial import Trial


@dataclass(frozen=True)
class Start:
    """A training that is to begin.

    Attributes:
        fidelity: Its length, as a share of a full run.
        limit_seconds: What it may take, annealing to its end within that; None for as long as it takes.
        rungs: Where it reports, as shares of its own length.
        may_be_stopped: Whether an early-stopping scheduler may discard it.
        fold: Fold that it is validated on. seed: Of the training; None for the plan's own.
        stage: See `Trial`.
    """

    arm: str
    config: Mapping[str, Any]
    is_default: bool
    fidelity: float = 1.0
    limit_seconds: float | None = None
    rungs: tuple[float, ...] = (1.0,)
    may_be_stopped: bool = False
    fold: int = 0
    seed: int | None = None
    stage: str = "search"


@dataclass(frozen=True)
class Standing:
    """How far a search is when a policy is asked.

    Attributes:
        trials: Those that ended, of every sitting.
        running: Those that run now.
        num_begun: Trials that this sitting began.
        seconds_left: Time left of the budget, or None.
        trials_left: Trials left of the budget, or None.
        barred: Arms of which nothing may begin: they failed in a way that all their trials would, or do not fit here.
    """

    trials: Sequence[Trial]
    running: Sequence[Trial]
    num_begun: int
    seconds_left: float | None
    trials_left: int | None
    barred: Collection[str]


class Policy(Protocol):
    """Decides what is trained. It knows no runner, and time only as far as it is told."""

    def ask(self, standing: Standing) -> Start | None:
        """Returns what is to begin now; None where nothing is, as long as what runs tells nothing new."""

    def tell(self, trial: Trial) -> None:
        """Hears of a trial that ended for good."""

    def forget(self, trial: Trial) -> None:
        """Hears of a trial that was cut off from outside, so that it counts for nothing."""

    def close(self) -> None:
        """Hears that the search is over."""

    def remark(self) -> str:
        """Says what a person should know of how it went, in one sentence; "" for nothing."""
