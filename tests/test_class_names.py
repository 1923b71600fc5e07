"""Which names of classes are words, and what they do as training rows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from autosft.arrays import to_matrix, to_numbers
from autosft.class_names import class_names
from autosft.data.audit import audit
from autosft.data.data import Data, Rows, materialise
from autosft.data.source import Source
from autosft.prepare import Question, check, understand
from autosft.search.places import moved
from autosft.search.work import train
from autosft.task import Metric, Task
from autosft.tasks import kind
from autosft.testing.tiny_data import WORDS
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

LABELS = ("CardLost", "loan_rate", "send.abroad")
TEXTS = {"CardLost": "lost my card", "loan_rate": "the loan rate", "send.abroad": "to send abroad"}


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (["AddToPlaylist", "rate_book"], ("add to playlist", "rate book")),
        (["card.arrival", "Refund not-showing/up"], ("card arrival", "refund not showing up")),
        (["spam", "not spam"], ("spam", "not spam")),
        (["天気", "料理"], ("天気", "料理")),
        (["other", "refund"], ("other", "refund")),
        (["0", "1"], None),
        (["A1", "B2"], None),
        (["en", "de"], None),
        (["class_1", "class_2"], None),
        (["1 star", "2 star"], None),
        (["yes", "no"], None),
        (["True", "False"], None),
        (["Spam", "spam"], None),
        (["refund"], None),
        ([], None),
    ],
)
def test_names_that_are_words(labels, texts):
    assert class_names(labels) == texts


def task_of(labels=LABELS, name="text-classification"):
    return Task(name, "", ("text",), "label", Metric("accuracy"), tuple(labels))


def table_of(per_class, labels=LABELS):
    texts = [f"{TEXTS.get(label, label)} {row}" for row in range(per_class) for label in labels]
    return pa.table({"text": texts, "label": [*labels] * per_class})


def materialised(folder):
    task = task_of()
    source = Source({"train": table_of(8)}, "few rows")
    return task, materialise(kind(task.kind), task, source, folder=folder, seed=0, named=True)[0]


def test_the_names_stand_in_a_file_of_their_own_after_the_rows(tmp_path):
    _, data = materialised(tmp_path)
    rows, whole = data.training(None)[0], Rows(data.named)
    assert whole.table().slice(0, len(rows)).equals(rows.table())
    names = whole.table().slice(len(rows))
    assert names["text"].to_pylist() == ["card lost", "loan rate", "send abroad"]
    assert names["target"].to_pylist() == [0, 1, 2]
    # They are nobody's rows: no fold validates with them, and they come from no place in the data.
    assert names["fold"].to_pylist() == names["row"].to_pylist() == [-1, -1, -1]
    assert data.parts["search"] == len(rows)


def test_the_names_are_of_no_group(tmp_path):
    task, table = replace(task_of(), group_column="person"), table_of(8)
    source = Source({"train": table.append_column("person", pa.array(np.arange(24) // 4))}, "few rows")
    data, _ = materialise(kind(task.kind), task, source, folder=tmp_path, seed=0, named=True)
    groups = Rows(data.named).groups()
    assert groups[:-3].tolist() == data.training(None)[0].groups().tolist()
    assert len(set(groups)) == len(set(groups[:-3])) + 3


def checked(*, per_class=8, labels=LABELS, off=(), name="text-classification"):
    task, table = task_of(labels, name), table_of(per_class, labels)
    if name == "multi-label-classification":
        table = table.set_column(1, "label", pa.array([[label] for label in table["label"].to_pylist()]))
    _, _, findings = audit(kind(name), task, Source({"train": table}, "rows"), off=off)
    return next((finding for finding in findings if finding.check == "class-names"), None)


@pytest.mark.parametrize("name", ["text-classification", "multi-label-classification"])
def test_the_audit_says_that_names_count(name):
    finding = checked(name=name)
    assert finding.fixed and finding.count == 3
    assert "is offered as a row to train on" in finding.action
    assert finding.examples[1] == "'loan_rate': loan rate"
    assert not checked(name=name, off=["class-names"]).fixed


@pytest.mark.parametrize("others", [{"per_class": 60}, {"labels": ("A1", "B2")}], ids=["many rows", "codes"])
def test_where_rows_are_many_or_names_are_codes_they_do_not(others):
    assert checked(**others) is None


def test_names_are_written_where_the_audit_says_so_and_not_where_it_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path))
    for off, are_named in (((), True), (("class-names",), False)):
        question = Question(task_of(), table_of(8), fixes_off=off)
        prepared = check(question, *understand(question))
        assert (prepared.data.named is not None) == are_named


def test_a_damaged_file_of_names_is_noticed(tmp_path):
    _, data = materialised(tmp_path)
    assert data.is_sound()
    assert Data.from_json(json.loads(json.dumps(data.to_json()))) == data
    data.named.write_bytes(data.named.read_bytes()[:-9] + b"123456789")
    assert not data.is_sound()


def test_a_run_from_before_there_were_names_is_read(tmp_path):
    _, data = materialised(tmp_path)
    row = data.to_json()
    del row["named"]
    assert Data.from_json(row) == replace(data, named=None)


def test_the_names_move_to_another_machine_with_the_rows(tmp_path):
    _, data = materialised(tmp_path)
    there = moved(
        {"data": data}, rows=lambda path: tmp_path / "there" / path.name, read=None, written=None, stop=None, cache=None
    )["data"]
    assert there.named == tmp_path / "there" / data.named.name
    assert there.folder == tmp_path / "there"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    write_tiny_encoder(folder / "base", words=(*WORDS, "lost"))
    return folder


def without_the_third_class(place):
    """Rows that train on two classes and validate on the third, of which the name alone is known."""
    task, data = materialised(place / "data")
    rows, whole = data.training(None)[0], Rows(data.named)
    of_third = to_numbers(rows.targets()) == 2
    names = np.arange(len(rows), len(whole))
    found = kind(task.kind)
    parts = np.flatnonzero(~of_third), np.flatnonzero(of_third)
    return task, TrainingData(found.input, found.output, whole, *parts, data.named.stem, names)


CONFIGS = [
    (FrozenHead, FrozenHeadConfig(C=1000.0)),
    (
        TransformersTrainer,
        TransformersConfig(learning_rate=1e-9, num_train_epochs=1, batch_size=8, dropout=0.0, head="mean-from-probe"),
    ),
    (
        TransformersTrainer,
        TransformersConfig(learning_rate=2e-2, num_train_epochs=12, batch_size=8, dropout=0.0, head="mean"),
    ),
]


@pytest.mark.parametrize(("trainer", "config"), CONFIGS, ids=["frozen head", "probe", "fine-tuning"])
def test_a_class_without_a_row_is_known_by_its_name(place, trainer, config):
    task, data = without_the_third_class(place)
    probabilities = []
    for times in (0, 3):
        found = []
        trainer(tiny_base_model(place / "base"), place / "base").fit(
            replace(config, class_name_rows=times),
            task,
            data,
            fidelity=1.0,
            seed=0,
            folder=place,
            report=lambda fidelity, outputs, found=found: found.append(to_matrix(outputs)),
            limits=Limits(num_threads=1, cache=place / "cache"),
        )
        probabilities.append(float(found[-1][:, 2].mean()))
    # The random encoder of these tests tells texts apart only roughly.
    assert probabilities[0] < 0.05 and probabilities[1] > 0.15


def test_a_trial_trains_with_them_and_validates_without(place, tmp_path, monkeypatch):
    task, data = materialised(place / "data")
    seen = []
    fit = FrozenHead.fit

    def watched(self, config, task, data, **others):
        seen.append(data)
        return fit(self, config, task, data, **others)

    monkeypatch.setattr(FrozenHead, "fit", watched)
    train(
        lambda *reports, **values: None,
        trainer="frozen_head",
        base_model=tiny_base_model(place / "base"),
        folder=str(place / "base"),
        config={},
        task=task,
        data=data,
        fold=0,
        fidelity=1.0,
        seed=0,
        scratch=tmp_path / "scratch",
        rungs=(1.0,),
        limits=Limits(num_threads=1, cache=place / "cache"),
    )
    [data] = seen
    texts = data.all.table()["text"].to_pylist()
    assert [texts[at] for at in data.names] == ["card lost", "loan rate", "send abroad"]
    assert not set(data.names) & {*data.train, *data.validation}
    assert {*data.with_names(2).train} == {*data.train, *data.names}
    assert len(data.with_names(2).train) == len(data.train) + 6
