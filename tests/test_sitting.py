"""The order of work after the plan, and the time that its steps leave for those after them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import autosft
from autosft.run_folder import RunFolder
from autosft.sitting import Sitting
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost


def test_what_is_kept_for_the_end_goes_by_who_is_to_be_proven(tiny_model: Path, tmp_path: Path) -> None:
    texts, targets = tiny_texts(160)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    plan = autosft.plan(
        "Route each message", rows[:100], test=rows[100:], models=str(tiny_model), budget="5m", timing=False,
        tracker=Tracker(),
    )  # fmt: skip
    arms = [
        replace(arm, cost=Cost(1.0, 1.0, 1000.0 if arm.trainer == "tfidf" else 1.0, None, None, 0.0))
        for arm in plan.arms
    ]
    nothing: Any = None
    run: Any = RunFolder(tmp_path)
    plan = replace(plan, quote=replace(plan.quote, num_trials=10))
    sitting = Sitting(replace(plan, arms=tuple(arms)), run, nothing, nothing, nothing, nothing)
    quick = [arm for arm in arms if arm.trainer == "tfidf"]
    num_models = 3 if plan.refit else 2
    assert sitting._closing_seconds(quick, None) == pytest.approx(8, abs=0.5)
    assert sitting._closing_seconds(arms, None) == pytest.approx(8 + num_models * 60, abs=0.5)
    assert sitting._closing_seconds(arms, 90.0) == 30.0, "never more than a third of the time left"
    one = replace(sitting, plan=replace(sitting.plan, quote=replace(plan.quote, num_trials=1)))
    assert one._closing_seconds(arms, None) == pytest.approx(8 + (num_models - 1) * 60, abs=0.5), (
        "one is winner and default"
    )
