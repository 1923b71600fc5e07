from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from autosft.search.race import OPENING, RUNGS, Heat, Lane, Race

SLACK = 1e-9


@dataclass(frozen=True)
class Config:
    number: int
    arm: str
    config: dict[str, Any]
    is_default: bool


class Proposer:
    """Each permitted arm's default, then whichever arm is next in turn (or drawn), `most` configurations an arm."""

    def __init__(self, *, most: int = 10**6, seed: int | None = None) -> None:
        self.asked: Counter[str] = Counter()
        self._most = most
        self._numbers = count()
        self._random = None if seed is None else random.Random(seed)

    def ask(self, arms: Collection[str]) -> Config | None:
        new = [arm for arm in arms if not self.asked[arm]]
        open_arms = [arm for arm in arms if self.asked[arm] < self._most]
        if not open_arms:
            return None
        arm = new[0] if new else min(open_arms, key=lambda name: self.asked[name])
        if self._random and not new:
            arm = self._random.choice(open_arms)
        self.asked[arm] += 1
        return Config(next(self._numbers), arm, {"x": self.asked[arm]}, is_default=bool(new))


@dataclass(frozen=True)
class Run:
    heat: Heat
    began: float
    ended: float
    score: float | None

    @property
    def key(self) -> tuple[int, int]:
        return self.heat.number, self.heat.rung


@dataclass
class Log:
    runs: list[Run] = field(default_factory=list)
    told: list[Run] = field(default_factory=list)
    seconds: float = 0.0

    def begun(self, number: int) -> list[int]:
        return [run.heat.rung for run in self.runs if run.heat.number == number]

    def full(self) -> list[Run]:
        return [run for run in self.told if run.heat.fidelity == 1.0 and run.score is not None]

    def steps(self) -> list[tuple[str, int, int]]:
        return [(run.heat.arm, *run.key) for run in self.runs]


def drive(
    race: Race,
    *,
    workers: int = 1,
    budget: float | None = None,
    heats: int | None = None,
    score: Callable[[Heat], float | None] = lambda heat: 1.0 / (1 + heat.number),
    took: Callable[[Heat], float] = lambda heat: heat.seconds,
    loses: Callable[[Heat], bool] = lambda heat: False,
    most: int = 5000,
) -> Log:
    """Runs a race on a simulated clock to its end, or until so many heats began."""
    log, running, now, order = Log(), [], 0.0, count()
    while True:
        while len(running) < workers and len(log.runs) < most:
            left = None if budget is None else budget - now
            heat = race.ask(left, None if heats is None else heats - len(log.runs))
            if heat is None:
                break
            run = Run(heat, now, now + took(heat), score(heat))
            heapq.heappush(running, (run.ended, next(order), run))
            log.runs.append(run)
        if not running:
            log.seconds = now
            return log
        now, _, run = heapq.heappop(running)
        if loses(run.heat):
            race.forget(*run.key)
            continue
        race.tell(*run.key, score=run.score, seconds=run.ended - run.began)
        log.told.append(run)


def lane(arm: str = "a", rungs: tuple[float, ...] = RUNGS, seconds: float = 27.0, **more: Any) -> Lane:
    return Lane(arm, rungs, seconds, **more)


def race_of(*lanes: Lane, proposer: Any = None, workers: int = 1, **options: Any) -> Race:
    return Race(lanes or (lane(),), proposer or Proposer(), workers=workers, **options)


def ask(race: Race, seconds_left: float | None = None, heats_left: int | None = None) -> Heat:
    heat = race.ask(seconds_left, heats_left)
    assert heat is not None
    return heat


def tell(race: Race, heat: Heat, score: float | None, seconds: float | None = None, **more: Any) -> None:
    race.tell(heat.number, heat.rung, score=score, seconds=heat.seconds if seconds is None else seconds, **more)


