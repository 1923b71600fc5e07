"""Fair shares: who starts, and who has how many slots."""

from __future__ import annotations

import pytest

from autosft.batch.shares import Place, divide, in_turn, may_start


def test_waiting_jobs_start_by_priority_and_then_as_they_were_given() -> None:
    waiting = [Place("a"), Place("b", 2.0), Place("c"), Place("d", 2.0)]
    assert [place.name for place in in_turn(waiting)] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(
    ("running", "slots", "most", "room"), [(0, 1, None, 1), (1, 1, None, 0), (2, 8, 3, 1), (5, 4, None, 0)]
)
def test_a_job_starts_only_where_it_has_a_slot(running: int, slots: int, most: int | None, room: int) -> None:
    assert may_start(running, num_slots=slots, most_jobs=most) == room


def test_slots_go_by_priority_and_each_running_job_has_one() -> None:
    assert divide([Place("a", 2.0), Place("b", 1.0)], 6) == {"a": 4, "b": 2}
    assert divide([Place("a", 100.0), Place("b", 1.0), Place("c", 1.0)], 3) == {"a": 1, "b": 1, "c": 1}
    assert divide([Place("a", 100.0), Place("b", 1.0)], 4) == {"a": 3, "b": 1}


def test_a_finished_jobs_slots_go_to_those_that_still_run() -> None:
    three = divide([Place("a"), Place("b"), Place("c")], 8)
    assert sorted(three.values()) == [2, 3, 3]
    assert divide([Place("a"), Place("c")], 8) == {"a": 4, "c": 4}


def test_what_a_job_cannot_use_goes_to_the_others() -> None:
    assert divide([Place("a", 5.0, most_slots=2), Place("b")], 8) == {"a": 2, "b": 6}
    assert divide([Place("a", most_slots=1), Place("b", most_slots=2)], 8) == {"a": 1, "b": 2}


@pytest.mark.parametrize("num_slots", range(1, 40))
def test_no_slot_is_given_twice_and_none_is_left_idle(num_slots: int) -> None:
    places = [Place(str(at), 1.0 + at % 4) for at in range(min(num_slots, 7))]
    given = divide(places, num_slots)
    assert sum(given.values()) == num_slots
    assert min(given.values()) >= 1
