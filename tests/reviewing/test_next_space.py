"""The next space as a sweep of W&B's: one that W&B takes, whatever fields are called and hold."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import yaml
from made import sweep

from autosft.reviewing.claim import Review
from autosft.reviewing.claims import review
from autosft.reviewing.sweep import SweepTrial

Drawn = Callable[[random.Random], tuple[dict[str, Any], float]]


def reviewed(drawn: Drawn, number: int = 60) -> Review:
    draw = random.Random(0)
    rows = [drawn(draw) for _ in range(number)]
    return review(sweep([SweepTrial(str(at), config, score) for at, (config, score) in enumerate(rows)]))


def parameters(found: Review) -> dict[str, Any]:
    assert found.next_space is not None, str(found)
    made: dict[str, Any] = yaml.safe_load(found.next_space)["parameters"]
    return made


@pytest.mark.parametrize("names", [("optimizer", "optimizer.momentum"), ("optimizer.momentum", "optimizer")])
def test_a_field_beside_one_that_is_nested_in_its_name_keeps_its_own(names: tuple[str, str]) -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        config = {"optimizer": draw.choice(["sgd", "lion"]), "optimizer.momentum": draw.random()}
        return {**{name: config[name] for name in names}, "model.width": draw.random()}, draw.random()

    found = parameters(reviewed(drawn, 20))
    assert found.keys() == {"optimizer", "optimizer.momentum", "model"}
    assert found["optimizer"] == {"values": ["lion", "sgd"]}
    assert found["model"]["parameters"].keys() == {"width"}


def test_what_cannot_be_written_as_a_next_space_costs_no_claim() -> None:
    # The next range above these is larger than any float.
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        width = int(10 ** draw.uniform(300, 308))
        return {"width": width}, math.log10(width) / 308

    found = reviewed(drawn)
    assert found.topic("importance")[0].numbers["width"][1] > 0.5
    assert found.next_space is None and found.topic("next")[0].level == "unknown"
    assert "could not be written" in found.topic("next")[0].sentence


def test_a_whole_number_on_a_logarithmic_scale_ends_at_one() -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        warmup = int(10 ** draw.uniform(0, 3))
        return {"warmup": warmup, "rate": draw.random()}, 0.9 - 0.1 * math.log10(warmup) + draw.gauss(0, 0.005)

    found = reviewed(drawn, 80)
    row = parameters(found)["warmup"]
    assert row["distribution"] == "q_log_uniform_values" and row["min"] == 1
    assert "cannot be widened" in found.topic("edges")[0].sentence
    assert "widened" not in found.topic("next")[0].sentence


def test_a_few_whole_numbers_are_not_widened_to_zero_on_a_logarithmic_scale() -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        cost = draw.choice([1, 1, 1, 10, 100])
        return {"cost": cost, "rate": draw.random()}, 0.9 - 0.1 * math.log10(cost) + draw.gauss(0, 0.005)

    row = parameters(reviewed(drawn, 80))["cost"]
    assert row["distribution"] == "q_log_uniform_values" and row["min"] == 1


def test_a_dead_field_that_the_best_trial_does_not_have_is_left_out() -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        rate, optimizer = 10 ** draw.uniform(-5, -1), draw.choice(["adam", "sgd"])
        config = {"rate": rate, "optimizer": optimizer} | ({"momentum": draw.random()} if optimizer == "sgd" else {})
        return config, 0.1 * math.log10(rate) + 0.05 * (optimizer == "adam") + draw.gauss(0, 0.0005)

    found = reviewed(drawn, 120)
    assert parameters(found).keys() == {"rate", "optimizer"}
    assert "left out: momentum" in found.topic("next")[0].sentence


def test_choices_that_are_all_ruled_out_are_left_out() -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        kind = draw.choice(["nesterov", None])
        return {"rate": draw.random(), "kind": kind}, (kind is None) + draw.gauss(0, 0.1)

    assert parameters(reviewed(drawn)).keys() == {"rate"}


@pytest.mark.parametrize("name", ["x\ny", "x\u2028y", "a: b #c", "a, b", "[a", "", "1", "x\x07y"])
def test_the_next_space_is_yaml_whatever_a_field_is_called(name: str) -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        return {name: draw.random()}, draw.random()

    assert parameters(reviewed(drawn)).keys() == {name}


@pytest.mark.parametrize("value", ["x\ny", "a, b", "}", "x\x07y", "64_32", "yes"])
def test_the_next_space_is_yaml_whatever_a_field_holds(value: str) -> None:
    # Once it is all that is left, once a comment says that it was ruled out.
    for best, worse in ((value, "other"), ("other", value)):

        def drawn(draw: random.Random, best: str = best, worse: str = worse) -> tuple[dict[str, Any], float]:
            chosen = draw.choice([best, worse])
            return {"kind": chosen, "rate": draw.random()}, (chosen == best) + draw.gauss(0, 0.1)

        found = reviewed(drawn)
        assert parameters(found)["kind"] == {"value": best}
        assert "dropped: none of its" in (found.next_space or "")


@pytest.mark.parametrize("name", ["x\ny", "a, b", "}", "val/acc"])
def test_the_next_space_is_yaml_whatever_its_metric_is_called(name: str) -> None:
    draw = random.Random(0)
    rows = [SweepTrial(str(at), {"rate": draw.random()}, draw.random()) for at in range(40)]
    found = review(sweep(rows, metric=name)).next_space
    assert found is not None and yaml.safe_load(found)["metric"] == {"name": name, "goal": "maximize"}


def test_a_value_that_yaml_has_no_word_for_is_written_as_text() -> None:
    def drawn(draw: random.Random) -> tuple[dict[str, Any], float]:
        return {"share": draw.choice([Decimal("0.5"), Decimal("0.25")]), "rate": draw.random()}, draw.random()

    assert parameters(reviewed(drawn))["share"] == {"values": ["0.25", "0.5"]}
