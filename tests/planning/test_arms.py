from __future__ import annotations

from pathlib import Path

from autosft.planning.arms import draft_arms
from autosft.search.settings import Machine
from autosft.task import Input, Output
from autosft.testing.tiny_data import WORDS
from autosft.testing.tiny_models import write_tiny_encoder


def names(*models: Path) -> list[str]:
    arms, _ = draft_arms(
        Input.TEXT,
        Output.LABEL,
        num_rows=100,
        models=[str(model) for model in models],
        trainers=["frozen_head"],
        space=None,
        machine=Machine(2),
    )
    return [arm.name for arm in arms]


def test_models_that_are_called_alike_are_different_arms_and_one_model_is_one_arm(tmp_path: Path) -> None:
    first, second = (write_tiny_encoder(tmp_path / name / "model", words=WORDS) for name in ("a", "b"))
    assert len(set(names(first, second))) == 2
    assert names(first) == ["frozen_head/model"]
    assert names(first, first) == ["frozen_head/model"]
