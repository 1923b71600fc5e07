from __future__ import annotations

import pytest

from autosft.search.pace import Pace


@pytest.mark.parametrize("still_to_come", [1, 2, 5])
@pytest.mark.parametrize("refit_factor", [0.0, 1.0, 1.25])
def test_equal_trials_and_the_refit_of_one_fill_the_budget(still_to_come: int, refit_factor: float) -> None:
    limit = Pace(10.0, refit_factor).limit(110.0, still_to_come=still_to_come, leader_seconds=None)
    assert limit * (still_to_come + refit_factor) + 10.0 == pytest.approx(110.0)


def test_the_refit_of_a_long_leader_is_kept_free() -> None:
    limit = Pace(10.0, 1.25).limit(110.0, still_to_come=1, leader_seconds=60.0)
    assert limit == pytest.approx(100.0 - 1.25 * 60.0)


def test_a_challenger_may_be_longer_than_a_short_leader_if_its_own_refit_fits() -> None:
    limit = Pace(10.0, 1.0).limit(110.0, still_to_come=1, leader_seconds=2.0)
    assert limit == pytest.approx(50.0)


def test_no_time_is_below_zero() -> None:
    assert Pace(10.0, 1.0).limit(5.0, still_to_come=1, leader_seconds=None) < 0
