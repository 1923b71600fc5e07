"""Rows that a budget cannot reach are not read, and a validation set is no larger than there is time to predict it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autosft
from autosft.budget import Budget
from autosft.planning.arms import draft_arms
from autosft.planning.plan import Plan
from autosft.planning.reach import FEWEST_ROWS, most_rows, with_quick_validation
from autosft.prepare import with_rows
from autosft.search.settings import Machine
from autosft.task import Input, Output
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost

NUM_ROWS = 6_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of two common labels and of one that thirty rows have."""
    rng = np.random.default_rng(0)
    texts = [f"{rng.integers(1 << 60)} {rng.integers(1 << 60)}" for _ in range(NUM_ROWS)]
    lines = [f"{text},{'rare' if at % 200 == 7 else at % 2}" for at, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("rows") / "train.csv"
    path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return path


def planned(data: Path, tiny_model: Path, budget: str, **options: Any) -> Plan:
    return autosft.plan(
        "sort the texts", str(data), target="label", models=str(tiny_model), budget=budget, timing=False,
        tracker=Tracker(), **options,
    )  # fmt: skip


def test_only_a_limit_of_time_leaves_rows_out() -> None:
    assert most_rows(Budget.parse("20 trials"), Machine(2)) is None
    assert most_rows(Budget.parse("1s"), Machine(1)) == FEWEST_ROWS
    assert most_rows(Budget.parse("60s"), Machine(2)) == 30_000
    assert most_rows(Budget.parse("60s"), Machine(2, gpus=1)) > 1_000_000


def test_a_sample_is_drawn_of_what_is_out_of_reach_and_said(data: Path, tiny_model: Path) -> None:
    plan = planned(data, tiny_model, "5s")
    rows = plan.data.training(None)[0]
    assert plan.origin.most_rows == FEWEST_ROWS
    num_read = FEWEST_ROWS - len(plan.data.held_out()[1]) if plan.data.held_out() else FEWEST_ROWS
    assert len(rows) == num_read
    assert f"a random sample of {FEWEST_ROWS:,} of {NUM_ROWS:,} training rows" in str(plan)
    labels = Counter(plan.task.labels[at] for at in np.array(rows.targets()))
    assert labels["rare"] >= 15, "of the twenty that are kept, some are set aside as proof"
    assert max(rows.numbers("row")) > FEWEST_ROWS, "rows are called by their place in the file"
    again = planned(data, tiny_model, "5s")
    assert again.data.fingerprint == plan.data.fingerprint
    assert planned(data, tiny_model, "5s", seed=1).data.fingerprint != plan.data.fingerprint


def test_with_time_every_row_is_read(data: Path, tiny_model: Path) -> None:
    plan = planned(data, tiny_model, "10m")
    assert sum(plan.data.parts.values()) == NUM_ROWS and plan.origin.most_rows is None
    assert "random sample" not in str(plan)


def test_a_saved_plan_reads_its_sample_again(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    plan = planned(data, tiny_model, "5s")
    plan.save(tmp_path / "plan.json")
    read = Plan.load(tmp_path / "plan.json")
    shutil.rmtree(plan.data.folder)
    found = with_rows(read)
    assert found.data.is_sound() and found.data.fingerprint == plan.data.fingerprint


@pytest.mark.parametrize(("seconds_left", "most"), [(10.0, 200), (60.0, 300), (1000.0, None), (None, None)])
def test_a_validation_set_is_as_large_as_there_is_time_for(
    data: Path, tiny_model: Path, seconds_left: float | None, most: int | None
) -> None:
    plan = planned(data, tiny_model, "10m")
    arms, _ = draft_arms(
        Input.TEXT, Output.LABEL, num_rows=100, models=[str(tiny_model)], trainers=["frozen_head"], space=None,
        machine=Machine(1),
    )  # fmt: skip
    words, _ = draft_arms(
        Input.TEXT, Output.LABEL, num_rows=100, models=None, trainers=["tfidf"], space=None, machine=Machine(1)
    )
    timed = [replace(arm, cost=Cost(1.0, 1.0, 50.0, None, 32, 0.0)) for arm in arms]
    # What reads no model reads any number of rows, and the others have to all the same.
    timed += [replace(arm, cost=Cost(1.0, 1.0, 20_000.0, None, 32, 0.0)) for arm in words]
    found, told = with_quick_validation(plan.task, plan.data, timed, seconds_left)
    assert found.most_validation == most and bool(told) == (most is not None)
    train, validation = found.training(0)
    assert validation is not None and len(validation) == (most or len(plan.data.training(0)[1] or ()))
    assert len(train) == len(plan.data.training(0)[0]), "what is not looked at is not trained on either"
    assert not set(np.asarray(train.indices)) & set(np.asarray(validation.indices))
    assert found.from_json(found.to_json()) == found
