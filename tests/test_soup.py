"""The soup: what is averaged, when, and when the mean is not trusted. Jobs run here; everything else is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autosft
from autosft import soup as soups
from autosft.arrays import largest_difference
from autosft.errors import BaseModelError
from autosft.interrupt import Interrupt
from autosft.planning.plan import Arm, Plan
from autosft.planning.refits import averaging_rows, averaging_seconds
from autosft.refit import Refit, refit
from autosft.search import job
from autosft.search.job import Ended, Job, execute
from autosft.search.trial import Trial
from autosft.search.work import average
from autosft.search.workbench import Workbench
from autosft.soup import soup
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost
from autosft.trainers.encoder import EncoderModel

CHANGED = {"learning_rate": 5e-3, "num_train_epochs": 2, "batch_size": 16, "dropout": 0.1}


class Here:
    """A runner that does its jobs in this process."""

    def __init__(self, spoil: Callable[[str, int], Ended | None] = lambda function, number: None) -> None:
        self.jobs: list[tuple[str, Mapping[str, Any], dict[str, Any]]] = []
        self._spoil = spoil

    def run(self, function: str, arguments: Mapping[str, Any], **others: Any) -> Ended:
        self.jobs.append((function.rpartition(":")[2], arguments, others))
        spoilt = self._spoil(self.jobs[-1][0], len(self.jobs))
        sent: list[Any] = [spoilt]
        if spoilt is None:
            execute(Job("job", function, arguments), sent.append)
        ended: Ended = sent[-1]
        return ended

    @property
    def done(self) -> list[str]:
        return [name for name, _, _ in self.jobs]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_prepare", lambda job: None)


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    texts, targets = tiny_texts(60)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    options = {"trainer": "transformers", "models": str(tiny_model), "budget": "2 trials", "timing": False}
    return autosft.plan("Route each message", rows, tracker=Tracker(), **options)


def trial(plan: Plan, **changed: Any) -> Trial:
    arm = plan.arms[0]
    return Trial(0, arm.name, {**arm.default, **CHANGED, **changed}, 1.0, 0, 7, True, "complete", 0.9)


def cooked(
    plan: Plan,
    folder: Path,
    winner: Trial,
    runner: Here,
    *,
    seconds_left: float | None = 1000.0,
    interrupt: Interrupt | None = None,
) -> tuple[Refit, Refit]:
    given: Any = runner
    bench = Workbench(plan, given, folder / "cache", Interrupt(), {})
    first = refit(bench, winner, folder / "refit", seconds_left=1000.0)
    bench = replace(bench, interrupt=interrupt or bench.interrupt)
    return first, soup(bench, winner, first, folder / "refit" / "again", seconds_left=seconds_left)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return EncoderModel.load(folder).network.state_dict()


def test_refits_of_other_seeds_are_averaged(plan: Plan, tmp_path: Path) -> None:
    runner = Here()
    first, mean = cooked(plan, tmp_path, trial(plan), runner)
    assert runner.done == ["train", "train", "train", "average"]
    trained = [arguments for name, arguments, _ in runner.jobs if name == "train"]
    assert len({arguments["seed"] for arguments in trained}) == 3
    assert [arguments["fold"] for arguments in trained] == [None] * 3
    assert all(arguments["config"] == trained[0]["config"] for arguments in trained)
    needed = 16 * plan.arms[0].base_model.num_parameters
    assert [job["memory_bytes"] for _, _, job in runner.jobs] == [needed] * 4, "each runs only where it fits"
    assert mean.num_trainings == 3 and first.num_trainings == 1
    assert mean.model is not None and first.model is not None
    members = [weights(arguments["scratch"] / "model") for arguments in trained]
    assert len({member["linear.weight"].sum().item() for member in members}) == 3
    for name, value in weights(mean.model).items():
        torch.testing.assert_close(value, torch.stack([member[name] for member in members]).mean(dim=0))
    assert mean.reload_difference is not None and mean.reload_difference < 1e-5
    assert mean.reason == f"{first.reason}, as the average of 3 trainings that differ by their seed"


def stopped() -> Interrupt:
    interrupt = Interrupt()
    interrupt.requested = True
    return interrupt


@pytest.mark.parametrize(
    "changed",
    [{"seconds_left": None}, {"seconds_left": 0.5}, {"interrupt": stopped()}],
    ids=["no limit", "no time", "Ctrl-C"],
)
def test_without_time_for_another_one_the_refit_stays_alone(plan: Plan, tmp_path: Path, changed: Any) -> None:
    runner = Here()
    first, mean = cooked(plan, tmp_path, trial(plan), runner, **changed)
    assert mean == first and runner.done == ["train"]


def test_what_starts_from_other_weights_with_every_seed_is_not_averaged(plan: Plan, tmp_path: Path) -> None:
    runner = Here()
    first, mean = cooked(plan, tmp_path, trial(plan, head="mean"), runner)
    assert mean == first and runner.done == ["train"]


def test_a_soup_that_was_switched_off_is_not_cooked_in_time_that_is_left(plan: Plan, tmp_path: Path) -> None:
    runner = Here()
    without = replace(plan, budget=replace(plan.budget, soup=False))
    first, mean = cooked(without, tmp_path, trial(plan), runner)
    assert mean == first and runner.done == ["train"]


def test_time_decides_how_many_there_are(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(soups.time, "monotonic", lambda: clock[0])
    taken = replace(Refit(tmp_path / "refit" / "model", "retrained"), seconds=100.0)
    limits: list[float] = []

    def retrain(*given: Any, seconds_left: float) -> Ended:
        clock[0] += 100.0
        limits.append(seconds_left)
        return Ended("", "complete", {"reload_difference": 0.0})

    monkeypatch.setattr(soups, "retrain", retrain)
    runner: Any = Here(lambda function, number: Ended("", "complete", 1e-7))
    bench = Workbench(plan, runner, tmp_path, Interrupt(), {})
    again, ample, scarce = tmp_path / "again", 400.0, 120.0
    assert soup(bench, trial(plan), taken, again, seconds_left=ample).num_trainings == 3
    mean = averaging_seconds(plan.arms[0])
    assert limits == pytest.approx([(ample - mean) / 2, ample - mean - 100]), "as long as they take"
    clock[0], limits[:] = 0.0, []
    assert soup(bench, trial(plan), taken, again, seconds_left=scarce).num_trainings == 2
    assert limits == pytest.approx([scarce - mean]), "half of it would be too short for each of two"
    clock[0] = 0.0
    assert soup(bench, trial(plan), taken, again, seconds_left=70.0) is taken


def test_two_shorter_trainings_come_before_a_whole_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(soups.time, "monotonic", lambda: clock[0])
    limits: list[float] = []

    def retrain(*given: Any, seconds_left: float) -> Ended:
        clock[0] += min(100.0, seconds_left)
        limits.append(seconds_left)
        return Ended("", "complete", {"reload_difference": 0.0})

    monkeypatch.setattr(soups, "retrain", retrain)
    runner: Any = Here(lambda function, number: Ended("", "complete", 1e-7))
    bench = Workbench(plan, runner, tmp_path, Interrupt(), {})
    taken = replace(Refit(tmp_path / "refit" / "model", "retrained"), seconds=100.0)
    found = soup(bench, trial(plan), taken, tmp_path / "again", seconds_left=150.0 + averaging_seconds(plan.arms[0]))
    assert found.num_trainings == 3 and limits == pytest.approx([75.0, 75.0])


def test_of_a_slow_model_fewer_rows_judge_the_mean_and_more_time_is_left_for_it(plan: Plan) -> None:
    def at(rows_per_second: float) -> Arm:
        return replace(plan.arms[0], cost=Cost(1.0, 100.0, rows_per_second, None, 32, 0.0))

    assert [averaging_rows(at(rate)) for rate in (1000.0, 100.0, 5.0)] == [500, 300, 50]
    for rate in (1000.0, 100.0, 5.0):
        assert averaging_seconds(at(rate)) >= 4 * averaging_rows(at(rate)) / rate + 5.0


def test_a_training_that_fails_leaves_the_mean_of_the_others(plan: Plan, tmp_path: Path) -> None:
    runner = Here(lambda function, number: Ended("", "failed", message="NaN") if number == 3 else None)
    _, mean = cooked(plan, tmp_path, trial(plan), runner)
    assert mean.num_trainings == 2 and runner.done == ["train", "train", "train", "average"]
    runner = Here(lambda function, number: Ended("", "failed", message="NaN") if number == 2 else None)
    first, mean = cooked(plan, tmp_path, trial(plan), runner)
    assert mean == first


def test_what_the_user_can_mend_is_raised(plan: Plan, tmp_path: Path) -> None:
    damaged = BaseModelError("the weights are damaged")
    runner = Here(lambda function, number: Ended("", "fatal", damaged) if number == 2 else None)
    with pytest.raises(BaseModelError, match="damaged"):
        cooked(plan, tmp_path, trial(plan), runner)


def two_models(plan: Plan, folder: Path) -> tuple[dict[str, tuple[str, str]], Any]:
    first, _ = cooked(plan, folder, trial(plan), Here(), seconds_left=None)
    model = str(first.model)
    return {"0": ("transformers", model), "1": ("transformers", model)}, plan.data.training(None)[0]


def reordered(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the same function with the features that layers hand on in another order."""
    size = state["linear.weight"].shape[1]
    order = torch.from_numpy(np.random.default_rng(0).permutation(size))
    reads = ("query.weight", "key.weight", "value.weight", "intermediate.dense.weight", "linear.weight")
    found = {}
    for name, value in state.items():
        if (name.startswith("encoder.embeddings") and value.dim() == 2) or name.endswith(reads):
            found[name] = value[:, order]
        elif "LayerNorm" in name or ("output.dense" in name and "pooler" not in name):
            found[name] = value[order]
        else:
            found[name] = value
    return found


