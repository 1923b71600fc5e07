"""How a budget is divided: a race where there is time, one shortened run an arm where there is little."""

from __future__ import annotations

from typing import Any

import pytest

from autosft.base_models import BASE_MODELS
from autosft.budget import Budget
from autosft.planning.division import MAX_TRIALS_PER_ARM, Lengths, Means, fit_lengths
from autosft.planning.plan import Arm
from autosft.search.space_file import load_space
from autosft.task import Input, Output
from autosft.trainers.base import Cost


def arm(trainer: str, seconds: float, name: str = "", **default: Any) -> Arm:
    space = load_space(trainer, Input.TEXT, Output.LABEL)
    cost = Cost(1.0, seconds, 100.0, None, 128, 0.0)
    tuned = {"num_train_epochs": 5, "batch_size": 10, "head": "mean-from-probe"}
    default = {**tuned, **default} if trainer == "transformers" else default
    return Arm(name or trainer, trainer, BASE_MODELS[0], "/model", default, space, 128, cost=cost)


def divide(*arms: Arm, seconds: float | None, budget: Budget | None = None, **changed: Any) -> Lengths:
    options: dict[str, Any] = {
        "closing_seconds": 10.0, "refit_factor": 1.25, "rows_per_class": 200.0, "max_concurrent": 1,
        "num_rows": 1000, "scheduler": "race", **changed,
    }  # fmt: skip
    return fit_lengths(arms, Means(budget or Budget(seconds=seconds or 60), seconds, **options))


HEAD, TUNING = arm("frozen_head", 10), arm("transformers", 100)


def test_with_time_every_run_is_a_full_one_and_the_winner_is_refitted() -> None:
    lengths = divide(HEAD, TUNING, seconds=2000)
    assert [kept.fidelity for kept in lengths.arms] == [1, 1]
    assert lengths.refit
    assert lengths.wall_seconds <= 2000


def test_with_time_configurations_race() -> None:
    lengths = divide(HEAD, TUNING, seconds=2000)
    assert [kept.rungs for kept in lengths.arms] == [(1.0,), (1 / 27, 1 / 9, 1 / 3, 1.0)]
    assert lengths.finals_share > 0
    less = divide(HEAD, TUNING, seconds=600)
    assert less.finals_share == 0, "two runs more of each of three finalists would not fit"
    assert less.num_trials < lengths.num_trials


def test_a_head_whose_rows_take_longer_than_there_is_time_says_so() -> None:
    [reason] = divide(arm("frozen_head", 200), seconds=60).reasons
    assert reason == "frozen_head reads what rows there is time for, about 25% of them"
    assert not divide(HEAD, seconds=60).reasons


def test_what_a_budget_buys_is_said_in_words() -> None:
    bought = [divide(HEAD, TUNING, seconds=seconds).buys for seconds in (16, 60, 240, 600, 2000)]
    assert bought[0] == "frozen_head alone"
    assert bought[1] == "one fine-tuning of 36% of the full length"
    assert bought[2] == "one fine-tuning of 88% of the full length and a refit"
    assert bought[3].startswith("a race of about ") and bought[3].endswith(" configurations")
    assert bought[4].endswith(" configurations and finals")


def test_what_a_budget_buys_agrees_with_the_number_of_trials() -> None:
    quick = arm("transformers", 1.0, batch_size=64)
    for seconds in (20, 1200):
        lengths = divide(quick, seconds=seconds, num_rows=50)
        assert not lengths.num_configs and lengths.num_trials > 5
        assert lengths.buys == f"about {lengths.num_trials} trainings of full length and a refit"


def test_a_race_of_one_configuration_is_one() -> None:
    lengths = divide(arm("transformers", 100, batch_size=64), seconds=410, num_rows=500)
    assert lengths.num_configs == 1 and lengths.buys == "a race of about 1 configuration"


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_rays_own_schedulers_are_given_whole_runs(scheduler: str) -> None:
    assert [kept.rungs for kept in divide(HEAD, TUNING, seconds=2000, scheduler=scheduler).arms] == [(1.0,)] * 2


def test_below_four_full_runs_nothing_races() -> None:
    assert [kept.rungs for kept in divide(TUNING, seconds=405).arms] == [(1.0,)]
    assert len(divide(TUNING, seconds=415).arms[0].rungs) > 1


def test_trainings_of_a_few_updates_are_no_rung() -> None:
    few = arm("transformers", 100, batch_size=64)
    assert divide(few, seconds=2000, num_rows=500).arms[0].rungs == (1 / 3, 1.0)
    assert divide(few, seconds=2000, num_rows=50).arms[0].rungs == (1.0,)


def test_an_arm_too_large_for_the_time_races_up_to_the_length_that_fits() -> None:
    lengths = divide(TUNING, arm("transformers", 1000, "large"), seconds=1000)
    assert [kept.rungs[-1] for kept in lengths.arms] == [1.0, 1 / 3]
    assert [kept.name for kept in divide(TUNING, arm("transformers", 20_000, "huge"), seconds=1000).arms] == [
        "transformers"
    ]


