from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from autosft.errors import PlanError, RunFolderError
from autosft.search.sampler import ArmSpace, Known, Proposal, Sampler, State
from autosft.search.space import FunctionSpace, SearchSpace
from autosft.search.space_file import space_from_json


def search_space(**parameters: Any) -> SearchSpace:
    row = {"format": 1, "name": "test", "trainer": "t", "input": "text", "output": "label"}
    found = space_from_json({**row, "parameters": [{"name": name, **ranges} for name, ranges in parameters.items()]})
    assert isinstance(found, SearchSpace)
    return found


RATE = {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}
GOOD = ArmSpace(search_space(rate=RATE, depth={"type": "int", "low": 1, "high": 8}), {"rate": 1e-2, "depth": 2}, {})
POOR = ArmSpace(search_space(rate=RATE), {"rate": 1e-3, "other": "kept"}, {})
FINITE = ArmSpace(
    search_space(head={"type": "choice", "values": ["a", "b"]}, size={"type": "choice", "values": [1, 2, 3]}),
    {"head": "a", "size": 1},
    {},
)
ARMS = {"poor": POOR, "good": GOOD}


def make(arms: Mapping[str, ArmSpace] = ARMS, **options: Any) -> Sampler:
    chosen: dict[str, Any] = {"sampler": "tpe", "seed": 0, "greater_is_better": True, "journal": None, **options}
    return Sampler(arms, **chosen)


def score(proposal: Proposal) -> float:
    if proposal.arm in ("poor", "arm"):
        return 0.3
    distance = math.log10(proposal.config["rate"]) + 4
    return 1 - 0.1 * distance**2 - 0.02 * abs(proposal.config["depth"] - 6)


def run(sampler: Sampler, count: int) -> list[Proposal]:
    proposals = []
    for _ in range(count):
        proposal = sampler.ask()
        assert proposal is not None
        sampler.tell(proposal.number, score=score(proposal), fidelity=1.0, state="complete")
        proposals.append(proposal)
    return proposals


def journalled_trials(journal: Path) -> list[Any]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=None, storage=storage).trials


def test_untuned_defaults_come_first_in_order() -> None:
    first = run(make(), 4)
    assert [(proposal.arm, proposal.config) for proposal in first[:2]] == [
        ("poor", {"rate": 1e-3, "other": "kept"}),
        ("good", {"rate": 1e-2, "depth": 2}),
    ]
    assert [proposal.is_default for proposal in first] == [True, True, False, False]


