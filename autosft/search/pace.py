"""How long a trial may take, so that what must come after it fits: other arms' defaults, the refit, the closing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Divides what is left of a time budget.

    A training anneals to its end within its time limit, so a limit that is shared out this way is used up: trials come
    out longer where the machine is faster than it was measured to be, and shorter where it is slower.

    Attributes:
        closing_seconds: Time to leave for proof and writing.
        refit_factor: Time of a refit over that of the trial it repeats; 0 where there is no refit.
    """

    closing_seconds: float
    refit_factor: float

    def limit(self, seconds_left: float, *, still_to_come: int, leader_seconds: float | None) -> float:
        """Returns the seconds that a trial beginning now may take; below zero when there is no time for one.

        Args:
            seconds_left: Time left of the budget.
            still_to_come: Trials that must have their turn one after the other, this one included; those that run
                side by side are one.
            leader_seconds: What the best trial so far took, None before there is one.
        """
        time = seconds_left - self.closing_seconds
        share = time / (still_to_come + self.refit_factor)
        if leader_seconds is None or leader_seconds <= share:
            return share
        # The leader was longer than a trial could be now, so it is its refit that has to fit.
        return (time - self.refit_factor * leader_seconds) / still_to_come
