"""The replay of recorded learning curves: what it counts, and that it tells good searches from bad ones."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "replay"


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return __import__("simulate")


@pytest.fixture
def table(simulate: ModuleType) -> object:
    """Thirty configurations whose score grows with the learning rate's closeness to twice the default's."""
    rng = np.random.default_rng(0)
    default = {
        "learning_rate": 2e-4, "num_train_epochs": 5, "batch_size": 32, "weight_decay": 0.01, "warmup_share": 0.1,
        "dropout": 0.1, "layer_decay": 1.0, "frozen_share": 0.0, "label_smoothing": 0.0, "head": "mean",
        "class_weights": "none", "augmentation": "none",
    }  # fmt: skip
    rates = [2e-4, 2e-4 / 3, 2e-4 * 3.0, *(2e-4 * 5 ** rng.uniform(-1, 1, 27))]
    rows = []
    for number, rate in enumerate(rates):
        quality = 0.9 - 0.1 * abs(np.log(rate / 4e-4))
        for run, at in [(1 / 27, 1 / 27), (1 / 9, 1 / 9), (1 / 3, 1 / 3), *((1.0, f) for f in simulate.RUNGS)]:
            score = quality * (0.5 + at / 2)
            row = {"config_id": number, "seed": 0, "run_fidelity": run, "fidelity": at, "validation": score}
            config = simulate.json.dumps(default | {"learning_rate": float(rate)})
            test = quality if run == at == 1 else None
            rows.append(row | {"config": config, "loss": 1 - score, "calibrated": 1 - score, "test": test})
    return __import__("tables").make("made", rows)


def test_strategies_keep_to_their_budgets_and_better_rungs_find_the_best(simulate: ModuleType, table: object) -> None:
    budgets = (3.0, 5.4)
    for name in (*simulate.BASELINES, *simulate.RACES):
        for budget, outcome in simulate.run(table, name, 2, budgets).items():
            assert outcome["spent"].max() <= budget + 1e-6, name
            assert (outcome["test"] <= table.test.max()).all()  # type: ignore[attr-defined]
    # Rungs that rank perfectly find what full runs alone cannot afford to look at.
    raced = simulate.run(table, "race", 20, budgets)[5.4]["test"].mean()
    assert raced > simulate.run(table, "full_runs", 20, budgets)[5.4]["test"].mean()


def test_what_is_guarded_ships_the_default_unless_the_best_is_clearly_better(simulate: ModuleType) -> None:
    from strategies import Seen  # type: ignore[import-not-found]

    assert Seen(full={0: 0.80, 1: 0.81}).guarded() == 0
    assert Seen(full={0: 0.80, 1: 0.81}).best() == 1
    assert Seen(full={0: 0.80, 1: 0.85}).guarded() == 1
    assert Seen(full={1: 0.85}).guarded() is None


def test_the_sampler_proposes_what_was_recorded_once_each(simulate: ModuleType, table: object) -> None:
    from proposers import SnappedSampler  # type: ignore[import-not-found]

    sampler = SnappedSampler(
        table, simulate.Neighbours(table.configs), sampler="tpe", seed=0, random_share=0.0, first=[0, 1, 2]
    )
    found = []
    while (proposal := sampler.ask()) is not None:
        found.append(sampler.position(proposal.number))
        assert proposal.config == table.configs[found[-1]]  # type: ignore[attr-defined]
        sampler.tell(proposal.number, score=float(len(found)), fidelity=1.0, state="complete")
    assert found[:3] == [0, 1, 2]
    assert sorted(found) == list(range(30))


def test_the_recorded_tables_hold_what_a_search_opens_with(simulate: ModuleType) -> None:
    for recorded in simulate.load(FOLDER):
        opening = recorded.opening(rates=True, fresh=simulate.Setting().fresh)
        default, lower, higher = (recorded.configs[position] for position in opening)
        assert lower["learning_rate"] < default["learning_rate"] < higher["learning_rate"]
