"""The budget: words in, limits out, and what is added to them; and the clock that keeps them."""

from __future__ import annotations

import time

import pytest

from autosft.budget import Budget, Clock, format_seconds
from autosft.errors import PlanError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("20m", Budget(seconds=1200)),
        ("1h30m", Budget(seconds=5400)),
        ("1h 30min", Budget(seconds=5400)),
        ("300", Budget(seconds=300)),
        ("3 mins", Budget(seconds=180)),
        (90, Budget(seconds=90)),
        (0.5, Budget(seconds=0.5)),
        ("1.5 hours", Budget(seconds=5400)),
        ("2 days", Budget(seconds=172_800)),
        ("3 trials", Budget(num_trials=3)),
        ("1 trial", Budget(num_trials=1)),
        ("2 gpu-hours", Budget(gpu_hours=2)),
        ("10 trials, 20m", Budget(seconds=1200, num_trials=10)),
        ("1 trial, 2 trials", Budget(num_trials=3)),
        ("1 gpu-hour, 30m, 0.5 gpu-hours, 30m", Budget(seconds=3600, gpu_hours=1.5)),
        ("+1h", Budget(seconds=3600)),
        ("+10 trials", Budget(num_trials=10)),
        (" 5 M ", Budget(seconds=300)),
        (Budget(seconds=7), Budget(seconds=7)),
    ],
)
def test_words_are_read(words: str | float | Budget, expected: Budget) -> None:
    assert Budget.parse(words) == expected


@pytest.mark.parametrize(
    "words", ["soon", "", "m", "20 parsecs", "20m or so", "-5m", "1 trial per day", "0x10", "500ms"]
)
def test_words_that_mean_nothing_are_refused_with_an_example(words: str) -> None:
    with pytest.raises(PlanError, match="20m"):
        Budget.parse(words)


@pytest.mark.parametrize("words", [0, "0m", "0 trials", float("inf"), -3, float("nan")])
def test_a_budget_of_nothing_or_without_end_is_refused(words: str | float) -> None:
    with pytest.raises(PlanError, match="above zero"):
        Budget.parse(words)


@pytest.mark.parametrize("words", ["2.5 trials", "0.2 trials"])
def test_half_a_trial_is_refused(words: str) -> None:
    with pytest.raises(PlanError, match="whole number"):
        Budget.parse(words)


@pytest.mark.parametrize(
    ("budget", "more", "spent", "done", "expected"),
    [
        ("20m", "+1h", 60, 5, Budget(seconds=4800)),
        ("20m", "+1h", 1300, 5, Budget(seconds=4900)),  # Overdrawn: what is added counts from now.
        ("3 trials", "+10 trials", 60, 3, Budget(num_trials=13)),
        ("20m", "+10 trials", 60, 7, Budget(num_trials=17)),
        ("3 trials", "+5m", 60, 3, Budget(seconds=360)),
        ("8 gpu-hours", "+2 gpu-hours", 1200, 3, Budget(gpu_hours=10)),
        ("20m", "+2 gpu-hours", 900, 3, Budget(gpu_hours=4)),  # A quarter of an hour on eight of them.
        ("1 gpu-hour", "+2 gpu-hours", 900, 3, Budget(gpu_hours=4)),
    ],
)
def test_more_is_added_to_what_was_used(budget: str, more: str, spent: float, done: int, expected: Budget) -> None:
    added = Budget.parse(budget).plus(Budget.parse(more), spent_seconds=spent, num_trials_done=done, num_gpus=8)
    assert added == expected


@pytest.mark.parametrize(
    ("budget", "more", "spent", "done", "expected"),
    [
        ("20m, 3 trials", "+10m", 60, 1, Budget(seconds=1800, num_trials=3)),
        ("20m, 3 trials", "+10m", 1300, 3, Budget(seconds=1900, num_trials=3)),
        ("20m, 2 gpu-hours", "+10m", 60, 1, Budget(seconds=1800, gpu_hours=2)),
        ("20m, 3 trials", "+2 trials", 60, 3, Budget(seconds=1200, num_trials=5)),
        ("3 trials", "+5m", 60, 2, Budget(seconds=360, num_trials=3)),
    ],
)
def test_more_can_leave_the_other_limits_as_they_are(
    budget: str, more: str, spent: float, done: int, expected: Budget
) -> None:
    words = Budget.parse(more)
    found = Budget.parse(budget).plus(words, spent_seconds=spent, num_trials_done=done, num_gpus=8, keep_limits=True)
    assert found == expected


def test_gpu_hours_are_wall_time_on_the_gpus_there_are() -> None:
    assert Budget.parse("2 gpu-hours").wall_seconds(4) == 1800
    assert Budget.parse("2 gpu-hours, 10m").wall_seconds(4) == 600
    assert Budget.parse("3 trials").wall_seconds(0) is None
    with pytest.raises(PlanError, match="no GPU"):
        Budget.parse("2 gpu-hours").wall_seconds(0)


def test_stages_that_were_switched_off_stay_off_when_more_is_spent() -> None:
    without = Budget.parse("20m", refit=False, finals=False, soup=False)
    more = without.plus(Budget.parse("+1h"), spent_seconds=60, num_trials_done=5, num_gpus=0)
    assert more == Budget(seconds=4800, refit=False, finals=False, soup=False)
    with_them = Budget.parse("20m")
    less = with_them.plus(Budget.parse("+1h", soup=False), spent_seconds=60, num_trials_done=5, num_gpus=0)
    assert less == Budget(seconds=4800, soup=False)


def test_an_ensemble_that_was_asked_for_stays_asked_for_when_more_is_spent() -> None:
    asked = Budget.parse("20m", ensemble=True)
    assert asked.plus(Budget.parse("+1h"), spent_seconds=60, num_trials_done=5, num_gpus=0).ensemble
    later = Budget.parse("20m").plus(
        Budget.parse("+1h", ensemble=True), spent_seconds=60, num_trials_done=5, num_gpus=0
    )
    assert later == Budget(seconds=4800, ensemble=True)
    assert Budget.parse(90, ensemble=True) == Budget(seconds=90, ensemble=True)


@pytest.mark.parametrize("words", ["20m", "3 trials", "1h, 2 trials"])
def test_json_and_words_lead_back_to_the_same_budget(words: str) -> None:
    budget = Budget.parse(words, refit=False)
    assert Budget(**budget.to_json()) == budget
    assert Budget.parse(str(budget), refit=False) == budget


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4s"), (59.6, "1m"), (75, "1m 15s"), (3600, "1h"), (3720, "1h 2m"), (3599.9, "1h")]
)
def test_durations_are_worded(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words


def test_a_clock_counts_what_earlier_sittings_spent() -> None:
    clock = Clock(10.0, spent_seconds=4.0)
    time.sleep(0.02)
    assert 4.02 <= clock.spent < 6
    assert clock.sitting < 2
    assert clock.left is not None and 4 < clock.left < 6
    assert clock.limited(None).left is None
