"""Small budgets: what still begins, for how long, what time is kept for, and what the sampler hears of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import autosft
from autosft.budget import Budget
from autosft.planning.plan import Plan
from autosft.search.journal import open_study
from autosft.search.policies import policy_for
from autosft.search.policy import Standing
from autosft.search.trial import Trial
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    options = {"models": str(tiny_model), "trainer": ["frozen_head", "transformers"], "budget": "45s"}
    options |= {"max_concurrent": 1, "timing": False}
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
        trials=[head, tuning], running=[], num_begun=2, seconds_left=left, trials_left=None, barred=frozenset()
    )
    assert (policy.ask(standing) is not None) == begins


def four_arms(plan: Plan, *, max_concurrent: int) -> Plan:
    """A frozen head and three fine-tunings that were expected to take 100 s each."""
    head, tuning = plan.arms
    assert head.cost is not None
    arms = [replace(tuning, name=name, cost=replace(head.cost, run_seconds=100.0)) for name in "abc"]
    resources = replace(plan.resources, max_concurrent=max_concurrent)
    arms = [replace(head, cost=replace(head.cost, run_seconds=1.0)), *arms]
    return replace(plan, arms=tuple(arms), resources=resources, budget=Budget(seconds=300.0), scheduler="none")


class Simulated:
    """Begins what a policy asks for as soon as a place is free; each training takes all that it may."""

    def __init__(self, plan: Plan, folder: Path, *, closing: float) -> None:
        self.policy = policy_for(plan, journal=folder / "study.log", earlier=(), closing_seconds=closing)
        self.limits: dict[str, float] = {}
        limit = plan.budget.seconds
        assert limit is not None
        now, running, trials = 0.0, dict[float, Trial](), list[Trial]()
        while len(self.limits) < len(plan.arms):
            while len(running) < plan.resources.max_concurrent:
                standing = Standing(
                    trials=trials, running=[*running.values()], num_begun=len(trials) + len(running),
                    seconds_left=limit - now, trials_left=None, barred=(),
                )  # fmt: skip
                start = self.policy.ask(standing)
                if start is None or start.arm in self.limits:
                    break
                assert start.limit_seconds is not None
                self.limits[start.arm] = start.limit_seconds
                took = 0.0 if start.arm == plan.arms[0].name else start.limit_seconds
                begun = Trial(len(self.limits), start.arm, start.config, 1.0, 0, 0, start.is_default)
                running[now + took + 1e-9 * begun.number] = replace(begun, seconds={"total": took})
            now = min(running)
            ended = replace(running.pop(now), fate="complete", score=0.5, interval=(0.4, 0.6))
            trials.append(ended)
            self.policy.tell(ended)


@pytest.mark.parametrize(("max_concurrent", "turns"), [(1, 3), (2, 2), (3, 1), (8, 1)])
def test_defaults_that_are_compared_are_trained_for_as_long_as_each_other(
    plan: Plan, tmp_path: Path, max_concurrent: int, turns: int
) -> None:
    plan = four_arms(plan, max_concurrent=max_concurrent)
    limits = Simulated(plan, tmp_path, closing=20.0).limits
    each = pytest.approx(280.0 / (turns + plan.refit_factor), rel=1e-3)
    assert [limits[name] for name in "abc"] == [each] * 3


def test_the_sampler_hears_how_far_a_trial_came_at_once_and_when_the_run_goes_on(plan: Plan, tmp_path: Path) -> None:
    plan = four_arms(plan, max_concurrent=1)
    plan = replace(plan, scheduler="asha")
    nothing = Standing(trials=(), running=(), num_begun=0, seconds_left=300.0, trials_left=None, barred=())
    policy = policy_for(plan, journal=tmp_path / "first.log", earlier=(), closing_seconds=20.0)
    start = policy.ask(nothing)
    assert start is not None
    trial = Trial(
        0, start.arm, start.config, 0.4, 0, 0, start.is_default, "complete", 0.8,
        reports=((1 / 9, 0.5), (1 / 3, 0.7), (1.0, 0.8)),
    )  # fmt: skip
    policy.tell(trial)
    policy_for(plan, journal=tmp_path / "second.log", earlier=(trial,), closing_seconds=20.0)
    for name in ("first.log", "second.log"):
        [known] = open_study(tmp_path / name, direction="maximize").get_trials()
        # Of a full run in thousandths.
        assert known.intermediate_values == {44: 0.5, 133: 0.7, 400: 0.8} and known.value == 0.8, name


@pytest.mark.parametrize(
    ("budget", "order"),
    [
        # A fine-tuning uses up the time that is left for it, and many rows to embed may too.
        (Budget(seconds=300.0), ["tfidf", "frozen_head", "transformers"]),
        # Trials are counted, and the likeliest are worth most.
        (Budget(num_trials=3), ["frozen_head", "transformers", "tfidf"]),
    ],
)
def test_what_takes_a_moment_comes_before_the_fine_tunings_where_time_is_what_counts(
    tiny_model: Path, tmp_path: Path, budget: Budget, order: list[str]
) -> None:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    plan = autosft.plan(
        "Route each message", rows, tracker=Tracker(), models=str(tiny_model), budget="5m", timing=False
    )
    seconds = {"tfidf": 5.0, "frozen_head": 50.0, "transformers": 100.0}
    arms = [replace(arm, cost=Cost(1.0, seconds[arm.trainer], 100.0, None, None, 0.0)) for arm in plan.arms]
    plan = replace(plan, arms=tuple(arms), budget=budget, scheduler="none")
    policy = policy_for(plan, journal=tmp_path / "study.log", earlier=(), closing_seconds=20.0)
    trials: list[Trial] = []
    for _ in order:
        standing = Standing(
            trials=trials, running=(), num_begun=len(trials), barred=(),
            seconds_left=budget.seconds, trials_left=budget.num_trials,
        )  # fmt: skip
        start = policy.ask(standing)
        assert start is not None and start.is_default
        trial = Trial(len(trials), start.arm, start.config, 1.0, 0, 0, True, "complete", 0.5, seconds={"total": 1.0})
        policy.tell(trial)
        trials.append(trial)
    assert [plan.arm(trial.arm).trainer for trial in trials] == order
