"""Test rows that nobody has labelled yet: they prove nothing, so the folds of the search stand in."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autosft
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

TEXTS, TARGETS = tiny_texts(240)
NAMES = [LABELS[target] for target in TARGETS]


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_session: None) -> None:
    pass


def write(path: Path, labels: list[str], texts: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return path


def fit(folder: Path, model: Path, data: Any, test: Any) -> autosft.Result:
    return autosft.fit(
        "Route each message to its intent",
        data,
        target="label",
        test=test,
        models=str(model),
        trainer="frozen_head",
        budget="2 trials",
        folder=folder / "run",
        tracker=Tracker(),
    )


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rows") / "train.csv", NAMES[:180], TEXTS[:180])


def test_where_no_test_row_has_a_label_the_folds_stand_in_and_the_model_predicts(
    train: Path, tiny_model: Path, tmp_path: Path
) -> None:
    test = write(tmp_path / "test.csv", [""] * 60, TEXTS[180:])
    result = fit(tmp_path, tiny_model, train, test)
    shown = result.summary["test"]
    assert (shown["rows"], shown["selected_on"]) == ("folds", True)
    assert shown["num_rows"] == shown["num_rows_given"] >= len(result.plan.data.training(0)[1])
    assert 0 <= shown["interval"][0] <= shown["score"] <= shown["interval"][1] <= 1
    assert "which the search also chose by" in str(result)
    predicted = result.predict(test)
    assert len(predicted) == 60 and set(predicted) <= set(LABELS)
    assert np.mean(np.array(predicted) == NAMES[180:]) > 0.4, "no better than chance, which is a third"


def test_where_some_test_rows_have_a_label_those_alone_prove_the_model(
    train: Path, tiny_model: Path, tmp_path: Path
) -> None:
    labels = ["" if at % 2 else name for at, name in enumerate(NAMES[180:])]
    result = fit(tmp_path, tiny_model, train, write(tmp_path / "test.csv", labels, TEXTS[180:]))
    shown = result.summary["test"]
    assert (shown["rows"], shown["selected_on"]) == ("test", False)
    assert shown["num_rows"] == shown["num_rows_given"] == 30
    expected = np.mean([a == b for a, b in zip(result.predict(TEXTS[180::2]), NAMES[180::2], strict=True)])
    assert shown["score"] == pytest.approx(expected)
