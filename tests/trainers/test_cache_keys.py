"""What is cached of rows goes with what read them: another version of ours or of a library reads them anew."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from autosft.planning.arms import draft_arms
from autosft.prepare import Question, check, understand
from autosft.search.settings import Machine
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_kinds import question
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.networks import weights_key

INSTALLED = metadata.version


def change(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    if package == "autosft":
        monkeypatch.setattr("autosft.trainers.networks._READING", 10_000)
    else:
        monkeypatch.setattr(metadata, "version", lambda name: "99" if name == package else INSTALLED(name))


@pytest.mark.parametrize("package", ["autosft", "transformers", "tokenizers", "pillow"])
def test_a_key_tells_versions_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    before = weights_key(tmp_path)
    assert weights_key(tmp_path) == before
    change(monkeypatch, package)
    assert weights_key(tmp_path) != before


def test_without_pillow_there_is_a_key_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return INSTALLED(name)

    monkeypatch.setattr(metadata, "version", version)
    assert weights_key(tmp_path)


@pytest.mark.parametrize(
    ("kind", "trainer", "folders"),
    [
        ("text-classification", "frozen_head", {"tokens", "features"}),
        ("text-classification", "transformers", {"tokens", "features"}),
        ("text-pair-classification", "frozen_head", {"tokens", "features"}),
        ("token-classification", "transformers", {"tokens"}),
        ("image-classification", "frozen_head", {"images", "features"}),
        ("image-classification", "transformers", {"images"}),
        ("causal-lm", "trl", {"prompts"}),
        ("chat", "trl", {"prompts"}),
    ],
)
def test_every_cache_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, trainer: str, folders: set[str]
) -> None:
    given, of_kind = question(kind, tmp_path), task_kind(kind)
    asked = Question(given.sentence, given.data)
    task, source = understand(asked)
    prepared = check(asked, task, source)
    [arm], _ = draft_arms(
        of_kind.input, of_kind.output, num_rows=90, models=[str(given.base)], trainers=[trainer], space=None,
        machine=Machine(1),
    )  # fmt: skip
    rows = prepared.data.training(None)[0]
    everything = np.arange(len(rows))
    data = TrainingData(of_kind.input, of_kind.output, rows, everything, everything[:0], prepared.data.fingerprint)
    fitting = trainer_class(trainer)(arm.base_model, Path(arm.folder))

    def cached(name: str) -> set[Path]:
        (tmp_path / name).mkdir()
        fitting.fit(
            fitting.Config(**arm.default), prepared.task, data, fidelity=0.1, seed=0, folder=tmp_path / name,
            report=lambda fidelity, outputs: None, limits=Limits(num_threads=1, cache=tmp_path / "cache"),
        )  # fmt: skip
        files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file() and "lock" not in path.name)
        return {path.relative_to(tmp_path / "cache") for path in files}

    first = cached("first")
    assert {path.parts[0] for path in first} == folders
    assert cached("again") == first
    change(monkeypatch, "transformers")
    both = cached("upgraded")
    assert len(both) == 2 * len(first), "nothing that was read before is read again"
