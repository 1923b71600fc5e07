"""Whose search space an arm draws from: one file, a folder of them, or what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from autosft.errors import PlanError
from autosft.planning.arms import draft_arms
from autosft.planning.plan import Arm
from autosft.planning.spaces import GivenSpace, given_spaces
from autosft.search.settings import Machine
from autosft.search.space import SearchSpace
from autosft.search.space_file import load_space
from autosft.task import Input, Output

FROZEN = """
format: 1
name: mine
trainer: frozen_head
input: text
output: label
parameters:
  C: {type: float, low: 0.1, high: 10.0, log: true}
"""
TUNED = """
format: 1
name: mine too
trainer: transformers
input: text
output: label
parameters:
  learning_rate: {type: float, low: 1.0, high: 2.0, scale: default}
"""


def arms(model: Path, space: GivenSpace, *trainers: str) -> dict[str, Arm]:
    found, _ = draft_arms(
        Input.TEXT, Output.LABEL, num_rows=100, models=[str(model)], trainers=trainers, space=space, machine=Machine(2)
    )
    return {arm.trainer: arm for arm in found}


def searched(arm: Arm) -> list[str]:
    assert isinstance(arm.space, SearchSpace)
    return [parameter.name for parameter in arm.space.parameters]


def test_a_folder_gives_each_trainer_the_file_that_names_it(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(FROZEN)
    (tmp_path / "a.yml").write_text(TUNED)
    found = arms(tiny_model, tmp_path, "frozen_head", "transformers")
    assert {name: searched(arm) for name, arm in found.items()} == {
        "frozen_head": ["C"],
        "transformers": ["learning_rate"],
    }


def test_who_has_no_file_keeps_what_is_shipped(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(FROZEN)
    found = arms(tiny_model, tmp_path / "one.yaml", "frozen_head", "transformers")
    assert searched(found["frozen_head"]) == ["C"]
    assert found["transformers"].space == load_space("transformers", "text", "label")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.yaml": FROZEN, "b.yaml": FROZEN}, "second search space for frozen_head"),
        ({"a.yaml": TUNED}, "for transformers, which does not race"),
        ({"readme.txt": ""}, "holds no search space"),
    ],
)
def test_a_file_that_would_not_be_used_is_refused(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(PlanError, match=words):
        given_spaces(tmp_path, ["frozen_head"])


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("flip-crop", "'flip-crop' is not one for text to label"),
        ("token-cutof", r"token-cutof"),
    ],
)
def test_an_augmentation_that_these_rows_cannot_have_is_refused_at_once(named: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{TUNED}  augmentation: {{type: choice, values: [none, {named}]}}\n")
    with pytest.raises(PlanError, match=words):
        given_spaces(tmp_path, ["transformers"])