def test_defaults_start_then_new_configurations_and_the_best_third_is_promoted() -> None:
    race = race_of(lane("a"), lane("b"))
    scores = [0.1, 0.9, 0.2, 0.3, 0.4, 0.8]
    begun = [ask(race)]
    for value in scores:
        tell(race, begun[-1], value)
        begun.append(ask(race))
    assert [(heat.arm, heat.is_default) for heat in begun[:3]] == [("a", True), ("b", True), ("a", False)]
    assert [(heat.number, heat.rung) for heat in begun] == [(0, 0), (1, 0), (2, 0), (1, 1), (3, 0), (4, 0), (5, 0)]


def test_the_longest_promotion_goes_first() -> None:
    race = race_of(lane(rungs=(1 / 9, 1 / 3, 1.0)))
    first = [ask(race) for _ in range(9)]
    for heat in first:
        tell(race, heat, heat.number / 10)
    second = [ask(race) for _ in range(3)]
    assert [(heat.number, heat.rung) for heat in second] == [(8, 1), (7, 1), (6, 1)]
    more = [ask(race) for _ in range(3)]
    for heat in [*more, *second]:
        tell(race, heat, heat.number / 10)
    heat = ask(race)
    assert (heat.number, heat.rung, heat.fidelity, heat.seconds) == (8, 2, 1.0, pytest.approx(27.0))


def test_after_the_opening_the_best_of_each_group_goes_on_without_company() -> None:
    race = race_of(lane(rungs=(1 / 9, 1 / 3, 1.0)), group=lambda one: str(one.config["x"] == 4))
    begun = []
    for value in (0.5, 0.9, 0.3, 0.9, 0.1, 0.1, 0.1, 0.1):
        begun.append(ask(race))
        tell(race, begun[-1], value)
    # Until then even the best waits, which is the second.
    opening = [(1, 0), (2, 0), (3, 0), (2, 1), (4, 0)]
    assert [(heat.config["x"], heat.rung) for heat in begun] == [*opening, (2, 2), (4, 1), (4, 2)]
    assert ask(race).rung == 0


def test_with_several_arms_the_best_waits_for_company_until_all_can_have_begun() -> None:
    log = drive(race_of(lane("a"), lane("b")), budget=27 * 8)
    begun = [run.heat.rung for run in log.runs]
    # Only one is promoted by then, as the best of three, and nothing of so few goes further.
    assert sum(rung == 0 for rung in begun[: begun.index(2)]) >= 2 * OPENING


def test_what_is_only_trained_whole_does_not_end_the_wait_for_company() -> None:
    heads = lane("heads", rungs=(1.0,), seconds=1.0)
    log = drive(race_of(heads, lane("b")), budget=27 * 4)
    begun = [run.heat for run in log.runs if run.heat.arm == "b"]
    first = next(at for at, heat in enumerate(begun) if heat.rung == 2)
    assert sum(heat.rung == 0 for heat in begun[:first]) >= OPENING


def test_among_equals_the_one_told_earlier_is_promoted() -> None:
    race = race_of()
    first = [ask(race) for _ in range(3)]
    for heat in (first[1], first[0], first[2]):
        tell(race, heat, 0.5)
    assert ask(race).number == 1


