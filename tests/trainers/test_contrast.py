"""Rows of a class drawn together: the loss, the batches, and what both do beside the loss of a fine-tuning's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import autosft
from autosft.arrays import to_numbers
from autosft.data.data import Rows
from autosft.planning.plan import Arm
from autosft.search.sampler import ArmSpace, Sampler
from autosft.task import Task
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts, tiny_training_data
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import loop
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.contrast import ClassBatches, shuffled_by_class_and_length, supervised_contrastive_loss
from autosft.trainers.encoder import EncoderModel
from autosft.trainers.networks import features_of
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

PLAIN = TransformersConfig(learning_rate=2e-3, num_train_epochs=4, batch_size=16, head="mean")
Subject = tuple[Task, TrainingData]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrast")
    weights = write_tiny_encoder(folder / "base", words=WORDS) / "model.safetensors"
    # Random weights make nearly the same of all words; here they are told apart, as a sentence encoder does.
    tensors = {name: 20 * value if "word_embeddings" in name else value for name, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def subject(place: Path) -> Subject:
    return tiny_training_data(place / "data", num_rows=90)


def fit(place: Path, subject: Subject, config: TransformersConfig = PLAIN, **limits: int) -> EncoderModel:
    trainer = TransformersTrainer(tiny_base_model(place / "base"), place / "base")
    model = trainer.fit(
        config, *subject, fidelity=1.0, seed=0, folder=place, report=lambda share, outputs: None,
        limits=Limits(1, place / "cache", **limits),
    )  # fmt: skip
    assert isinstance(model, EncoderModel)
    return model


def test_the_loss_is_that_of_its_paper_row_by_row() -> None:
    vectors, labels = torch.randn(7, 5, generator=torch.manual_seed(0)), [0, 1, 0, 2, 1, 0, 3]
    unit = torch.nn.functional.normalize(vectors, dim=1)
    losses = []
    for row in range(7):
        others = [other for other in range(7) if other != row]
        alike = [other for other in others if labels[other] == labels[row]]
        total = sum(float(torch.exp(unit[row] @ unit[other] / 0.2)) for other in others)
        shares = [float(torch.exp(unit[row] @ unit[other] / 0.2)) / total for other in alike]
        losses += [-np.log(shares).mean()] if alike else []
    found = supervised_contrastive_loss(vectors, torch.tensor(labels), 0.2)
    assert found.item() == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_a_batch_without_two_rows_of_a_class_changes_nothing(labels: list[int]) -> None:
    vectors = torch.randn(len(labels), 4, requires_grad=True)
    loss = supervised_contrastive_loss(vectors, torch.tensor(labels), 0.1)
    loss.backward()
    assert loss.item() == 0 and vectors.grad is not None and not vectors.grad.any()


@pytest.mark.parametrize("sizes", [[10] * 10_000, [99_000] + [1] * 1_000, [50_000, 50_000]])
def test_an_epoch_is_every_row_once_whatever_the_size_of_classes(sizes: list[int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    batches = ClassBatches(labels, batch_size=64, rows_per_class=2, seed=0)
    epoch = list(batches)
    assert len(epoch) == len(batches) == -(-len(labels) // 64)
    assert sorted(row for batch in epoch for row in batch) == list(range(len(labels)))
    assert list(batches) != epoch, "the next epoch puts other rows together"


def test_rows_of_a_class_stand_together() -> None:
    labels = np.repeat(np.arange(40), 8)
    for batch in ClassBatches(labels, batch_size=32, rows_per_class=4, seed=0):
        _, counts = np.unique(labels[batch], return_counts=True)
        assert (counts % 4 == 0).all()


def by_class_and_length(
    labels: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, epochs: int = 1
) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return [shuffled_by_class_and_length(labels, lengths, batch_size, 2, rng) for _ in range(epochs)]


@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [7, 1, 2], [300, 5], [10] * 77])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_an_order_by_class_and_length_is_every_row_once_and_another_in_each_epoch(
    sizes: list[int], batch_size: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    lengths = np.random.default_rng(1).integers(3, 90, len(labels))
    first, second = by_class_and_length(labels, lengths, batch_size, epochs=2)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(labels)))
    assert len(labels) < 20 or first.tolist() != second.tolist()


def test_most_rows_meet_another_of_their_class_and_little_is_padded() -> None:
    rng = np.random.default_rng(0)
    labels, lengths = np.repeat(np.arange(77), 10), rng.lognormal(2.6, 0.6, 770).astype(np.int64) + 3
    [order] = by_class_and_length(labels, lengths, 32)
    batches = [order[start : start + 32] for start in range(0, 770, 32)]
    partners = sum(int((np.bincount(labels[batch])[labels[batch]] > 1).sum()) for batch in batches)
    assert partners > 0.75 * 770, "rows without any of their class are drawn to nothing"
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    at_random = sum(32 * int(lengths[rng.permutation(770)[:32]].max()) for _ in range(24))
    assert padded < 0.75 * at_random


def apartness(model: EncoderModel, data: TrainingData) -> float:
    """How badly the features of the training rows tell those of a class from the others."""
    examples = model.reader.examples(Rows(data.all.path, data.train).table())
    with torch.inference_mode(), features_of(model.network) as given:
        model.network(**examples.collate(np.arange(len(data.train))))
    labels = torch.from_numpy(np.asarray(to_numbers(data.all.targets()))[data.train])
    return supervised_contrastive_loss(given[-1], labels, 0.1).item()


@pytest.mark.parametrize("head", ["mean", "architecture", "mean-from-probe"])
def test_a_weight_draws_rows_of_a_class_together(place: Path, subject: Subject, head: str) -> None:
    config = replace(PLAIN, learning_rate=3e-4, head=head)
    without, with_it = (fit(place, subject, replace(config, contrastive_weight=weight)) for weight in (0.0, 1.0))
    assert apartness(with_it, subject[1]) < apartness(without, subject[1]) - 0.02


def test_a_weight_of_none_leaves_a_training_as_it_was(place: Path, subject: Subject) -> None:
    def unwanted(*args: object) -> None:
        raise AssertionError("a weight of 0 is no contrast")

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(loop, "supervised_contrastive_loss", unwanted)
        fit(place, subject)
        with pytest.raises(AssertionError, match="no contrast"):
            fit(place, subject, replace(PLAIN, contrastive_weight=1.0))


def test_smaller_pieces_of_a_batch_are_compared_within_themselves(
    place: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, found = [], supervised_contrastive_loss

    def counted(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
        sizes.append(len(labels))
        return found(vectors, labels, temperature)

    monkeypatch.setattr(loop, "supervised_contrastive_loss", counted)
    fit(place, subject, replace(PLAIN, contrastive_weight=1.0), micro_batch_size=4)
    assert max(sizes) == 4


def test_what_is_timed_has_the_contrast_in_it(place: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, found = [], supervised_contrastive_loss
    monkeypatch.setattr(loop, "supervised_contrastive_loss", lambda *given: seen.append(1) or found(*given))
    trainer = TransformersTrainer(tiny_base_model(place / "base"), place / "base")
    trainer.measure(replace(PLAIN, contrastive_weight=1.0), *subject, limits=Limits(1, place / "cache"))
    assert seen


@pytest.mark.parametrize(
    ("num_rows", "is_sentence_encoder", "weight"), [(90, True, 1.0), (90, False, 0.0), (300, True, 0.0)]
)
def test_it_is_the_default_of_sentence_encoders_where_classes_have_few_rows(
    tmp_path: Path, num_rows: int, is_sentence_encoder: bool, weight: float
) -> None:
    write_tiny_encoder(tmp_path / "base", words=WORDS)
    if is_sentence_encoder:
        (tmp_path / "base" / "modules.json").write_text("[]")
    texts, targets = tiny_texts(num_rows)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    plan = autosft.plan(
        "", rows, models=str(tmp_path / "base"), trainer="transformers", budget="2 trials", timing=False
    )
    [arm] = plan.arms
    assert arm.default["contrastive_weight"] == weight
    proposed = {config["contrastive_weight"] for config in proposals(arm, plan.facts)}
    assert proposed == ({0.0, 1.0} if num_rows == 90 else {0.0})


def proposals(arm: Arm, facts: Mapping[str, bool]) -> list[Mapping[str, object]]:
    space = ArmSpace(arm.space, arm.default, facts)
    sampler = Sampler({arm.name: space}, sampler="random", seed=0, greater_is_better=True, journal=None)
    found = []
    while len(found) < 20 and (proposal := sampler.ask()) is not None:
        found.append(proposal.config)
    return found
