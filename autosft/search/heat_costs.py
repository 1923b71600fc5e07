"""What trainings of one arm cost, by their length: learnt from those that ended, and foretold for longer ones."""

from __future__ import annotations

from collections import deque
from statistics import median

#: What a length costs is the median of so many latest trainings.
_LATEST = 5

#: Of what an arm was timed to cost, a longer training takes at least this share.
_LEAST_RATE = 0.5


class Costs:
    """What heats of one arm take, by length: as measured, and beyond the longest measured as far as is known."""

    def __init__(self, run_seconds: float) -> None:
        self._run_seconds = run_seconds
        self._taken: dict[float, deque[float]] = {}

    def add(self, fidelity: float, seconds: float) -> float:
        """Takes in a measurement; returns by how much it was slower than others of its length."""
        taken = self._taken.setdefault(fidelity, deque(maxlen=_LATEST))
        usual = median(taken) if taken else seconds
        taken.append(seconds)
        return seconds / usual if usual > 0 else 1.0

    def predict(self, fidelity: float) -> float:
        if fidelity in self._taken:
            return median(self._taken[fidelity])
        shorter = sorted(length for length in self._taken if length < fidelity)
        if not shorter:
            return self._run_seconds * fidelity
        rate = self._run_seconds
        if len(shorter) > 1:
            rise = median(self._taken[shorter[-1]]) - median(self._taken[shorter[-2]])
            # Two noisy medians may lie close together, which does not make what is longer cheap.
            rate = max(rise / (shorter[-1] - shorter[-2]), _LEAST_RATE * self._run_seconds)
        return median(self._taken[shorter[-1]]) + rate * (fidelity - shorter[-1])
