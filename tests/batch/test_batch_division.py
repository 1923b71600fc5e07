"""A batch's budget: scaled down where it does not fit, and what is left goes to who still improves."""

from __future__ import annotations

import pytest

from autosft.batch.division import (
    BETWEEN_SECONDS,
    LEAST_SECONDS,
    Candidate,
    Wish,
    grants,
    late_gain,
    leftovers,
    scale_of,
)
from autosft.search.trial import Trial


def wishes(*seconds: float | None) -> list[Wish]:
    return [Wish(f"job{at}", value) for at, value in enumerate(seconds)]


def test_without_a_budget_each_job_has_its_own() -> None:
    assert grants(wishes(60, None), left_seconds=None, at_once=1) == {"job0": 60, "job1": None}


def test_what_fits_is_not_touched() -> None:
    assert grants(wishes(60, 120), left_seconds=600, at_once=1) == {"job0": 60, "job1": 120}


def test_what_does_not_fit_is_scaled_down_alike() -> None:
    given = grants(wishes(600, 1200), left_seconds=900 + 2 * BETWEEN_SECONDS, at_once=1)
    assert given == {"job0": pytest.approx(300), "job1": pytest.approx(600)}
    assert scale_of(wishes(600, 1200), left_seconds=900 + 2 * BETWEEN_SECONDS, at_once=1) == pytest.approx(0.5)


def test_jobs_beside_each_other_share_the_time_that_all_slots_have() -> None:
    given = grants(wishes(600, 600, 600, 600), left_seconds=600 + BETWEEN_SECONDS, at_once=4)
    assert set(given.values()) == {600}


def test_too_many_jobs_leave_the_last_ones_out_so_that_the_first_have_enough() -> None:
    given = grants(wishes(*[60] * 10), left_seconds=200, at_once=1)
    assert list(given) == ["job0", "job1", "job2", "job3", "job4"]
    assert all(LEAST_SECONDS <= seconds <= 60 for seconds in given.values())


def test_what_running_jobs_were_promised_is_theirs() -> None:
    assert grants(wishes(60), left_seconds=100, at_once=1, promised_seconds=80) == {}
    assert grants(wishes(60), left_seconds=100, at_once=2, promised_seconds=80) == {"job0": 60}


def test_a_job_that_asks_for_little_may_have_little() -> None:
    assert grants(wishes(10), left_seconds=20, at_once=1) == {"job0": 10}
    assert grants(wishes(600), left_seconds=20, at_once=1) == {}


def test_a_job_without_a_limit_gets_what_there_is_for_it() -> None:
    given = grants(wishes(None, 100), left_seconds=400 + 2 * BETWEEN_SECONDS, at_once=1)
    assert given["job0"] is not None
    assert given["job0"] + given["job1"] <= 400
    assert given["job0"] > LEAST_SECONDS


def trial(number: int, score: float, *, stage: str = "search", fate: str = "complete") -> Trial:
    interval = (score - 0.1, score + 0.1)
    return Trial(number, "arm", {}, 1.0, 0, 0, False, fate=fate, score=score, interval=interval, stage=stage)


def curve(*scores: float) -> list[tuple[float, Trial]]:
    return [(10.0 * at, trial(at, score)) for at, score in enumerate(scores)]


def test_late_gain_tells_a_search_that_still_rises_from_one_that_has_settled() -> None:
    assert late_gain(curve(0.5, 0.6, 0.7, 0.7, 0.6, 0.7), greater_is_better=True) == 0
    assert late_gain(curve(0.5, 0.6, 0.6, 0.6, 0.6, 0.65), greater_is_better=True) == pytest.approx(0.5)
    assert late_gain(curve(0.5, 0.6, 0.6, 0.6, 0.6, 0.65), greater_is_better=False) == 0


def test_late_gain_says_nothing_of_few_trials_and_ignores_what_cannot_win() -> None:
    assert late_gain(curve(0.5, 0.6, 0.7), greater_is_better=True) is None
    flat = curve(0.7, 0.6, 0.6, 0.6, 0.6)
    late = [(41.0, trial(8, 0.9, stage="finals")), (42.0, trial(9, 0.95, fate="failed"))]
    assert late_gain([*flat, *late], greater_is_better=True) == 0


def test_what_is_left_goes_to_those_that_still_improve() -> None:
    candidates = [
        Candidate("settled", 600, 0.0),
        Candidate("young", 600, None),
        Candidate("rising", 600, 0.2),
        Candidate("steep", 600, 1.5),
    ]
    given = leftovers(candidates, left_seconds=3 * (100 + BETWEEN_SECONDS), at_once=1)
    assert list(given) == ["steep", "rising", "young"]
    assert set(given.values()) == {100}
    few = leftovers(candidates, left_seconds=LEAST_SECONDS + BETWEEN_SECONDS + 1, at_once=1)
    assert list(few) == ["steep"]


def test_who_is_asked_later_gets_no_other_part_than_who_was_asked_first() -> None:
    candidates, given = [Candidate(f"job{at}", 600, 1.0) for at in range(8)], []
    while len(given) < 4:
        found = leftovers(candidates, left_seconds=600, at_once=4, num_running=len(given))
        given.append(found[candidates.pop(0).name])
    assert given == [300 - BETWEEN_SECONDS] * 4


def test_nobody_goes_on_for_less_than_is_of_use_or_without_reason() -> None:
    assert leftovers([Candidate("a", 600, 1.0)], left_seconds=20, at_once=1) == {}
    assert leftovers([Candidate("a", 600, 0.0)], left_seconds=2000, at_once=1) == {}
    went_on = Candidate("a", 600, None, num_extensions=1)
    assert leftovers([went_on], left_seconds=2000, at_once=1) == {}


def test_who_has_no_model_yet_comes_first_and_once() -> None:
    candidates = [Candidate("steep", 600, 1.5), Candidate("short", 600, None, has_model=False)]
    assert list(leftovers(candidates, left_seconds=600, at_once=1)) == ["short", "steep"]
    again = Candidate("short", 600, None, has_model=False, num_extensions=1)
    assert leftovers([again], left_seconds=600, at_once=1) == {}


def test_who_went_on_before_lets_the_others_go_first_and_nobody_gets_more_than_asked() -> None:
    candidates = [Candidate("often", 60, 2.0, num_extensions=1), Candidate("never", 60, 0.1)]
    assert list(leftovers(candidates, left_seconds=500, at_once=1).items()) == [("never", 60), ("often", 60)]
