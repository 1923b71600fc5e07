"""How the search went: figures and sentences of runs whose trials are known."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from made_runs import ended, raced, trial

from autosft.planning.plan import Plan
from autosft.report.blocks import Block, Figure, Listing, Said, Table
from autosft.report.ended import Ended
from autosft.report.story import tell
from autosft.reviewing import importance


def blocks(run: Ended, section: str) -> tuple[Block, ...]:
    return next(one.blocks for one in tell(run).sections if one.id == section)


def figure(run: Ended, name: str) -> Figure:
    return next(block for block in blocks(run, "search") if isinstance(block, Figure) and block.id == name)


def said_of_importance(run: Ended) -> tuple[str, ...]:
    tells = blocks(run, "search-tells")
    return next(block.items for block in tells if isinstance(block, Listing) and block.title == "Importance")


def test_a_score_of_exactly_zero_is_drawn_and_stands_in_the_table(plan: Plan) -> None:
    arm = plan.arms[-1]
    rates = [{"learning_rate": rate} for rate in (1e-4, 1e-3)]
    short = [trial(at, arm, row, 0.1 + 0.1 * at, fidelity=1 / 3) for at, row in enumerate(rates)]
    whole = [trial(2 + at, arm, row, 0.5 * at) for at, row in enumerate(rates)]
    lengths = figure(ended(plan, [*short, *whole]), "lengths")
    assert {row[1]: row[2:] for row in lengths.numbers.rows} == {
        "learning_rate 0.0001": (0.1, 0.0),
        "learning_rate 0.001": (0.2, 0.5),
    }
    drawn = list(zip(lengths.data[0]["x"], lengths.data[0]["y"], strict=True))
    assert (100.0, 0.0) in drawn and (100.0, 0.5) in drawn


def test_a_training_that_its_time_cut_short_is_drawn_as_far_as_it_came(plan: Plan) -> None:
    arm, reports = plan.arms[-1], ((1 / 9, 0.1), (1 / 3, 0.2), (1.0, 0.3))
    whole = trial(0, arm, {}, 0.3, reports=reports)
    cut = trial(1, arm, {"learning_rate": 1e-3}, 0.3, fidelity=0.45, rung=1.0, reports=reports)
    drawn = figure(ended(plan, [whole, cut]), "lengths").data
    lengths = {score: [x for line in drawn for x, y in zip(line["x"], line["y"], strict=True) if y == score]
               for score in (0.1, 0.2, 0.3)}  # fmt: skip
    for share, score in reports:
        assert {round(x, 1) for x in lengths[score]} == {round(100 * share, 1), round(45 * share, 1)}


def test_the_figure_of_what_mattered_and_the_sentence_have_the_same_shares(plan: Plan) -> None:
    run = ended(plan, raced(plan.arms[-1]))
    shown, [sentence] = figure(run, "importance-0"), said_of_importance(run)
    told = dict(re.findall(r"(\w+) (\d+% \[\d+%, \d+%\])", sentence))
    assert "learning_rate" in told
    rows = shown.numbers.rows
    assert told == {name: f"{share:.0%} [{low:.0%}, {high:.0%}]" for name, share, low, high in rows if low > 0}
    # Twenty stopped at the shorter length: they count, below those that went on.
    compared = "30 configurations, ranked by the longest length each reached and its score there"
    assert compared in sentence and compared in shown.told
    # What mattered most is what the lines of configurations go through first.
    axes = figure(run, "parallel-0").layout["xaxis"]["ticktext"]
    assert [name.replace("<br>", "").removesuffix(" (log)") for name in axes[:-1]] == [row[0] for row in rows]


def test_what_mattered_is_computed_once_an_arm(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked, computed = importance._ranks, []

    def counted(scores: Any) -> Any:
        computed.append(np.size(scores))
        return ranked(scores)

    monkeypatch.setattr(importance, "_ranks", counted)
    tell(ended(plan, [*raced(plan.arms[-1]), *raced(plan.arms[0], 24, first=100)]))
    assert sorted(computed) == [24, 30]


def test_the_figure_and_the_sentence_give_the_same_reason_where_little_is_known(plan: Plan) -> None:
    run = ended(plan, [trial(at, plan.arms[-1], {"dropout": at / 10}, 0.5 + at / 100) for at in range(3)])
    [sentence] = said_of_importance(run)
    reason = sentence.partition("cannot be told: ")[2]
    assert "3 configurations" in reason
    assert [block for block in blocks(run, "search") if isinstance(block, Said) and reason in block.text]


def test_a_score_that_is_no_number_does_not_hide_its_arms_best(plan: Plan) -> None:
    arm = plan.arms[-1]
    scores = [math.nan, 0.25, 0.5, 0.75]
    trials = [trial(at, arm, {"learning_rate": 1e-4 * (1 + at)}, score) for at, score in enumerate(scores)]
    # Wherever it stands: a comparison with NaN keeps whichever came first.
    for order in (trials, trials[::-1]):
        found = blocks(ended(plan, [trials[3], *order]), "cost")
        arms = next(block for block in found if isinstance(block, Table) and block.id == "arms")
        assert {row[0]: row[-1] for row in arms.rows}[arm.name] == 0.75
