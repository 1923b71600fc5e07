"""One small run on hostile data, and a plan that is never run, for every test of reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_data import HOSTILE, LABELS, SCRIPT, Finished

import autosft
from autosft.planning.plan import Plan
from autosft.testing.tiny_data import LABELS as TOPICS
from autosft.testing.tiny_data import tiny_texts
from autosft.tracking.base import Tracker


class Notes(Tracker):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, message: str) -> None:
        self.heard.append(message)


@pytest.fixture(scope="session")
def finished(tiny_model: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    texts, targets = tiny_texts(200)
    rows = [
        {"text": text, "intent": LABELS[target], "chan<i>nel": ["app</script>", "web"][at % 2], "note": f"n{at}"}
        for at, (text, target) in enumerate(zip(texts, targets, strict=True))
    ]
    train, test = rows[:140], rows[140:]
    # Every label once, so that the model is wrong on most of these whatever it says.
    test += [
        {"text": f"{text} {at}", "intent": label, "chan<i>nel": "web", "note": "x"}
        for text in HOSTILE
        for at, label in enumerate(LABELS)
    ]
    notes = Notes()
    result = autosft.fit(
        f'Sort {SCRIPT} & "messages"',
        train,
        test=test,
        target="intent",
        inputs=["text"],
        models=str(tiny_model),
        trainer="frozen_head",
        budget="9 trials",
        folder=tmp_path_factory.mktemp("runs") / "run",
        tracker=notes,
    )
    return Finished(result, test, notes.heard)


@pytest.fixture(scope="session")
def plan(tiny_model: Path) -> Plan:
    """A plan of two arms, of which nothing was timed."""
    rows = [{"text": text, "label": TOPICS[target]} for text, target in zip(*tiny_texts(120), strict=True)]
    return autosft.plan("sort messages", rows, models=str(tiny_model), timing=False, tracker=Tracker())
