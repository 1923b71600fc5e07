"""How stable short trainings ranked the configurations that were trained for longer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autosft.counting import counted
from autosft.intervals import STANDARD_ERRORS, Interval
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.sweep import Sweep, SweepTrial

#: Below this many pairs a correlation's interval is the whole range.
_FEWEST = 5


def rungs(sweep: Sweep) -> list[Claim]:
    """Returns a claim for each two neighbouring lengths, or about scores on the way where nothing raced."""
    if not sweep.rungs:
        return _on_the_way(sweep.ranked)
    claims = [
        _claim(
            f"{words.share(row['from'])} and {words.share(row['to'])} of the length",
            row["num_configs"],
            row["rank_correlation"],
        )
        for row in sweep.rungs
    ]
    short = [claim for claim in claims if claim.level == "unknown"]
    return [claim for claim in claims if claim.level != "unknown"] + short


def correlation_interval(correlation: float, number: int) -> Interval:
    """Returns the 95 % interval of Spearman's correlation over so many pairs (Bonett and Wright, 2000)."""
    if number < _FEWEST:
        return Interval(-1.0, 1.0)
    spread = STANDARD_ERRORS * math.sqrt((1 + correlation**2 / 2) / (number - 3))
    middle = math.atanh(max(-0.9999, min(0.9999, correlation)))
    return Interval(math.tanh(middle - spread), math.tanh(middle + spread))


def _claim(what: str, number: int, correlation: float | None) -> Claim:
    numbers = {"num_configs": number, "rank_correlation": correlation}
    if correlation is None:
        told = f"Between {what}: {counted(number, 'configuration')} ran both, too few or too alike to rank."
        return Claim("rungs", told, numbers, "unknown")
    interval = correlation_interval(correlation, number)
    numbers |= {"low": interval.low, "high": interval.high}
    if interval.low > 0.5:
        verdict, level = "the shorter training ranks like the longer one", "good"
    elif interval.high < 0.5:
        verdict, level = "the shorter training says little about the longer one", "bad"
    elif interval.low > 0:
        verdict, level = "the shorter training ranks better than chance", "fact"
    else:
        verdict, level = "too few to tell how well the shorter training ranks", "fact"
    sentence = (
        f"Between {what}: rank correlation {correlation:.2f} [{interval.low:.2f}, {interval.high:.2f}] over the "
        f"{number} configurations that ran both, which are the best of the shorter length and harder to rank than all: "
        f"{verdict}."
    )
    return Claim("rungs", sentence, numbers, level)


def _on_the_way(ranked: Sequence[SweepTrial]) -> list[Claim]:
    """Ranks trials half-way through against their ends, where they reported on the way."""
    from scipy.stats import spearmanr

    pairs = [(halfway(trial), trial.score) for trial in ranked]
    known = [(half, end) for half, end in pairs if half is not None and end is not None]
    if len(known) < _FEWEST or any(len({pair[at] for pair in known}) < 2 for at in (0, 1)):
        told = (
            "No trial was trained at two lengths or scored on the way, so how well short trainings rank cannot be told."
        )
        return [Claim("rungs", told, level="unknown")] if ranked else []
    value = float(spearmanr(*zip(*known, strict=True)).statistic)
    interval = correlation_interval(value, len(known))
    sentence = (
        f"Half-way through and at the end, {len(known)} trials have a rank correlation of {value:.2f} "
        f"[{interval.low:.2f}, {interval.high:.2f}]: "
        + (
            "a race would have found the good ones early."
            if interval.low > 0.5
            else "half-way scores are no safe guide."
        )
    )
    return [Claim("rungs", sentence, {"num_configs": len(known), "rank_correlation": value, "low": interval.low})]


def halfway(trial: SweepTrial) -> float | None:
    """Returns the score of the last report between a quarter and half of the training; None without one."""
    found = [score for share, score in trial.reports if 0.25 <= share <= 0.5 and math.isfinite(score)]
    return found[-1] if found else None
