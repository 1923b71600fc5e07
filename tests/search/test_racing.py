"""A race of real plans over a runner that plays scores: heats as trials, finals, what is kept, and resuming."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft.arrays import from_matrix, save_array
from autosft.budget import Budget, Clock
from autosft.errors import SearchFailed
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.planning.refits import averaging_seconds
from autosft.planning.settle import with_more
from autosft.planning.spaces import with_space
from autosft.search.finals import Finals, repeats
from autosft.search.job import Ended
from autosft.search.policies import policy_for
from autosft.search.racing import Racing
from autosft.search.rung_ranks import rung_ranks
from autosft.search.search import Search
from autosft.search.trial import OUTPUTS_FILE, Trial, TrialLog
from autosft.task import Metric
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost

RUNGS = (1 / 9, 1 / 3, 1.0)

#: The share of right answers that a training comes to: by arguments of `work.train`.
Play = Callable[[dict[str, Any]], float | None]


class SimulatedClock(Clock):
    """Time passes by what the played trainings say they took, and by nothing else."""

    def __init__(self, limit_seconds: float, spent_seconds: float) -> None:
        super().__init__(limit_seconds)
        self.simulated = spent_seconds

    @property
    def spent(self) -> float:
        return self.simulated


class Played:
    """Ends every job at once, and moves the clock on by what it would have taken."""

    def __init__(self, plan: Plan, play: Play, clock: SimulatedClock, *, seconds: float = 9.0) -> None:
        self.plan, self.play, self.clock, self.seconds = plan, play, clock, seconds
        self.begun: list[dict[str, Any]] = []
        self.waiting: list[Ended] = []
        #: The share of a training that its time allows: by arguments of `work.train`.
        self.allowed: Callable[[dict[str, Any]], float] = lambda arguments: 1.0

    def num_at_once(self, cpus: float, gpus: float) -> int | None:
        return None

    def submit(self, function: str, arguments: dict[str, Any], **job: Any) -> str:
        self.begun.append(arguments)
        job_id = f"job {len(self.begun)}"
        share = self.play(arguments)
        took = self.seconds * arguments["fidelity"]
        seconds = {"total": took}
        if share is None:
            self.waiting.append(Ended(job_id, "failed", message="not a number", seconds=seconds))
            return job_id
        validation = self.plan.data.training(arguments["fold"])[1]
        assert validation is not None
        targets = validation.targets().to_numpy(zero_copy_only=False)
        right = np.random.default_rng(len(self.begun)).permutation(len(targets)) < share * len(targets)
        answers = np.where(right, targets, (targets + 1) % len(LABELS))
        folder: Path = arguments["scratch"]
        (folder / "model").mkdir(parents=True)
        save_array(from_matrix(np.eye(len(LABELS), dtype=np.float32)[answers]), folder / OUTPUTS_FILE)
        value = {"score": float(right.mean()), "loss": 1.0 - share, "interval": (0.0, 1.0), "micro_batch_size": None}
        done = {**value, "fidelity": arguments["fidelity"] * self.allowed(arguments)}
        self.waiting.append(Ended(job_id, "complete", done, seconds=seconds))
        return job_id

    def wait(self, timeout_seconds: float) -> Ended | None:
        ended = self.waiting.pop(0)
        self.clock.simulated += ended.seconds["total"]
        return ended


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(300)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    made = autosft.plan(
        "Route each message", rows, models=str(tiny_model), trainer="transformers", budget="150s", max_concurrent=1,
        timing=False, tracker=Tracker(),
    )  # fmt: skip
    arm = replace(made.arms[0], rungs=RUNGS, fidelity=1.0, cost=Cost(1.0, 9.0, 1000.0, None, 16, 0.0))
    return replace(made, arms=(arm,), finals_share=0.25, refit=True, sampler="random")


class Race:
    """One sitting: the race, then the finals."""

    def __init__(
        self, plan: Plan, folder: Path, play: Play, *, seconds: float = 150.0, spent: float = 0.0, runs: float = 9.0
    ) -> None:
        self.plan, self.interrupt = plan.with_budget(Budget(seconds)), Interrupt()
        plan = self.plan
        self.clock = SimulatedClock(seconds, spent)
        self.runner = Played(plan, play, self.clock, seconds=runs)
        earlier = TrialLog(folder / "trials.jsonl").trials()
        self.search = Search(
            plan, self.runner, folder=folder, cache=folder / "cache", clock=self.clock, tracker=Tracker(),
            interrupt=self.interrupt, earlier=earlier,
        )  # fmt: skip
        self.policy = policy_for(plan, journal=folder / "study.log", earlier=earlier, closing_seconds=5.0)

    def run(self) -> list[Trial]:
        return self.search.run(self.policy)

    def finals(self) -> Finals:
        finals = Finals(self.plan, self.search.trials, self.search.outputs, kept_seconds=15.0)
        self.search.run(finals)
        return finals


def by_rate(arguments: dict[str, Any]) -> float:
    """The higher the rate the better, whatever the length."""
    return float(min(0.95, 0.5 + 400 * arguments["config"]["learning_rate"]))


def heats(trials: list[Trial]) -> list[tuple[str, float, int | None, int]]:
    return [(trial.identity, trial.rung, trial.fold, trial.seed) for trial in trials]


def test_promotions_are_trials_of_their_own_and_no_heat_is_run_twice(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate)
    trials = race.run()
    assert trials[0].is_default and trials[0].rung == RUNGS[0]
    assert {trial.rung for trial in trials} == set(RUNGS)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len(set(heats(trials))) == len(trials)
    for identity in {trial.identity for trial in trials}:
        lengths = [trial.rung for trial in trials if trial.identity == identity]
        assert lengths == sorted(lengths)
    shortest = [trial for trial in trials if trial.rung == RUNGS[0]]
    assert len(shortest) > 5 and any(trial.is_default and trial.rung == 1.0 for trial in trials)


def test_the_race_leaves_the_time_that_finals_refit_and_proof_need(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate)
    race.run()
    left = race.clock.left
    assert left is not None
    assert left >= 5.0 + 0.24 * 145 + 9.0 * plan.refit_factor


def test_time_that_is_too_short_for_finals_goes_to_the_race(plan: Plan, tmp_path: Path) -> None:
    # Three more trainings of 20 seconds do not fit into a quarter of 145.
    slow = replace(plan, arms=(replace(plan.arms[0], cost=Cost(1.0, 20.0, 1000.0, None, 16, 0.0)),))
    race = Race(slow, tmp_path, by_rate, runs=20.0)
    race.run()
    left = race.clock.left
    assert left is not None
    # A heat at the first length takes a ninth of it, and the best candidate's time is kept with a margin.
    assert 5.0 + 20.0 * plan.refit_factor <= left < 5.0 + 20.0 * plan.refit_factor + 1.2 * 20.0 / 9 + 0.1
    assert race.finals().remark().startswith("no time for finals")


def test_the_study_has_one_trial_a_configuration_with_its_lengths_as_steps(plan: Plan, tmp_path: Path) -> None:
    import optuna

    race = Race(plan, tmp_path, by_rate)
    trials = race.run()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log")))
    told = optuna.load_study(study_name=None, storage=storage).trials
    assert len(told) == len({trial.identity for trial in trials})
    steps = {frozenset(trial.intermediate_values) for trial in told}
    assert frozenset({111}) in steps and frozenset({111, 333, 1000}) in steps
    for trial in told:
        assert trial.state.name == ("COMPLETE" if 1000 in trial.intermediate_values else "PRUNED")


def test_only_what_starts_alike_is_ranked_together(plan: Plan, tmp_path: Path) -> None:
    def play(arguments: dict[str, Any]) -> float:
        """A fresh head is poor unless it is trained to its end, and then it is the best."""
        is_fresh = arguments["config"]["head"] != "mean-from-probe"
        return (0.9 if arguments["fidelity"] == 1.0 else 0.4) if is_fresh else 0.7

    trials = Race(plan, tmp_path, play).run()
    assert max(trials, key=lambda trial: trial.score or 0.0).config["head"] != "mean-from-probe"


def test_a_race_opens_with_the_default_and_its_other_learning_rates(plan: Plan, tmp_path: Path) -> None:
    trials = Race(plan, tmp_path, by_rate).run()
    configs = list({trial.identity: trial.config for trial in trials}.values())
    default = plan.arms[0].default
    factors = [config["learning_rate"] / default["learning_rate"] for config in configs[:3]]
    assert factors == pytest.approx([1.0, 1 / 3, 3.0])
    assert all({**config, "learning_rate": 0.0} == {**default, "learning_rate": 0.0} for config in configs[:3])


def test_by_its_own_metric_a_user_ranks_what_is_short_too(plan: Plan, tmp_path: Path) -> None:
    def promoted(chosen: Plan, folder: Path) -> list[float]:
        folder.mkdir()
        trials = Race(chosen, folder, lambda arguments: by_rate(arguments)).run()
        return [trial.config["learning_rate"] for trial in trials if trial.rung == RUNGS[1]]

    task = replace(plan.task, metric=Metric("low_rates", greater_is_better=False))
    by_metric = promoted(replace(plan, task=task), tmp_path / "metric")
    by_loss = promoted(plan, tmp_path / "loss")
    assert max(by_metric) < max(by_loss) and min(by_metric) < min(by_loss)


def test_a_failed_training_is_not_promoted(plan: Plan, tmp_path: Path) -> None:
    count = itertools.count()
    race = Race(plan, tmp_path, lambda arguments: None if next(count) % 3 == 2 else by_rate(arguments))
    trials = race.run()
    for failed in (trial for trial in trials if trial.fate == "failed"):
        assert [trial.rung for trial in trials if trial.identity == failed.identity][-1] == failed.rung


def test_without_time_for_anything_the_default_still_gives_a_model(plan: Plan, tmp_path: Path) -> None:
    trials = Race(plan, tmp_path, by_rate, seconds=6.0).run()
    assert [trial.is_default for trial in trials] == [True]


@pytest.mark.parametrize("after", [1, 6, 13])
def test_a_race_that_was_killed_goes_on_where_it_was(plan: Plan, tmp_path: Path, after: int) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = Race(plan, tmp_path / "whole", by_rate).run()

    class Killed(Exception):
        pass

    count = itertools.count()

    def play(arguments: dict[str, Any]) -> float:
        if next(count) == after:
            raise Killed
        return by_rate(arguments)

    killed = Race(plan, tmp_path / "killed", play)
    with pytest.raises(Killed):
        killed.run()
    spent = killed.clock.spent
    resumed = Race(plan, tmp_path / "killed", by_rate, spent=spent)
    trials = resumed.run()
    assert len(set(heats(trials))) == len(trials), "nothing is run again"
    assert heats(trials[:after]) == heats(whole[:after])
    assert {trial.rung for trial in trials} == set(RUNGS)
    assert len(trials) > after + 10
    assert len({trial.number for trial in trials}) == len(trials)


def test_more_budget_goes_on_with_everything_that_is_known(plan: Plan, tmp_path: Path) -> None:
    first = Race(plan, tmp_path, by_rate, seconds=100.0)
    before = list(first.run())
    more = Race(plan, tmp_path, by_rate, seconds=300.0, spent=first.clock.spent)
    trials = more.run()
    assert trials[: len(before)] == before and len(trials) > len(before) + 10
    assert len(set(heats(trials))) == len(trials)
    promoted = [trial for trial in trials[len(before) :] if trial.rung > RUNGS[0]]
    assert {trial.identity for trial in promoted} & {trial.identity for trial in before}, "old ones are promoted too"


def test_a_run_goes_on_with_another_space_and_what_it_knows(plan: Plan, tmp_path: Path) -> None:
    first = Race(plan, tmp_path, by_rate, seconds=100.0)
    before = list(first.run())
    default = plan.arms[0].default["learning_rate"]
    highest = max(trial.config["learning_rate"] for trial in before)
    (tmp_path / "higher.yaml").write_text(
        "format: 1\nname: higher\ntrainer: transformers\ninput: text\noutput: label\nparameters:\n"
        f"  learning_rate: {{type: float, low: {2 * highest}, high: {20 * highest}, log: true}}\n"
    )
    wider = with_space(plan, tmp_path / "higher.yaml")
    assert Plan.from_json(wider.to_json()).arms == wider.arms
    trials = Race(wider, tmp_path, by_rate, seconds=300.0, spent=first.clock.spent).run()
    assert trials[: len(before)] == before and len(set(heats(trials))) == len(trials)
    fresh = {trial.identity: trial.config["learning_rate"] for trial in trials[len(before) :]}
    drawn = [rate for name, rate in fresh.items() if name not in {trial.identity for trial in before}]
    # Beside what the space holds, the default's rate is tried as a third and threefold.
    inside = [rate for rate in drawn if 2 * highest <= rate <= 20 * highest]
    assert len(inside) >= 10 and set(drawn) - set(inside) <= {default / 3, default * 3}


def test_a_run_that_was_too_short_to_race_races_with_more_budget(plan: Plan, tmp_path: Path) -> None:
    [arm] = plan.arms
    small = replace(plan, arms=(replace(arm, rungs=(1.0,)),), finals_share=0.0)
    first = Race(small, tmp_path, by_rate, seconds=30.0)
    before = list(first.run())
    assert {trial.rung for trial in before} == {1.0}
    spent = first.clock.spent
    grown = with_more(first.plan, Budget(150.0), spent_seconds=spent, num_trials_done=len(before))
    assert grown.races and grown.finals_share > 0 and not small.races
    assert grown.budget.seconds is not None
    more = Race(grown, tmp_path, by_rate, seconds=grown.budget.seconds, spent=spent)
    trials = more.run()
    assert trials[: len(before)] == before
    assert len({trial.rung for trial in trials}) > 1
    assert sum(trial.is_default and trial.rung == 1.0 for trial in trials) == 1, "it was trained at full length already"
    nothing = with_more(first.plan, Budget(1.0), spent_seconds=spent, num_trials_done=len(before))
    assert [one.name for one in nothing.arms] == [arm.name]


def test_finals_repeat_the_best_and_the_default_on_other_folds(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    finals = race.finals()
    repeats = [trial for trial in race.search.trials if trial.stage == "finals"]
    assert {trial.fold for trial in repeats} >= {1, 2}
    assert any(trial.is_default for trial in repeats)
    assert len({trial.identity for trial in repeats}) <= 3
    winner = finals.verdict()
    assert winner is not None and winner.stage == "search" and winner.rung == 1.0
    left = race.clock.left
    assert left is not None and left > 10.0
    assert all(not (race.search.scratch(trial) / "model").exists() for trial in repeats)
    assert (race.search.scratch(winner) / "model").exists(), "the winner's model is the search's own"


def lucky(arguments: dict[str, Any]) -> float:
    """Everything is as good as the default, but for luck on the search's own validation rows."""
    rate = arguments["config"]["learning_rate"]
    return 0.8 + (0.15 * ((rate * 1e6) % 1.0) if arguments["fold"] == 0 else 0.0)


