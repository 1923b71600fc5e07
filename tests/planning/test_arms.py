from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autosft.errors import PlanError
from autosft.planning.arms import draft_arms
from autosft.planning.plan import Arm
from autosft.search.sampler import ArmSpace, Sampler
from autosft.search.settings import Machine
from autosft.search.space_file import load_space, space_from_json
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


SPACE = "format: 1\nname: theirs\ntrainer: distant\ninput: text\noutput: label\nparameters:\n"

Plugin = Callable[[str | None], tuple[list[Arm], tuple[str, ...]]]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Installs a package outside with a trainer and, where one is given, its search space; drafts its arms."""

    def install(space: str | None) -> tuple[list[Arm], tuple[str, ...]]:
        package = tmp_path / "site" / "distant_package"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "trainer.py").write_text(
            "from autosft.trainers.frozen_head import FrozenHead\nclass Distant(FrozenHead):\n    name = 'distant'\n"
        )
        if space is not None:
            (package / "search_spaces" / "distant").mkdir(parents=True)
            (package / "search_spaces" / "distant" / "text-label.yaml").write_text(SPACE + space)
        information = tmp_path / "site" / "distant_package-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: distant-package\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[autosft.trainers]\ndistant = distant_package.trainer:Distant\n")
        monkeypatch.syspath_prepend(tmp_path / "site")
        model = write_tiny_encoder(tmp_path / "model", words=WORDS)
        arms, reasons = draft_arms(
            Input.TEXT,
            Output.LABEL,
            num_rows=100,
            models=[str(model)],
            trainers=["distant"],
            space=None,
            machine=Machine(2),
        )
        return list(arms), reasons

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] == "distant_package"]:
        del sys.modules[name]


def proposals(arm: Arm) -> list[dict[str, object]]:
    sampler = Sampler(
        {arm.name: ArmSpace(arm.space, arm.default, {})}, sampler="tpe", seed=0, greater_is_better=True, journal=None
    )
    found = []
    while len(found) < 5 and (proposal := sampler.ask()) is not None:
        sampler.tell(proposal.number, score=0.5, fidelity=1.0, state="complete")
        found.append(dict(proposal.config))
    return found


def test_a_plugin_ships_its_search_space_as_package_data(plugin: Plugin) -> None:
    [arm], reasons = plugin("  C: {type: float, low: 0.5, high: 2.0}\n")
    assert [item.name for item in arm.space.parameters] == ["C"]
    assert len(proposals(arm)) == 5
    assert load_space("distant", "text", "label") == arm.space
    assert not reasons


def test_a_plugin_without_a_search_space_gets_its_default_and_the_plan_says_so(plugin: Plugin) -> None:
    [arm], reasons = plugin(None)
    assert proposals(arm) == [dict(arm.default)]
    assert space_from_json(arm.space.to_json()) == arm.space
    assert "distant ships no search space for text to label: only its default is tried" in reasons
    with pytest.raises(PlanError, match="none is shipped for distant/text-label"):
        load_space("distant", "text", "label")


def test_a_plugins_search_space_is_checked_like_ours(plugin: Plugin) -> None:
    with pytest.raises(PlanError, match=r"text-label\.yaml, line 7.*'lambda'"):
        plugin("  lambda: {type: float, low: 0.5, high: 2.0}\n")
