"""What a review says, against numbers worked out by hand."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from made import ERROR, one, searched, sweep
from scipy.stats import hypergeom

from autosft.intervals import Interval
from autosft.reviewing.claims import review
from autosft.reviewing.edges import edges
from autosft.reviewing.further import further
from autosft.reviewing.luck import luck
from autosft.reviewing.rungs import rungs
from autosft.reviewing.sweep import Bounds, Outcome, SweepTrial
from autosft.reviewing.waste import waste
from autosft.reviewing.winner import winner

RANGE = {"": {"learning_rate": Bounds(1e-5, 1e-2, True), "dropout": Bounds(0.0, 0.3)}}


def test_good_trials_at_the_upper_bound_are_told_with_the_chance_of_that() -> None:
    trials = searched(40, best_rate=1e-2)
    claim = one(edges(sweep(trials, bounds=RANGE)), "edges")
    ranked = sorted(trials, key=lambda trial: -(trial.score or 0))
    # The outer fifth of three decades begins at 10 ** -2.6.
    there = [trial.config["learning_rate"] >= 10**-2.6 for trial in ranked]
    chance = hypergeom.sf(sum(there[:10]) - 1, 40, sum(there), 10) * 4
    assert claim.numbers["field"] == "learning_rate"
    assert (claim.numbers["there"], claim.numbers["all_there"]) == (sum(there[:10]), sum(there))
    assert claim.numbers["chance"] == pytest.approx(chance)
    assert claim.numbers["wider"] == pytest.approx(0.04)
    assert "declared upper bound, 0.01" in claim.sentence


def test_good_trials_in_the_middle_crowd_against_nothing() -> None:
    assert "no edge" in one(edges(sweep(searched(40, best_rate=10**-3.5), bounds=RANGE)), "edges").sentence


def test_chance_seldom_crowds_an_edge() -> None:
    found = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        trials = [replace(trial, score=float(random.normal())) for trial in searched(40, seed=seed)]
        found += one(edges(sweep(trials, bounds=RANGE)), "edges").level != "good"
    assert found <= 5


def test_zero_is_where_a_field_ends() -> None:
    trials = [replace(trial, score=-trial.config["dropout"]) for trial in searched(40)]
    claim = one(edges(sweep(trials, bounds=RANGE)), "edges")
    assert (claim.numbers["field"], claim.numbers["side"], claim.numbers["wider"]) == ("dropout", "low", None)
    assert "cannot be widened" in claim.sentence


def test_luck_is_the_expected_best_of_equals() -> None:
    trials = searched(40)
    claim = one(luck(sweep(trials)), "luck")
    best = max(trial.score or 0 for trial in trials)
    assert claim.numbers["standard_error"] == pytest.approx(ERROR)
    # By simulation, not by the formula that the claim uses.
    simulated = np.random.default_rng(0).normal(size=(20_000, 40)).max(axis=1).mean() * ERROR
    assert claim.numbers["optimism_at_most"] == pytest.approx(simulated, rel=0.02)
    assert claim.numbers["within_one_error"] == sum((trial.score or 0) >= best - ERROR for trial in trials) - 1


def test_noise_comes_from_repetitions_where_there_are_no_intervals() -> None:
    random = np.random.default_rng(0)
    trials = [
        SweepTrial(f"{at}/{seed}", {"x": at}, at / 100 + float(random.normal()) * 0.02, repeats=str(seed))
        for at in range(30)
        for seed in range(3)
    ]
    claim = one(luck(sweep(trials)), "luck")
    assert claim.numbers["standard_error"] == pytest.approx(0.02, rel=0.2)
    assert "60 repetitions" in claim.sentence


def test_the_best_of_repeated_configurations_is_the_best() -> None:
    # The best configuration was also run with a seed that did badly.
    scores = [("a", 0.90), ("b", 0.85), ("c", 0.849), ("a", 0.80)]
    trials = [
        SweepTrial(str(at), {"x": name}, score, repeats=str(at), interval=Interval(score - 0.0196, score + 0.0196))
        for at, (name, score) in enumerate(scores)
    ]
    assert one(luck(sweep(trials)), "luck").numbers["within_one_error"] == 0


def cut_short(number: int) -> list[SweepTrial]:
    """Trainings that were all asked for whole, of which the first one, the best, had time for a quarter."""
    trials = sorted(searched(number), key=lambda trial: -(trial.score or 0))
    return [replace(trials[0], reached=0.238), *trials[1:]]


def test_a_training_that_was_cut_short_is_not_said_to_be_of_full_length() -> None:
    for number in (2, 20):
        told = " ".join(claim.sentence for claim in review(sweep(cut_short(number))).claims)
        assert "full length" not in told and f"Of the {number} at the longest length" in told
    assert "only 2 configurations were trained at the longest length" in further(sweep(cut_short(2)))[0].sentence
    assert "only 2 configurations were trained at full length" in further(sweep(searched(2)))[0].sentence
    of_arms = [replace(trial, arm=arm) for trial, arm in zip(cut_short(2), "ab", strict=True)]
    assert "only 2 configurations were trained at their arm's longest length" in further(sweep(of_arms))[0].sentence


def test_one_configuration_was_not_chosen_among_others() -> None:
    claim = one(luck(sweep(searched(1))), "luck")
    assert f"good to ±{ERROR:.4f}" in claim.sentence and claim.numbers["optimism_at_most"] == 0
    assert not any(words in claim.sentence for words in ("1 configurations", "Of the 1", "optimis"))
    without = one(luck(sweep([replace(searched(1)[0], interval=None)])), "luck")
    assert without.level == "unknown" and "best of" not in without.sentence and "optimis" not in without.sentence


def test_the_only_one_at_full_length_has_no_others_beside_it() -> None:
    first, *others = searched(4)
    claim = one(luck(sweep([first, *(replace(trial, length=1 / 3, reached=1 / 3) for trial in others)])), "luck")
    assert "Were all 4 configurations equally good" in claim.sentence
    assert "Only one of them was trained at full length" in claim.sentence and "Of the 1" not in claim.sentence


def test_one_repetition_and_one_repeated_configuration_are_one() -> None:
    trials = [replace(trial, interval=None) for trial in searched(3)]
    again = [replace(trials[0], name=f"again {at}", score=0.5 + at / 100, repeats=str(at)) for at in range(5)]
    assert "from 1 configuration that was trained again" in one(luck(sweep([*trials, *again])), "luck").sentence
    final = replace(trials[0], name="final", is_final=True)
    assert "1 of them a repetition for the final choice" in review(sweep([*trials, final])).claims[0].sentence


def test_without_either_that_is_said() -> None:
    trials = [replace(trial, interval=None) for trial in searched(20)]
    assert one(luck(sweep(trials)), "luck").level == "unknown"


@pytest.mark.parametrize(("gap", "words"), [(0.01, "no more than chance"), (0.2, "overfitted"), (-0.2, "easier")])
def test_the_gap_to_the_test_rows_is_judged_by_both_intervals(gap: float, words: str) -> None:
    outcome = Outcome("0", 0.8, Interval(0.75, 0.85), 0.8 - gap, Interval(0.77 - gap, 0.83 - gap), 900, 0.1,
                      Interval(0.05, 0.15), False, True, 900)  # fmt: skip
    claim = luck(sweep(searched(20), outcome=outcome))[1]
    spread = math.hypot(0.05, 0.03)
    assert claim.numbers["gap"] == pytest.approx(gap)
    assert (claim.numbers["low"], claim.numbers["high"]) == (pytest.approx(gap - spread), pytest.approx(gap + spread))
    assert words in claim.sentence


@pytest.mark.parametrize(
    ("low", "high", "words", "level"),
    [(0.01, 0.05, "it beats", "good"), (-0.01, 0.05, "not beyond", "fact"), (-0.05, -0.01, "it is worse", "bad")],
)
def test_the_gain_is_judged_by_its_interval(low: float, high: float, words: str, level: str) -> None:
    gain = (low + high) / 2
    outcome = Outcome("0", 0.8, None, 0.8, None, 900, gain, Interval(low, high), False, True, 900)
    claim = one(winner(sweep(searched(20), outcome=outcome)), "winner")
    assert words in claim.sentence and claim.level == level


def test_a_default_that_was_trained_shorter_is_said_to_be() -> None:
    outcome = Outcome("0", 0.8, None, 0.8, None, 900, 0.1, Interval(0.05, 0.15), False, True, 900)
    short = replace(outcome, default_length=0.46)
    told = "over the best untuned default, trained for 46% of its length only, on 900 rows"
    sentences = [winner(sweep(searched(20), outcome=found))[0].sentence for found in (outcome, short)]
    assert [told in sentence for sentence in sentences] == [False, True]


def test_the_winner_is_set_against_a_default_among_the_trials() -> None:
    trials = searched(20)
    default = replace(trials[0], name="default", score=0.5, interval=Interval(0.48, 0.52), is_default=True)
    claim = one(winner(sweep([*trials, default])), "winner")
    best = max(trial.score or 0 for trial in trials)
    assert claim.numbers["gain"] == pytest.approx(best - 0.5)
    assert claim.numbers["low"] == pytest.approx(best - 0.5 - 1.96 * math.hypot(ERROR, 0.04 / 3.92))
    assert claim.numbers["proven"]


def test_without_a_default_it_is_said_what_to_do() -> None:
    claim = one(winner(sweep(searched(20))), "winner")
    assert claim.level == "unknown"
    assert "No default is known" in claim.sentence


def test_less_is_better_where_the_metric_says_so() -> None:
    losses = [replace(trial, score=1 - (trial.score or 0), interval=None) for trial in searched(40)]
    found = review(sweep(losses, greater_is_better=False, metric="loss"))
    assert f"{min(trial.score or 0 for trial in losses):.4f}" in found.topic("sweep")[0].sentence
    assert found.topic("importance")[0].sentence.count("learning_rate") == 1


def test_failures_are_counted_with_their_cost_and_what_they_have_in_common() -> None:
    trials = [
        replace(trial, fate="failed", score=None, message="CUDA out of memory\nTraceback", seconds=30.0)
        if trial.config["learning_rate"] > 1e-3
        else trial
        for trial in searched(40)
    ]
    number = sum(trial.fate == "failed" for trial in trials)
    failed, common = [claim for claim in waste(sweep(trials)) if "ail" in claim.sentence]
    assert failed.numbers["share"] == pytest.approx(30 * number / (30 * number + 10 * (40 - number)))
    assert f"{number} of 40 trials failed" in failed.sentence
    assert f"CUDA out of memory ({number})" in failed.sentence
    assert common.numbers["field"] == "learning_rate"


def test_repeats_are_waste_and_other_seeds_are_not() -> None:
    trials = searched(20, repeats="0")
    copy, reseeded = replace(trials[3], name="copy"), replace(trials[4], name="other", repeats="1")
    claim = one(waste(sweep([*trials, copy, reseeded])), "waste")
    assert claim.numbers["trials"] == 1
    assert claim.numbers["share"] == pytest.approx(1 / 22)


def test_repeats_without_a_seed_may_be_on_purpose() -> None:
    trials = searched(20)
    claim = one(waste(sweep([*trials, *(replace(trial, name="again") for trial in trials[:3])])), "waste")
    assert claim.level == "unknown" and "same seed" not in claim.sentence
    assert "3 trials repeated a configuration" in claim.sentence and "no seed was logged" in claim.sentence
    assert claim.numbers == {"trials": 3}


def test_trials_that_trailed_and_trained_too_long_are_found_in_hindsight() -> None:
    # Twelve that rise to their end, twelve that stood still from a quarter of it on, and behind.
    rising = tuple((share, share) for share in (0.25, 0.5, 0.75, 1.0))
    still = tuple((share, 0.2) for share in (0.25, 0.5, 0.75, 1.0))
    trials = [
        SweepTrial(str(at), {"x": at}, score, reports=reports, seconds=8.0)
        for at in range(24)
        for score, reports in [(0.2, still) if at % 2 else (1 + at / 100, rising)]
    ]
    trailing, over_long = [claim for claim in waste(sweep(trials)) if claim.topic == "waste"]
    assert (trailing.numbers["trials"], trailing.numbers["seconds"]) == (12, 48.0)
    assert (over_long.numbers["trials"], over_long.numbers["seconds"]) == (12, 72.0)


def test_idle_workers_are_seen_from_when_trials_ran() -> None:
    times = [(0, 10), (0, 10), (10, 20), (30, 40)]
    trials = [
        SweepTrial(str(at), {"x": at}, at / 10, began=float(begin), ended=float(end), seconds=float(end - begin))
        for at, (begin, end) in enumerate(times)
    ]
    claim = one(waste(sweep(trials)), "waste")
    assert (claim.numbers["workers"], claim.numbers["idle"]) == (2, pytest.approx(0.5))


def test_a_further_hour_is_worth_what_the_tail_says() -> None:
    trials = searched(40)
    claim = next(claim for claim in further(sweep(trials)) if "hour" in claim.sentence)
    # Forty took 400 seconds, so an hour holds 360; the tail is followed for as many again as were seen.
    assert claim.numbers["in_an_hour"] == pytest.approx(360)
    assert claim.numbers["chance"] == pytest.approx(0.5)
    top = sorted((trial.score or 0 for trial in trials), reverse=True)[:9]
    assert claim.numbers["gain"] == pytest.approx(np.mean([score - top[-1] for score in top[:-1]]) * math.log(2))
    assert "less than a standard error" in claim.sentence


def test_the_value_of_more_search_holds_on_a_known_distribution() -> None:
    gains, rises, beaten = [], [], []
    for seed in range(150):
        random = np.random.default_rng(seed)
        scores = random.exponential(size=80) * 0.01
        trials = [SweepTrial(str(at), {"x": at}, float(score), seconds=90.0) for at, score in enumerate(scores[:40])]
        claim = next(claim for claim in further(sweep(trials)) if "hour" in claim.sentence)
        gains.append(claim.numbers["gain"])
        rises.append(max(0.0, scores.max() - scores[:40].max()))
        beaten.append(scores.max() > scores[:40].max())
    assert np.mean(gains) == pytest.approx(np.mean(rises), rel=0.3)
    assert np.mean(beaten) == pytest.approx(0.5, abs=0.1)


def test_more_labels_are_told_where_trials_trained_on_several_numbers_of_rows() -> None:
    trials = [
        SweepTrial(f"{rows}/{at}", {"train_rows": rows, "x": at}, 0.6 + 0.03 * math.log2(rows / 500) - 0.01 * at)
        for rows in (500, 1000, 2000)
        for at in range(3)
    ]
    claim = further(sweep(trials))[-1]
    assert claim.numbers["per_doubling"] == pytest.approx(0.03)


def test_more_labels_are_not_guessed_at() -> None:
    claim = further(sweep(searched(20)))[-1]
    assert claim.level == "unknown"
    assert "half of the rows" in claim.sentence and "shorter lengths" not in claim.sentence
    raced = searched(20)
    # Short trainings are no trainings on fewer rows, and where time cut a fit short it is not the rows alone.
    short = [replace(trial, name=f"short {trial.name}", length=1 / 3, reached=1 / 3) for trial in raced]
    claim = further(sweep([*raced, *short]))[-1]
    assert claim.level == "unknown" and "shorter lengths do not tell it" in claim.sentence


def test_a_correlation_of_few_is_not_made_much_of() -> None:
    rows = [{"from": 1 / 9, "to": 1 / 3, "num_configs": 6, "rank_correlation": 0.7},
            {"from": 1 / 3, "to": 1.0, "num_configs": 60, "rank_correlation": 0.7}]  # fmt: skip
    few, many = rungs(sweep(searched(20), rungs=rows))
    assert few.level == "fact" and few.numbers["low"] < 0
    assert many.level == "good" and many.numbers["low"] > 0.5


@pytest.mark.parametrize(
    ("correlation", "num_configs", "level", "words"),
    [(0.9, 60, "good", "ranks like"), (0.3, 100, "bad", "says little"), (0.5, 60, "fact", "better than chance")],
)
def test_a_weak_correlation_is_no_good_news(correlation: float, num_configs: int, level: str, words: str) -> None:
    row = {"from": 1 / 3, "to": 1.0, "num_configs": num_configs, "rank_correlation": correlation}
    claim = one(rungs(sweep(searched(20), rungs=[row])), "rungs")
    assert claim.level == level and words in claim.sentence


def test_numbers_that_were_logged_as_text_are_numbers_in_the_next_space() -> None:
    trials = [replace(trial, config={"rate": f"{trial.config['learning_rate']:.3g}"}) for trial in searched(40)]
    found = review(sweep(trials)).next_space
    assert found is not None
    assert yaml.safe_load(found)["parameters"]["rate"]["distribution"] == "log_uniform_values"


def test_the_next_space_holds_what_was_good_and_is_wider_where_good_trials_crowd() -> None:
    found = review(sweep(searched(60, best_rate=1e-2), bounds=RANGE, metric="val/acc"))
    assert found.next_space is not None
    made = yaml.safe_load(found.next_space)
    assert made["metric"] == {"name": "val/acc", "goal": "maximize"}
    rate = made["parameters"]["learning_rate"]
    assert rate["distribution"] == "log_uniform_values"
    assert rate["max"] == pytest.approx(0.04)
    assert 1e-5 < rate["min"] < 1e-2
    assert "crowd there" in found.next_space


def test_the_claim_about_the_next_space_names_no_option_of_the_shell() -> None:
    assert "--next-space" not in str(review(sweep(searched(60), bounds=RANGE)))


def odd(at: int) -> dict[str, Any]:
    values = [None, "x", 3, 1e300, [1, 2], {"a": 1}, True, "1e-3", "ü\n- b: c", "", float("inf"), -0.0]
    return {"odd": values[at % len(values)], "läuft": values[(at * 7) % len(values)], "constant": 1, "id": f"run-{at}"}


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [SweepTrial("only", {})],
        [SweepTrial("only", {"x": 1}, 0.5)],
        [SweepTrial(str(at), odd(at), fate="failed", message="boom") for at in range(40)],
        [SweepTrial(str(at), odd(at), math.nan if at % 2 else math.inf) for at in range(40)],
        [SweepTrial("same", {"x": 1}, 0.5, seconds=0.0) for _ in range(40)],
        [SweepTrial(str(at), odd(at), math.sin(at), fate="failed" if at % 3 == 0 else "complete") for at in range(60)],
        [SweepTrial(str(at), odd(at), -1e300 * at, seconds=1e9, began=0.0, ended=0.0) for at in range(30)],
    ],
    ids=["none", "unscored", "one", "failed", "nan", "same", "odd", "huge"],
)
@pytest.mark.parametrize("greater", [True, False])
def test_whatever_was_logged_is_reviewed(trials: list[SweepTrial], greater: bool) -> None:
    found = review(sweep(trials, greater_is_better=greater))
    assert str(found).startswith("Review of made")
    json.loads(json.dumps(found.to_json(), allow_nan=False))
    for text in found.next_spaces.values():
        assert set(yaml.safe_load(text)) >= {"method", "metric", "parameters"}


def test_five_thousand_trials_are_reviewed_in_seconds() -> None:
    trials = searched(5000)
    began = time.process_time()
    review(sweep(trials, bounds=RANGE))
    assert time.process_time() - began < 8
