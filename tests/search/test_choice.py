"""Which trial wins: the best score, unless the untuned default is as good as far as the rows can tell."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from autosft import intervals
from autosft.arrays import from_matrix
from autosft.search.choice import best, best_default, choose, contenders, leaders
from autosft.search.trial import Trial
from autosft.task import Metric, Task

NUM_ROWS = 400
TARGETS = np.tile([0, 1], NUM_ROWS // 2)
ACCURACY = Metric("accuracy")


def trial(number: int, score: float | None, *, arm: str = "a", default: bool = False, **changed: Any) -> Trial:
    values: dict[str, Any] = {"fate": "complete", "seconds": {"total": 1.0}, **changed}
    return Trial(number, arm, {}, 1.0, 0, 0, default, score=score, **values)


def task(metric: Metric = ACCURACY) -> Task:
    return Task("text-classification", "", ("text",), "label", metric, labels=("no", "yes"))


def outputs(share_right: float, *, first: int = 0) -> pa.Array:
    """Probabilities that are right on a share of the rows; `first` moves which ones."""
    return answers(np.roll(np.arange(NUM_ROWS) < share_right * NUM_ROWS, first))


def answers(right: np.ndarray) -> pa.Array:
    chosen = np.where(right, TARGETS, 1 - TARGETS)
    return from_matrix(np.where(np.arange(2) == chosen[:, None], 0.9, 0.1).astype(np.float32))


def winner(trials: list[Trial], by_number: dict[int, pa.Array], metric: Metric = ACCURACY) -> int:
    return choose(task(metric), trials, pa.array(TARGETS), lambda one: by_number.get(one.number), seed=0).number


@pytest.mark.parametrize(
    ("tuned", "first", "expected"),
    [
        (0.90, 0, 1),  # Ten points on the same rows: far beyond the noise.
        (0.8050, 160, 0),  # Two rows better, while 320 changed sides: nothing but noise.
    ],
)
def test_a_tuned_trial_must_beat_its_default_by_a_standard_error(tuned: float, first: int, expected: int) -> None:
    trials = [trial(0, 0.8, default=True), trial(1, tuned)]
    assert winner(trials, {0: outputs(0.8), 1: outputs(tuned, first=first)}) == expected


def test_the_guard_works_for_a_metric_where_less_is_better() -> None:
    loss = Metric("wrong", greater_is_better=False, function=share_wrong)
    trials = [trial(0, 0.2, default=True), trial(1, 0.1), trial(2, 0.3)]
    assert winner(trials, {0: outputs(0.8), 1: outputs(0.9), 2: outputs(0.7)}, loss) == 1
    trials = [trial(0, 0.2, default=True), trial(1, 0.195)]
    assert winner(trials, {0: outputs(0.8), 1: outputs(0.805, first=160)}, loss) == 0


def share_wrong(targets: Any, predictions: Any) -> float:
    return float(np.mean([target != found for target, found in zip(targets, predictions, strict=True)]))


def test_each_arm_is_judged_by_its_own_default() -> None:
    """A better arm's tuned trial wins over another arm's default without being compared with it."""
    trials = [trial(0, 0.80, default=True), trial(1, 0.70, arm="b", default=True), trial(2, 0.81, arm="b")]
    assert winner(trials, {0: outputs(0.8), 1: outputs(0.7), 2: outputs(0.81)}) == 2


def test_with_many_arms_and_a_slow_metric_the_choice_takes_no_longer_than_one_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def slow(targets: Any, predictions: Any) -> float:
        nonlocal now
        now += 0.01
        return 1 - share_wrong(targets, predictions)

    monkeypatch.setattr(intervals, "time", SimpleNamespace(monotonic=lambda: now))
    trials = [
        trial(number, 0.8 + 0.1 * (number % 2), arm=arm, default=number % 2 == 0)
        for number, arm in enumerate(["a", "a", "b", "b", "c", "c"])
    ]
    found = {number: outputs(0.9 if number % 2 else 0.8) for number in range(6)}
    assert winner(trials, found, Metric("slow", function=slow)) == 1
    assert 2.0 < now < intervals.SECONDS + 0.3


def test_outputs_that_a_crash_lost_leave_the_score_to_decide() -> None:
    assert winner([trial(0, 0.80, default=True), trial(1, 0.8025)], {}) == 1


def test_among_equals_the_default_wins_then_the_cheaper() -> None:
    slow, quick = trial(0, 0.8, seconds={"total": 9.0}), trial(1, 0.8, seconds={"total": 2.0})
    default = trial(2, 0.8, default=True, seconds={"total": 20.0})
    assert best([slow, quick], True) == quick
    assert best([slow, quick, default], True) == default


def test_only_complete_trials_can_win() -> None:
    stopped, failed = trial(0, 0.99, fate="stopped"), trial(1, None, fate="failed")
    assert best([stopped, failed], True) is None
    assert best([stopped, failed, trial(2, 0.1)], True) == trial(2, 0.1)
    assert best([trial(0, 0.0, default=True), trial(1, -0.5)], True) == trial(0, 0.0, default=True)


def test_less_is_better_where_the_metric_says_so() -> None:
    trials = [trial(0, 0.3, default=True), trial(1, 0.1), trial(2, 0.2, arm="b", default=True)]
    assert best(trials, False) == trials[1]
    assert best_default(trials, False) == trials[2]


def test_models_are_kept_of_finalists_and_of_each_arms_best_and_default() -> None:
    trials = [trial(0, 0.5, default=True), *(trial(number, number / 10) for number in range(1, 6))]
    trials += [trial(6, 0.2, arm="b"), trial(7, 0.1, arm="b", default=True), trial(8, 0.1, arm="b")]
    assert {one.number for one in contenders(trials, True)} == {0, 4, 5, 6, 7}


def test_the_luck_of_the_best_of_many_counts() -> None:
    default = trial(0, 0.80, default=True)
    # Two standard errors better: enough for the only other configuration, not for the best of thirty.
    found = {0: outputs(0.80), 1: outputs(0.82, first=5)}
    assert winner([default, trial(1, 0.82)], found) == 1
    crowd = [trial(number, 0.79) for number in range(2, 31)]
    assert winner([default, trial(1, 0.82), *crowd], found) == 0


@pytest.mark.parametrize(("groups", "expected"), [(None, 1), (np.arange(NUM_ROWS) // 20, 0)])
def test_a_tuned_trial_that_is_better_on_one_group_alone_is_lucky(groups: Any, expected: int) -> None:
    # Sixteen rows of one group are won and eight of another one lost.
    before = np.arange(NUM_ROWS) < 40
    after = (np.arange(NUM_ROWS) < 32) | ((np.arange(NUM_ROWS) >= 100) & (np.arange(NUM_ROWS) < 116))
    found = [answers(before), answers(after)]
    trials = [trial(0, 0.10, default=True), trial(1, 0.12)]
    chosen = choose(task(), trials, pa.array(TARGETS), lambda one: found[one.number], groups=groups, seed=0)
    assert chosen.number == expected


@pytest.mark.parametrize(("frozen", "expected"), [(0.81, 1), (0.90, 0)])
def test_what_goes_on_from_the_winner_wins_unless_it_is_clearly_worse(frozen: float, expected: int) -> None:
    trials = [trial(0, frozen, arm="frozen", default=True), trial(1, 0.80, arm="tuned", default=True)]
    found = {0: outputs(frozen), 1: outputs(0.80, first=100)}
    chosen = choose(
        task(), trials, pa.array(TARGETS), lambda one: found[one.number], seed=0,
        goes_on_from=lambda one, other: (one.arm, other.arm) == ("tuned", "frozen"),
    )  # fmt: skip
    assert chosen.number == expected
    assert winner(trials, found) == 0, "where nothing goes on from it the best score wins"


@pytest.mark.parametrize(
    ("num_heads", "fidelity", "expected"), [(1, 1.0, "frozen"), (30, 1.0, "tuned"), (30, 0.1, "frozen")]
)
def test_the_best_of_many_heads_may_be_better_by_luck(num_heads: int, fidelity: float, expected: str) -> None:
    heads = [trial(at, 0.84 if at == num_heads else 0.7, arm="frozen", default=not at) for at in range(num_heads + 1)]
    tuned = replace(trial(99, 0.80, arm="tuned", default=True), fidelity=fidelity)
    found = {one.number: outputs(one.score or 0.0) for one in heads} | {99: outputs(0.80, first=100)}
    chosen = choose(
        task(), [*heads, tuned], pa.array(TARGETS), lambda one: found[one.number], seed=0,
        goes_on_from=lambda one, other: (one.arm, other.arm) == ("tuned", "frozen"),
    )  # fmt: skip
    assert chosen.arm == expected


def test_of_an_arm_only_its_longest_trainings_are_compared() -> None:
    short, long, other = trial(0, 0.9, rung=1 / 9), trial(1, 0.7), trial(2, 0.8, arm="b", rung=1 / 3)
    assert [one.number for one in leaders([short, long, other], True)] == [2, 1]
    assert leaders([short], True) == [short]


def test_repetitions_for_the_finals_win_nothing_by_their_score() -> None:
    assert best([trial(0, 0.5), trial(1, 0.9, stage="finals")], True) == trial(0, 0.5)


@pytest.mark.parametrize("greater", [True, False])
def test_an_undefined_score_never_wins_and_a_zero_is_a_score(greater: bool) -> None:
    trials = [trial(0, float("nan")), trial(1, 0.0)]
    found = best(trials, greater)
    assert found is not None
    assert found.number == 1