def test_finals_that_were_switched_off_get_no_time() -> None:
    lengths = divide(HEAD, TUNING, seconds=2000, budget=Budget(seconds=2000, finals=False))
    assert lengths.finals_share == 0 and len(lengths.arms[1].rungs) == 4
    assert not any("before one is chosen" in reason for reason in lengths.reasons)


def test_where_trials_are_counted_too_the_plan_holds_no_more_of_them_and_no_finals() -> None:
    lengths = divide(HEAD, TUNING, seconds=2000, budget=Budget(seconds=2000, num_trials=15))
    assert lengths.num_trials == 15 and len(lengths.arms[1].rungs) == 4
    assert lengths.finals_share == 0
    assert not any("configurations; a third" in reason for reason in lengths.reasons)


def test_the_quote_of_a_race_of_some_trials_knows_that_most_are_short() -> None:
    lengths = divide(TUNING, seconds=None, budget=Budget(num_trials=30))
    assert lengths.wall_seconds == pytest.approx(10 + 2 * 100 + 28 * 10 + 1.25 * 100, rel=0.02)


def test_a_budget_of_some_trials_races_and_of_few_does_not() -> None:
    assert [len(divide(TUNING, seconds=None, budget=Budget(num_trials=num)).arms[0].rungs) for num in (5, 30)] == [1, 4]


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


THREE = [arm("transformers", 100, name) for name in "abc"]


@pytest.mark.parametrize(("max_concurrent", "turns"), [(1, 3), (2, 2), (3, 1), (8, 1)])
def test_arms_that_train_side_by_side_wait_for_each_other_no_longer_than_they_must(
    max_concurrent: int, turns: int
) -> None:
    lengths = divide(*THREE, seconds=120, max_concurrent=max_concurrent, rows_per_class=10)
    assert [kept.fidelity for kept in lengths.arms] == [pytest.approx(0.9 * 110 / (100 * (turns + 1.25)))] * 3
    assert lengths.refit, "of rows this scarce"


def test_side_by_side_three_arms_are_trained_whole_where_one_after_the_other_would_not_be() -> None:
    shares = [divide(*THREE, seconds=300, max_concurrent=slots).arms[0].fidelity for slots in (1, 8)]
    assert shares == [pytest.approx(0.9 * 290 / 300), 1.0]


def test_arms_of_other_lengths_begin_as_places_are_free() -> None:
    arms = [arm("transformers", seconds, str(seconds)) for seconds in (100, 20, 30, 40)]
    (share, *others) = [kept.fidelity for kept in divide(*arms, seconds=80, max_concurrent=2).arms]
    assert others == [share] * 3
    assert share == pytest.approx(0.9 * 70 / 100), "three of them are trained beside the longest"


def test_scarce_rows_are_worth_a_refit_even_at_the_price_of_a_shorter_run() -> None:
    rich = divide(TUNING, seconds=130, rows_per_class=200)
    scarce = divide(TUNING, seconds=130, rows_per_class=10)
    assert (rich.refit, scarce.refit) == (False, True)
    assert scarce.arms[0].fidelity < rich.arms[0].fidelity


@pytest.mark.parametrize("seconds", [60, 2000])
def test_a_refit_that_was_switched_off_stays_off(seconds: float) -> None:
    assert not divide(HEAD, TUNING, seconds=seconds, budget=Budget(seconds=seconds, refit=False)).refit


@pytest.mark.parametrize(("seconds", "refit", "fidelity"), [(220, True, 0.80), (200, False, 1.0), (300, True, 1.0)])
def test_a_refit_comes_before_a_second_run_where_both_are_about_whole(
    seconds: float, refit: bool, fidelity: float
) -> None:
    lengths = divide(HEAD, TUNING, seconds=seconds)
    assert lengths.refit == refit
    assert lengths.arms[1].fidelity == pytest.approx(fidelity, abs=0.01)


def test_of_scarce_rows_time_is_kept_for_several_refits_beside_a_race() -> None:
    soup = divide(HEAD, TUNING, seconds=700, rows_per_class=10.0)
    assert soup.soup and any("mean of their weights" in reason for reason in soup.reasons)
    alone = divide(HEAD, TUNING, seconds=700)
    assert not alone.soup, "of 200 rows a class"
    assert soup.num_configs < alone.num_configs, "the race gets less"


@pytest.mark.parametrize(
    ("tuning", "changed"),
    [
        (TUNING, {"seconds": 500.0}),
        (arm("transformers", 100, head="mean"), {}),
        (TUNING, {"budget": Budget(seconds=700, refit=False)}),
        (TUNING, {"budget": Budget(seconds=700, soup=False)}),
        (TUNING, {"seconds": None, "budget": Budget(num_trials=30)}),
    ],
    ids=["too little time for a race", "each seed starts elsewhere", "no refit", "no soup", "no limit of time"],
)
def test_no_time_is_kept_for_several_refits_that_cannot_be(tuning: Arm, changed: dict[str, Any]) -> None:
    assert not divide(HEAD, tuning, **{"seconds": 700.0, "rows_per_class": 10.0, **changed}).soup


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
