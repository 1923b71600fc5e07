"""What `tracker=` may be, and that a tracker that raises cannot harm a run."""

from __future__ import annotations

from typing import Any

import pytest

import autosft
from autosft.errors import MissingExtraError, PlanError
from autosft.tracking import choose
from autosft.tracking.base import Tracker, Trackers
from autosft.tracking.choose import listening
from autosft.tracking.wandb_mirror import target
from autosft.tracking.wandb_mirror.target import Target


class Notes(Tracker):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def phase(self, name: str) -> None:
        self.phases.append(name)


class Broken(Tracker):
    def __init__(self) -> None:
        self.num_told = 0

    def phase(self, name: str) -> None:
        self.num_told += 1
        raise ValueError("the dashboard is gone")

    note = phase


def test_a_tracker_that_raises_is_told_of_once_and_hears_no_more() -> None:
    broken, others = Broken(), Notes()
    both = Trackers(broken, others)
    for name in ("read", "audit", "search"):
        both.phase(name)
    assert broken.num_told == 1
    assert others.phases == ["read", "audit", "search"]
    assert others.notes == [
        "the tracker Broken raised ValueError (the dashboard is gone) and is no longer told anything"
    ]


def test_a_tracker_that_raises_alone_is_a_warning_and_the_run_goes_on(tiny_model: Any) -> None:
    rows = [{"text": f"row {number} {'good' if number % 2 else 'bad'}", "label": number % 2} for number in range(60)]
    broken = Broken()
    with pytest.warns(RuntimeWarning, match="Broken raised ValueError"):
        made = autosft.plan("sort messages", rows, models=str(tiny_model), timing=False, tracker=broken)
    assert made.task.target_column == "label" and broken.num_told == 1


def test_ctrl_c_in_a_tracker_is_still_ctrl_c() -> None:
    class Interrupted(Tracker):
        def phase(self, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trackers(Interrupted()).phase("read")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("wandbb", "did you mean 'wandb'"),
        ("mlflow", "use one of: wandb"),
        ("wandb:", "wandb:ENTITY/PROJECT"),
        ("wandb:a/b/c", "wandb:ENTITY/PROJECT"),
        ("wandb:team/", "wandb:ENTITY/PROJECT"),
    ],
)
def test_a_tracker_that_is_not_known_is_refused_before_anything_is_read(words: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        autosft.fit("sort messages", "no-such-file.csv", tracker=words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("wandb", Target("from-env", "env-project")),
        ("wandb:spam", Target("from-env", "spam")),
        ("wandb:team/spam", Target("team", "spam")),
    ],
)
def test_the_environment_fills_what_is_left_out(words: str, wanted: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ENTITY", "from-env")
    monkeypatch.setenv("WANDB_PROJECT", "env-project")
    assert Target.parse(words) == wanted


def test_an_absent_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'autosft\[wandb\]'"):
        listening("wandb")


def test_wandb_stands_beside_the_terminal_unless_it_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    kinds = [type(tracker).__name__ for tracker in listening("wandb")._trackers]  # type: ignore[attr-defined]
    assert kinds == ["PlainProgress", "WandbTracker"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(choose.listening("wandb")._trackers) == 1  # type: ignore[attr-defined]
