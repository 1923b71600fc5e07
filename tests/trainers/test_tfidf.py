"""Models of words and letters alone: what they read that no base model does, and what their folder needs and tells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from autosft.arrays import largest_difference, to_matrix, to_numbers
from autosft.base_models import NO_MODEL
from autosft.data.data import Rows, materialise
from autosft.data.source import Source
from autosft.errors import TrialFailed
from autosft.inputs.terms import TERMS_FILE
from autosft.task import Metric, Task
from autosft.tasks import kind
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.tfidf import TfidfModel, TfidfTrainer

LABELS = ("fruit", "tool")
TEXT = Task("text-classification", "", ("text",), "label", Metric("accuracy"), LABELS)


def prepared(folder, task, table):
    found = kind(task.kind)
    data, _ = materialise(found, task, Source({"train": table}, "rows"), folder=folder / "data", seed=0)
    train, validation = data.training(0)
    rows, _ = data.training(None)
    return TrainingData(found.input, found.output, rows, train.indices, validation.indices, data.fingerprint)


def fitted(folder, task, table, *, limits=None, **config):
    """Trains on rows; returns the model, what it reported for the validation rows, and their targets."""
    data = prepared(folder, task, table)
    trainer = TfidfTrainer(NO_MODEL, folder)
    default = trainer.default_config(NO_MODEL, len(data.train), data.input, data.output)
    found = []
    model = trainer.fit(
        type(default)(**{**vars(default), **config}), task, data, fidelity=1.0, seed=0, folder=folder,
        report=lambda share, outputs: found.append(outputs), limits=limits or Limits(1, folder / "cache"),
    )  # fmt: skip
    return model, found[-1], data.all.targets().take(pa.array(data.validation))


def accuracy(outputs, targets):
    return float(np.mean(to_matrix(outputs).argmax(axis=1) == to_numbers(targets)))


def texts(num_rows, words, *, length=6, seed=0):
    """Texts of words that all share, with one of its label's at the end."""
    rng = np.random.default_rng(seed)
    common = [f"word{at}" for at in range(40)]
    labels = [LABELS[row % 2] for row in range(num_rows)]
    lines = [" ".join([*rng.choice(common, length), rng.choice(words[label])]) for label in labels]
    return pa.table({"text": lines, "label": labels})


def test_the_end_of_a_long_text_is_read(tmp_path):
    table = texts(80, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}, length=3000)
    _, outputs, targets = fitted(tmp_path, TEXT, table)
    assert accuracy(outputs, targets) == 1.0
    cost = TfidfTrainer(NO_MODEL, tmp_path).measure(
        TfidfTrainer.Config(), TEXT, prepared(tmp_path / "again", TEXT, table), limits=Limits(1, tmp_path)
    )
    assert cost.max_length is None and cost.share_cut == 0


def test_writing_without_spaces_is_told_apart_by_its_letters(tmp_path):
    draw = np.random.default_rng(0)
    filling = "川山田人日月火水木金土上下左右"
    own = {"fruit": "林檎", "tool": "金槌"}
    labels = [LABELS[row % 2] for row in range(120)]
    lines = [
        "".join(draw.choice([*filling], 12)) + own[label] + "".join(draw.choice([*filling], 5)) for label in labels
    ]
    _, outputs, targets = fitted(tmp_path / "letters", TEXT, pa.table({"text": lines, "label": labels}))
    assert accuracy(outputs, targets) > 0.9
    _, by_words, _ = fitted(tmp_path / "words", TEXT, pa.table({"text": lines, "label": labels}), terms="words")
    assert accuracy(by_words, targets) < 0.8, "whole lines are no words that two texts share"


@pytest.mark.parametrize("rows", [["apple pear", "unheard of", "", "?!"]])
def test_texts_of_nothing_known_get_an_answer_too(tmp_path, rows):
    model, _, _ = fitted(tmp_path, TEXT, texts(60, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}))
    answers = to_matrix(model.predict(pa.table({"text": rows})))
    assert np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert answers[0].argmax() == 0


def test_rows_of_marks_alone_are_a_failed_trial(tmp_path):
    table = pa.table({"text": [f"{mark}" for mark in "!?.,;:-+*/" for _ in range(4)], "label": [*LABELS] * 20})
    with pytest.raises(TrialFailed, match="neither words nor letters"):
        fitted(tmp_path, TEXT, table, terms="words")


