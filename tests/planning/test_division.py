"""How a budget is divided: full runs where there is time, one shortened run an arm where there is little."""

from __future__ import annotations

from typing import Any

import pytest

from autosft.base_models import BASE_MODELS
from autosft.budget import Budget
from autosft.planning.division import MAX_TRIALS_PER_ARM, Lengths, fit_lengths
from autosft.planning.plan import Arm
from autosft.search.space_file import load_space
from autosft.task import Input, Output
from autosft.trainers.base import Cost


def arm(trainer: str, seconds: float, name: str = "") -> Arm:
    space = load_space(trainer, Input.TEXT, Output.LABEL)
    cost = Cost(1.0, seconds, 100.0, None, 128, 0.0)
    return Arm(name or trainer, trainer, BASE_MODELS[0], "/model", {}, space, 128, cost=cost)


def divide(*arms: Arm, seconds: float | None, budget: Budget | None = None, **changed: Any) -> Lengths:
    options: dict[str, Any] = {
        "closing_seconds": 10.0, "refit_factor": 1.25, "rows_per_class": 200.0, "max_concurrent": 1, **changed,
    }  # fmt: skip
    return fit_lengths(arms, budget=budget or Budget(seconds=seconds or 60), seconds_left=seconds, **options)


HEAD, TUNING = arm("frozen_head", 10), arm("transformers", 100)


def test_with_time_every_run_is_a_full_one_and_the_winner_is_refitted() -> None:
    lengths = divide(HEAD, TUNING, seconds=2000)
    assert [kept.fidelity for kept in lengths.arms] == [1, 1]
    assert lengths.refit
    assert lengths.wall_seconds <= 2000


@pytest.mark.parametrize("seconds", [60, 100, 200])
def test_with_little_time_a_fine_tuning_run_is_shortened_to_what_there_is(seconds: float) -> None:
    lengths = divide(HEAD, TUNING, seconds=seconds)
    fidelity = lengths.arms[1].fidelity
    assert lengths.arms[0].fidelity == 1, "the cheap arm is the floor that the others must beat"
    assert 0 < fidelity <= 1
    assert 10 + 10 + 100 * fidelity * (1 + 1.25 * lengths.refit) <= seconds, "head, run, refit and closing must fit"
    assert any("of the full length" in reason for reason in lengths.reasons) == (fidelity < 1)


def test_two_fine_tuning_arms_share_the_time() -> None:
    lengths = divide(arm("transformers", 100, "a"), arm("transformers", 50, "b"), seconds=120)
    assert sum(kept.trial_seconds for kept in lengths.arms) <= 110
    assert len(lengths.arms) == 2


def test_scarce_rows_are_worth_a_refit_even_at_the_price_of_a_shorter_run() -> None:
    rich = divide(TUNING, seconds=130, rows_per_class=200)
    scarce = divide(TUNING, seconds=130, rows_per_class=10)
    assert (rich.refit, scarce.refit) == (False, True)
    assert scarce.arms[0].fidelity < rich.arms[0].fidelity


@pytest.mark.parametrize("seconds", [60, 2000])
def test_a_refit_that_was_switched_off_stays_off(seconds: float) -> None:
    assert not divide(HEAD, TUNING, seconds=seconds, budget=Budget(seconds=seconds, refit=False)).refit


def test_an_arm_that_would_get_almost_nothing_is_left_out_with_a_reason() -> None:
    lengths = divide(HEAD, arm("transformers", 10_000, "huge"), seconds=60)
    assert [kept.name for kept in lengths.arms] == ["frozen_head"]
    assert any("huge is left out" in reason for reason in lengths.reasons)


@pytest.mark.parametrize("seconds", [5.0, 60.0])
def test_a_lone_arm_that_does_not_fit_is_shortened_rather_than_dropped(seconds: float) -> None:
    (kept,) = divide(arm("transformers", 10_000), seconds=seconds).arms
    assert 0 < kept.fidelity < 0.05, "a full run of three hours would never begin"
    assert kept.trial_seconds <= seconds


def test_the_number_of_trials_follows_time_concurrency_and_the_budgets_own_limit() -> None:
    one = divide(HEAD, seconds=120).num_trials
    assert one == 11
    assert divide(HEAD, seconds=120, max_concurrent=2).num_trials == 2 * one
    assert divide(HEAD, seconds=120, budget=Budget(seconds=120, num_trials=3)).num_trials == 3
    assert divide(HEAD, seconds=100_000).num_trials == MAX_TRIALS_PER_ARM


def test_without_a_time_limit_runs_are_full_and_the_quote_adds_them_up() -> None:
    lengths = divide(HEAD, TUNING, seconds=None, budget=Budget(num_trials=4))
    assert [kept.fidelity for kept in lengths.arms] == [1, 1]
    assert lengths.num_trials == 4
    assert lengths.wall_seconds == pytest.approx(10 + 4 * 55 + 1.25 * 55)


def test_a_lone_run_that_does_not_fit_is_not_said_to_be_left_out() -> None:
    lengths = divide(arm("transformers", 100_000, "a"), arm("transformers", 90_000, "b"), seconds=60)
    assert [kept.name for kept in lengths.arms] == ["b"]
    assert [reason.split(":")[0] for reason in lengths.reasons if "left out" in reason] == ["a is left out"]
