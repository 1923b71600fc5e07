from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autosft.errors import BaseModelError, MissingExtraError, PlanError
from autosft.planning.arms import draft_arms, that_fit
from autosft.planning.plan import Arm, Resources
from autosft.search.sampler import ArmSpace, Sampler
from autosft.search.settings import Machine, Node
from autosft.search.space_file import load_space, space_from_json
from autosft.task import Input, Output
from autosft.testing.tiny_data import WORDS
from autosft.testing.tiny_models import write_tiny_decoder, write_tiny_encoder


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


@pytest.mark.parametrize("gigabytes", [0, 0.001, 100])
def test_all_weights_are_trained_only_where_they_fit(tmp_path: Path, gigabytes: float) -> None:
    decoder = write_tiny_decoder(tmp_path / "decoder", words=[f"word{at}" for at in range(4000)])
    machine = Machine(2, memory_bytes=int(gigabytes * 1e9))
    [arm], reasons = draft_arms(
        Input.TEXT, Output.TEXT, num_rows=100, models=[str(decoder)], trainers=None, space=None, machine=machine
    )
    methods = {config.get("method", arm.default["method"]) for config in proposals(arm)}
    if gigabytes == 0.001:
        assert methods == {"lora"} and arm.default["method"] == "lora"
        assert any("method is lora, all that" in reason for reason in reasons)
        assert "learning_rate" not in {parameter.name for parameter in arm.space.parameters}  # type: ignore[union-attr]
    else:
        assert methods == {"lora", "full"} and not any("method" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("nodes", "gpus", "left", "said"),
    [
        ([Node(4, 0, 9_000), Node(4, 0, 900_000)], 0, ["frozen_head/model", "transformers/model"], None),
        ([Node(4, 0, 9_000), Node(4, 0, 0)], 0, ["frozen_head/model", "transformers/model"], None),
        ([Node(4, 0, 9_000), Node(4, 0, 50_000)], 0, ["frozen_head/model"], "a node has at most 0.0 GB"),
        # The large one holds no trial.
        ([Node(4, 0, 50_000), Node(1, 0, 900_000)], 0, ["frozen_head/model"], "a node has at most 0.0 GB"),
        ([Node(4, 1, 900_000, 50_000)], 1, ["frozen_head/model"], "a GPU has at most 0.0 GB"),
        ([], 0, ["frozen_head/model"], "this machine has 0.0 GB"),
    ],
)
def test_an_arm_that_fits_nowhere_is_left_out(
    tmp_path: Path, nodes: list[Node], gpus: float, left: list[str], said: str | None
) -> None:
    arms = both(tmp_path)
    assert 4 * arms[0].base_model.num_parameters < 50_000 < 16 * arms[0].base_model.num_parameters < 900_000
    machine = Machine(8, len(nodes) and int(gpus), nodes=tuple(nodes), memory_bytes=0 if nodes else 50_000)
    fitting, reasons = that_fit(arms, Resources(machine, 2, gpus, 1))
    assert [arm.name for arm in fitting] == left
    assert [said in reason for reason in reasons] == ([True] if said else [])
    assert all(reason.startswith("transformers/model is left out: training it takes at least") for reason in reasons)


def test_where_no_arm_fits_it_is_said_what_each_takes(tmp_path: Path) -> None:
    resources = Resources(Machine(2, memory_bytes=10), 2, 0, 1)
    with pytest.raises(PlanError, match=r"(?s)frozen_head/model.*transformers/model.*To fix: name smaller ones"):
        that_fit(both(tmp_path), resources)


def both(tmp_path: Path) -> tuple[Arm, ...]:
    model = write_tiny_encoder(tmp_path / "model", words=WORDS)
    options = {"models": [str(model)], "trainers": ["frozen_head", "transformers"], "space": None}
    return draft_arms(Input.TEXT, Output.LABEL, num_rows=100, machine=Machine(2), **options)[0]  # type: ignore[arg-type]


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


@pytest.mark.parametrize("value", ["absent_package.trainer:Absent", "autosft.trainers.tfidf:Mistyped"])
def test_a_plugin_that_cannot_be_imported_is_left_out_unless_it_was_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "broken_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[autosft.trainers]\nbroken = {value}\ntfidf = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    asked = {"num_rows": 100, "models": None, "space": None, "machine": Machine(2)}
    model = write_tiny_encoder(tmp_path / "model", words=WORDS)
    arms, reasons = draft_arms(Input.TEXT, Output.LABEL, trainers=None, **{**asked, "models": [str(model)]})
    assert "tfidf" in {arm.trainer for arm in arms}, "which has its own name here"
    assert [reason for reason in reasons if "broken is left out" in reason and value in reason]
    with pytest.raises(PlanError, match="cannot be imported"):
        draft_arms(Input.TEXT, Output.LABEL, trainers=["broken"], **asked)


