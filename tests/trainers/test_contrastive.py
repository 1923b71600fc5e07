"""What is particular to `contrastive`: what its head is fitted on, memory, and its extra."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows
from autosft.errors import MissingExtraError, TrialFailed
from autosft.planning import arms
from autosft.search.settings import Machine
from autosft.task import Input, Output
from autosft.testing.tiny_data import WORDS, tiny_training_data
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import contrastive_loop
from autosft.trainers.base import Limits
from autosft.trainers.contrastive_loop import SupervisedContrastiveLoss
from autosft.trainers.linear_head import LinearHead
from autosft.trainers.with_sentence_transformers import ContrastiveConfig, ContrastiveTrainer

PLAIN = ContrastiveConfig(learning_rate=2e-3, num_train_epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrastive")
    write_tiny_encoder(folder / "base", words=WORDS)
    return folder


@pytest.fixture(scope="module")
def subject(place):
    return tiny_training_data(place / "data", num_rows=90)


def fit(place, subject, config=PLAIN, *, rungs=(1.0,), seed=0, **limits):
    """Returns the model, and what was reported: shares with probabilities of shape (rows, labels)."""
    reports = []
    model = ContrastiveTrainer(tiny_base_model(place / "base"), place / "base").fit(
        config,
        *subject,
        fidelity=1.0,
        seed=seed,
        folder=place,
        report=lambda share, outputs: reports.append((share, to_matrix(outputs))),
        rungs=rungs,
        limits=Limits(num_threads=1, cache=place / "cache", **limits),
    )
    return model, reports


def test_what_fits_whole_does_not_divide_a_larger_batch_whose_rows_are_compared(place, subject) -> None:
    trainer = ContrastiveTrainer(tiny_base_model(place / "base"), place / "base")
    assert trainer.measure(PLAIN, *subject, limits=Limits(1, place / "cache")).micro_batch_size is None


def test_a_label_with_one_row_is_in_the_head_and_one_of_validation_rows_alone_is_not(place, subject) -> None:
    task, data = subject
    targets = np.asarray(to_numbers(data.all.targets()), int)
    by_label = [np.flatnonzero(targets == label) for label in range(3)]
    train = np.concatenate([by_label[0][:20], by_label[1][:1]])
    rest = np.concatenate([by_label[0][20:], by_label[1][1:], by_label[2]])
    model, reports = fit(place, (task, replace(data, train=train, validation=rest)))
    weights = model.network.linear.weight.detach().numpy()
    assert np.abs(weights[1]).max() > 0
    assert not weights[2].any(), "the head has seen rows that it must not see"
    assert reports[-1][1][:, 2].max() < 1e-6


def test_one_seed_is_one_result_and_rungs_are_reported_on_the_way(place, subject) -> None:
    _, first = fit(place, subject, rungs=(0.4, 1.0), seed=1)
    _, again = fit(place, subject, rungs=(0.4, 1.0), seed=1)
    _, other = fit(place, subject, seed=2)
    assert [share for share, _ in first] == [0.4, 1.0]
    for (_, one), (_, two) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(first[-1][1] - first[0][1]).max() > 1e-4
    assert np.abs(first[-1][1] - other[-1][1]).max() > 1e-4


def test_memory_that_runs_out_halves_the_rows_that_are_compared(place, subject, monkeypatch) -> None:
    sizes, forward = [], SupervisedContrastiveLoss.forward

    def scarce(self, sentence_features, labels):
        sizes.append(len(labels))
        if len(labels) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, sentence_features, labels)

    monkeypatch.setattr(SupervisedContrastiveLoss, "forward", scarce)
    fits = 8
    model, reports = fit(place, subject)
    assert model.micro_batch_size == 8 and sizes[:3] == [16, 8, 8] and len(reports) == 1
    fits = 2
    with pytest.raises(TrialFailed, match=r"4 rows of length .* do not fit in memory"):
        fit(place, subject, replace(PLAIN, batch_size=4))


def test_a_loss_that_is_no_number_fails_the_trial(place, subject) -> None:
    with pytest.raises(TrialFailed, match=r"the training loss became nan|became NaN or infinite"):
        fit(place, subject, replace(PLAIN, learning_rate=1e30, num_train_epochs=2))


def test_a_short_time_fits_the_head_on_a_sample_with_every_label(place, subject, monkeypatch) -> None:
    seen: list[int] = []
    fit_head = LinearHead.fit

    def watched(self, output, features, targets, **others):
        seen.append(len(features))
        assert set(to_numbers(targets)) == {0, 1, 2}
        return fit_head(self, output, features, targets, **others)

    monkeypatch.setattr(LinearHead, "fit", watched)
    monkeypatch.setattr(contrastive_loop, "_REPORT_SHARE", 1e-9)
    fit(place, subject, time_limit_seconds=60.0)
    assert seen == [6]


def test_a_saved_model_opens_with_the_library_and_predicts_without_it(place, subject, tmp_path, monkeypatch) -> None:
    from sentence_transformers import SentenceTransformer

    model, [(_, outputs)] = fit(place, subject)
    model.save(tmp_path)
    inputs = Rows(subject[1].all.path, subject[1].validation).table()
    logits = SentenceTransformer(str(tmp_path), device="cpu").encode(inputs.column("text").to_pylist())
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(dim=1).numpy(), outputs, atol=1e-5)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    np.testing.assert_allclose(to_matrix(ContrastiveTrainer.load(tmp_path).predict(inputs)), outputs, atol=1e-5)


def test_it_races_where_it_is_named_and_joins_late_where_its_package_is_there(place, monkeypatch) -> None:
    options = {"num_rows": 100, "models": [str(place / "base")], "space": None, "machine": Machine(2)}
    named, _ = arms.draft_arms(Input.TEXT, Output.LABEL, trainers=["contrastive"], **options)
    assert [arm.trainer for arm in named] == ["contrastive"]
    drafted, reasons = arms.draft_arms(Input.TEXT, Output.LABEL, trainers=None, **options)
    assert [arm.trainer for arm in drafted] == ["frozen_head", "transformers", "tfidf"]
    assert not any("contrastive" in reason for reason in reasons)
    assert arms.latecomers(Input.TEXT, Output.LABEL) == ["contrastive"]
    assert arms.latecomers(Input.TEXT, Output.NUMBER) == []
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert arms.latecomers(Input.TEXT, Output.LABEL) == []
    with pytest.raises(MissingExtraError, match=r"pip install 'autosft\[text\]'"):
        arms.draft_arms(Input.TEXT, Output.LABEL, trainers=["contrastive"], **options)