def test_a_mean_that_does_worse_on_what_all_trained_on_is_not_shipped(plan: Plan, tmp_path: Path) -> None:
    models, rows = two_models(plan, tmp_path)
    model, table = EncoderModel.load(Path(models["0"][1])), rows.table()
    before = model.predict(table)
    model.network.load_state_dict(reordered(model.network.state_dict()))
    assert largest_difference(model.predict(table), before) < 1e-5, "each of the two is as good as the other"
    (tmp_path / "far").mkdir()
    replace(model, frozen_folder=None).save(tmp_path / "far")
    models["1"] = ("transformers", str(tmp_path / "far"))
    assert average(_silent, task=plan.task, models=models, rows=rows, scratch=tmp_path / "mean") is None
    assert not (tmp_path / "mean").exists()


def test_the_mean_of_a_model_with_itself_is_that_model(plan: Plan, tmp_path: Path) -> None:
    models, rows = two_models(plan, tmp_path)
    found = average(_silent, task=plan.task, models=models, rows=rows, scratch=tmp_path / "mean")
    assert found is not None and found < 1e-5
    one, other = (EncoderModel.load(Path(folder)) for folder in (models["0"][1], tmp_path / "mean" / "model"))
    assert largest_difference(one.predict(rows.table()), other.predict(rows.table())) < 1e-5


def _silent(*given: Any, **more: Any) -> None:
    pass
