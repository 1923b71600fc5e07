"""Small budgets: what still begins, and what time is kept for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import autosft
from autosft.budget import Budget
from autosft.planning.plan import Plan
from autosft.search.policies import policy_for
from autosft.search.policy import Standing
from autosft.search.trial import Trial
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    options = {"models": str(tiny_model), "budget": "45s", "max_concurrent": 1, "timing": False}
    return replace(autosft.plan("Route each message", rows, tracker=Tracker(), **options), refit=True)


def ended(plan: Plan, number: int, score: float, seconds: float) -> Trial:
    arm = plan.arms[number]
    return Trial(
        number, arm.name, arm.default, 1.0, 0, 0, True, "complete", score, seconds={"total": seconds, "train": seconds}
    )


@pytest.mark.parametrize(
    ("tuned", "begins"),
    [
        # A head scores best, but a fine-tuning that is about as good is preferred: its refit has to fit.
        ("mean-from-probe", False),
        # From a head of its own it starts from something else, and the best score wins.
        ("mean", True),
    ],
)
def test_time_is_kept_for_the_refit_of_whoever_may_win(plan: Plan, tmp_path: Path, tuned: str, begins: bool) -> None:
    head, tuning = ended(plan, 0, 0.9, 0.8), ended(plan, 1, 0.88, 8.0)
    assert (plan.arms[0].trainer, plan.arms[1].trainer) == ("frozen_head", "transformers")
    arms = (plan.arms[0], replace(plan.arms[1], default={**plan.arms[1].default, "head": tuned}))
    plan = replace(plan, arms=arms, budget=Budget(seconds=45.0), scheduler="none")
    tuning = replace(tuning, config=arms[1].default)
    closing = 8.0
    policy = policy_for(plan, journal=tmp_path / "study.log", earlier=(head, tuning), closing_seconds=closing)
    left = closing + plan.refit_factor * 8.0 + 0.3
    standing = Standing(
        trials=[head, tuning], running=[], num_begun=2, seconds_left=left, trials_left=None, broken=frozenset()
    )
    assert (policy.ask(standing) is not None) == begins