def test_a_winner_by_luck_on_one_validation_set_does_not_win_the_finals(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, lucky, seconds=250.0)
    race.run()
    finals = race.finals()
    winner = finals.verdict()
    assert winner is not None and finals.num_rounds >= 2
    assert winner.is_default
    assert finals.remark().startswith("the untuned default won the finals, over ")


def test_who_is_beaten_beyond_the_noise_leaves_and_the_default_stays(plan: Plan, tmp_path: Path) -> None:
    full: dict[str, float] = {}

    def play(arguments: dict[str, Any]) -> float:
        key = str(sorted(arguments["config"].items()))
        if arguments["fold"] == 0:
            score = by_rate(arguments)
            full.update({key: score} if arguments["fidelity"] == 1.0 else {})
            return score
        return 0.95 if full[key] == max(full.values()) else 0.3

    race = Race(plan, tmp_path, play, seconds=250.0)
    race.run()
    finals = race.finals()
    repeats = [trial for trial in race.search.trials if trial.stage == "finals"]
    tuned = [trial for trial in repeats if not trial.is_default]
    counts = sorted(sum(trial.identity == one for trial in tuned) for one in {trial.identity for trial in tuned})
    assert counts[0] == 1 < counts[-1]
    assert sum(trial.is_default for trial in repeats) == counts[-1]
    winner = finals.verdict()
    assert winner is not None and not winner.is_default


