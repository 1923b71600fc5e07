"""Fair shares: who starts, and who has how many slots."""

from __future__ import annotations

from fractions import Fraction

import pytest

from autosft.batch.shares import Place, at_once, divide, in_turn, may_start, slots_on, slots_per_trial
from autosft.search.settings import Machine, Node


def test_waiting_jobs_start_by_priority_and_then_as_they_were_given() -> None:
    waiting = [Place("a"), Place("b", 2.0), Place("c"), Place("d", 2.0)]
    assert [place.name for place in in_turn(waiting)] == ["b", "d", "a", "c"]


TWO, HALF = Fraction(2), Fraction(1, 2)


def places(*sizes: Fraction | int) -> list[Place]:
    return [Place(f"job{at}", slots_per_trial=Fraction(size)) for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("running", "slots", "most", "starts"),
    [
        ([], 1, None, True),
        ([1], 1, None, False),
        ([1, 1], 8, 3, True),
        ([1, 1], 8, 2, False),
        ([1] * 5, 4, None, False),
        ([2], 3, None, True),
        ([2, 1], 3, None, False),
        ([HALF], 1, None, False),  # Two jobs share no slot.
    ],
)
def test_a_job_starts_only_where_it_has_a_slot(
    running: list[Fraction | int], slots: int, most: int | None, starts: bool
) -> None:
    assert may_start(Place("next"), places(*running), num_slots=slots, most_jobs=most) == starts


def test_a_job_with_larger_trials_starts_where_one_of_them_has_room() -> None:
    large = Place("large", slots_per_trial=TWO)
    assert may_start(large, places(1, 1), num_slots=4)
    assert not may_start(large, places(1, 2), num_slots=4)


@pytest.mark.parametrize(
    ("sizes", "slots", "most", "expected"),
    [([], 4, None, 4), ([1, 1], 4, None, 4), ([2, 2, 2], 4, None, 2), ([2, 1, 1], 4, None, 3), ([4], 4, None, 1),
     ([HALF], 4, None, 4), ([1], 8, 3, 3)],
)  # fmt: skip
def test_as_many_jobs_run_at_once_as_have_room_for_a_trial(
    sizes: list[Fraction | int], slots: int, most: int | None, expected: int
) -> None:
    assert at_once(places(*sizes), num_slots=slots, most_jobs=most) == expected


@pytest.mark.parametrize(
    ("machine", "gpus", "slots", "size"),
    [
        (Machine(16), None, 4, 1),
        (Machine(32, 4), None, 4, 1),
        (Machine(32, 4), 2, 4, 2),
        (Machine(32, 4), 0.5, 4, HALF),
        (Machine(32, 4), 3, 4, 4),
        (Machine(32, 4), 8, 4, 1),  # It fits nowhere, and is told so when it is planned.
        (Machine(16, 4), 0, 4, 1),
        (Machine(12, 6, nodes=(Node(6, 3), Node(6, 3))), 2, 6, 3),  # One a node, whatever is left beside it.
    ],
)
def test_a_trial_is_measured_by_how_many_the_machine_carries(
    machine: Machine, gpus: float | None, slots: int, size: Fraction | int
) -> None:
    assert slots_on(machine) == slots
    assert slots_per_trial(machine, gpus) == size


def test_a_planned_trial_takes_what_it_was_planned_to_take() -> None:
    machine = Machine(14, nodes=(Node(4), Node(4), Node(6)))
    assert (slots_on(machine), slots_per_trial(machine, None)) == (7, 1)
    assert slots_per_trial(machine, None, (4, 0)) == Fraction(7, 3)
    assert slots_per_trial(machine, None, (1, 0)) == 1, "no two jobs share a slot"
    assert slots_per_trial(machine, None, (8, 0)) == 1, "it fits nowhere any more"


def test_slots_go_by_priority_and_each_running_job_has_one() -> None:
    assert divide([Place("a", 2.0), Place("b", 1.0)], 6) == {"a": 4, "b": 2}
    assert divide([Place("a", 100.0), Place("b", 1.0), Place("c", 1.0)], 3) == {"a": 1, "b": 1, "c": 1}
    assert divide([Place("a", 100.0), Place("b", 1.0)], 4) == {"a": 3, "b": 1}


def test_a_finished_jobs_slots_go_to_those_that_still_run() -> None:
    three = divide([Place("a"), Place("b"), Place("c")], 8)
    assert sorted(three.values()) == [2, 3, 3]
    assert divide([Place("a"), Place("c")], 8) == {"a": 4, "c": 4}


def test_what_a_job_cannot_use_goes_to_the_others() -> None:
    assert divide([Place("a", 5.0, most_trials=2), Place("b")], 8) == {"a": 2, "b": 6}
    assert divide([Place("a", most_trials=1), Place("b", most_trials=2)], 8) == {"a": 1, "b": 2}


@pytest.mark.parametrize("num_slots", range(1, 40))
def test_no_slot_is_given_twice_and_none_is_left_idle(num_slots: int) -> None:
    running = [Place(str(at), 1.0 + at % 4) for at in range(min(num_slots, 7))]
    given = divide(running, num_slots)
    assert sum(given.values()) == num_slots
    assert min(given.values()) >= 1


def test_slots_are_divided_by_what_a_jobs_own_trials_take() -> None:
    assert divide(places(2, 2), 4) == {"job0": 1, "job1": 1}
    assert divide(places(2, 1), 8) == {"job0": 2, "job1": 4}, "four GPUs each"
    assert divide(places(2, 1), 3) == {"job0": 1, "job1": 1}
    assert divide(places(HALF), 4) == {"job0": 8}
    assert divide(places(HALF, 1), 2) == {"job0": 2, "job1": 1}
    assert divide(places(Fraction(9, 4)), 9) == {"job0": 4}, "all that the machine carries where it is alone"


def test_larger_trials_never_hold_more_slots_than_there_are() -> None:
    for num_slots in range(6, 30):
        running = [*places(2, 1, HALF), Place("large", 3.0, slots_per_trial=TWO)]
        given = divide(running, num_slots)
        assert sum(place.slots(given[place.name]) for place in running) in (num_slots, num_slots - 1)
