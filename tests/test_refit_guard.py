"""The refit's guard: a refit that labels held-out rows as the search's model would not is not shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import autosft
from autosft.arrays import from_matrix, save_array, to_matrix
from autosft.calibration import tempered
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.proof import Candidate, Proof, prove
from autosft.refit import distrust, reason_against
from autosft.search.job import Ended
from autosft.search.trial import OUTPUTS_FILE, Trial
from autosft.search.workbench import Workbench
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

NUM_LABELS, NUM_TEST_ROWS = len(LABELS), 120


def sure(labels: NDArray[np.int64], share: float) -> pa.Array:
    """Outputs that give each row's label this probability, and the others what is left."""
    values = np.full((len(labels), NUM_LABELS), (1 - share) / (NUM_LABELS - 1), np.float32)
    values[np.arange(len(labels)), labels] = share
    return from_matrix(values)


def moved(labels: NDArray[np.int64], share: float, seed: int = 0) -> NDArray[np.int64]:
    """Returns the labels with exactly this share of them another one."""
    found, chosen = labels.copy(), np.random.default_rng(seed).permutation(len(labels))[: round(share * len(labels))]
    found[chosen] = (found[chosen] + 1) % NUM_LABELS
    return found


@pytest.mark.parametrize(("share", "is_trusted"), [(0.0, True), (0.1, True), (0.18, True), (0.3, False), (1.0, False)])
def test_a_refit_may_differ_as_often_as_two_draws_of_the_model_would(share: float, is_trusted: bool) -> None:
    labels = np.random.default_rng(0).integers(NUM_LABELS, size=1_000)
    # Two draws from probabilities of 0.9 and the rest differ on 0.185 of the rows, give or take 0.012.
    reason = distrust(sure(moved(labels, share), 0.99), sure(labels, 0.9), accuracy=0.95)
    assert (reason is None) == is_trusted
    if reason is not None:
        assert f"{share:.1%}" in reason and "18." in reason and "1,000 rows" in reason
        assert "the model of the search is shipped" in reason


def test_labels_drawn_from_the_models_own_probabilities_are_trusted() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        outputs = random.dirichlet(np.full(NUM_LABELS, 0.3), size=300)
        drawn = (np.log(outputs + 1e-9) + random.gumbel(size=outputs.shape)).argmax(axis=1)
        assert distrust(sure(drawn, 0.9), from_matrix(outputs.astype(np.float32)), accuracy=1.0) is None


@pytest.mark.parametrize(
    ("num_rows", "num_moved", "is_trusted"), [(0, 0, True), (10, 2, True), (300, 18, True), (300, 30, False)]
)
def test_a_model_that_was_right_on_few_rows_may_be_surer_than_it_should(
    num_rows: int, num_moved: int, is_trusted: bool
) -> None:
    labels = np.zeros(num_rows, np.int64)
    # Right on all of 60 validation rows; of a sure model's rows a sound refit may label 2/62 otherwise, and 0.03 more.
    refitted = sure(moved(labels, num_moved / max(1, num_rows)), 0.9)
    assert (distrust(refitted, sure(labels, 1.0), accuracy=61 / 62) is None) == is_trusted


class Predicting:
    """A runner whose only job predicts, with outputs by the model's name."""

    def __init__(self, **outputs: pa.Array) -> None:
        self.outputs = outputs

    def run(self, function: str, arguments: dict[str, Any], **job: Any) -> Ended:
        assert function.endswith(":predict")
        found = {name: self.outputs[name] for name in arguments["models"]}
        return Ended("", "complete", (np.arange(NUM_TEST_ROWS), found))


@pytest.fixture(scope="module")
def make_plan(tiny_model: Path) -> Callable[[int], Plan]:
    def rows(num: int, seed: int) -> list[dict[str, str]]:
        texts, targets = tiny_texts(num, seed=seed)
        return [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]

    def make(num_rows: int) -> Plan:
        options: dict[str, Any] = {"trainer": "frozen_head", "models": str(tiny_model), "timing": False}
        return autosft.plan(
            "sort messages", rows(num_rows, 0), test=rows(NUM_TEST_ROWS, 1), tracker=Tracker(), **options
        )

    return make