def test_finals_that_were_killed_go_on_where_they_were(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    before = Finals(race.plan, race.search.trials, race.search.outputs, kept_seconds=15.0)
    policy = before.ask(race.search._standing())
    assert policy is not None
    race.search._submit_next(before)
    race.search._hear(race.runner.wait(0.0), before)
    again = Race(plan, tmp_path, by_rate, seconds=250.0, spent=race.clock.spent)
    again.search.run(again.policy)
    again.finals()
    repeats = [trial for trial in again.search.trials if trial.stage == "finals"]
    assert len(set(heats(repeats))) == len(repeats) >= 4


def test_rung_ranks_are_measured_on_what_ran_both_lengths(plan: Plan, tmp_path: Path) -> None:
    trials = Race(plan, tmp_path, by_rate).run()
    rows = rung_ranks(trials)
    assert [(row["from"], row["to"]) for row in rows] == list(itertools.pairwise(RUNGS))
    assert rows[0]["num_configs"] == len({trial.identity for trial in trials if trial.rung == RUNGS[1]})
    assert rows[0]["rank_correlation"] is None or rows[0]["rank_correlation"] > 0.5
    assert rung_ranks([]) == []


def test_outputs_of_finals_are_arrays_of_their_own_folds(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    race.finals()
    for trial in race.search.trials:
        if trial.stage == "finals":
            validation, found = plan.data.training(trial.fold)[1], race.search.outputs(trial)
            assert validation is not None and isinstance(found, pa.Array) and len(found) == len(validation)


def test_an_arm_that_fails_every_time_leaves_the_budget_to_the_others(plan: Plan, tmp_path: Path) -> None:
    [arm] = plan.arms
    both = replace(plan, arms=(arm, replace(arm, name="broken", folder=f"{arm.folder}/broken")))

    def play(arguments: dict[str, Any]) -> float | None:
        return None if arguments["folder"].endswith("broken") else by_rate(arguments)

    trials = Race(both, tmp_path, play, seconds=300.0).run()
    assert sum(trial.arm == "broken" for trial in trials) == 10
    assert sum(trial.arm == arm.name for trial in trials) > 20


def test_where_everything_fails_the_search_ends_long_before_its_time(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, lambda arguments: None, seconds=3000.0)
    with pytest.raises(SearchFailed, match="not a number"):
        race.run()
    assert len(race.runner.begun) == 10
    assert len(Race(plan, tmp_path, by_rate, seconds=3000.0).run()) > 20, "a later sitting tries again"


def test_the_time_kept_for_the_refit_follows_what_trainings_take(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=400.0, runs=27.0)
    race.run()
    left = race.clock.left
    assert left is not None
    assert left >= 5.0 + 0.25 * 395 + 27.0 * plan.refit_factor - 0.1


def test_the_race_leaves_the_time_for_several_refits_where_they_are_planned(plan: Plan, tmp_path: Path) -> None:
    def left(play: Play, folder: str) -> float:
        (tmp_path / folder).mkdir()
        race = Race(replace(plan, finals_share=0.0, soup=True), tmp_path / folder, play)
        race.run()
        assert race.clock.left is not None
        return race.clock.left - 5.0 - 9.0 * plan.refit_factor

    def probed(arguments: dict[str, Any]) -> float:
        return by_rate(arguments) / 2 + 0.4 * (arguments["config"]["head"] == "mean-from-probe")

    def fresh(arguments: dict[str, Any]) -> float:
        return by_rate(arguments) / 2 + 0.4 * (arguments["config"]["head"] == "mean")

    # Two of three quarters of the length, and their mean. A short heat more would have fitted into 2.
    others = 9.0 * plan.refit_factor * 1.5 + averaging_seconds(plan.arms[0])
    assert 0 <= left(probed, "probed") - others < 2.0
    assert 0 <= left(fresh, "fresh") < 2.0, "whose trainings cannot be averaged"


def test_finals_of_a_run_that_goes_on_get_their_share_of_what_was_added(plan: Plan, tmp_path: Path) -> None:
    first = Race(plan, tmp_path, by_rate, seconds=900.0)
    before = list(first.run())
    grown = with_more(first.plan, Budget(200.0), spent_seconds=880.0, num_trials_done=len(before))
    assert grown.budget.seconds == 1100.0
    more = Race(grown, tmp_path, by_rate, seconds=1100.0, spent=880.0)
    assert len(more.run()) > len(before) + 5
    left = more.clock.left
    assert left is not None and left > 5.0 + 50.0 + 9.0 * plan.refit_factor


def test_a_race_with_a_little_more_budget_goes_on_as_a_race(plan: Plan, tmp_path: Path) -> None:
    first = Race(plan, tmp_path, by_rate)
    before = list(first.run())
    grown = with_more(first.plan, Budget(30.0), spent_seconds=150.0, num_trials_done=len(before))
    assert [arm.rungs for arm in grown.arms] == [RUNGS] and grown.finals_share == 0
    more = Race(grown, tmp_path, by_rate, seconds=180.0, spent=150.0)
    added = more.run()[len(before) :]
    assert added and {trial.identity for trial in added} & {trial.identity for trial in before}


def test_an_arm_races_no_shorter_with_more_budget_than_it_did(plan: Plan) -> None:
    [arm] = plan.arms
    assert arm.cost is not None
    large = replace(arm, name="large", cost=replace(arm.cost, run_seconds=60.0))
    both = replace(plan, arms=(arm, replace(arm, name="twin"), large))
    grown = with_more(both.with_budget(Budget(900.0)), Budget(100.0), spent_seconds=900.0, num_trials_done=9)
    assert {one.rungs for one in grown.arms} == {RUNGS}


def test_patience_that_ended_a_race_begins_anew_with_more_budget(plan: Plan, tmp_path: Path) -> None:
    def same(arguments: dict[str, Any]) -> float:
        return 0.5

    first = Race(plan, tmp_path, same, seconds=2000.0)
    before = list(first.run())
    assert isinstance(first.policy, Racing) and first.policy.remark()
    spent = first.clock.spent
    assert len(Race(plan, tmp_path, same, seconds=4000.0, spent=spent).run()) > len(before) + 10


def test_a_default_that_a_small_budget_cut_short_is_trained_whole_in_the_race(plan: Plan, tmp_path: Path) -> None:
    [arm] = plan.arms
    default = Trial(
        0, arm.name, dict(arm.default), 0.3, 0, plan.seed, True, "complete", 0.6, (0.5, 0.7), 0.4,
        ((1.0, 0.6),), {"total": 2.7},
    )  # fmt: skip
    for event in ("started", "ended"):
        TrialLog(tmp_path / "trials.jsonl").append(event, trial=default.to_json(), spent_seconds=3.0)
    trials = Race(plan, tmp_path, by_rate, spent=3.0).run()
    assert any(trial.is_default and trial.fidelity == 1.0 for trial in trials)


def test_without_the_default_in_the_finals_the_search_decides(plan: Plan, tmp_path: Path) -> None:
    def play(arguments: dict[str, Any]) -> float | None:
        is_default = arguments["config"] == dict(plan.arms[0].default)
        return None if is_default and arguments["fold"] else by_rate(arguments)

    race = Race(plan, tmp_path, play, seconds=250.0)
    race.run()
    finals = race.finals()
    assert any(trial.fate == "failed" for trial in race.search.trials if trial.stage == "finals")
    assert finals.verdict() is None


def test_a_repetition_that_was_cut_short_is_no_fold_of_the_same_model(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    first = race.finals().verdict()
    assert first is not None
    found = repeats(first, race.search.trials, seed=plan.seed)
    assert found
    cut = [replace(trial, fidelity=0.5) if trial is found[0] else trial for trial in race.search.trials]
    assert repeats(first, cut, seed=plan.seed) == found[1:]


@pytest.mark.parametrize(("allowed", "decided"), [(0.95, True), (0.2, False)])
def test_a_default_whose_repetitions_were_cut_short_has_not_lost_the_finals(
    plan: Plan, tmp_path: Path, allowed: float, decided: bool
) -> None:
    default = dict(plan.arms[0].default)

    def play(arguments: dict[str, Any]) -> float:
        return 0.5 if arguments["config"] == default and arguments["fold"] else by_rate(arguments)

    race = Race(plan, tmp_path, play, seconds=250.0)
    race.run()
    race.runner.allowed = lambda arguments: allowed if arguments["config"] == default else 1.0
    assert (race.finals().verdict() is not None) == decided


def test_a_round_begins_only_where_its_workers_can_end_it(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    two = replace(race.plan, resources=replace(plan.resources, max_concurrent=2))
    finals = Finals(two, race.search.trials, race.search.outputs, kept_seconds=15.0)
    # Three finalists of 9 s each take two workers twice as long as one of them.
    standing = race.search._standing()
    assert finals.ask(replace(standing, seconds_left=15.0 + 1.8 * 9 * 1.15)) is None
    assert finals.ask(replace(standing, seconds_left=15.0 + 2.1 * 9 * 1.15)) is not None


def test_an_interrupt_is_told_once_and_leaves_the_finals_out(plan: Plan, tmp_path: Path) -> None:
    class Notes(Tracker):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, message: str) -> None:
            self.notes.append(message)

    count = itertools.count()

    def play(arguments: dict[str, Any]) -> float:
        race.interrupt.requested = next(count) == 12
        return by_rate(arguments)

    race = Race(plan, tmp_path, play, seconds=250.0)
    race.search._tracker = notes = Notes()
    race.run()
    finals = race.finals()
    assert len(race.search.trials) == 13 and finals.verdict() is None
    assert len([note for note in notes.notes if "interrupted" in note]) == 1


def test_the_same_rows_answered_with_other_seeds_are_not_more_rows(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()

    def error(num_folds: int, rounds: list[int]) -> float:
        finals = race.finals()
        finals._place = lambda at: (at if at < num_folds else 0, plan.seed)  # type: ignore[method-assign]
        better, other = list(finals._finalists.values())[:2]
        return finals._gain(better, other, rounds)[1]

    assert error(1, [1, 2]) == pytest.approx(2**0.5 * error(9, [1, 2]))


@pytest.mark.parametrize(("group", "default_wins"), [(None, False), ("sender", True)])
def test_who_is_better_on_one_group_alone_does_not_win_the_finals(
    tiny_model: Path, group: str | None, default_wins: bool
) -> None:
    texts, targets = tiny_texts(300)
    rows = [
        {"text": text, "label": LABELS[at], "sender": f"sender {row // 10}"}
        for row, (text, at) in enumerate(zip(texts, targets, strict=True))
    ]
    made = autosft.plan(
        "Route each message", rows, target="label", inputs=["text"], group=group, models=str(tiny_model),
        trainer="transformers", budget="150s", timing=False, tracker=Tracker(),
    )  # fmt: skip
    arm, fold = made.arms[0], made.data.training(1)[1]
    assert fold is not None
    by_sender = np.argsort(fold.numbers("row"))

    def played(number: int, is_default: bool, at: int) -> Trial:
        config = {**arm.default} if is_default else {**arm.default, "learning_rate": 1e-3}
        stage = "finals" if at else "search"
        return Trial(number, arm.name, config, 1.0, at, made.seed, is_default, "complete", 0.9, stage=stage)

    def outputs(trial: Trial) -> pa.Array:
        """The default is wrong about ten rows, where rows are in groups all of one; the other one about three rows."""
        validation = made.data.training(trial.fold)[1]
        assert validation is not None
        found = validation.targets().to_numpy(zero_copy_only=False).copy()
        if trial.fold == 1:
            wrong = by_sender[:10] if trial.is_default else by_sender[-3:]
            found[wrong] = (found[wrong] + 1) % len(LABELS)
        return from_matrix(np.eye(len(LABELS), dtype=np.float32)[found])

    trials = [played(2 * at + is_default, bool(is_default), at) for at in (0, 1, 2) for is_default in (0, 1)]
    winner = Finals(made, trials, outputs, kept_seconds=0.0).verdict()
    assert winner is not None and winner.is_default == default_wins


def test_finals_of_an_earlier_sitting_count_where_there_is_no_time_for_more(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    winner = race.finals().verdict()
    without = Finals(replace(plan, finals_share=0.0), race.search.trials, race.search.outputs, kept_seconds=15.0)
    assert without.ask(race.search._standing()) is None
    assert winner is not None and without.verdict() == winner


def test_repetitions_of_a_shorter_race_do_not_count_against_who_is_in_the_finals_now(
    plan: Plan, tmp_path: Path
) -> None:
    short = Race(replace(plan, arms=(replace(plan.arms[0], rungs=RUNGS[:-1]),)), tmp_path, by_rate)
    short.run()
    short.finals()
    spent = short.clock.spent
    assert any(trial.stage == "finals" and trial.rung < 1 for trial in short.search.trials)
    longer = Race(plan, tmp_path, by_rate, seconds=spent + 250.0, spent=spent)
    longer.run()
    finals = longer.finals()
    assert any(trial.stage == "finals" and trial.rung == 1.0 for trial in longer.search.trials)
    assert finals.verdict() is not None


def test_a_finalist_that_cannot_be_trained_here_leaves_the_verdict_to_the_search(plan: Plan, tmp_path: Path) -> None:
    race = Race(plan, tmp_path, by_rate, seconds=250.0)
    race.run()
    small = replace(plan.resources, machine=replace(plan.resources.machine, memory_bytes=1))
    race.plan = replace(race.plan, resources=small)
    finals = race.finals()
    assert finals.verdict() is None and not [trial for trial in race.search.trials if trial.stage == "finals"]
    assert f"no finals, as there is too little memory here to train {plan.arms[0].name} again" in finals.remark()
