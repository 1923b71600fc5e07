"""What a batch allows a run to have at once, and that the run looks at it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autosft
from autosft.budget import Clock
from autosft.interrupt import Interrupt
from autosft.planning.machine import resources_on
from autosft.planning.plan import Resources
from autosft.search.job import Ended
from autosft.search.policies import policy_for
from autosft.search.search import Search
from autosft.search.settings import Machine, Node
from autosft.search.slots import SLOTS_FILE, slots_allowed, within_slots
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker


def test_without_a_batch_the_plan_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SLOTS_FILE, raising=False)
    resources = Resources(Machine(16), 4, 0.0, 4)
    assert within_slots(resources) == resources
    assert slots_allowed() is None


def test_a_batch_limits_trials_at_once_and_leaves_them_as_large_as_a_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "slots"
    monkeypatch.setenv(SLOTS_FILE, str(file))
    resources = Resources(Machine(16), 4, 0.0, 4)
    assert within_slots(resources) == resources, "not written yet"
    file.write_text("2")
    assert within_slots(resources) == Resources(Machine(16), 4, 0.0, 2)
    file.write_text("0")
    assert slots_allowed() == 1
    # One trial at a time would have the whole machine, and who runs beside it nothing.
    alone = resources_on(Machine(16, nodes=(Node(16),)), gpus_per_trial=None, max_concurrent=1)
    assert (alone.cpus_per_trial, within_slots(alone).cpus_per_trial) == (16, 4)


class Counted:
    """Ends jobs one after the other; counts how many ran at each wait, and then allows what `allow` says."""

    def __init__(self, slots: Path, allow: dict[int, str]) -> None:
        self.slots, self.allow = slots, allow
        self.running: list[str] = []
        self.counts: list[int] = []

    def submit(self, function: str, arguments: dict[str, Any], **job: Any) -> str:
        self.running.append(f"job {len(self.counts)} {len(self.running)}")
        return self.running[-1]

    def num_at_once(self, cpus: float, gpus: float) -> int | None:
        return None

    def wait(self, timeout_seconds: float) -> Ended:
        self.counts.append(len(self.running))
        self.slots.write_text(self.allow.get(len(self.counts), self.slots.read_text()))
        value = {"score": 0.5, "loss": 1.0, "interval": (0.4, 0.6), "fidelity": 1.0, "micro_batch_size": None}
        return Ended(self.running.pop(0), "complete", value)


def test_a_running_search_grows_and_shrinks_with_what_it_is_allowed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(*tiny_texts(60), strict=True)]
    plan = autosft.plan("Route each", rows, models=str(tiny_model), budget="9 trials", timing=False, tracker=Tracker())
    slots = tmp_path / "slots"
    slots.write_text("1")
    monkeypatch.setenv(SLOTS_FILE, str(slots))
    runner = Counted(slots, {2: "3", 5: "1"})
    search = Search(
        plan, runner, folder=tmp_path, cache=tmp_path / "cache", clock=Clock(), tracker=Tracker(), interrupt=Interrupt()
    )
    trials = search.run(policy_for(plan, journal=tmp_path / "study.log", earlier=(), closing_seconds=0.0))
    assert len(trials) == 9
    assert runner.counts == [1, 1, 3, 3, 3, 2, 1, 1, 1]