def test_a_pair_is_told_by_how_alike_its_texts_are(tmp_path):
    draw, words = np.random.default_rng(0), [f"word{at}" for at in range(200)]
    first, second, likeness = [], [], []
    for _ in range(300):
        one, share = draw.choice(words, 10, replace=False), draw.random()
        other = [word if draw.random() < share else draw.choice(words) for word in one]
        first.append(" ".join(one))
        second.append(" ".join(other))
        likeness.append(5 * share)
    task = Task("text-pair-regression", "", ("a", "b"), "score", Metric("spearman"))
    model, outputs, targets = fitted(tmp_path, task, pa.table({"a": first, "b": second, "score": likeness}))
    assert spearmanr(to_numbers(outputs), to_numbers(targets)).statistic > 0.8
    rows = pa.table({"text": first[:5], "text_pair": second[:5]})
    same = pa.table({"text": first[:5], "text_pair": first[:5]})
    assert (to_numbers(model.predict(same)) > to_numbers(model.predict(rows)).min()).all()
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    assert largest_difference(TfidfModel.load(folder).predict(rows), model.predict(rows)) == 0


def test_each_of_several_labels_is_told(tmp_path):
    draw = np.random.default_rng(0)
    own = {"fruit": "apple", "tool": "hammer", "sea": "wave"}
    chosen = [[name for name in own if draw.random() < 0.5] for _ in range(150)]
    filling = [f"word{at}" for at in range(30)]
    lines = [" ".join([*draw.choice(filling, 5), *(own[name] for name in names)]) for names in chosen]
    task = Task("multi-label-classification", "", ("text",), "labels", Metric("micro_f1"), tuple(sorted(own)))
    _, outputs, targets = fitted(tmp_path, task, pa.table({"text": lines, "labels": chosen}))
    assert np.mean((to_matrix(outputs) > 0.5) == to_matrix(targets)) > 0.95


def test_a_time_limit_leaves_rows_out_and_says_so(tmp_path):
    table = texts(4000, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}, length=150)
    fitted(tmp_path / "warm", TEXT, texts(60, {"fruit": ["apple"], "tool": ["saw"]}))
    started = time.monotonic()
    whole, _, _ = fitted(tmp_path / "whole", TEXT, table)
    took = time.monotonic() - started
    limits = Limits(1, tmp_path / "cache", time_limit_seconds=took / 4)
    model, outputs, targets = fitted(tmp_path / "cut", TEXT, table, limits=limits)
    assert whole.share_trained == 1 and model.share_trained < 0.8
    assert accuracy(outputs, targets) > 0.6


def test_what_a_new_process_loads_is_not_taken_for_the_pace_of_rows(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_tfidf as tests\n"
        "from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "limits = tests.Limits(1, folder / 'cache', time_limit_seconds=12.0)\n"
        "rows = tests.texts(3000, {'fruit': ['apple', 'pear'], 'tool': ['hammer', 'saw']})\n"
        "print(tests.fitted(folder, tests.TEXT, rows, limits=limits)[0].share_trained)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == 1.0, "three thousand short rows take a second"


def test_a_saved_model_needs_neither_torch_nor_the_search_to_predict(tmp_path):
    model, _, _ = fitted(tmp_path, TEXT, texts(60, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}))
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    terms = json.loads((folder / TERMS_FILE).read_text(encoding="utf-8"))["terms"]
    assert {"apple", "hammer"} <= set(terms["words"])
    code = (
        "import sys, pyarrow as pa, pathlib\n"
        "from autosft.trainers import trainer_class\n"
        f"model = trainer_class('tfidf').load(pathlib.Path({str(folder)!r}))\n"
        "print(model.predict(pa.table({'text': ['word1 apple']})).to_pylist()[0])\n"
        "print([name for name in ('torch', 'transformers', 'ray', 'optuna') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    probabilities, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    here = to_matrix(model.predict(pa.table({"text": ["word1 apple"]})))[0]
    np.testing.assert_allclose(json.loads(probabilities), here, atol=1e-6)


def test_a_temperature_changes_how_sure_it_is_and_not_its_answers(tmp_path):
    model, outputs, _ = fitted(tmp_path, TEXT, texts(60, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}))
    data = prepared(tmp_path / "again", TEXT, texts(60, {"fruit": ["apple", "pear"], "tool": ["hammer", "saw"]}))
    rows = Rows(data.all.path, data.validation).table()
    softer = to_matrix(model.scaled(4.0).predict(rows))
    assert (softer.argmax(axis=1) == to_matrix(outputs).argmax(axis=1)).all()
    assert softer.max(axis=1).mean() < to_matrix(outputs).max(axis=1).mean()
