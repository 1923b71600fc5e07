"""The order of work after the plan, and the time that its steps leave for those after them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft.arrays import from_matrix
from autosft.data.data import Rows
from autosft.run_folder import RunFolder
from autosft.search.trial import Trial
from autosft.sitting import Sitting
from autosft.task import Task
from autosft.tasks import kind
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_kinds import question
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


def test_thresholds_are_told_by_every_fold_that_a_configuration_was_trained_for(
    tiny_model: Path, tmp_path: Path
) -> None:
    asked, nothing = question("multi-label-classification", tmp_path), cast(Any, None)
    plan = autosft.plan(
        asked.sentence, asked.data, models=str(tiny_model), budget="5m", timing=False, tracker=Tracker()
    )
    first = Trial(0, plan.arms[0].name, dict(plan.arms[0].default), 1.0, 0, plan.seed, True, fate="complete")
    trials = [first, replace(first, number=1, fold=1, stage="finals"), replace(first, number=2, fold=2, fate="failed")]
    rows = [cast(Rows, plan.data.training(trial.fold)[1]) for trial in trials]
    rng = np.random.default_rng(0)
    said = {at: from_matrix(rng.random((len(found), len(plan.task.labels)))) for at, found in enumerate(rows)}
    search = cast(Any, SimpleNamespace(trials=trials, outputs=lambda trial: said.get(trial.number)))
    sitting = Sitting(plan, RunFolder(tmp_path), nothing, nothing, nothing, nothing)

    def told_by(*folds: int) -> Task:
        targets, outputs = [rows[at].targets() for at in folds], [said[at] for at in folds]
        return kind(plan.task.kind).tuned(plan.task, pa.concat_arrays(targets), pa.concat_arrays(outputs))

    both, alone = told_by(0, 1), told_by(0)
    assert sitting._tuned(search, first) == both != alone
    del said[1]
    assert sitting._tuned(search, first) == alone
    said.clear()
    assert sitting._tuned(search, first) == plan.task