@pytest.mark.parametrize(("seconds_left", "is_made"), [(1.0, False), (30.0, True)])
def test_a_refit_needs_no_time_for_features_that_are_kept(
    make_plan: Callable[[int], Plan], seconds_left: float, is_made: bool
) -> None:
    plan = make_plan(100)
    seconds = {"total": 45.0, "features": 40.0}
    winner = Trial(0, plan.arms[0].name, {}, 1.0, 0, 0, True, "complete", 0.5, seconds=seconds)
    reason = reason_against(plan, winner, seconds_left=seconds_left, interrupt=Interrupt())
    assert (reason is None) == is_made
    assert is_made or "takes 5 s" in str(reason)


def proven(plan: Plan, folder: Path, *, refitted: pa.Array, won: pa.Array, temperature: float = 1.0) -> Proof:
    arm = plan.arms[0]
    winner = Trial(1, arm.name, dict(arm.default), 1.0, 0, 0, False, "complete", 0.5, seconds={"total": 0.1})
    trials = (replace(winner, number=0, is_default=True), winner)
    folders = {trial.number: folder / str(trial.number) for trial in trials}
    validation = plan.data.training(0)[1]
    assert validation is not None
    for place in folders.values():
        place.mkdir(parents=True)
        # Right on nine of ten, and as sure as that.
        labels = moved(np.array(validation.targets()), 0.1)
        save_array(sure(labels, 0.9), place / OUTPUTS_FILE)
    runner: Any = Predicting(shipped=refitted, winner=won, default=won)
    bench = Workbench(plan, runner, folder / "cache", Interrupt(), {})
    default, candidate = (Candidate(trial, plan.task, {0: folders[trial.number]}) for trial in trials)
    return prove(
        bench, candidate, default, folder / "folds",
        shipped_model=folder / "refit" / "model", temperature=temperature, seconds_left=None,
    )  # fmt: skip


def held_out(plan: Plan) -> NDArray[np.int64]:
    found = plan.data.held_out()
    assert found is not None
    return np.array(found[1].targets())


def test_the_model_whose_score_is_told_is_the_one_that_is_shipped(
    make_plan: Callable[[int], Plan], tmp_path: Path
) -> None:
    plan = make_plan(400)
    targets = held_out(plan)
    won, spoiled = sure(moved(targets, 0.1), 0.9), sure(moved(targets, 0.6, seed=1), 0.9)
    bad = proven(plan, tmp_path / "bad", refitted=spoiled, won=won)
    assert bad.against_refit is not None and "120 rows" in bad.against_refit
    assert bad.scores["accuracy"] == pytest.approx(0.9)
    good = proven(plan, tmp_path / "good", refitted=sure(moved(targets, 0.05, seed=1), 0.9), won=won)
    assert good.against_refit is None
    assert good.scores["accuracy"] == pytest.approx(0.95)
    # A better refit is not trusted either where it has nothing to do with the winner: the targets are not looked at.
    better = proven(plan, tmp_path / "better", refitted=sure(targets, 0.9), won=sure(moved(targets, 0.6), 0.9))
    assert better.against_refit is not None
    assert better.scores["accuracy"] == pytest.approx(0.4)


def test_the_temperature_is_in_the_shipped_models_score_and_not_in_the_gain(
    make_plan: Callable[[int], Plan], tmp_path: Path
) -> None:
    plan = make_plan(400)
    won = sure(moved(held_out(plan), 0.1), 0.99)
    plain, warm = (proven(plan, tmp_path / str(at), refitted=won, won=won, temperature=at) for at in (1.0, 2.0))
    assert warm.scores["log_loss"] < 0.9 * plain.scores["log_loss"]
    assert warm.scores["accuracy"] == plain.scores["accuracy"]
    assert (warm.gain, warm.default) == (plain.gain, plain.default)
    labels = to_matrix(tempered(won, 2.0)).argmax(axis=1)
    assert (labels == to_matrix(won).argmax(axis=1)).all()


def test_without_enough_validation_rows_nobody_knows_how_sure_it_may_be(
    make_plan: Callable[[int], Plan], tmp_path: Path
) -> None:
    plan = make_plan(60)
    targets = held_out(plan)
    spoiled = sure(moved(targets, 0.6), 0.9)
    found = proven(plan, tmp_path, refitted=spoiled, won=sure(targets, 0.9))
    assert found.against_refit is None and found.scores["accuracy"] == pytest.approx(0.4)
