"""Labels that are probably wrong: which arms look at them, and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autosft
from autosft.data.finding import Finding, Severity
from autosft.label_errors import find_label_errors
from autosft.planning.arms import draft_arms
from autosft.planning.plan import Arm
from autosft.prepare import Prepared, Question, check, understand
from autosft.search import work
from autosft.search.runner import Ended
from autosft.search.settings import Machine
from autosft.task import Input, Output
from autosft.testing.tiny_data import LABELS, WORDS
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.tracking.base import Tracker
from autosft.trainers import TRAINERS
from autosft.trainers.base import Cost
from autosft.trainers.frozen_head import FrozenHead

NUM_WRONG = 6


class Theirs(FrozenHead):
    """A probe of somebody else's."""

    name = "theirs"


class Here:
    """Does a job at once, in this process, which has the memory that an arm needs."""

    def run(self, function: str, arguments: Mapping[str, Any], *, memory_bytes: int, **room: Any) -> Ended:
        assert memory_bytes == 4 * arguments["base_model"].num_parameters
        return Ended("job", "complete", getattr(work, function.partition(":")[2])(lambda *found: None, **arguments))


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Prepared, autosft.Plan]:
    return plan_of([at + (at < NUM_WRONG) for at in range(240)], tmp_path, monkeypatch)


def plan_of(numbers: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Prepared, autosft.Plan]:
    """Returns what is planned for rows of which each is about its own number, modulo 3, and labelled with these."""
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    texts = [f"{' '.join([LABELS[at % 3]] * 6)} {at * 7919 + 100_003}" for at in range(len(numbers))]
    labels = [LABELS[number % 3] for number in numbers]
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    model = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    made = autosft.plan(
        "sort messages by topic", rows, models=str(model), trainer="frozen_head", timing=False, tracker=Tracker()
    )
    question = Question(made.task, rows)
    return check(question, *understand(question)), made


def suspected(planned: tuple[Prepared, autosft.Plan], trainer: str) -> tuple[Finding, ...]:
    """Returns what an arm of this trainer finds."""
    prepared, made = planned
    arm: Arm = replace(made.arms[0], trainer=trainer, cost=Cost(1.0, 2.0, 3.0, None, 16, 0.0))
    return find_label_errors(prepared, [arm], Here(), made.resources, limit_seconds=None)  # type: ignore[arg-type]


def test_every_probe_looks_at_the_labels_one_from_outside_too(
    planned: tuple[Prepared, autosft.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINERS, "theirs", f"{__name__}:Theirs")
    [finding] = suspected(planned, "frozen_head")
    assert "of 240 labels looked at" in finding.message and "probably wrong" in finding.message
    assert {example.partition(":")[0] for example in finding.examples} <= {f"row {at}" for at in range(NUM_WRONG)}
    assert suspected(planned, "theirs") == (finding,)


def test_words_and_letters_look_at_them_where_there_is_no_base_model(
    planned: tuple[Prepared, autosft.Plan], tmp_path: Path
) -> None:
    prepared, made = planned
    [arm], _ = draft_arms(
        Input.TEXT, Output.LABEL, num_rows=240, models=None, trainers=["tfidf"], space=None, machine=Machine(1)
    )
    arm = replace(arm, cost=Cost(1.0, 2.0, 3.0, None, None, 0.0))
    [found] = find_label_errors(prepared, [arm], Here(), made.resources, limit_seconds=None)  # type: ignore[arg-type]
    assert found.check == "label-errors" and found.count == NUM_WRONG


def test_a_trainer_that_changes_the_base_model_does_not(
    planned: tuple[Prepared, autosft.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINERS, "theirs", f"{__name__}:Theirs")
    monkeypatch.setattr(Theirs, "is_probe", False)
    assert suspected(planned, "theirs") == suspected(planned, "transformers") == ()


def test_where_many_labels_are_denied_it_is_said_with_both_reasons_and_the_surest_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = np.random.default_rng(0).random(240) < 0.3
    [finding] = suspected(plan_of((np.arange(240) + wrong).tolist(), tmp_path, monkeypatch), "frozen_head")
    assert finding.severity == Severity.WARNING
    assert f"disagrees with {finding.count / 240:.0%} of the labels" in finding.message
    assert "either many labels are wrong, or this base model cannot tell these classes apart" in finding.message
    assert 0.2 < finding.count / 240 < 0.4
    assert {int(example.partition(":")[0].removeprefix("row ")) for example in finding.examples} <= {
        *np.flatnonzero(wrong).tolist()
    }
    assert "models=" in finding.action


def test_where_the_labels_say_nothing_no_row_is_accused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).integers(3, size=240).tolist()
    [finding] = suspected(plan_of(numbers, tmp_path, monkeypatch), "frozen_head")
    assert finding.severity == Severity.WARNING and finding.count > 0.4 * 240
    assert finding.examples == () and "examples" not in finding.action


def test_of_several_labels_each_is_doubted_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    about = [sorted({LABELS[at % 3], LABELS[at // 3 % 3]}) for at in range(240)]
    labels = [list(own) for own in about]
    labels[7] = [label for label in LABELS if label not in about[7]][:1]
    labels[60] = list(LABELS)
    rows = [
        {"text": f"{' '.join(own * (6 // len(own)))} {at * 7919 + 100_003}", "topics": given}
        for at, (own, given) in enumerate(zip(about, labels, strict=True))
    ]
    model = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    made = autosft.plan(
        "which topics is it about?", rows, models=str(model), trainer="frozen_head", timing=False, tracker=Tracker()
    )
    question = Question(made.task, rows)
    [finding] = suspected((check(question, *understand(question)), made), "frozen_head")
    assert finding.count == 2 and "2 of 240 rows looked at (0.8%) have probably wrong labels" in finding.message
    [too_many] = set(LABELS) - set(about[60])
    for doubt in (f"row 7: '{about[7][0]}' seems to be missing", f"row 60: '{too_many}' looks wrong"):
        assert any(example.startswith(doubt) for example in finding.examples)
