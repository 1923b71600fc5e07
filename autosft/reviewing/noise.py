"""How far a score may be off by chance, from what a sweep itself shows of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autosft.reviewing.sweep import Sweep, SweepTrial, standard_error

#: Repetitions beyond the first of each configuration below which their spread says too little.
_FEWEST_REPEATS = 4


@dataclass(frozen=True)
class Noise:
    """The standard error of one trial's score, and what it was read from."""

    error: float
    source: str


def noise(sweep: Sweep) -> Noise | None:
    """Returns the noise of a score: from the best trial's interval, else from repeated configurations, else None."""
    if not sweep.ranked:
        return None
    # A metric at its very end has an interval of no width; its neighbours still tell.
    for trial in sweep.ranked[:10]:
        error = standard_error(trial.interval)
        if error is not None:
            return Noise(error, f"the interval of trial {trial.name} over validation rows")
    groups: dict[tuple[str, float], list[SweepTrial]] = {}
    for trial in sweep.searched:
        if trial.is_scored:
            groups.setdefault((trial.identity, trial.length), []).append(trial)
    spreads = [
        [trial.score or 0.0 for trial in group]
        for group in groups.values()
        if len({trial.repeats for trial in group}) > 1
    ]
    freedom = sum(len(scores) - 1 for scores in spreads)
    if freedom < _FEWEST_REPEATS:
        return None
    squares = sum(sum((score - sum(scores) / len(scores)) ** 2 for score in scores) for scores in spreads)
    error = math.sqrt(squares / freedom)
    were = "configuration that was" if len(spreads) == 1 else "configurations that were"
    told = f"{len(spreads)} {were} trained again with other seeds ({freedom} repetitions)"
    return Noise(error, told) if error > 0 else None


def distinct(trials: Sequence[SweepTrial]) -> list[SweepTrial]:
    """Returns the first trial of each configuration."""
    found: dict[str, SweepTrial] = {}
    for trial in trials:
        found.setdefault(trial.identity, trial)
    return [*found.values()]
