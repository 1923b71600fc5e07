"""Two texts read apart by a frozen encoder, or as one by a trained one: what only pairs have."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows, materialise
from autosft.data.source import Source
from autosft.inputs.overlap import overlaps
from autosft.inputs.text import ApartReader, TextReader
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import kind
from autosft.testing.tiny_data import WORDS, tiny_texts
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.encoder import EncoderModel
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.networks import PairClassifier, load_encoder, pool
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

ROWS = 240


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_tiny_encoder(folder / "base", words=WORDS)
    return folder


def pairs():
    """Texts, each with itself in another order or with some words replaced: whether any are, and how many tenths."""
    texts, _ = tiny_texts(ROWS, seed=1)
    draw, second, away = np.random.default_rng(0), [], []
    for row, text in enumerate(texts):
        words = text.split()
        share = 0.0 if row % 2 else 0.5 + 0.5 * float(draw.random())
        replaced = draw.random(len(words)) < share
        kept = [draw.choice(WORDS) if out else word for word, out in zip(words, replaced, strict=True)]
        second.append(" ".join(draw.permutation(kept)))
        away.append(100 + 10 * share)
    same = ["yes" if value == 100 else "no" for value in away]
    return pa.table({"premise": texts, "hypothesis": second, "same": same, "away": away})


def training_data(place, task, table=None):
    found = kind(task.kind)
    table = pairs() if table is None else table
    data, _ = materialise(found, task, Source({"train": table}, "pairs"), folder=place / "data", seed=0)
    train, validation = data.training(0)
    rows, _ = data.training(None)
    return TrainingData(found.input, found.output, rows, train.indices, validation.indices, data.fingerprint)


@pytest.fixture(scope="module")
def labels(place):
    inputs = ("premise", "hypothesis")
    task = Task("text-pair-classification", "", inputs, "same", Metric("accuracy"), ("no", "yes"))
    return task, training_data(place, task)


@pytest.fixture(scope="module")
def numbers(place):
    task = Task("text-pair-regression", "", ("premise", "hypothesis"), "away", Metric("spearman"))
    return task, training_data(place, task)


def fit(place, subject, trainer, config):
    """Returns the model, and its outputs for the validation rows."""
    reports = []
    model = trainer(tiny_base_model(place / "base"), place / "base").fit(
        config,
        *subject,
        fidelity=1.0,
        seed=0,
        folder=place,
        report=lambda share, outputs: reports.append(outputs),
        limits=Limits(num_threads=1, cache=place / "cache"),
    )
    return model, reports[-1]


def rows(subject):
    return Rows(subject[1].all.path, subject[1].validation).table()


def scored(subject, outputs):
    task, data = subject
    return kind(task.kind).score(task, data.all.targets().take(pa.array(data.validation)), outputs)


def test_a_frozen_head_tells_whether_two_texts_say_the_same(place, labels):
    _, outputs = fit(place, labels, FrozenHead, FrozenHeadConfig(C=0.1))
    assert scored(labels, outputs) > 0.7, "no better than chance, which is a half"


def test_a_frozen_head_tells_how_far_two_texts_are_apart_in_the_users_unit(place, numbers):
    _, outputs = fit(place, numbers, FrozenHead, FrozenHeadConfig(C=0.1))
    assert scored(numbers, outputs) > 0.4
    assert 98 < to_numbers(outputs).mean() < 108


def default(place, trainer, subject):
    _, data = subject
    return trainer.default_config(tiny_base_model(place / "base"), len(data.train), data.input, data.output)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_head_is_given_both_vectors_their_difference_their_product_and_their_overlap(place, pooling):
    reader = ApartReader.of_base(place / "base", max_length=None, context_tokens=64)
    table = pa.table({"text": ["my card", "please help with the loan today"], "text_pair": ["send it abroad", "debt"]})
    encoder = load_encoder(place / "base").eval()
    network = PairClassifier(encoder, 2, pooling=pooling).eval()

    def alone(texts):
        batch = reader._reader.tokenizer(texts, padding=True, return_tensors="pt")
        ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return pool(encoder(**ids).last_hidden_state, ids["attention_mask"], pooling, normalize=False)

    with torch.inference_mode():
        u, v = alone(table["text"].to_pylist()), alone(table["text_pair"].to_pylist())
        found = network.features(**reader.examples(table).collate(np.arange(2)))
    overlap = torch.from_numpy(overlaps(table["text"].to_pylist(), table["text_pair"].to_pylist()))
    torch.testing.assert_close(found, torch.cat([u, v, (u - v).abs(), u * v, overlap], dim=1), atol=1e-5, rtol=1e-5)


def test_examples_of_a_pair_cost_both_texts_and_are_the_same_from_the_cache(place, labels):
    reader = ApartReader.of_base(place / "base", max_length=8, context_tokens=64)
    table = labels[1].all.table()
    fresh, cached = reader.examples(table), reader.cached(labels[1].all, "key", place / "cache")
    one = TextReader.of_base(place / "base", max_length=8, context_tokens=64)
    first = one.examples(table.select(["text"]))
    assert (fresh.lengths > first.lengths).all() and fresh.max_length == 8
    assert (fresh.lengths == cached.lengths).all() and fresh.cut.tolist() == cached.cut.tolist() != []
    chosen = np.array([5, 0, 3])
    for name, values in cached.collate(chosen).items():
        assert torch.equal(values, fresh.collate(chosen)[name]), name


@pytest.mark.parametrize("which", ["labels", "numbers"])
def test_a_saved_pair_model_predicts_the_same_and_holds_no_pickle(place, which, request, tmp_path):
    subject = request.getfixturevalue(which)
    model, outputs = fit(place, subject, FrozenHead, FrozenHeadConfig(C=0.1, pooling="cls"))
    model.save(tmp_path)
    loaded = EncoderModel.load(tmp_path)
    of = to_numbers if which == "numbers" else to_matrix
    np.testing.assert_allclose(of(loaded.predict(rows(subject))), of(outputs), atol=1e-4)
    np.testing.assert_allclose(of(model.predict(rows(subject))), of(outputs), atol=1e-4)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".txt"}
    with safe_open(tmp_path / "pair_head.safetensors", framework="pt") as file:
        assert file.metadata()["pooling"] == "cls"
    assert len(load_encoder(tmp_path).state_dict()) == len(load_encoder(place / "base").state_dict())


def test_swapping_the_texts_is_another_question(place, labels):
    model, _ = fit(place, labels, FrozenHead, default(place, FrozenHead, labels))
    table = rows(labels)
    swapped = pa.table({"text": table["text_pair"], "text_pair": table["text"]})
    assert np.abs(to_matrix(model.predict(swapped)) - to_matrix(model.predict(table))).max() > 1e-3


def test_fine_tuning_reads_the_two_texts_as_one_and_starts_its_head_at_random(place, labels, tmp_path):
    config = default(place, TransformersTrainer, labels)
    assert config.head == "mean"
    short = TransformersConfig(learning_rate=1e-3, num_train_epochs=1, batch_size=16, head="mean-from-probe")
    model, outputs = fit(place, labels, TransformersTrainer, short)
    assert isinstance(model.reader, TextReader) and to_matrix(outputs).shape[1] == 2
    model.save(tmp_path)
    found = to_matrix(EncoderModel.load(tmp_path).predict(rows(labels)))
    np.testing.assert_allclose(found, to_matrix(outputs), atol=1e-5)


def test_pairs_are_trained_by_both_trainers():
    for trainer in (FrozenHead, TransformersTrainer):
        assert {(Input.TEXT_PAIR, Output.LABEL), (Input.TEXT_PAIR, Output.NUMBER)} <= trainer.trains


def test_overlaps_are_not_drowned_by_what_an_encoder_makes_of_texts_it_does_not_know(place):
    """Words that no two pairs share, so that only how much the texts of a pair have in common can tell."""
    draw = np.random.default_rng(0)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]
    first = ["".join(draw.choice(letters, 20)) for _ in range(160)]
    kept = draw.integers(0, 20, 160)
    second = [text[:share] + "".join(draw.choice(letters, 20 - share)) for text, share in zip(first, kept, strict=True)]
    table = pa.table({"one": first, "two": second, "score": kept.astype(np.float64)})
    task = Task("text-pair-regression", "", ("one", "two"), "score", Metric("spearman"))
    found = task, training_data(place, task, table)
    config = default(place, FrozenHead, found)
    _, outputs = fit(place, found, FrozenHead, config)
    assert scored(found, outputs) > 0.9
