"""Whether the winner beats the untuned default beyond the noise."""

from __future__ import annotations

import math

from autosft.intervals import Interval
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.noise import noise
from autosft.reviewing.sweep import Outcome, Sweep, standard_error
from autosft.search.finals import SAME_LENGTH


def winner(sweep: Sweep) -> list[Claim]:
    """Returns whether tuning paid."""
    outcome = sweep.outcome
    if outcome is None:
        return _by_trials(sweep)
    if outcome.is_default:
        return [_default_won(sweep, outcome)]
    if outcome.gain is None or outcome.gain_interval is None:
        told = "No untuned default was trained to its end, so whether tuning paid cannot be told."
        return [Claim("winner", told, level="unknown")]
    low, high = outcome.gain_interval.low, outcome.gain_interval.high
    rows = f"{outcome.num_gain_rows:,} {'rows that decided nothing' if outcome.on_fresh_rows else 'validation rows'}"
    proven = low > 0
    verdict = (
        "it beats the default beyond the noise"
        if proven
        else "it is worse than the default beyond the noise"
        if high < 0
        else "that is not beyond the noise"
    )
    caution = "" if outcome.on_fresh_rows else " The search also chose by these rows, so the gain is optimistic."
    is_untuned = any(trial.is_default for trial in sweep.trials if trial.name == outcome.winner)
    over = "another untuned default, the best on validation rows," if is_untuned else "the best untuned default"
    if outcome.default_length < SAME_LENGTH:
        over = f"{over.rstrip(',')}, trained for {outcome.default_length:.0%} of its length only,"
    below = " and scored below it" if outcome.gain < 0 else ""
    itself = f", which is an untuned default itself{below}" if is_untuned else ""
    sentence = (
        f"Trial {outcome.winner} won{itself}, {words.difference(outcome.gain)} "
        f"{words.between(outcome.gain_interval, signed=True)} over {over} "
        f"on {rows} (paired interval): {verdict}.{caution}"
    )
    numbers = {"gain": outcome.gain, "low": low, "high": high, "proven": proven, "num_rows": outcome.num_gain_rows}
    level = "bad" if high < 0 else "good" if proven and outcome.on_fresh_rows else "fact"
    return [Claim("winner", sentence, numbers | {"how": "paired"}, level)]


def _default_won(sweep: Sweep, outcome: Outcome) -> Claim:
    tuned = next((trial for trial in sweep.ranked if not trial.is_default), None)
    default = next((trial for trial in sweep.ranked if trial.name == outcome.winner), None)
    beside = ""
    numbers: dict[str, object] = {"default_won": True}
    if tuned is not None and default is not None and tuned.score is not None and default.score is not None:
        gain = sweep.sign * (tuned.score - default.score)
        numbers |= {"best_tuned": tuned.score, "default": default.score, "gain": gain}
        beside = (
            f" On validation rows the best tuned trial ({tuned.name}) was at {words.score(tuned.score)} and the "
            f"default at {words.score(default.score)} ({words.difference(gain)}), which did not hold in the final "
            "choice or is within the noise."
        )
    tuning = "tuning did not pay" if tuned is not None else "no tuned trial came as far as it"
    return Claim("winner", f"The untuned default won (trial {outcome.winner}): {tuning}.{beside}", numbers)


def _by_trials(sweep: Sweep) -> list[Claim]:
    """Compares the best tuned trial with the best default, both as they scored on validation rows."""
    if not sweep.ranked:
        return []
    defaults = [trial for trial in sweep.ranked if trial.is_default]
    if not defaults:
        told = (
            "No default is known among the trials, so whether the winner beats it cannot be told: train the "
            "configuration you would have used without a search, on the same rows."
        )
        return [Claim("winner", told, level="unknown")]
    best, default = sweep.ranked[0], defaults[0]
    if best.is_default:
        return [
            Claim("winner", f"The best trial so far is an untuned default (trial {best.name}).", {"default_won": True})
        ]
    gain = sweep.sign * ((best.score or 0.0) - (default.score or 0.0))
    numbers: dict[str, object] = {"gain": gain, "best": best.score, "default": default.score}
    begins = (
        f"The best tuned trial ({best.name}) is at {words.score(best.score or 0.0)} and the best default "
        f"({default.name}) at {words.score(default.score or 0.0)}: {words.difference(gain)}"
    )
    own, other = standard_error(best.interval), standard_error(default.interval)
    found = noise(sweep)
    if own is not None and other is not None:
        error, how = math.hypot(own, other), "their two intervals, as if they were of different rows, which is cautious"
    elif found is not None:
        error, how = math.sqrt(2) * found.error, found.source
    else:
        told = f"{begins}. How much of that is noise cannot be told: no intervals, and no configuration was repeated."
        return [Claim("winner", told, numbers, "unknown")]
    interval = Interval.around(gain, error)
    proven = interval.low > 0
    verdict = "beyond the noise, though the best of many is optimistic" if proven else "not beyond the noise"
    sentence = f"{begins} {words.between(interval, signed=True)}, {verdict}. The interval is from {how}."
    numbers |= {"low": interval.low, "high": interval.high, "proven": proven, "how": how}
    return [Claim("winner", sentence, numbers)]
