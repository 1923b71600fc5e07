"""A run that goes on where there is less memory than it was planned for: what becomes of arms that do not fit there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import autosft
from autosft import api
from autosft.errors import PlanError
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.refit import reason_against
from autosft.search.runner import Runner
from autosft.search.settings import Machine, Node
from autosft.search.trial import Trial
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

ROWS = [{"text": text, "label": LABELS[at]} for text, at in zip(*tiny_texts(120), strict=True)]

#: The tiny model is trained on a node of the second size, and only read on one of the first.
SMALL, LARGE = 50_000, 10**9


def cluster(*memory_bytes: int) -> Machine:
    nodes = tuple(Node(2, memory_bytes=each) for each in memory_bytes)
    return Machine(2 * len(nodes), memory_bytes=max(memory_bytes), nodes=nodes)


class Heard(Tracker):
    """Keeps what a person is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    options = {"models": str(tiny_model), "trainer": ["frozen_head", "transformers"], "budget": "2 trials"}
    return autosft.plan("Route each message", ROWS, timing=False, tracker=Tracker(), **options)


def test_an_arm_that_no_node_fits_now_is_named_and_stays_in_the_plan(plan: Plan) -> None:
    head, tuning = plan.arms
    heard = Heard()
    found = api._fitted(plan, cluster(SMALL, SMALL), heard)
    assert found.arms == plan.arms, "it goes on where there is more memory again"
    [told] = heard.notes
    assert told.startswith(f"{tuning.name} is left out: training it takes at least") and "a node has at most" in told
    assert found.resources.can_train(head, head.default) and not found.resources.can_train(tuning, tuning.default)
    heard = Heard()
    assert api._fitted(found, cluster(SMALL, LARGE), heard).resources.can_train(tuning, tuning.default)
    assert not heard.notes


def test_where_no_arm_fits_now_it_is_said_what_each_takes_and_what_there_is(plan: Plan) -> None:
    tuning = replace(plan, arms=plan.arms[1:])
    with pytest.raises(PlanError, match=r"takes at least .* GB of memory, and a node has at most .* GB(?s:.*)run it"):
        api._fitted(tuning, cluster(SMALL), Heard())
    with pytest.raises(PlanError, match=r"no node has as many \(the largest has 1 CPU and 0 GPUs\)"):
        api._fitted(tuning, Machine(1, nodes=(Node(1),)), Heard())


def test_a_winner_that_cannot_be_trained_here_is_shipped_as_the_search_trained_it(plan: Plan) -> None:
    tuning = plan.arms[1]
    winner = Trial(0, tuning.name, tuning.default, 1.0, 0, 0, True, "complete", 0.9)
    asked: dict[str, Any] = {"seconds_left": None, "interrupt": Interrupt()}
    assert reason_against(plan, winner, **asked) is None
    reason = reason_against(api._fitted(plan, cluster(SMALL), Heard()), winner, **asked)
    assert reason is not None and "too little memory for it here" in reason


def test_a_run_goes_on_without_the_arm_and_keeps_what_it_has_of_it(
    tiny_model: Path, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"models": str(tiny_model), "trainer": ["frozen_head", "transformers"]}
    before = autosft.fit(
        "Route each message", ROWS, budget="2 trials", folder=tmp_path / "run", tracker=Tracker(), **options
    )
    tuning = next(arm.name for arm in before.plan.arms if arm.trainer == "transformers")
    assert {trial.arm for trial in before.trials} == {arm.name for arm in before.plan.arms}
    monkeypatch.setattr(Runner, "machine", lambda self: Machine(2, memory_bytes=SMALL))
    heard = Heard()
    after = autosft.resume(before.folder, budget="+3 trials", tracker=heard)
    new = [trial for trial in after.trials if trial.number not in {old.number for old in before.trials}]
    assert len(new) == 3 and tuning not in {trial.arm for trial in new}
    assert {trial.arm for trial in after.trials} == {arm.name for arm in before.plan.arms}
    assert [note for note in heard.notes if note.startswith(f"{tuning} is left out")]
    assert any(arm.name == tuning for arm in Plan.load(before.folder / "plan.json").arms)
    assert after.predict(["zero"])