def proposals(arm: Arm) -> list[dict[str, object]]:
    sampler = Sampler(
        {arm.name: ArmSpace(arm.space, arm.default, {})}, sampler="tpe", seed=0, greater_is_better=True, journal=None
    )
    found = []
    while len(found) < 10 and (proposal := sampler.ask()) is not None:
        sampler.tell(proposal.number, score=0.5, fidelity=1.0, state="complete")
        found.append(dict(proposal.config))
    return found


def test_a_plugin_ships_its_search_space_as_package_data(plugin: Plugin) -> None:
    [arm], reasons = plugin("  C: {type: float, low: 0.5, high: 2.0}\n")
    assert [item.name for item in arm.space.parameters] == ["C"]
    assert len(proposals(arm)) == 10
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


@pytest.fixture
def no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def generators(models: list[str] | None = None, trainers: list[str] | None = None) -> None:
    draft_arms(
        Input.TEXT, Output.TEXT, num_rows=100, models=models, trainers=trainers, space=None, machine=Machine(2)
    )  # fmt: skip


@pytest.mark.usefixtures("no_decoder")
def test_offline_without_a_decoder_a_folder_or_a_download_is_named_and_no_encoder() -> None:
    with pytest.raises(BaseModelError, match=r"(?s)writes text.*models=.*hf download \S+/\S+") as caught:
        generators()
    assert "autosft[demo]" not in str(caught.value)
    with pytest.raises(BaseModelError, match=r"Qwen/Qwen3-0\.6B' is not on this machine") as caught:
        generators(["Qwen/Qwen3-0.6B"])
    assert "MiniLM" not in str(caught.value), "an encoder is no way out"


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("package", ["trl", "peft"])
@pytest.mark.parametrize("trainers", [None, ["trl"]])
def test_a_missing_package_of_the_only_trainer_is_named_with_its_extra(
    package: str, trainers: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package {package}(.|\n)*autosft\[llm\]"):
        generators(trainers=trainers)


def test_a_trainer_without_its_packages_is_left_out_where_another_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autosft.trainers.frozen_head import FrozenHead

    def require() -> None:
        raise MissingExtraError("frozen_head needs the package heads.")

    monkeypatch.setattr(FrozenHead, "require", require)
    model = write_tiny_encoder(tmp_path / "model", words=WORDS)
    options = {"num_rows": 100, "models": [str(model)], "space": None, "machine": Machine(2)}
    arms, reasons = draft_arms(Input.TEXT, Output.LABEL, trainers=None, **options)
    assert {arm.trainer for arm in arms} == {"transformers", "tfidf"}
    assert "frozen_head is left out: frozen_head needs the package heads." in reasons
    with pytest.raises(MissingExtraError):
        draft_arms(Input.TEXT, Output.LABEL, trainers=["frozen_head", "transformers"], **options)


def draft(models: list[str] | None, trainers: list[str] | None) -> tuple[list[str], str]:
    arms, reasons = draft_arms(
        Input.TEXT, Output.LABEL, num_rows=100, models=models, trainers=trainers, space=None, machine=Machine(2)
    )
    return [arm.name for arm in arms], "\n".join(reasons)


def test_words_and_letters_race_beside_every_base_model(tmp_path: Path) -> None:
    model = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    names, _ = draft([str(model)], None)
    assert names == ["frozen_head/tiny", "transformers/tiny", "tfidf"]
    names, reasons = draft([str(model)], ["tfidf"])
    assert names == ["tfidf"] and "tfidf takes no base model, so models= says nothing here" in reasons


def test_without_any_base_model_at_hand_words_and_letters_race_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosft.planning.arms.candidates", lambda *arguments, **options: [])
    names, reasons = draft(None, None)
    assert names == ["tfidf"]
    assert "no base model is on this machine" in reasons and "autosft[demo]" in reasons
    with pytest.raises(BaseModelError, match="no base model"):
        draft(None, ["frozen_head"])


def test_a_model_that_was_named_and_cannot_be_had_is_not_passed_over_for_none() -> None:
    with pytest.raises(BaseModelError, match="nobody/has-this"):
        draft(["nobody/has-this"], None)