@pytest.mark.parametrize("nothing", [None, math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_a_configuration_that_failed_is_not_trained_again(rung: int, nothing: float | None) -> None:
    log = drive(
        race_of(),
        budget=27 * 8,
        score=lambda heat: nothing if heat.number == 2 and heat.rung == rung else 1 - abs(heat.number - 2) / 100,
    )
    assert log.begun(2) == list(range(rung + 1))
    assert max(run.heat.fidelity for run in log.full()) == 1.0


@pytest.mark.parametrize("workers", [1, 4])
def test_a_failed_default_neither_hangs_nor_starves_its_arm(workers: int) -> None:
    for rung in range(len(RUNGS)):
        log = drive(
            race_of(workers=workers),
            workers=workers,
            budget=27 * 8,
            score=lambda heat, rung=rung: None if heat.is_default and heat.rung >= rung else 0.5,
        )
        assert any(not run.heat.is_default for run in log.full())
        assert len(log.begun(0)) <= rung + 1


def test_where_everything_fails_nothing_is_promoted_and_the_search_ends() -> None:
    log = drive(race_of(workers=2), workers=2, budget=60, score=lambda heat: None)
    assert {run.heat.rung for run in log.runs} == {0}
    assert log.seconds <= 60


def test_a_lost_heat_is_run_again_once_and_before_anything_else() -> None:
    race = race_of(workers=3)
    first, second, third = ask(race), ask(race), ask(race)
    race.forget(second.number, second.rung)
    race.forget(second.number, second.rung)
    tell(race, first, 0.1)
    assert ask(race) == second
    assert ask(race).number == third.number + 1


def test_a_lost_heat_without_time_does_not_block_a_shorter_one() -> None:
    race = race_of(lane("a", rungs=(1.0,)), lane("b"), workers=2)
    long, short = ask(race), ask(race)
    race.forget(long.number, long.rung)
    race.forget(short.number, short.rung)
    assert ask(race, 2.0) == short
    assert race.ask(0.5) is None


def test_a_lost_default_is_not_also_run_as_one_that_must_be() -> None:
    race = race_of(lane("a"), lane("long", rungs=(1.0,), seconds=1000.0), workers=3)
    default, long, tuned = ask(race), ask(race), ask(race)
    assert default.is_default and long.is_default and not tuned.is_default
    tell(race, tuned, 0.9)
    race.forget(long.number, long.rung)
    race.forget(default.number, default.rung)
    begun = [race.ask(60.0) for _ in range(5)]
    assert [heat.rung for heat in begun if heat and heat.number == default.number] == [0]


def test_a_result_that_comes_after_all_counts_once() -> None:
    race = race_of(workers=2)
    heats = [ask(race) for _ in range(3)]
    race.forget(heats[0].number, 0)
    tell(race, heats[0], 0.9)
    for heat in heats[1:]:
        tell(race, heat, 0.1)
    promoted = ask(race)
    assert (promoted.number, promoted.rung) == (heats[0].number, 1)
    tell(race, heats[0], 0.2)
    race.forget(heats[0].number, 0)
    others = [ask(race) for _ in range(6)]
    assert not any(heat.number == promoted.number for heat in others)


def test_one_arm_one_worker_without_limits_ends_by_patience() -> None:
    race = race_of()
    log = drive(race)
    assert race.ended_early
    assert 13 * 27 < log.seconds < 60 * 27
    assert race.ask() is None and race.ask(1000.0) is None


def test_progress_renews_patience() -> None:
    def seconds(score: float) -> float:
        return drive(race_of(), score=lambda heat: score * heat.number, most=1500).seconds

    assert seconds(0.001) > 2 * seconds(0.0)


def test_what_patience_leaves_of_the_budget_is_not_spent() -> None:
    log = drive(race_of(workers=2, patience_runs=6), workers=2, budget=10_000.0)
    assert log.seconds < 2_000
    assert {run.heat.is_default for run in log.full()} == {True, False}


@pytest.mark.parametrize("workers", [1, 7])
def test_a_proposer_that_runs_dry_leaves_every_configuration_at_full_length(workers: int) -> None:
    log = drive(race_of(workers=workers, proposer=Proposer(most=12), patience_runs=None), workers=workers)
    assert Counter(run.heat.number for run in log.full()) == dict.fromkeys(range(12), 1)


def test_no_more_configurations_of_an_arm_start_than_are_permitted() -> None:
    log = drive(race_of(lane("a", most_configs=3), lane("b")), budget=300)
    assert len({run.heat.number for run in log.runs if run.heat.arm == "a"}) == 3
    assert len({run.heat.number for run in log.runs if run.heat.arm == "b"}) > 10


def test_an_arm_with_nothing_but_its_default_is_compared_at_full_length() -> None:
    log = drive(race_of(lane("a", most_configs=1)), budget=100)
    assert [run.heat.fidelity for run in log.full()] == [1.0]


def test_arms_of_one_rung_and_of_other_first_rungs_race_beside_arms_of_four() -> None:
    lanes = [lane("one", rungs=(1.0,), seconds=1.0), lane("late", rungs=(1 / 3, 1.0)), lane("four")]
    log = drive(race_of(*lanes, workers=2), workers=2, budget=27 * 30)
    for each in lanes:
        runs = [run for run in log.runs if run.heat.arm == each.arm]
        assert runs[0].heat.is_default and runs[0].heat.rung == 0
        assert all(run.heat.fidelity == each.rungs[run.heat.rung] for run in runs)
    assert {run.heat.arm for run in log.full() if run.heat.is_default} >= {"one"}


def test_a_cheap_arm_that_is_done_does_not_take_the_time_of_a_better_one() -> None:
    # One configuration of the better arm would not be due for full length before some four full runs.
    better = {"cheap": 0.5, "good": 0.7}
    log = drive(
        race_of(lane("cheap", rungs=(1.0,), seconds=0.2), lane("good")),
        budget=27 * 2.5,
        score=lambda heat: better[heat.arm] + 0.1 * heat.fidelity + 0.001 * (heat.number % 7),
    )
    assert {run.heat.is_default for run in log.full() if run.heat.arm == "good"} == {True, False}


def test_a_better_arm_is_at_least_trained_untuned_where_there_is_time_for_no_more() -> None:
    better = {"cheap": 0.5, "good": 0.7}
    log = drive(
        race_of(lane("cheap", rungs=(1.0,), seconds=0.2), lane("good")),
        budget=27 * 1.5,
        score=lambda heat: better[heat.arm] + 0.1 * heat.fidelity + 0.001 * (heat.number % 7),
    )
    assert [run.heat.is_default for run in log.full() if run.heat.arm == "good"] == [True]


def test_an_arm_that_is_too_slow_for_the_time_left_does_not_use_up_that_of_another() -> None:
    lanes = [lane("fast"), lane("slow", seconds=270.0)]
    log = drive(race_of(*lanes), budget=120, score=lambda heat: 0.5 + 0.4 * (heat.arm == "slow"))
    assert {run.heat.is_default for run in log.full()} == {True, False}
    assert {run.heat.arm for run in log.full()} == {"fast"}


def test_a_promotion_without_time_does_not_block_the_next_best() -> None:
    race = race_of(lane("slow", seconds=270.0), lane("fast"), proposer=Proposer(most=2), patience_runs=None)
    for heat in [ask(race) for _ in range(4)]:
        tell(race, heat, 0.9 if heat.arm == "slow" else 0.5)
    promoted = [race.ask(9.5), race.ask(9.5)]
    assert [heat and (heat.arm, heat.rung) for heat in promoted] == [("fast", 1), ("fast", 1)]


def test_nothing_more_begins_of_an_arm_that_was_given_up() -> None:
    race = race_of(lane("a"), lane("b"), workers=4)
    heats = [ask(race) for _ in range(4)]
    race.forget(heats[2].number, 0)
    for heat in (heats[0], heats[1], heats[3]):
        tell(race, heat, 0.9 if heat.arm == "a" else 0.1)
    race.give_up("a")
    log = drive(race, workers=4, budget=200)
    assert log.runs and {run.heat.arm for run in log.runs} == {"b"}
    race.give_up("b")
    assert race.ask() is None


def test_the_default_of_an_arm_that_was_given_up_does_not_begin_either() -> None:
    race = race_of(lane(rungs=(1 / 3, 1.0)))
    default = ask(race)
    tell(race, default, 0.1)
    tuned = ask(race)
    tell(race, tuned, 0.9)
    third = ask(race)
    tell(race, third, 0.2)
    full = ask(race)
    assert full.number == tuned.number and full.fidelity == 1.0
    race.give_up("a")
    tell(race, full, 0.9)
    assert race.ask(1000.0) is None and race.ask(28.0) is None


@pytest.mark.parametrize("heats", range(1, 25))
def test_where_only_heats_are_limited_they_are_all_used(heats: int) -> None:
    log = drive(race_of(), heats=heats)
    assert len(log.runs) == heats
    assert heats < 2 or any(run.heat.is_default for run in log.full())
    if heats >= 5:
        assert {run.heat.is_default for run in log.full()} == {True, False}


def test_budgets_too_small_for_a_full_run_are_kept() -> None:
    assert race_of().ask(0.9) is None
    assert race_of().ask(0.0) is None
    assert race_of().ask(-5.0) is None
    for budget in (1.0, 2.5, 9.0, 26.0):
        log = drive(race_of(workers=2), workers=2, budget=budget)
        assert log.runs and log.seconds <= budget + SLACK and not log.full()


def test_an_untuned_full_run_is_made_where_there_is_time_for_just_one() -> None:
    for budget in (28.0, 30.0, 40.0, 54.0):
        assert [run.heat.is_default for run in drive(race_of(), budget=budget).full()] == [True]


def test_a_slower_machine_than_predicted_is_noticed() -> None:
    race = race_of(lane(rungs=(1.0,)))
    predicted = []
    for _ in range(5):
        heat = ask(race)
        predicted.append(heat.seconds / 27)
        tell(race, heat, 0.5, seconds=3 * 27)
    assert predicted == pytest.approx([1, 3, 3, 3, 3])
    assert race.ask(80.0) is None


def test_a_machine_that_slows_down_leaves_fewer_full_runs_but_the_untuned_first() -> None:
    for factor in (1.5, 2.0, 3.0):
        log = drive(race_of(), budget=27 * 4 * factor, took=lambda heat, factor=factor: factor * 27 * heat.fidelity)
        assert [run.heat.is_default for run in log.full()][:2] == [True, False]
        assert log.seconds <= 27 * 4 * factor + SLACK


def test_a_slow_configuration_is_predicted_by_what_it_took() -> None:
    race = race_of()
    for value, seconds in ((0.1, 1.0), (0.9, 5.0), (0.2, 1.0), (0.3, 1.0)):
        tell(race, heat := ask(race), value, seconds=seconds)
        if heat.rung:
            break
    assert (heat.number, heat.rung, heat.seconds) == (1, 1, pytest.approx((1.0 + 2.0) * 5.0))
    assert ask(race).seconds == pytest.approx(1.0)


def test_a_heat_cut_short_by_its_time_counts_as_slow() -> None:
    race = race_of(lane(rungs=(1 / 3, 1.0)))
    tell(race, ask(race), 0.9, seconds=9.0, fidelity=1 / 9)
    tell(race, ask(race), 0.1, seconds=9.0)
    tell(race, ask(race), 0.1, seconds=9.0)
    heat = ask(race)
    assert (heat.number, heat.rung) == (0, 1)
    assert heat.seconds > 27.0, "at most twice as long, as if it had paid nothing to start"


def test_costs_that_were_predicted_as_nothing_are_no_error() -> None:
    log = drive(race_of(lane(seconds=0.0)), budget=50, took=lambda heat: 1.0, most=100)
    assert log.runs


def test_what_every_training_pays_for_its_start_is_found_out() -> None:
    race = race_of()
    heats = [ask(race) for _ in range(4)]
    assert heats[0].seconds == pytest.approx(1.0)
    for heat in heats:
        tell(race, heat, heat.number / 10, seconds=3.0)
    promoted = ask(race)
    assert (promoted.rung, promoted.seconds) == (1, pytest.approx(5.0)), "two seconds to start, three to train"
    assert ask(race).seconds == pytest.approx(3.0)


LANES = [lane("a"), lane("b", rungs=(1 / 9, 1 / 3, 1.0), seconds=50.0), lane("c", rungs=(1.0,))]


def noisy(seed: int, *, failures: float = 0.0) -> Callable[[Heat], float | None]:
    def score(heat: Heat) -> float | None:
        draws = random.Random(f"{seed} {heat.number} {heat.rung}")
        quality = random.Random(f"{seed} {heat.number}").random()
        if draws.random() < failures:
            return draws.choice([None, math.nan])
        return round(quality + 0.3 * heat.fidelity + draws.gauss(0, 0.05), 2)

    return score


@pytest.mark.parametrize("told", [0, 1, 7, 40, 90])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_race_that_was_told_again_goes_on_as_if_it_had_never_stopped(told: int, workers: int) -> None:
    def finish(race: Race, done: float) -> list[tuple[Heat, float]]:
        steps = []
        for _ in range(40):
            if (heat := race.ask(9000.0 - done)) is None:
                break
            tell(race, heat, score(heat), seconds=1.1 * heat.seconds)
            done += heat.seconds
            steps.append((heat, done))
        return steps

    score = noisy(told, failures=0.1)
    proposer = Proposer()
    race, again = (Race(LANES, proposer, workers=workers, patience_runs=60) for _ in range(2))
    running: list[Heat] = []
    history: list[Heat] = []
    done = 0.0
    while len(history) < told:
        while len(running) < workers:
            running.append(ask(race, 9000.0 - done))
        heat = running.pop(random.Random(len(history)).randrange(len(running)))
        tell(race, heat, score(heat), seconds=1.1 * heat.seconds)
        done += heat.seconds
        history.append(heat)
    for number in sorted({heat.number for heat in [*history, *running]}):
        heat = next(heat for heat in [*history, *running] if heat.number == number)
        again.recall(Config(number, heat.arm, dict(heat.config), heat.is_default))
    for heat in history:
        tell(again, heat, score(heat), seconds=1.1 * heat.seconds)
    for heat in running:
        race.forget(heat.number, heat.rung)
        again.forget(heat.number, heat.rung)
    state = proposer.asked.copy()
    proposer._numbers = count(sum(state.values()))
    expected = finish(race, done)
    proposer.asked, proposer._numbers = state, count(sum(state.values()))
    assert finish(again, done) == expected
    assert len(expected) > 10


@dataclass(frozen=True)
class Case:
    """A race drawn at random."""

    seed: int
    lanes: tuple[Lane, ...]
    workers: int
    budget: float
    heats: int | None
    failures: float
    losses: float
    most: int

    def run(self) -> tuple[Race, Log]:
        race = Race(self.lanes, Proposer(most=self.most, seed=self.seed), workers=self.workers)
        draws = random.Random(self.seed)
        true = {lane.arm: lane.run_seconds for lane in self.lanes}
        log = drive(
            race,
            workers=self.workers,
            budget=self.budget,
            heats=self.heats,
            score=noisy(self.seed, failures=self.failures),
            # Never longer than predicted: what would be, its time limit cuts short.
            took=lambda heat: min(heat.seconds, true[heat.arm] * heat.fidelity * draws.uniform(0.5, 1.0)),
            loses=lambda heat: draws.random() < self.losses,
        )
        return race, log

    def default_came_first(self, log: Log, run: Run) -> bool:
        """Whether the default of a configuration's arm was completed at full length, or failed at any."""
        of_arm = [other for other in log.told if other.heat.arm == run.heat.arm and other.heat.is_default]
        return any(
            other.heat.fidelity == 1.0 or other.score is None or not math.isfinite(other.score) for other in of_arm
        )


def draw_case(seed: int) -> Case:
    draws = random.Random(seed)
    lanes = tuple(
        Lane(
            f"arm{number}",
            draws.choice([RUNGS, RUNGS, RUNGS[1:], RUNGS[2:], (1.0,)]),
            draws.choice([5.0, 27.0, 60.0, 200.0]),
            draws.choice([10**6, 5, 1]),
        )
        for number in range(draws.randint(1, 4))
    )
    longest = max(lane.run_seconds for lane in lanes)
    return Case(
        seed=seed,
        lanes=lanes,
        workers=draws.choice([1, 1, 2, 3, 8, 20]),
        budget=longest * draws.choice([0.02, 0.5, 1.2, 2.2, 3.5, 7.0]),
        heats=draws.choice([None, None, 1, 5, 30]),
        failures=draws.choice([0.0, 0.0, 0.1, 0.6]),
        losses=draws.choice([0.0, 0.0, 0.1]),
        most=draws.choice([10**6, 3, 20]),
    )


@pytest.fixture(scope="module")
def played() -> Sequence[tuple[Case, Race, Log]]:
    return [(case, *case.run()) for case in map(draw_case, range(250))]


Played = Sequence[tuple[Case, Race, Log]]


def test_no_heat_begins_that_would_end_after_the_time_left(played: Played) -> None:
    for case, _, log in played:
        assert all(run.began + run.heat.seconds <= case.budget + SLACK for run in log.runs), case
        assert case.heats is None or len(log.runs) <= case.heats, case


def test_what_is_spent_stays_within_the_budget_of_all_workers(played: Played) -> None:
    for case, _, log in played:
        assert sum(run.ended - run.began for run in log.runs) <= case.budget * case.workers + SLACK, case


def test_no_heat_begins_twice_unless_it_was_lost(played: Played) -> None:
    for case, _, log in played:
        begun, told = Counter(run.key for run in log.runs), Counter(run.key for run in log.told)
        assert max(told.values(), default=1) == 1, case
        if not case.losses:
            assert begun == told, case


def test_configurations_are_trained_for_longer_and_longer_and_never_after_a_failure(played: Played) -> None:
    for case, _, log in played:
        for number in {run.heat.number for run in log.runs}:
            rungs = log.begun(number)
            assert rungs == sorted(rungs) and rungs[0] == 0, case
            scores = [run.score for run in log.told if run.heat.number == number]
            assert all(score is not None and math.isfinite(score) for score in scores[:-1]), case


def test_no_tuned_configuration_is_completed_without_its_arms_default(played: Played) -> None:
    num_completed = 0
    for case, _, log in played:
        if case.losses:
            continue
        completed = [run for run in log.full() if not run.heat.is_default]
        num_completed += len(completed)
        assert all(case.default_came_first(log, run) for run in completed), case
    assert num_completed > 200


def test_a_budget_of_two_full_runs_and_their_starts_gives_a_tuned_and_an_untuned_one() -> None:
    for seed in range(100):
        case = replace(draw_case(seed), heats=None, failures=0.0, losses=0.0, most=10**6)
        case = replace(case, lanes=(replace(case.lanes[0], most_configs=10**6),))
        _, log = replace(case, budget=3 * case.lanes[0].run_seconds).run()
        assert {run.heat.is_default for run in log.full()} == {True, False}, case


def test_while_time_is_plentiful_the_best_third_or_the_best_is_promoted_and_no_other() -> None:
    for seed in range(25):
        case = draw_case(seed)
        score = noisy(seed, failures=0.2)
        race = Race(case.lanes, Proposer(seed=seed), workers=case.workers, patience_runs=None)
        rungs = {lane.arm: lane.rungs for lane in case.lanes}
        results: dict[float, list[tuple[float, int, Heat]]] = {}
        begun: set[tuple[int, int]] = set()
        failed: set[int] = set()
        running: list[Heat] = []
        started: list[Heat] = []
        for step in range(250):
            if all(lane.most_configs < 10**6 for lane in case.lanes):
                break
            heat = ask(race)
            begun.add((heat.number, heat.rung))
            running.append(heat)
            racing = [lane.arm for lane in case.lanes if len(lane.rungs) > 1]
            started += [heat] if heat.rung == 0 and heat.arm in racing else []
            fewest = int(sum(one is not heat for one in started) >= OPENING * len(racing))
            due = [
                (fidelity, one)
                for fidelity, told in results.items()
                for rank, (_, _, one) in enumerate(sorted(told, key=lambda row: (-row[0], row[1])))
                if rank < max(len(told) // 3, fewest)
                and one.rung + 1 < len(rungs[one.arm])
                and (one.number, one.rung + 1) not in begun - {(heat.number, heat.rung)}
                and one.number not in failed
            ]
            if heat.rung == 0:
                assert not due, case
            else:
                longest = max(fidelity for fidelity, _ in due)
                assert heat.number == next(one for fidelity, one in due if fidelity == longest).number, case
            if len(running) == case.workers:
                ended = running.pop(random.Random(step).randrange(case.workers))
                value = score(ended)
                is_good = value is not None and math.isfinite(value)
                failed |= set() if is_good else {ended.number}
                results.setdefault(ended.fidelity, []).append((value if is_good else -math.inf, step, ended))
                tell(race, ended, value)


def test_the_same_race_is_run_twice_alike(played: Played) -> None:
    for case, _, log in played[::10]:
        assert case.run()[1].steps() == log.steps(), case


def test_lost_heats_do_not_keep_a_race_from_ending() -> None:
    draws = random.Random(0)
    log = drive(race_of(workers=2), workers=2, budget=27 * 6, loses=lambda heat: draws.random() < 0.3)
    assert log.full()
    assert log.seconds <= 27 * 6
