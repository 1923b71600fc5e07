"""Which fields mattered: what is known to matter is found, and what is noise is not called important."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autosft.reviewing.importance import Importance, importances


def drawn(number: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "learning_rate": float(10 ** random.uniform(-5, -2)),
            "batch_size": int(random.choice([16, 32, 64])),
            "head": str(random.choice(["mean", "cls", "max"])),
            "dropout": float(random.uniform(0, 0.3)),
            "flag": bool(random.integers(2)),
            "never": 3,
        }
        for _ in range(number)
    ]


def scored(configs: list[dict[str, Any]], seed: int = 0, noise: float = 0.3) -> list[float]:
    random = np.random.default_rng(seed + 99)
    return [-((math.log10(row["learning_rate"]) + 3.5) ** 2) + float(random.normal()) * noise for row in configs]


def by_field(found: list[Importance]) -> dict[str, Importance]:
    return {row.field: row for row in found}


def test_the_field_that_decides_comes_first_and_is_told_from_noise() -> None:
    configs = drawn(40)
    found = importances(configs, scored(configs))
    assert found[0].field == "learning_rate"
    assert found[0].share > 0.4
    assert 0 < found[0].low <= found[0].share <= found[0].high <= 1
    assert found[0].num_trials == 40
    assert "never" not in by_field(found)


def test_of_many_fields_that_do_nothing_hardly_one_is_called_important() -> None:
    false = 0
    for seed in range(4):
        random = np.random.default_rng(1000 + seed)
        found = importances(drawn(30, seed), [float(random.normal()) for _ in range(30)], seed=seed)
        assert len(found) == 5
        false += sum(row.low > 0 for row in found)
    # Of twenty fields: one error in twenty sweeps of five is what the correction allows.
    assert false <= 1


def test_a_choice_that_decides_is_found_among_mixed_and_missing_values() -> None:
    configs = drawn(40)
    for at, row in enumerate(configs):
        row["odd"] = [None, "x", 3, [1, 2], {"a": 1}][at % 5]
    scores = [float(row["head"] == "mean") + 0.01 * at for at, row in enumerate(configs)]
    assert importances(configs, scores)[0].field == "head"


def test_one_that_diverged_does_not_decide() -> None:
    configs = drawn(40)
    scores = scored(configs)
    worst = configs.index(max(configs, key=lambda row: row["dropout"]))
    scores[worst] = -1e30
    assert importances(configs, scores)[0].field == "learning_rate"


def test_numbers_written_as_text_are_numbers() -> None:
    configs = drawn(40)
    plain = by_field(importances(configs, scored(configs)))
    # What is drawn at random in it goes by the seed alone.
    texts = [{**row, "learning_rate": f"{row['learning_rate']:.6e}"} for row in configs]
    assert by_field(importances(texts, scored(configs)))["learning_rate"].share == pytest.approx(
        plain["learning_rate"].share, abs=1e-4
    )


@pytest.mark.parametrize("scores", [[0.5] * 20, [math.nan] * 20, [0.1, *[math.nan] * 19]])
def test_without_scores_that_differ_nothing_is_said(scores: list[float]) -> None:
    assert importances(drawn(20), scores) == []


def test_seven_trials_are_too_few() -> None:
    configs = drawn(8)
    assert importances(configs[:7], scored(configs)[:7]) == []
    assert importances(configs, scored(configs)) != []
