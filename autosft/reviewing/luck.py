"""What the best of many owes to luck: the optimism of a selected score, and its gap to the test score."""

from __future__ import annotations

import math

from autosft.counting import counted
from autosft.intervals import Interval, expected_best
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.noise import Noise, distinct, noise
from autosft.reviewing.sweep import Outcome, Sweep, standard_error


def luck(sweep: Sweep) -> list[Claim]:
    """Returns how optimistic the best score is, and whether the test rows bear that out."""
    if not sweep.ranked:
        return []
    found = noise(sweep)
    claims = [_best_of_many(sweep, found)]
    if sweep.outcome is not None:
        claims.append(_gap(sweep, sweep.outcome))
    return claims


def _best_of_many(sweep: Sweep, found: Noise | None) -> Claim:
    compared = distinct(sweep.ranked)
    # Those that a race left behind at short lengths were chosen among by the same rows.
    number = len({trial.identity for trial in sweep.searched if trial.is_scored})
    best = compared[0].score or 0.0
    numbers: dict[str, object] = {"configurations": number, "compared": len(compared)}
    if found is None:
        subject = (
            f"The best of {number:,} configurations is optimistic, but by how much"
            if number > 1
            else "How far the score may be off by chance"
        )
        told = f"{subject} cannot be told: the trials have no intervals, and none was repeated with another seed."
        return Claim("luck", told, numbers, "unknown")
    whole = [trial for trial in compared if trial.is_whole]
    # Where there was time for none, or the best was cut short itself, those that were to run longest are compared.
    peers = whole if compared[0] in whole else compared
    within = sum(abs((trial.score or 0.0) - best) <= found.error for trial in peers) - 1
    optimism = expected_best(number) * found.error
    numbers |= {"standard_error": found.error, "optimism_at_most": optimism, "within_one_error": within}
    rows = f" on {counted(sweep.num_rows, 'validation row')}" if sweep.num_rows else ""
    sentence = f"A score is good to ±{words.score(found.error)} (one standard error{rows}; from {found.source})."
    if number > 1:
        length = sweep.length_of(peers)
        beside = (
            f"Of the {len(peers)} at {length}, {within} {'other is' if within == 1 else 'others are'} within one "
            "standard error of it."
            if len(peers) > 1
            else f"Only one of them was trained at {length}."
        )
        sentence += (
            f" Were all {number} configurations equally good, the best would look {words.score(optimism)} better "
            f"than it is by luck alone: its optimism is at most about that. {beside}"
        )
    return Claim("luck", sentence, numbers, "bad" if within >= max(3, len(peers) // 4) else "fact")


def _gap(sweep: Sweep, outcome: Outcome) -> Claim:
    if outcome.test is None or outcome.validation is None:
        told = (
            "No rows were kept apart from the search, so how much of its score the winner loses on new rows cannot be "
            "told."
        )
        return Claim("luck", told, level="unknown")
    gap = sweep.sign * (outcome.validation - outcome.test)
    errors = [standard_error(interval) for interval in (outcome.validation_interval, outcome.test_interval)]
    sentence = (
        f"The winner is at {words.score(outcome.validation)} on validation and the shipped model at "
        f"{words.score(outcome.test)} on {counted(outcome.num_test_rows, 'test row')}"
    )
    numbers: dict[str, object] = {"validation": outcome.validation, "test": outcome.test, "gap": gap}
    direction = f"{words.score(abs(gap))} {'worse' if gap >= 0 else 'better'} there"
    known = [error for error in errors if error is not None]
    if len(known) < 2:
        return Claim(
            "luck", f"{sentence}: {direction}; without both intervals that cannot be judged.", numbers, "unknown"
        )
    interval = Interval.around(gap, math.hypot(*known))
    numbers |= {"low": interval.low, "high": interval.high}
    if interval.low > 0:
        verdict, level = (
            "more than chance explains: the search overfitted its validation rows, or the test rows differ",
            "bad",
        )
    elif interval.high < 0:
        verdict, level = "more than chance explains: the test rows are easier, or training on more rows helped", "fact"
    else:
        verdict, level = "no more than chance explains", "good"
    return Claim(
        "luck", f"{sentence}: {direction} (drop {words.between(interval, signed=True)}), {verdict}.", numbers, level
    )
