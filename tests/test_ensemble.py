"""The ensemble: what models count, who is trained again, and what ships. Jobs run here; everything else is real."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft.arrays import from_matrix, load_array, log_probabilities, softmax, to_matrix, to_numbers
from autosft.card.loading import loading
from autosft.ensemble import Ensemble, ensemble, others, seconds_kept, weights
from autosft.errors import PlanError, RunFolderError
from autosft.inputs.terms import TERMS_FILE
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.refit import Refit, refit
from autosft.search import job
from autosft.search.job import Ended, Job, execute
from autosft.search.places import moved
from autosft.search.trial import OUTPUTS_FILE, Trial
from autosft.search.workbench import Workbench
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.tracking.base import Tracker
from autosft.trainers import trainer_class
from autosft.trainers.ensemble import ENSEMBLE_FILE, EnsembleModel, Member, load_model

CHANGED = {
    "transformers": {"learning_rate": 1e-3, "num_train_epochs": 2, "batch_size": 16, "contrastive_weight": 0.0},
    "frozen_head": {},
    "tfidf": {},
}


def told(truth: np.ndarray[Any, Any], skill: float, *, seed: int, num_labels: int = 4) -> pa.Array:
    """Outputs that know the truth as well as their skill, by errors of their own."""
    logits = np.random.default_rng(seed).normal(size=(len(truth), num_labels))
    logits[np.arange(len(truth)), truth] += skill
    return from_matrix(softmax((2 * logits).astype(np.float32)))


def loss_of(outputs: Sequence[pa.Array], at: Sequence[float], truth: np.ndarray[Any, Any]) -> float:
    pooled = softmax(np.sum([one * log_probabilities(out) for one, out in zip(at, outputs, strict=True)], axis=0))
    return float(-np.log(pooled[np.arange(len(truth)), truth]).mean())


def test_models_that_err_apart_are_all_counted_and_together_do_better_on_new_rows() -> None:
    truth = np.random.default_rng(0).integers(4, size=2_000)
    models = [told(truth, skill, seed=at) for at, skill in enumerate([1.5, 1.4, 1.3])]
    seen, new = slice(0, 200), slice(200, None)
    found, before, after = weights(pa.array(truth[seen]), [one[seen] for one in models])
    assert (found > 0.2).all() and after < before
    right = [float((to_matrix(one[new]).argmax(axis=1) == truth[new]).mean()) for one in models]
    pooled = np.sum([weight * log_probabilities(one[new]) for weight, one in zip(found, models, strict=True)], axis=0)
    assert float((pooled.argmax(axis=1) == truth[new]).mean()) > max(right) + 0.05


def test_what_tells_nothing_counts_nothing_and_the_winner_always_counts() -> None:
    truth = np.random.default_rng(1).integers(4, size=400)
    good, noise = told(truth, 2.5, seed=2), told(truth, 0.0, seed=3)
    found, before, after = weights(pa.array(truth), [good, noise])
    assert found[1] == 0.0 and found[0] > 0.5 and after <= before
    first = weights(pa.array(truth), [noise, good])[0]
    assert first[1] > 0.5 and first[0] >= 0.0


def test_few_rows_hold_the_weights_to_the_winner() -> None:
    truth = np.random.default_rng(4).integers(4, size=1_000)
    models = [told(truth, 1.5, seed=5), told(truth, 1.5, seed=6)]
    few, many = (weights(pa.array(truth[:num]), [one[:num] for one in models])[0] for num in (12, 1_000))
    assert few[1] < many[1]


class Here:
    """A runner that does its jobs in this process."""

    def __init__(self, spoil: Callable[[str], Ended | None] = lambda function: None) -> None:
        self.jobs: list[tuple[str, Mapping[str, Any]]] = []
        self._spoil = spoil

    def run(self, function: str, arguments: Mapping[str, Any], **others: Any) -> Ended:
        self.jobs.append((function.rpartition(":")[2], arguments))
        spoilt = self._spoil(self.jobs[-1][0])
        sent: list[Any] = [spoilt]
        if spoilt is None:
            execute(Job("job", function, arguments), sent.append)
        ended: Ended = sent[-1]
        return ended

    @property
    def done(self) -> list[str]:
        return [name for name, _ in self.jobs]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_prepare", lambda job: None)


def rows(number: int) -> list[dict[str, Any]]:
    """Rows of which some have a wrong label, so that no model is sure."""
    texts, targets = tiny_texts(number)
    wrong = np.random.default_rng(0).random(number) < 0.2
    return [
        {"text": text, "label": LABELS[(at + off) % len(LABELS)]}
        for text, at, off in zip(texts, targets, wrong, strict=True)
    ]


@dataclass
class Searched:
    """What a search left: its plan, a trial of each method, and their folders."""

    plan: Plan
    trials: dict[str, Trial]
    folder: Path

    def scratch(self, trial: Trial) -> Path:
        return self.folder / str(trial.number)

    def outputs(self, trial: Trial) -> pa.Array:
        return load_array(self.scratch(trial) / OUTPUTS_FILE)


@pytest.fixture(scope="module")
def searched(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    budget = autosft.Budget(num_trials=3, ensemble=True)
    options: dict[str, Any] = {"trainer": list(CHANGED), "models": str(tiny_model), "budget": budget, "timing": False}
    plan = autosft.plan("Route each message", rows(320), tracker=Tracker(), **options)
    found = Searched(plan, {}, folder)
    given: Any = Here()
    bench = Workbench(plan, given, folder / "cache", Interrupt(), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_prepare", lambda job: None)
        for number, arm in enumerate(plan.arms):
            config = {**arm.default, **CHANGED[arm.trainer]}
            trial = Trial(number, arm.name, config, 1.0, 0, 7, True, "complete", 0.5)
            ended = bench.train(trial, folder / str(number), seconds=None, kill_after_seconds=None)
            assert ended.fate == "complete", ended.reason
            found.trials[arm.trainer] = replace(trial, score=ended.value["score"])
    return found


def put_together(
    searched: Searched,
    folder: Path,
    runner: Here,
    *,
    winner: str = "transformers",
    refitted: bool = True,
    seconds_left: float | None = None,
    interrupt: Interrupt | None = None,
    plan: Plan | None = None,
) -> tuple[Ensemble, Refit]:
    given: Any = runner
    plan, trial = plan or searched.plan, searched.trials[winner]
    bench = Workbench(plan, given, folder / "cache", Interrupt(), {})
    first = refit(bench, trial, folder / "refit", seconds_left=None) if refitted else Refit(None, "no time")
    runner.jobs.clear()
    found = ensemble(
        replace(bench, interrupt=interrupt or bench.interrupt),
        trial,
        first,
        others(plan, list(searched.trials.values()), trial),
        folder / "beside",
        outputs=searched.outputs,
        searched=lambda one: searched.scratch(one) / "model",
        seconds_left=seconds_left,
    )
    return found, first


def test_the_winner_ships_with_the_best_of_other_methods_all_trained_again(searched: Searched, tmp_path: Path) -> None:
    runner = Here()
    found, first = put_together(searched, tmp_path, runner, winner="frozen_head")
    assert found.model is not None, found.reason
    assert found.shares[0].trial.arm.startswith("frozen_head") and len(found.shares) >= 2
    assert runner.done == ["train"] * (len(found.shares) - 1) + ["combine"]
    trained = [arguments for name, arguments in runner.jobs if name == "train"]
    assert all(arguments["fold"] is None for arguments in trained), "on all rows, as the winner was"
    together = load_model("frozen_head", found.model)
    assert isinstance(together, EnsembleModel)
    table = searched.plan.data.training(0)[1].table()  # type: ignore[union-attr]
    assert first.model is not None
    models = [first.model, *(tmp_path / "beside" / str(at) / "model" for at in range(len(found.shares) - 1))]
    logs = [
        one.weight
        * log_probabilities(trainer_class(searched.plan.arm(one.trial.arm).trainer).load(model).predict(table))
        for one, model in zip(found.shares, models, strict=True)
    ]
    np.testing.assert_allclose(to_matrix(together.predict(table)), softmax(np.sum(logs, axis=0)), atol=1e-5)
    remarks = " ".join(loading(found.model, searched.plan.task).remarks)
    has_words = any(one.trial.arm == "tfidf" for one in found.shares)
    assert "No other library loads this ensemble" in remarks and (TERMS_FILE in remarks) == has_words
    there = moved(
        runner.jobs[-1][1], read=lambda path: Path("/there") / path.name, written=lambda path: path,
        rows=lambda path: path, stop=lambda path: path, cache=tmp_path,
    )["models"]  # fmt: skip
    assert [Path(folder).parent for _, folder in there.values()] == [Path("/there")] * len(found.shares)
    said = found.to_json()
    assert said["done"] and [one["arm"] for one in said["members"]] == [one.trial.arm for one in found.shares]
    assert all(f"{one.trial.arm} {one.weight:.2f}" in found.reason for one in found.shares)


def test_its_weights_are_those_of_the_validation_rows(searched: Searched, tmp_path: Path) -> None:
    found, _ = put_together(searched, tmp_path, Here(), winner="frozen_head")
    validation = searched.plan.data.training(0)[1]
    assert validation is not None
    trials = [
        searched.trials["frozen_head"],
        *others(searched.plan, list(searched.trials.values()), found.shares[0].trial),
    ]
    wanted = weights(validation.targets(), [searched.outputs(one) for one in trials])[0]
    by_arm = {one.trial.arm: one.weight for one in found.shares}
    assert [by_arm.get(one.arm, 0.0) for one in trials] == pytest.approx(wanted, abs=1e-3)


def test_where_the_winner_is_not_retrained_nobody_is(searched: Searched, tmp_path: Path) -> None:
    runner = Here()
    found, _ = put_together(searched, tmp_path, runner, winner="frozen_head", refitted=False)
    assert found.model is not None and runner.done == ["combine"]
    assert runner.jobs[0][1]["models"]["0"][1] == str(searched.scratch(searched.trials["frozen_head"]) / "model")


def test_what_there_is_no_time_to_train_again_is_taken_as_the_search_trained_it(
    searched: Searched, tmp_path: Path
) -> None:
    runner = Here()
    slow = {name: replace(one, seconds={"total": 1_000.0}) for name, one in searched.trials.items()}
    found, _ = put_together(replace(searched, trials=slow), tmp_path, runner, winner="frozen_head", seconds_left=60.0)
    assert found.model is not None and runner.done == ["combine"]


def interrupted() -> Interrupt:
    interrupt = Interrupt()
    interrupt.requested = True
    return interrupt


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"seconds_left": 3.0}, "no time"),
        ({"interrupt": interrupted()}, "interrupted"),
    ],
    ids=["no time", "Ctrl-C"],
)
def test_the_winner_ships_alone_where_nothing_can_be_put_beside_it(
    searched: Searched, tmp_path: Path, changed: Any, why: str
) -> None:
    runner = Here()
    found, _ = put_together(searched, tmp_path, runner, **changed)
    assert found.model is None and not found.shares and why in found.reason and runner.done == []


def test_it_is_made_only_where_it_was_asked_for(searched: Searched, tmp_path: Path) -> None:
    runner = Here()
    plain = replace(searched.plan, budget=replace(searched.plan.budget, ensemble=False))
    found, _ = put_together(searched, tmp_path, runner, plan=plain)
    assert found == Ensemble() and runner.done == []
    trials = list(searched.trials.values())
    assert seconds_kept(plain, trials, trials[0]) == 0.0 < seconds_kept(searched.plan, trials, trials[0])


def test_one_that_fails_costs_no_result(searched: Searched, tmp_path: Path) -> None:
    full = Ended("job", "failed", message="the disk is full")
    runner = Here(lambda function: full if function == "combine" else None)
    found, _ = put_together(searched, tmp_path, runner, winner="frozen_head")
    assert found.model is None and "the disk is full" in found.reason


def test_a_temperature_divides_what_it_says_and_a_damaged_file_is_named(searched: Searched, tmp_path: Path) -> None:
    one, other = (
        Member(name, load_model(name, searched.scratch(searched.trials[name]) / "model"), weight)
        for name, weight in (("tfidf", 0.7), ("frozen_head", 0.4))
    )
    model = EnsembleModel((one, other))
    table = pa.table({"text": ["book a table", "play some music"]})
    wanted = softmax((log_probabilities(model.predict(table)) / 2).astype(np.float32))
    cooler = model.scaled(2.0)
    np.testing.assert_allclose(to_matrix(cooler.predict(table)), wanted, atol=1e-5)
    (tmp_path / "model").mkdir()
    cooler.save(tmp_path / "model")
    again = load_model("tfidf", tmp_path / "model")
    np.testing.assert_allclose(to_matrix(again.predict(table)), to_matrix(cooler.predict(table)), atol=1e-6)
    for damaged in (
        "{",
        '{"format": 2, "members": []}',
        '{"format": 1, "members": [{"trainer": "tfidf", "weight": -1}]}',
    ):
        (tmp_path / "model" / ENSEMBLE_FILE).write_text(damaged)
        with pytest.raises(RunFolderError, match=ENSEMBLE_FILE):
            load_model("tfidf", tmp_path / "model")


def test_a_task_without_labels_of_rows_refuses_one(tiny_model: Path, tmp_path: Path) -> None:
    numbers = [{"text": f"text {at}", "price": at / 7} for at in range(60)]
    options: dict[str, Any] = {"models": str(tiny_model), "timing": False, "tracker": Tracker()}
    with pytest.raises(PlanError, match="one label a row"):
        autosft.plan("Predict the price", numbers, budget=autosft.Budget(seconds=60, ensemble=True), **options)
    plan = autosft.plan("Predict the price", numbers, budget=60, **options)
    asked = replace(plan, budget=replace(plan.budget, ensemble=True))
    with pytest.raises(PlanError, match="one label a row"):
        autosft.fit(asked, folder=tmp_path / "run", tracker=Tracker())
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_run_ships_it_and_says_so_everywhere(tiny_model: Path, tmp_path: Path) -> None:
    # Random weights, other ones: two heads that err apart.
    models = [str(tiny_model), str(write_tiny_encoder(tmp_path / "other", words=WORDS, seed=1))]
    budget = autosft.Budget(num_trials=2, ensemble=True)
    given, test = rows(400)[:320], rows(400)[320:]
    result = autosft.fit(
        "Route each message", given, test=test, trainer="frozen_head", models=models, budget=budget,
        tracker=Tracker(), folder=tmp_path / "run",
    )  # fmt: skip
    said = result.summary["ensemble"]
    assert said["done"], said["reason"]
    assert {one["arm"] for one in said["members"]} == {arm.name for arm in result.plan.arms}
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "Ensemble: 2 models answer together" in card and "No other library loads this ensemble" in card
    assert f"Ensemble  {said['reason']}" in str(result)
    assert "2 models answer together" in result.report.read_text(encoding="utf-8")
    predictions = autosft.load(tmp_path / "run").predict(test)
    right = np.mean([one == row["label"] for one, row in zip(predictions, test, strict=True)])
    assert right == pytest.approx(result.summary["test"]["score"]), "what was scored is what predicts"
    listed = json.loads((tmp_path / "run" / "model" / "autosft.json").read_text(encoding="utf-8"))["files"]
    assert ENSEMBLE_FILE in listed and any(name.startswith("members/1/") for name in listed)
    assert to_numbers(pa.array([right]))[0] > 0
