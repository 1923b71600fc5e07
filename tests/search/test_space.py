from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest

from autosft.errors import PlanError
from autosft.search.space import FunctionSpace, SearchSpace
from autosft.search.space_file import load_space, read_space, space_from_json

DEFAULTS = {"learning_rate": 1e-4, "head": "mean", "class_weights": "none"}
HEADER = "format: 1\nname: mine\ntrainer: transformers\ninput: text\noutput: label\nparameters:\n"


@dataclass(frozen=True)
class Config:
    learning_rate: float = 1e-4
    head: Literal["mean", "architecture"] = "mean"
    class_weights: str = "none"


def space(folder: Path, parameters: str) -> SearchSpace:
    path = folder / "mine.yaml"
    path.write_text(HEADER + "".join(f"  {line}\n" for line in parameters.splitlines()))
    return read_space(path)


def draws(found: Any, *, count: int = 50, facts: dict[str, bool] | None = None, defaults: Any = DEFAULTS) -> list[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [found.suggest(study.ask(), prefix="a", defaults=defaults, facts=facts or {}) for _ in range(count)]


def user_space(trial: Any) -> dict[str, object]:
    head = trial.suggest_categorical("head", ["mean", "architecture"])
    return {"head": head, "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)}


def misspelt_space(trial: Any) -> dict[str, object]:
    return {"learning_rte": trial.suggest_float("learning_rte", 1e-5, 1e-3)}


def listing_space(trial: Any) -> Any:
    return [trial.suggest_float("learning_rate", 1e-5, 1e-3)]


@pytest.mark.parametrize("trainer", ["transformers", "frozen_head"])
def test_shipped_spaces_load_and_survive_json(trainer: str) -> None:
    shipped = load_space(trainer, "text", "label")
    row = json.loads(json.dumps(shipped.to_json(), sort_keys=True))
    assert space_from_json(row) == shipped
    assert "num_train_epochs" not in [parameter.name for parameter in shipped.parameters]


@pytest.mark.parametrize(
    ("output", "fact", "field"),
    [
        ("label", "imbalanced", "class_weights"),
        ("label", "few_rows_per_class", "augmentation"),
        ("number", "few_rows", "augmentation"),
    ],
)
def test_shipped_space_opens_a_field_only_under_its_fact(output: str, fact: str, field: str) -> None:
    shipped = load_space("transformers", "text", output)
    assert all(field not in config for config in draws(shipped))
    assert all(field in config for config in draws(shipped, facts={fact: True}))
    assert field not in [parameter.name for parameter in shipped.restrict({}).parameters]


def test_unshipped_space_names_the_nearest() -> None:
    with pytest.raises(PlanError, match="did you mean 'frozen_head/text-label'"):
        load_space("frozen_heads", "text", "label")


@pytest.mark.parametrize("default", [1e-5, 3e-3])
def test_relative_range_follows_the_default(tmp_path: Path, default: float) -> None:
    relative = space(tmp_path, "learning_rate: {type: float, low: 0.5, high: 2, log: true, scale: default}")
    values = [config["learning_rate"] for config in draws(relative, defaults={"learning_rate": default})]
    assert default / 2 <= min(values) < default < max(values) <= default * 2


@pytest.mark.parametrize("default", [None, 0.0, "auto", True])
def test_relative_range_needs_a_positive_default(tmp_path: Path, default: object) -> None:
    relative = space(tmp_path, "learning_rate: {type: float, low: 0.5, high: 2, scale: default}")
    with pytest.raises(PlanError, match=r"mine.yaml, line 7.*learning_rate"):
        draws(relative, defaults={"learning_rate": default})


def test_types_steps_and_numbers_in_scientific_notation(tmp_path: Path) -> None:
    mixed = space(
        tmp_path,
        "a: {type: int, low: 2, high: 8, step: 3}\nb: {type: float, low: 1e-4, high: 1e-3, log: true}\n"
        "c: {type: choice, values: [true, false]}\nd: {type: float, low: 0, high: 1, step: 0.5}",
    )
    found = draws(mixed)
    assert {config["a"] for config in found} == {2, 5, 8}
    assert all(1e-4 <= config["b"] <= 1e-3 for config in found)
    assert {config["c"] for config in found} == {True, False}
    assert {config["d"] for config in found} == {0.0, 0.5, 1.0}


def test_conditional_parameter_is_absent_where_its_condition_does_not_hold(tmp_path: Path) -> None:
    tree = space(
        tmp_path,
        "head: {type: choice, values: [mean, architecture]}\n"
        "kind: {type: choice, values: [x, y], when: {head: [mean]}}\n"
        "rate: {type: float, low: 0, high: 1, when: {kind: [x]}}",
    )
    found = draws(tree)
    assert all(("kind" in config) == (config["head"] == "mean") for config in found)
    assert all(("rate" in config) == (config.get("kind") == "x") for config in found)
    assert {len(config) for config in found} == {1, 2, 3}


def test_restricting_closes_what_depends_on_a_closed_parameter(tmp_path: Path) -> None:
    tree = space(
        tmp_path,
        "class_weights: {type: choice, values: [none, balanced], only_if: imbalanced}\n"
        "power: {type: float, low: 0, high: 1, when: {class_weights: [balanced]}}",
    )
    assert tree.restrict({"imbalanced": False}).parameters == ()
    restricted = tree.restrict({"imbalanced": True})
    assert draws(restricted) == draws(tree, facts={"imbalanced": True})
    assert space_from_json(restricted.to_json()) == restricted


def test_a_pinned_parameter_is_gone_and_opens_and_closes_what_depends_on_it(tmp_path: Path) -> None:
    tree = space(
        tmp_path,
        "head: {type: choice, values: [mean, architecture]}\n"
        "kind: {type: choice, values: [x, y], when: {head: [mean]}}\n"
        "rate: {type: float, low: 0, high: 1, when: {kind: [x]}}\n"
        "depth: {type: int, low: 1, high: 9, when: {head: [architecture]}}",
    )
    assert {tuple(sorted(config)) for config in draws(tree.pinned({"head": "mean"}))} == {("kind", "rate"), ("kind",)}
    assert {tuple(config) for config in draws(tree.pinned({"head": "architecture"}))} == {("depth",)}
    assert tree.pinned({}) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {type: flaot, low: 0, high: 1}", r"line 7.*did you mean 'float'"),
        ("a: {type: float, lo: 0, high: 1}", r"line 7.*'lo'.*did you mean 'low'"),
        ("a: {type: float, low: 2, high: 1}", r"line 7.*low is 2.0 and high is 1.0"),
        ("a: {type: float, low: 0, high: 1, log: true}", r"line 7.*logarithmic"),
        ("a: {type: float, high: 1}", "'low' of 'a' is missing"),
        ("a: {type: float, low: many, high: 1}", "'many'"),
        ("a: {type: float, low: .nan, high: 1}", "nan"),
        ("a: {type: float, low: 0, high: 1, scale: defaults}", "scale: default"),
        ("a: {type: float, low: 1, high: 2, log: 'yes'}", "true or false"),
        ("a: {type: float, low: 1, high: 2, step: 0}", "step"),
        ("a: {type: int, low: 0.5, high: 2}", "whole number"),
        ("a: {type: choice, values: 3}", "list"),
        ("a: {type: choice, values: [1, true]}", "twice"),
        ("a: {type: choice, low: 3}", "unknown key 'low'"),
        ("a: 3", "line 7.*mapping"),
        ("a: {type: [x]}", "type"),
        ("a: {type: choice, values: [1]}\na: {type: choice, values: [2]}", r"line 8: 'a' is already given on line 7"),
        ("a: {type: float, low: 0, high: 1, only_if: imbalance}", "did you mean 'imbalanced'"),
        ("head: {type: choice, values: [x]}\nb: {type: choice, values: [1], when: {haed: [x]}}", "line 8.*'head'"),
        ("b: {type: choice, values: [1], when: {head: [x]}}\nhead: {type: choice, values: [x]}", "line 7.*earlier"),
        ("head: {type: choice, values: [mean]}\nb: {type: choice, values: [1], when: {head: [maen]}}", "'mean'"),
        ("a: &a [*a]", "mapping"),
        ("a: {type: float", r"line \d+.*not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
        ("a: {type: choice, values: [2024-02-30]}", r"line 7.*not YAML \('2024-02-30' cannot be read: day is out of"),
        ("a: {type: int, low: !!int '', high: 2}", "line 7.*not YAML"),
        (f"a: {2000 * '['}{2000 * ']'}", "nested too deeply"),
    ],
)
def test_mistakes_are_refused_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=f"(?s)mine.yaml.*{message}|{message}.*mine.yaml"):
        space(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER.replace("format: 1", "format: 2") + "  {}", "format 2.*newer autosft"),
        (HEADER.replace("format: 1\n", "") + "  {}", "format: 1"),
        (HEADER.replace("trainer", "triner") + "  {}", "line 3.*did you mean 'trainer'"),
        (HEADER.replace("name: mine\n", "") + "  {}", "'name' is missing"),
        (HEADER.replace("input: text", "input: txt") + "  {}", "did you mean 'text'"),
        (HEADER, "parameters"),
        ("", "the search space is empty"),
        ("- a\n- b", "mapping"),
    ],
)
def test_a_wrong_head_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(PlanError, match=f"(?s){message}"):
        read_space(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x81"])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(PlanError, match=r"mine\.yaml"):
        read_space(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rte: {type: float, low: 0, high: 1}", "line 7.*did you mean 'learning_rate'"),
        ("head: {type: choice, values: [mean, architectur]}", "line 7.*did you mean 'architecture'"),
        ("head: {type: float, low: 0, high: 1}", "line 7.*'head'"),
    ],
)
def test_check_compares_with_the_config(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=f"(?s){message}"):
        space(tmp_path, text).check(Config)


