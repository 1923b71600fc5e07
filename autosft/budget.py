"""The Budget: what a run may spend, read from words such as "20m", "3 trials" or "2 gpu-hours"."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from autosft.errors import PlanError, explain

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z-]+)", re.IGNORECASE)
_EXPECTED = "a time ('20m', '1h30m', '300s'), a number of trials ('3 trials') or of GPU-hours ('2 gpu-hours')"


@dataclass(frozen=True)
class Budget:
    """What a run may spend. At least one limit is set; the first one reached ends the search.

    Attributes:
        seconds: Wall time of the whole run, refit and final test included.
        num_trials: Trials of the search; the refit is not one.
        gpu_hours: GPUs times hours.
        refit: Whether the winner is retrained on train and validation rows together. None lets the plan decide.
        finals: Whether the best may be trained again, on other rows or with other seeds, before one is chosen.
        soup: Whether the winner may be retrained with several seeds, whose weights are averaged.
        ensemble: Whether the best of other methods may answer beside the winner, see `autosft.ensemble`.
    """

    seconds: float | None = None
    num_trials: int | None = None
    gpu_hours: float | None = None
    refit: bool | None = None
    finals: bool = True
    soup: bool = True
    ensemble: bool = False

    def __post_init__(self) -> None:
        limits = {"seconds": self.seconds, "num_trials": self.num_trials, "gpu_hours": self.gpu_hours}
        given = {name: value for name, value in limits.items() if value is not None}
        if not given:
            raise PlanError(explain(wrong="the budget sets no limit", expected=_EXPECTED, fix="pass budget='20m'"))
        for name, value in given.items():
            if not 0 < value < float("inf"):
                wrong = f"a budget of {value:g} {name.replace('_', ' ').removeprefix('num ')}"
                raise PlanError(
                    explain(wrong=wrong, expected="a number above zero", fix="give the run something to spend")
                )

    @staticmethod
    def parse(
        text: str | float | Budget,
        *,
        refit: bool | None = None,
        finals: bool = True,
        soup: bool = True,
        ensemble: bool = False,
    ) -> Budget:
        """Reads a budget: words as above, of which those of one unit are added up; a bare number is seconds.

        A Budget is returned as it is.

        Raises:
            PlanError: The words cannot be read, or amount to nothing.
        """
        if isinstance(text, Budget):
            return text
        if isinstance(text, int | float):
            return Budget(float(text), refit=refit, finals=finals, soup=soup, ensemble=ensemble)
        limits = _read(text)
        trials = limits.get("num_trials")
        if trials is not None and trials != int(trials):
            wrong = f"a budget of {trials:g} trials"
            raise PlanError(
                explain(wrong=wrong, expected="a whole number of trials", fix=f"say '{round(trials) or 1} trials'")
            )
        num_trials = None if trials is None else int(trials)
        return Budget(limits.get("seconds"), num_trials, limits.get("gpu_hours"), refit, finals, soup, ensemble)

    def wall_seconds(self, num_gpus: int) -> float | None:
        """Returns the wall time that time and GPU-hours leave, or None for as long as it takes.

        Raises:
            PlanError: GPU-hours on a machine without a GPU.
        """
        limits = [] if self.seconds is None else [self.seconds]
        if self.gpu_hours is not None:
            if not num_gpus:
                wrong = f"a budget of {self.gpu_hours:g} GPU-hours, and this machine has no GPU"
                raise PlanError(
                    explain(wrong=wrong, expected="a budget the machine can spend", fix="give a time, such as '20m'")
                )
            limits.append(self.gpu_hours * 3600 / num_gpus)
        return min(limits, default=None)

    def plus(
        self, more: Budget, *, spent_seconds: float, num_trials_done: int, num_gpus: int, keep_limits: bool = False
    ) -> Budget:
        """Returns a budget with `more` on top of what was planned or, where that is more, of what was used.

        A unit that `more` does not name no longer limits: "3 trials" and "+10m" is ten minutes more, not no trial more.

        Args:
            num_gpus: GPUs of the machine, all of which the seconds that were spent count for.
            keep_limits: Units that `more` does not name limit as before: "1h, 3 trials" and "+10m" is no trial more.
        """
        kept = self if keep_limits else more
        seconds, num_trials, gpu_hours = kept.seconds, kept.num_trials, kept.gpu_hours
        if more.seconds is not None:
            seconds = max(self.seconds or 0.0, spent_seconds) + more.seconds
        if more.num_trials is not None:
            num_trials = max(self.num_trials or 0, num_trials_done) + more.num_trials
        if more.gpu_hours is not None:
            gpu_hours = max(self.gpu_hours or 0.0, spent_seconds * num_gpus / 3600) + more.gpu_hours
        refit = self.refit if more.refit is None else more.refit
        finals, soup = self.finals and more.finals, self.soup and more.soup
        return Budget(seconds, num_trials, gpu_hours, refit, finals, soup, self.ensemble or more.ensemble)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = []
        if self.seconds is not None:
            parts.append(format_seconds(self.seconds))
        if self.num_trials is not None:
            parts.append(f"{self.num_trials} trial{'s' if self.num_trials != 1 else ''}")
        if self.gpu_hours is not None:
            parts.append(f"{self.gpu_hours:g} GPU-hours")
        return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """Words a duration: "42s", "5m", "1h 20m"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m" + (f" {whole % 60}s" if whole % 60 else "")
    return f"{whole // 3600}h" + (f" {whole % 3600 // 60}m" if whole % 3600 // 60 else "")


def _read(text: str) -> dict[str, float]:
    bare = text.strip().lower().removeprefix("+")
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        return {"seconds": float(bare)}
    limits: dict[str, float] = {}
    if not bare or _PART.sub("", bare).strip(" ,+"):
        raise _unreadable(text)
    for number, unit in _PART.findall(bare):
        unit = unit.rstrip("-")
        # A plural of a word: "ms" is none of "m".
        single = unit.removesuffix("s") if len(unit) > 2 else unit
        if single in _SECONDS:
            name, each = "seconds", _SECONDS[single]
        elif unit in ("trial", "trials"):
            name, each = "num_trials", 1
        elif unit in ("gpu-hour", "gpu-hours", "gpu-h"):
            name, each = "gpu_hours", 1
        else:
            raise _unreadable(text)
        limits[name] = limits.get(name, 0.0) + each * float(number)
    return limits


def _unreadable(text: str) -> PlanError:
    return PlanError(
        explain(wrong=f"the budget '{text}' cannot be read", expected=_EXPECTED, fix="for example budget='20m'")
    )


class Clock:
    """Time spent and left of a run.

    Args:
        limit_seconds: Wall time the run may take, or None.
        spent_seconds: What earlier sittings of the same run took.
    """

    def __init__(self, limit_seconds: float | None = None, *, spent_seconds: float = 0.0) -> None:
        self.limit_seconds = limit_seconds
        self._opened = time.monotonic()
        self._started = self._opened - spent_seconds

    def limited(self, limit_seconds: float | None) -> Clock:
        """Sets the limit, once it is known; returns the clock."""
        self.limit_seconds = limit_seconds
        return self

    @property
    def sitting(self) -> float:
        """Seconds of this sitting alone."""
        return time.monotonic() - self._opened

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    @property
    def grace(self) -> float:
        """Seconds by which a run may overdraw its limit."""
        return max(20.0, 0.1 * (self.limit_seconds or 0.0))

    @property
    def left(self) -> float | None:
        """Seconds left, below zero when overdrawn; None without a limit."""
        return None if self.limit_seconds is None else self.limit_seconds - self.spent
