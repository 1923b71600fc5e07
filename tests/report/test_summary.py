"""What a report says first: three sentences, whatever came of the run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from made_runs import ended, trial

from autosft.base_models import NO_MODEL
from autosft.data.finding import Finding, Severity
from autosft.intervals import Interval
from autosft.planning.plan import Plan
from autosft.proof import Score
from autosft.report.ended import Ended
from autosft.report.story import tell


def run_of(plan: Plan, *, tuned: float | None = 0.9, **proven: Any) -> Ended:
    """An untuned default, and a tuned trial that won where it has a score."""
    one = plan.arms[-1]
    trials = [trial(0, one, {}, 0.8)]
    trials += [] if tuned is None else [trial(1, one, {"learning_rate": 0.5}, tuned)]
    run = ended(plan, trials)
    return replace(run, winner=trials[-1], proof=replace(run.proof, **proven))


def won(plan: Plan) -> Ended:
    return run_of(plan, gain=0.1, gain_interval=Interval(0.05, 0.15))


def gained_nothing_sure(plan: Plan) -> Ended:
    return run_of(plan, gain=0.01, gain_interval=Interval(-0.02, 0.04))


def got_worse(plan: Plan) -> Ended:
    return run_of(plan, gain=-0.1, gain_interval=Interval(-0.15, -0.05))


def kept_the_default(plan: Plan) -> Ended:
    run = run_of(plan)
    return replace(run, winner=run.default)


def only_defaults(plan: Plan) -> Ended:
    return run_of(plan, tuned=None)


def another_default_won(plan: Plan) -> Ended:
    run = ended(plan, [trial(0, plan.arms[0], {}, 0.8), trial(1, plan.arms[-1], {}, 0.9)])
    short = replace(run.default, fidelity=1 / 3)
    proof = replace(run.proof, gain=-0.02, gain_interval=Interval(-0.05, 0.01))
    return replace(run, default=short, proof=proof)


def no_default(plan: Plan) -> Ended:
    return ended(plan, [trial(0, plan.arms[0], {"learning_rate": 0.5}, 0.8)])


def short_default(plan: Plan) -> Ended:
    run = won(plan)
    return replace(run, default=replace(run.default, fidelity=1 / 9))


def without_base_model(plan: Plan) -> Ended:
    return won(replace(plan, arms=tuple(replace(arm, base_model=NO_MODEL) for arm in plan.arms)))


def hardly_trained(plan: Plan) -> Ended:
    run = won(plan)
    return replace(run, winner=replace(run.winner, fidelity=0.004), proof=replace(run.proof, constant=0.99))


def interrupted(plan: Plan) -> Ended:
    run = won(plan)
    failed = trial(2, plan.arms[0], {"learning_rate": 0.1}, None, fate="failed", message="out of memory")
    return replace(run, trials=[*run.trials, failed], summary={**run.summary, "interrupted": True})


def refit_on_folds(plan: Plan) -> Ended:
    run = run_of(plan, rows="folds", selected_on=True, num_rows_given=4000, constant=0.5)
    return replace(run, summary={**run.summary, "refit": {"done": True, "reason": "retrained on all rows"}})


def answered_together(plan: Plan) -> Ended:
    run = refit_on_folds(plan)
    return replace(run, summary={**run.summary, "ensemble": {"done": True, "reason": "three methods answer"}})


def not_defined(plan: Plan) -> Ended:
    nothing = Score(math.nan, Interval(math.nan, math.nan), 30)
    return run_of(plan, shipped=nothing, gain=math.nan, gain_interval=Interval(math.nan, math.nan))


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (won, ("on 30 proof rows that the search never read", "gained +0.1000", "better beyond the noise", "2 trials")),
        (gained_nothing_sure, ("gained +0.0100", "-0.0200 to 0.0400", "cannot be told from no gain")),
        (got_worse, ("gained -0.1000", "worse beyond the noise")),
        (kept_the_default, ("The best untuned default won: tuning found nothing",)),
        (only_defaults, ("only untuned defaults were trained", "1 trial of 1 configuration")),
        (another_default_won, ("an untuned default itself and scored below it", "for 33% of the full length only")),
        (no_default, ("What tuning added is not known",)),
        (short_default, ("trained for 11% of the full length only), tuning gained",)),
        (without_base_model, (", without a base model: accuracy",)),
        (hardly_trained, ("hardly at all", "which it does not beat beyond the noise")),
        (interrupted, ("1 trial failed; it was interrupted",)),
        (refit_on_folds, ("a random sample of 4,000", "before it was trained on them too", "would score 0.5000")),
        (answered_together, (", of the winner alone, before it was trained on them too",)),
        (not_defined, ("not defined (without an interval)",)),
    ],
)
def test_three_sentences_say_what_came_of_it(plan: Plan, came: Callable[[Plan], Ended], said: tuple[str, ...]) -> None:
    told = tell(came(plan)).sentences
    assert len(told) == 3
    for sentence in told:
        assert re.fullmatch(r"[A-Z].*\.", sentence) and not re.search(r"[.!?]\s", sentence), sentence
    assert "The shipped model is" in told[0] and "The search ran" in told[2]
    for words in said:
        assert words in " ".join(told)


def test_warnings_of_the_audit_are_counted_beside_the_sentences(plan: Plan) -> None:
    found = tuple(Finding("made", severity, "a remark", 3) for severity in (Severity.WARNING, Severity.INFO))
    for findings, number in ((found, "1"), (found[1:], "0")):
        tiles = {tile.name: tile.value for tile in tell(won(replace(plan, findings=findings))).tiles}
        assert tiles["warnings"] == number
