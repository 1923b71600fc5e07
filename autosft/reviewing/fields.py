"""Which hyperparameters mattered, in words."""

from __future__ import annotations

from autosft.counting import counted
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.importance import FEWEST_TRIALS
from autosft.reviewing.sweep import Sweep

#: Fields that are named as no better than noise.
_MOST_NAMED = 6


def fields(sweep: Sweep) -> list[Claim]:
    """Returns for each arm what its fields explain, the best arm first; and how far the arms are apart."""
    claims = _between_arms(sweep)
    for arm in sweep.arms:
        claims += _within(sweep, arm, f" of {arm}" if len(sweep.arms) > 1 else "")
    return claims


def compared(sweep: Sweep, arm: str) -> str:
    """Returns what an arm's importances were computed over: how many configurations, and how a race ranked them."""
    number = sweep.importances[arm][0].num_trials
    raced = len({row.length for row in sweep.standings(arm)}) > 1
    ranked = ", ranked by the longest length each reached and its score there" if raced else ""
    return f"{counted(number, 'configuration')}{ranked}"


def why_unknown(sweep: Sweep, arm: str, where: str = "") -> str:
    """Returns why an arm has no importances."""
    number = len(sweep.standings(arm))
    if number < FEWEST_TRIALS:
        return f"{counted(number, 'configuration')}{where} with a score; {FEWEST_TRIALS} are needed"
    return f"among {number} configurations{where} nothing varied that can be told apart, or all scored the same"


def _between_arms(sweep: Sweep) -> list[Claim]:
    if len(sweep.arms) < 2:
        return []
    best = {arm: next(trial for trial in sweep.ranked if trial.arm == arm) for arm in sweep.arms}
    told = ", ".join(
        f"{arm} {words.score(trial.score or 0.0)}{' ' + words.between(trial.interval) if trial.interval else ''}"
        for arm, trial in best.items()
    )
    return [Claim("importance", f"Best of each arm: {told}.", {arm: trial.score for arm, trial in best.items()})]


def _within(sweep: Sweep, arm: str, where: str) -> list[Claim]:
    found = sweep.importances[arm]
    if not found:
        told = f"Which fields mattered cannot be told: {why_unknown(sweep, arm, where)}."
        return [Claim("importance", told, {"arm": arm}, "unknown")]
    basis = compared(sweep, arm)
    numbers = {"arm": arm, **{row.field: [row.share, row.low, row.high] for row in found}}
    real = [row for row in found if row.low > 0]
    rest = [row for row in found if row.low <= 0]
    unclear = f"{words.listed([row.field for row in rest], most=_MOST_NAMED)} cannot be told from noise"
    if not real:
        widest = max(row.high for row in found)
        sentence = (
            f"No field{where} can be told from noise over {basis}; the largest any could explain of the ranks alone is "
            f"{widest:.0%} ({max(found, key=lambda row: row.high).field})."
        )
        return [Claim("importance", sentence, numbers)]
    told = ", ".join(f"{row.field} {row.share:.0%} [{row.low:.0%}, {row.high:.0%}]" for row in real)
    sentence = f"Share of the ranks that a field{where} explains alone (fANOVA, {basis}): {told}" + (
        f"; {unclear}." if rest else "."
    )
    return [Claim("importance", sentence, numbers)]