def test_check_accepts_what_fits(tmp_path: Path) -> None:
    space(tmp_path, "head: {type: choice, values: [mean, architecture]}").check(Config)
    FunctionSpace(user_space).check(Config)


def test_a_function_works_in_place_of_a_file() -> None:
    function = space_from_json(json.loads(json.dumps(FunctionSpace(user_space).to_json())))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    config = function.suggest(trial, prefix="arm", defaults={}, facts={})
    assert set(config) == {"head", "learning_rate"}
    assert set(trial.params) == {"arm.head", "arm.learning_rate"}


@pytest.mark.parametrize(
    ("function", "message"), [(misspelt_space, "did you mean 'learning_rate'"), (listing_space, "returned list")]
)
def test_a_function_with_wrong_results_is_refused(function: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        FunctionSpace(function).check(Config)


@pytest.mark.parametrize(
    "edited",
    [
        {"parameters": None},
        {"parameters": [{"type": "float"}]},
        {"parameters": ["learning_rate"]},
        {"parameters": [{"name": "a", "type": "float", "low": 3, "high": 1}]},
        {"format": 2},
    ],
)
def test_a_plan_edited_into_nonsense_is_refused(edited: dict[str, Any]) -> None:
    row = load_space("frozen_head", "text", "label").to_json()
    with pytest.raises(PlanError, match="Frozen encoder"):
        space_from_json(row | edited)


def test_a_vanished_function_is_named() -> None:
    with pytest.raises(PlanError, match="no_such_module:space"):
        space_from_json({"format": 1, "function": "no_such_module:space"})