@pytest.mark.parametrize("default", [{"rate": 5.0}, {"rate": 1e-3, "head": "unlisted"}, {"rate": -1.0}])
def test_a_default_outside_its_space_runs_as_it_is(default: dict[str, Any]) -> None:
    space = search_space(rate=RATE, head={"type": "choice", "values": ["a", "b"]})
    arm = ArmSpace(space, {"head": "a", **default}, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = make({"good": arm})
        first = sampler.ask()
        assert first is not None and first.config == {"head": "a", **default} and first.is_default
        sampler.tell(first.number, score=0.5, fidelity=1.0, state="complete")
        for step in range(15):
            later = sampler.ask()
            assert later is not None and 1e-5 <= later.config["rate"] <= 1e-1 and later.config["head"] in ("a", "b")
            sampler.tell(later.number, score=step / 20, fidelity=1.0, state="complete")


def test_tpe_learns_from_the_defaults(tmp_path: Path) -> None:
    run(make(journal=tmp_path / "study.log"), 2)
    assert journalled_trials(tmp_path / "study.log")[1].params == {"arm": "good", "good.rate": 1e-2, "good.depth": 2}


def test_tpe_finds_the_better_arm_and_region_more_often_than_random() -> None:
    hits = {
        name: sum(
            score(proposal) > 0.9 for seed in range(4) for proposal in run(make(sampler=name, seed=seed), 40)[20:]
        )
        for name in ("tpe", "random")
    }
    assert hits["tpe"] > 2 * hits["random"] > 0


def test_minimising_turns_the_direction_round() -> None:
    def mean(greater_is_better: bool) -> float:
        samplers = [make(greater_is_better=greater_is_better, seed=seed) for seed in range(3)]
        last = [score(proposal) for sampler in samplers for proposal in run(sampler, 30)[15:]]
        return sum(last) / len(last)

    assert mean(False) < mean(True) - 0.2


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_one_seed_gives_the_same_configurations(tmp_path: Path, name: str) -> None:
    first, again, other = (
        [(proposal.arm, proposal.config) for proposal in run(make(sampler=name, seed=seed, journal=journal), 15)]
        for seed, journal in ((3, None), (3, tmp_path / "study.log"), (4, None))
    )
    assert first == again
    assert first != other


def test_asking_ahead_never_repeats_a_configuration_and_ends_when_all_are_out() -> None:
    sampler = make({"finite": FINITE, "single": ArmSpace(search_space(), {"x": 1}, {})})
    proposals = []
    while (proposal := sampler.ask()) is not None:
        proposals.append(json.dumps([proposal.arm, proposal.config]))
    assert len(proposals) == len(set(proposals)) == 7
    assert sampler.ask() is None


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_finite_space_is_used_up_exactly(name: str) -> None:
    sampler = make({"finite": FINITE}, sampler=name)
    seen = []
    while (proposal := sampler.ask()) is not None:
        sampler.tell(proposal.number, score=float(proposal.config["size"]), fidelity=1.0, state="complete")
        seen.append((proposal.config["head"], proposal.config["size"]))
    assert sorted(seen) == [(head, size) for head in "ab" for size in (1, 2, 3)]


def test_only_permitted_arms_are_proposed() -> None:
    sampler = make()
    first = sampler.ask(["good"])
    assert first is not None and first.arm == "good" and first.is_default
    sampler.tell(first.number, score=1.0, fidelity=1.0, state="complete")
    run(sampler, 15)
    for _ in range(5):
        proposal = sampler.ask({"poor"})
        assert proposal is not None and proposal.arm == "poor" and "depth" not in proposal.config
        sampler.tell(proposal.number, score=0.3, fidelity=1.0, state="complete")
    assert run(sampler, 10)
    assert sampler.ask([]) is None


def test_a_default_that_was_not_permitted_waits() -> None:
    sampler = make()
    asked = [sampler.ask(["good"]), sampler.ask(["good"]), sampler.ask()]
    assert [(proposal.arm, proposal.is_default) for proposal in asked if proposal] == [
        ("good", True),
        ("good", False),
        ("poor", True),
    ]


def test_conditional_parameters_stay_at_their_default_where_closed(tmp_path: Path) -> None:
    space = search_space(
        head={"type": "choice", "values": ["a", "b"]},
        rate={**RATE, "when": {"head": ["a"]}},
        weight={"type": "float", "low": 0, "high": 1, "only_if": "imbalanced"},
    )
    sampler = make({"good": ArmSpace(space, {"head": "a", "rate": 0.5, "weight": 7.0}, {})}, journal=tmp_path / "s.log")
    asked = [sampler.ask() for _ in range(20)]
    configs = [proposal.config for proposal in asked if proposal]
    assert {config["head"] for config in configs} == {"a", "b"}
    assert all(config["rate"] == 0.5 for config in configs if config["head"] == "b")
    assert all(config["weight"] == 7.0 for config in configs)
    for trial in journalled_trials(tmp_path / "s.log"):
        assert "good.weight" not in trial.params
        assert ("good.rate" in trial.params) <= (trial.params.get("good.head") == "a")


def test_stopped_and_failed_trials_are_told_apart(tmp_path: Path) -> None:
    sampler = make(journal=tmp_path / "study.log")
    for state, value, reports in [
        ("complete", 0.9, [(1 / 3, 0.5)]),
        ("stopped", 0.4, [(1 / 9, 0.2)]),
        ("failed", None, []),
        ("complete", math.nan, []),
    ]:
        proposal = sampler.ask()
        assert proposal is not None
        fidelity = 1 / 3 if state == "stopped" else 1.0
        sampler.tell(proposal.number, score=value, fidelity=fidelity, state=state, reports=reports)
    trials = journalled_trials(tmp_path / "study.log")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert trials[0].value == 0.9
    assert trials[0].intermediate_values == {333: 0.5, 1000: 0.9}
    assert trials[1].intermediate_values == {111: 0.2, 333: 0.4}


def test_a_crashed_search_continues_from_its_journal(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    crashed = make(journal=journal)
    done = run(crashed, 6)
    orphan = crashed.ask()
    assert orphan is not None
    journal.write_bytes(journal.read_bytes() + b'{"op_code":5,"worker')

    continued = run(make(journal=journal), 6)
    assert not any(proposal.is_default for proposal in continued)
    configs = [json.dumps([proposal.arm, proposal.config]) for proposal in done + continued]
    assert len(configs) == len(set(configs))
    states = {trial.number: trial.state.name for trial in journalled_trials(journal)}
    assert states[orphan.number] == "FAIL"
    assert list(states.values()).count("COMPLETE") == 12


def test_a_default_that_a_crash_interrupted_is_proposed_again_but_a_failed_one_is_not(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    crashed = make(journal=journal)
    failed, _ = crashed.ask(), crashed.ask()
    assert failed is not None
    crashed.tell(failed.number, score=None, fidelity=1.0, state="failed")
    first, second = run(make(journal=journal), 2)
    assert (first.arm, first.is_default) == ("good", True)
    assert not second.is_default


def rates_of(space: SearchSpace, journal: Path, count: int, *, seed: int) -> list[float]:
    """Draws configurations whose best rate is 5e-2, with TPE alone."""
    sampler = make({"good": ArmSpace(space, {"rate": 2e-2, "head": "a"}, {})}, journal=journal, seed=seed)
    found = []
    for _ in range(count):
        proposal = sampler.ask()
        assert proposal is not None
        found.append(proposal.config["rate"])
        score = -abs(math.log10(found[-1] / 5e-2))
        sampler.tell(proposal.number, score=score, fidelity=1.0, state="complete")
    return found


HEADS = {"type": "choice", "values": ["a"]}
NARROW = search_space(rate={**RATE, "low": 1e-2, "high": 2e-1}, head=HEADS)
WIDE = search_space(rate={**RATE, "low": 1e-6, "high": 1.0}, head={**HEADS, "values": ["a", "b"]})


def test_a_wider_space_is_looked_at_where_it_is_new(tmp_path: Path) -> None:
    for seed in range(3):
        before = rates_of(NARROW, tmp_path / f"{seed}.log", 20, seed=seed)
        after = rates_of(WIDE, tmp_path / f"{seed}.log", 10, seed=seed)
        assert not set(before) & set(after)
        assert any(not 1e-2 <= rate <= 2e-1 for rate in after)


def test_a_narrower_space_goes_on_from_what_the_wider_one_found(tmp_path: Path) -> None:
    known, fresh = 0.0, 0.0
    narrower = search_space(rate={**RATE, "low": 1e-4, "high": 1.0}, head=HEADS)
    for seed in range(4):
        rates_of(WIDE, tmp_path / f"{seed}.log", 30, seed=seed)
        after = rates_of(narrower, tmp_path / f"{seed}.log", 8, seed=seed)
        alone = rates_of(narrower, tmp_path / f"alone{seed}.log", 8, seed=seed)
        assert all(1e-4 <= rate <= 1.0 for rate in after)
        known += sum(abs(math.log10(rate / 5e-2)) for rate in after)
        fresh += sum(abs(math.log10(rate / 5e-2)) for rate in alone)
    assert known < 0.9 * fresh, (known, fresh)


def test_every_torn_journal_can_be_opened(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    run(make(journal=journal), 3)
    content = journal.read_bytes()
    for length in range(0, len(content), len(content) // 23):
        torn = tmp_path / f"{length}.log"
        torn.write_bytes(content[:length])
        run(make(journal=torn), 2)
        run(make(journal=torn), 1)


@pytest.mark.parametrize("content", [b"label,text\n1,hello\n", b"\x00\x81\xff", b'{"a": 1}\n', b"[]\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    journal = tmp_path / "study.log"
    journal.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"study\.log"):
        make(journal=journal)
    assert journal.read_bytes() == content


@pytest.mark.parametrize("changed", [{"greater_is_better": False}, {"arms": {"good": GOOD}}])
def test_a_journal_of_another_search_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    run(make(journal=tmp_path / "study.log"), 2)
    with pytest.raises(RunFolderError, match="another search"):
        make(changed.pop("arms", ARMS), journal=tmp_path / "study.log", **changed)


def user_space(trial: Any) -> dict[str, object]:
    return {"rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True), "depth": trial.suggest_int("depth", 1, 8)}


def test_a_function_can_be_searched(tmp_path: Path) -> None:
    arm = ArmSpace(FunctionSpace(user_space), {"rate": 1e-2, "depth": 2}, {})
    proposals = run(make({"good": arm}, journal=tmp_path / "study.log"), 30)
    assert proposals[0].config == {"rate": 1e-2, "depth": 2}
    assert journalled_trials(tmp_path / "study.log")[0].params["good.rate"] == 1e-2
    assert max(map(score, proposals[20:])) > score(proposals[0])


def test_wrong_names_get_the_nearest_match() -> None:
    with pytest.raises(PlanError, match="did you mean 'tpe'"):
        make(sampler="tpee")
    with pytest.raises(PlanError, match="did you mean 'good'"):
        make().ask(["godo"])
    with pytest.raises(PlanError, match="trial 7"):
        make().tell(7, score=1.0, fidelity=1.0, state="complete")
    with pytest.raises(PlanError, match="no arm"):
        make({})


def test_optuna_stays_silent_and_its_settings_stay(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(make(), 12)
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before


def asked(sampler: Sampler) -> Proposal:
    proposal = sampler.ask()
    assert proposal is not None
    return proposal


def known(proposal: Proposal, state: State, *reports: tuple[float, float | None]) -> Known:
    return Known(proposal.arm, proposal.config, proposal.is_default, reports, state)


def test_a_configuration_that_waits_is_learned_from_but_still_open_in_the_journal(tmp_path: Path) -> None:
    def later(state: State | None) -> list[float]:
        sampler = make({"good": GOOD}, seed=1)
        for _ in range(12):
            proposal = asked(sampler)
            if state:
                sampler.tell(proposal.number, score=score(proposal), fidelity=1 / 9, state=state)
        return [asked(sampler).config["rate"] for _ in range(5)]

    assert later("waiting") == later("stopped")
    assert later("waiting") != later(None)

    journal = tmp_path / "study.log"
    sampler = make(journal=journal)
    waiting, running, done = (asked(sampler) for _ in range(3))
    sampler.tell(waiting.number, score=0.2, fidelity=1 / 27, state="waiting")
    sampler.tell(done.number, score=0.3, fidelity=1 / 27, state="waiting")
    sampler.tell(done.number, score=0.6, fidelity=1.0, state="complete")
    assert [trial.state.name for trial in journalled_trials(journal)] == ["RUNNING", "RUNNING", "COMPLETE"]
    sampler.close()
    trials = journalled_trials(journal)
    assert [trial.state.name for trial in trials] == ["PRUNED", "RUNNING", "COMPLETE"]
    assert trials[waiting.number].intermediate_values == {37: 0.2}
    assert trials[done.number].intermediate_values == {37: 0.3, 1000: 0.6}
    assert trials[running.number].intermediate_values == {}


def test_what_came_farther_ranks_before_what_scored_higher_early() -> None:
    def num_low(fidelity_of_low: float) -> int:
        found = 0
        for seed in range(3):
            sampler = make({"good": GOOD}, seed=seed)
            for step in range(30):
                proposal = asked(sampler)
                is_low = proposal.config["rate"] < 1e-3
                found += is_low and step >= 10
                fidelity, value = (fidelity_of_low, 0.1) if is_low else (1 / 9, 0.9)
                sampler.tell(proposal.number, score=value, fidelity=fidelity, state="waiting")
        return found

    assert num_low(1 / 3) > 2 * num_low(1 / 27)


def test_a_waiting_trial_whose_process_crashed_is_taken_up_again(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    crashed = make(journal=journal)
    first, second, third = (asked(crashed) for _ in range(3))
    crashed.tell(first.number, score=0.4, fidelity=1 / 9, state="waiting")
    crashed.tell(second.number, score=0.5, fidelity=1 / 9, state="waiting")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = make(journal=journal, earlier=[known(first, "waiting", (1 / 9, 0.4)), known(third, "waiting")])
    assert again.number_of(first.arm, first.config) == first.number
    assert again.number_of(third.arm, third.config) == third.number
    assert again.number_of(second.arm, second.config) is None
    again.tell(first.number, score=0.8, fidelity=1.0, state="complete")
    again.tell(third.number, score=0.1, fidelity=1 / 9, state="waiting")
    proposals = [asked(again) for _ in range(4)]
    assert proposals[0].config == second.config
    assert not {first.number, third.number} & {proposal.number for proposal in proposals}
    assert all(proposal.config not in (first.config, third.config) for proposal in proposals)
    again.close()
    trials = journalled_trials(journal)
    assert [trial.state.name for trial in trials[:3]] == ["COMPLETE", "FAIL", "PRUNED"]
    assert trials[first.number].intermediate_values == {111: 0.4, 1000: 0.8}


def test_a_configuration_that_was_closed_can_be_taken_up_again(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    sampler = make(journal=journal)
    proposal = asked(sampler)
    sampler.tell(proposal.number, score=0.4, fidelity=1 / 9, state="waiting")
    sampler.close()
    again = make(journal=journal, earlier=[known(proposal, "waiting", (1 / 9, 0.4))])
    again.tell(proposal.number, score=0.8, fidelity=1.0, state="complete")
    again.close()
    assert asked(again).config != proposal.config


@pytest.mark.parametrize("has_journal", [True, False])
def test_earlier_configurations_that_the_journal_lacks_are_not_proposed_again(
    tmp_path: Path, has_journal: bool
) -> None:
    first = make({"finite": FINITE})
    before = [asked(first) for _ in range(4)]
    states: list[State] = ["complete", "stopped", "failed", "waiting"]
    earlier = [known(one, state, (1.0, 0.5)) for one, state in zip(before, states, strict=True)]
    journal = tmp_path / "study.log" if has_journal else None
    sampler = make({"finite": FINITE}, journal=journal, earlier=earlier)
    later = [asked(sampler).config for _ in range(2)]
    assert sampler.ask() is None
    assert all(one.config not in later for one in before)
    if journal:
        names = [trial.state.name for trial in journalled_trials(journal)]
        assert names == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "RUNNING", "RUNNING"]


def test_an_earlier_configuration_that_was_interrupted_may_be_proposed_again(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"
    default = asked(make(journal=journal))
    again = make(journal=journal, earlier=[known(default, "interrupted")])
    assert asked(again).config == default.config


def rates(low: float, high: float) -> SearchSpace:
    return search_space(learning_rate={"type": "float", "low": low, "high": high, "log": True})


def test_other_learning_rates_come_after_the_defaults_where_the_space_has_them() -> None:
    default = {"learning_rate": 1e-3}
    arms = {
        "wide": ArmSpace(rates(1e-5, 1e-1), default, {}),
        "none": POOR,
        "edge": ArmSpace(rates(1e-3, 1e-2), default, {}),
        "third": ArmSpace(rates(1e-5, 1e-1), default, {}),
        "fourth": ArmSpace(rates(1e-5, 1e-1), default, {}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = make(arms)
    assert [asked(sampler).arm for _ in arms] == list(arms)
    first = [asked(sampler) for _ in range(5)]
    assert [one.arm for one in first] == ["wide", "wide", "edge", "third", "third"]
    assert [one.config["learning_rate"] for one in first] == pytest.approx([1e-3 / 3, 3e-3, 3e-3, 1e-3 / 3, 3e-3])
    assert not any(one.is_default for one in first)
    anchors = [rate / 1e-3 for rate in (asked(sampler).config.get("learning_rate", 0.0) for _ in range(10))]
    assert not any(anchor == pytest.approx(3) or anchor == pytest.approx(1 / 3) for anchor in anchors)


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_the_base_model_whose_probe_scored_best_is_trained_first(greater_is_better: bool) -> None:
    space, default = rates(1e-5, 1e-1), {"learning_rate": 1e-3}
    arms = {f"tune/{base}": ArmSpace(space, default, {}, base) for base in "abc"}
    arms |= {f"probe/{base}": ArmSpace(search_space(), {"C": 1.0}, {}, base, True) for base in "abc"}
    sampler = make(arms, greater_is_better=greater_is_better)
    for base, score in (("a", 0.2), ("b", 0.9), ("c", 0.5)):
        probe = asked(sampler)
        assert probe.arm == f"probe/{base}"
        sampler.tell(probe.number, score=score if greater_is_better else -score, fidelity=1.0, state="complete")
    # Untuned defaults, then other learning rates of the best: nobody is left out.
    assert [asked(sampler).arm for _ in range(5)] == ["tune/b", "tune/c", "tune/a", "tune/b", "tune/b"]


def test_a_base_model_without_a_probes_score_comes_after_those_with_one(tmp_path: Path) -> None:
    space, default = rates(1e-5, 1e-1), {"learning_rate": 1e-3}
    arms = {f"tune/{base}": ArmSpace(space, default, {}, base) for base in "ab"}
    arms |= {f"probe/{base}": ArmSpace(search_space(), {"C": 1.0}, {}, base, True) for base in "ab"}
    sampler = make(arms, journal=tmp_path / "study.log")
    failed, well = asked(sampler), asked(sampler)
    sampler.tell(failed.number, score=None, fidelity=1.0, state="failed")
    sampler.tell(well.number, score=0.5, fidelity=1.0, state="complete")
    # Also for who goes on with the study.
    for one in (make(arms, journal=tmp_path / "study.log"), sampler):
        assert asked(one).arm == "tune/b"


def test_other_learning_rates_that_the_journal_holds_are_not_tried_twice(tmp_path: Path) -> None:
    arms = {"wide": ArmSpace(rates(1e-5, 1e-1), {"learning_rate": 1e-3}, {})}
    sampler = make(arms, journal=tmp_path / "study.log")
    for _ in range(2):
        sampler.tell(asked(sampler).number, score=0.5, fidelity=1.0, state="complete")
    again = make(arms, journal=tmp_path / "study.log")
    assert asked(again).config["learning_rate"] == pytest.approx(3e-3)


@pytest.mark.parametrize("num_before", range(1, 5))
def test_who_goes_on_tries_no_part_of_the_opening_twice(tmp_path: Path, num_before: int) -> None:
    arms = {"arm": ArmSpace(rates(1e-5, 1e-1), {"learning_rate": 1e-3}, {})}
    whole = run(make(arms), 3)
    before = run(make(arms, journal=tmp_path / "study.log"), num_before)
    after = run(make(arms, journal=tmp_path / "study.log"), 5 - num_before)
    tried = [one.config for one in (*before, *after)]
    assert tried[:3] == [one.config for one in whole]
    assert all(config not in tried[:at] for at, config in enumerate(tried))


def test_of_many_trials_the_best_and_the_latest_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = [
        Known("good", {"rate": rate, "depth": 1 + step % 8}, False, ((1.0, value),), "complete")
        for step in range(1000)
        for rate, value in [((1e-5, 0.99) if step < 50 else (1e-2, 0.5))]
        for rate in [rate * (1 + step / 1000)]
    ]
    # What failed is no news, however late it came.
    earlier += [Known("good", {"rate": 0.05 + step / 1e5, "depth": 1}, False, (), "failed") for step in range(200)]
    sampler = make({"good": GOOD}, earlier=earlier)
    learned: list[list[Any]] = []
    ask = optuna.samplers.TPESampler.sample_relative

    def spy(self: Any, study: Any, *rest: Any) -> Any:
        learned.append(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
        return ask(self, study, *rest)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", spy)
    asked(sampler)
    proposals = [asked(sampler) for _ in range(5)]
    assert learned and all(150 <= len(trials) <= 200 for trials in learned)
    assert all(sum(trial.value == 0.99 for trial in trials) == 50 for trials in learned)
    assert sum(proposal.config["rate"] < 1e-3 for proposal in proposals) >= 3


def test_a_share_of_the_draws_is_random() -> None:
    def near(random_share: float) -> int:
        sampler = make({"good": GOOD}, random_share=random_share)
        proposals = run(sampler, 60)[20:]
        return sum(score(proposal) > 0.9 for proposal in proposals)

    assert near(0.0) > near(0.5) > near(1.0)


def test_an_arm_and_its_configuration_are_drawn_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bool] = []
    made = Sampler._optuna_sampler

    def spy(self: Sampler, seed: int) -> Any:
        found = made(self, seed)
        drawn.append(isinstance(found, optuna.samplers.TPESampler))
        return found

    monkeypatch.setattr(Sampler, "_optuna_sampler", spy)
    sampler = make({"good": GOOD, "poor": POOR}, random_share=0.5)
    run(sampler, 30)
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    assert {(True, True), (False, False)} == {*pairs}, "by what is known, or at random, as a whole"
