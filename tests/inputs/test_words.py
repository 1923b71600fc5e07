"""Words in windows: none is lost, each is read once, and what a model learns of them comes back by word."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from autosft.arrays import largest_difference
from autosft.data.data import Rows, materialise
from autosft.data.source import Source
from autosft.errors import BaseModelError
from autosft.inputs import reader_class
from autosft.inputs.words import WordReader
from autosft.search.space_file import load_space
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import kind
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.objectives import NOT_COUNTED, OBJECTIVES, softmax

LABELS = ("O", "B-PER", "I-PER")
ODD = "\u200b"
ROWS = [
    ["anna", "went", "home"],
    [],
    ["supercalifragilistic", "x"] * 9,
    [ODD, "anna", "", ODD],
    ["y" * 200, "z"],
    [ODD],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("words") / "base", words=["anna", "went", "home"])


def table_of(rows):
    return pa.table({"tokens": pa.array(rows, pa.list_(pa.string()))})


def reader_of(folder, max_length=None):
    return WordReader.of_base(folder, max_length=max_length, context_tokens=64)


def everything(windows):
    rows = np.arange(len(ROWS))
    return windows.of_rows(rows)


@pytest.mark.parametrize("max_length", [None, 64, 16, 9, 3])
def test_no_word_is_lost_and_each_is_read_once(folder, max_length):
    reader = reader_of(folder, max_length)
    windows = reader.examples(table_of(ROWS))
    assert not len(windows.cut)
    assert windows.lengths.max() <= windows.max_length <= (max_length or 64)
    assert windows.num_words(np.arange(len(ROWS))).tolist() == [len(row) for row in ROWS]
    read = [[] for _ in ROWS]
    for window in everything(windows):
        words, places = windows.words(window)
        row = windows.rows[window]
        ids = windows.collate(np.array([window]))["input_ids"][0]
        assert ids[0] == reader.tokenizer.cls_token_id and ids[-1] == reader.tokenizer.sep_token_id
        for word, place in zip(words, places, strict=True):
            assert ids[place] == reader.tokenizer(ROWS[row][word], add_special_tokens=False)["input_ids"][0]
            read[row].append(int(word))
    seen = [[at for at, word in enumerate(row) if word not in ("", ODD)] for row in ROWS]
    assert [sorted(words) for words in read] == seen


def test_words_are_read_where_they_have_context(folder):
    windows = reader_of(folder, 16).examples(table_of([["x"] * 60]))
    assert len(windows) > 4
    for window in range(len(windows)):
        _, places = windows.words(window)
        assert window == 0 or places.min() >= 2, "not at the window's very start, but for the row's own"
        assert window == len(windows) - 1 or places.max() <= 13


def test_windows_of_some_rows_come_in_their_order(folder):
    windows = reader_of(folder, 16).examples(table_of(ROWS))
    chosen = windows.of_rows(np.array([4, 0, 1]))
    assert windows.rows[chosen].tolist() == [*[4] * int(windows.num_windows(np.array([4]))[0]), 0, 1]
    assert np.array_equal(windows.of_rows(np.arange(len(ROWS))), np.arange(len(windows)))
    none = reader_of(folder).examples(table_of([]))
    assert len(none) == 0 and len(none.of_rows(np.arange(0))) == 0


def test_a_cache_gives_the_same_windows(folder, tmp_path):
    table = table_of(ROWS)
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    reader = reader_of(folder, 16)
    fresh = reader.examples(table)
    for _ in range(2):
        cached = reader.cached(Rows(tmp_path / "rows.arrow"), "key", tmp_path)
        assert np.array_equal(cached.lengths, fresh.lengths)
        every = np.arange(len(fresh))
        assert cached.collate(every)["input_ids"].equal(fresh.collate(every)["input_ids"])
        assert [part.tolist() for part in cached.words(3)] == [part.tolist() for part in fresh.words(3)]
    reader.save(tmp_path)
    assert WordReader.load(tmp_path).max_length == 16


def test_byte_level_tokenizers_need_no_special_treatment(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["anna went home"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="!")
    windows = WordReader(tokenizer, 64, 64).examples(table_of([["anna", "went", "", "home", "ü"]]))
    ids = windows.collate(np.array([0]))["input_ids"][0]
    words, places = windows.words(0)
    assert words.tolist() == [0, 1, 3, 4]
    assert [made.decode([int(ids[place])]) for place in places[:3]] == ["anna", " went", " home"]


def test_slow_tokenizers_are_refused(folder):
    class Slow:
        is_fast = False

        def __call__(self, text, **asked):
            return {"input_ids": [1, 2, 3], "special_tokens_mask": [1, 0, 1]}

    with pytest.raises(BaseModelError, match="fast tokenizer"):
        WordReader(Slow(), None, 64).examples(table_of(ROWS))


def targets_of(rows):
    return pa.array([[at % 3 for at, _ in enumerate(row)] for row in rows], pa.list_(pa.int16()))


@pytest.mark.parametrize("max_length", [None, 9])
def test_the_objective_counts_each_word_once_and_gives_them_back(folder, max_length):
    windows = reader_of(folder, max_length).examples(table_of(ROWS))
    rows = np.arange(len(ROWS))
    objective = OBJECTIVES[Output.TOKEN_LABELS](3)
    objective.learn(targets_of(ROWS), rows, balanced=False, smoothing=0.0)
    positions = windows.of_rows(rows)
    labels = objective.labels(windows, positions)
    assert labels.shape == windows.collate(positions)["input_ids"].shape
    num_words = sum(word not in ("", ODD) for row in ROWS for word in row)
    assert int((labels != NOT_COUNTED).sum()) == num_words
    # Logits that know the labels come back as the right words of the right rows.
    logits = [10 * np.eye(4, dtype=np.float32)[np.clip(row, -1, 2)][:, :3] for row in labels.numpy()]
    order = np.array([5, 2, 0, 4, 1, 3])
    starts = {row: np.flatnonzero(windows.rows == row) for row in rows}
    outputs = objective.outputs(windows, order, [logits[at] for row in order for at in starts[row]])
    assert outputs.type == pa.list_(pa.list_(pa.float32(), 3))
    for row, found in zip(order, outputs.to_pylist(), strict=True):
        wanted = [at % 3 if word not in ("", ODD) else 0 for at, word in enumerate(ROWS[row])]
        assert [int(np.argmax(word)) for word in found] == wanted
        assert all(sum(word) == pytest.approx(1) for word in found)
    assert len(objective.outputs(windows, rows[:0], [])) == 0


def test_the_loss_is_a_sum_that_smoothing_and_weights_change(folder):
    import torch

    windows = reader_of(folder).examples(table_of(ROWS[:1]))
    rows, logits = np.arange(1), torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    losses = []
    for balanced, smoothing in ((False, 0.0), (True, 0.0), (False, 0.2)):
        objective = OBJECTIVES[Output.TOKEN_LABELS](3)
        objective.learn(pa.array([[0, 0, 2]], pa.list_(pa.int16())), rows, balanced=balanced, smoothing=smoothing)
        losses.append(float(objective.loss(logits, objective.labels(windows, rows))))
    probabilities = softmax(logits[0].numpy())
    expected = -sum(np.log(probabilities[place, label]) for place, label in ((1, 0), (2, 0), (3, 2)))
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert len(set(losses)) == 3


def training_data(folder):
    rng = np.random.default_rng(0)
    tokens, tags = [], []
    for row in range(150):
        length = 40 if row % 10 == 0 else rng.integers(2, 8)
        words = [str(word) for word in rng.choice(["went", "home", "anna", "anna bella"], size=length)]
        tokens.append([part for word in words for part in word.split()] + [str(row)])
        tags.append(
            [tag for word in words for tag in {"anna": ["B-PER"], "anna bella": ["B-PER", "I-PER"]}.get(word, ["O"])]
        )
        tags[-1].append("O")
    task = Task("token-classification", "", ("tokens",), "tags", Metric("entity_f1"), LABELS)
    source = Source({"train": pa.table({"tokens": tokens, "tags": tags})}, "rows")
    data, _ = materialise(kind(task.kind), task, source, folder=folder, seed=0)
    train, validation = data.training(0)
    rows, _ = data.training(None)
    found = TrainingData(Input.TOKENS, Output.TOKEN_LABELS, rows, train.indices, validation.indices, data.fingerprint)
    return task, found


def test_a_model_learns_tags_and_is_the_same_when_loaded(tmp_path):
    base = write_tiny_encoder(tmp_path / "base", words=["anna", "bella", "went", "home"])
    task, data = training_data(tmp_path / "data")
    trainer = trainer_class("transformers")(tiny_base_model(base), base)
    config = trainer.default_config(trainer.base_model, len(data.train), data.input, data.output)
    assert config.head == "architecture"
    load_space("transformers", Input.TOKENS, Output.TOKEN_LABELS).check(type(config))
    limits = Limits(num_threads=1, cache=tmp_path / "cache", max_length=24)
    config = dataclasses.replace(config, learning_rate=1e-2, num_train_epochs=6)
    reports = []
    (tmp_path / "scratch").mkdir()
    model = trainer.fit(
        config, task, data, fidelity=1.0, seed=0, folder=tmp_path / "scratch",
        report=lambda share, outputs: reports.append(outputs), limits=limits,
    )  # fmt: skip
    validation = Rows(data.all.path, data.validation)
    assert kind(task.kind).score(task, validation.targets(), reports[-1]) > 0.9
    inputs = validation.table()
    assert largest_difference(model.predict(inputs), reports[-1]) < 1e-4
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    loaded = trainer.load(tmp_path / "model")
    assert largest_difference(loaded.predict(inputs), reports[-1]) < 1e-4
    assert len(loaded.predict(inputs.slice(0, 0))) == 0
    assert trainer.measure(config, task, data, limits=limits).share_cut == 0


def test_words_that_the_vocabulary_lacks_are_told(folder):
    windows = reader_of(folder).examples(table_of([["anna", "☃"], ["went", "home"]]))
    assert windows.share_unknown == pytest.approx(1 / 4)


def test_words_have_a_reader():
    assert reader_class(Input.TOKENS) is WordReader
