from __future__ import annotations

import json
import pickle
import resource
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from autosft.data.checks.validation import check_split
from autosft.data.data import Data, materialise
from autosft.data.source import Source
from autosft.errors import RunFolderError
from autosft.task import Metric, Task
from autosft.tasks import kind

KIND = kind("text-classification")
TASK = Task("text-classification", "", ("text",), "label", Metric("accuracy"), ("a", "b"))


def table(num, start=0):
    return pa.table(
        {
            "text": [f"text number {at}" for at in range(start, start + num)],
            "label": [("a", "b")[at % 2] for at in range(num)],
        }
    )


def written(folder, num=100, *, seed=0, **others):
    return materialise(KIND, TASK, Source({"train": table(num), **others}, "here"), folder=folder, seed=seed)


def test_folds_cover_every_row_once(tmp_path):
    data, plan = written(tmp_path)
    everything, none = data.training(None)
    assert none is None
    assert everything.table().column_names == ["text", "target", "row", "fold"]
    seen = []
    for fold in range(plan.num_folds):
        train, validation = data.training(fold)
        assert len(train) + len(validation) == len(everything) == 100
        assert not set(train.column("text")) & set(validation.column("text"))
        seen += validation.column("row")
    assert sorted(seen) == list(range(100))
    train, _ = data.training(0)
    expected = [{"a": 0, "b": 1}[table(100).column("label")[row].as_py()] for row in train.column("row")]
    assert train.targets().to_pylist() == expected
    with pytest.raises(ValueError, match="fold 5"):
        data.training(5)


@pytest.mark.parametrize(
    ("others", "name", "count"), [({}, "proof", 300), ({"test": table(7, start=9_000)}, "test", 7)]
)
def test_the_search_cannot_reach_held_out_rows(tmp_path, others, name, count):
    data, _ = written(tmp_path, 2_000, **others)
    held_name, held = data.held_out()
    assert (held_name, len(held)) == (name, count)
    assert data.parts == {"search": 2_000 - (count if name == "proof" else 0), name: count}
    assert not set(held.column("text")) & set(data.training(None)[0].column("text"))
    blind = data.for_search()
    assert blind.held_out() is None
    assert blind.parts == {"search": data.parts["search"]}
    assert "held_out/" not in pickle.dumps(blind).decode("latin-1")
    assert not any("held" in str(path) or name in path.name for path in blind.folder.rglob("*"))
    assert blind.training(0)[0].column("text") == data.training(0)[0].column("text")


def test_test_rows_without_a_known_label_stay_and_are_not_scored(tmp_path):
    test = pa.table({"text": ["p", "q", "r", "s"], "label": ["b", None, " ", "unheard of"]})
    data, _ = written(tmp_path, test=test)
    _, rows = data.held_out()
    assert rows.column("text") == ["p", "q", "r", "s"]
    assert rows.targets().to_pylist() == [1, None, None, None]


def test_rows_know_their_group_in_every_fold_and_one_without_is_its_own(tmp_path):
    people = [f"person {at // 4}" if at % 10 else None for at in range(100)]
    tested = ["person 1", "person 1", None, None, "someone", "someone"]
    source = Source(
        {
            "train": table(100).append_column("person", pa.array(people)),
            "test": table(6, start=500).append_column("person", pa.array(tested)),
        },
        "here",
    )
    data, _ = materialise(KIND, replace(TASK, group_column="person"), source, folder=tmp_path, seed=0)
    folds = [data.training(fold)[1] for fold in range(data.num_folds)]
    groups = np.concatenate([rows.groups() for rows in folds])
    found = [people[place] for rows in folds for place in rows.column("row")]
    alike = groups[:, None] == groups
    expected = [[one is not None and one == other for other in found] for one in found]
    assert (alike == (np.array(expected) | np.eye(100, dtype=bool))).all()
    _, rows = data.held_out()
    assert len(set(rows.groups())) == 4 and rows.groups()[0] == rows.groups()[1] != rows.groups()[4]


def test_where_no_groups_are_named_or_an_older_version_kept_none_there_are_none(tmp_path):
    data, _ = written(tmp_path)
    assert data.training(0)[1].groups() is None


def test_the_same_rows_are_written_once(tmp_path):
    data, _ = written(tmp_path, 2_000)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    again, _ = written(tmp_path, 2_000)
    assert again == data
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    assert written(tmp_path, 2_000, seed=1)[0].fingerprint != data.fingerprint


def test_the_fingerprint_ignores_how_the_rows_were_chunked(tmp_path):
    whole = table(60)
    pieces = pa.concat_tables([whole.slice(0, 13), whole.slice(13)])
    prints = {
        materialise(KIND, TASK, Source({"train": rows}, "here"), folder=tmp_path / str(at), seed=0)[0].fingerprint
        for at, rows in enumerate([whole, pieces])
    }
    assert len(prints) == 1


def test_what_models_read_of_rows_is_told_apart_from_their_targets_and_folds(tmp_path):
    data, _ = written(tmp_path)
    others = table(100).set_column(1, "label", pa.array([("b", "a", "a")[at % 3] for at in range(100)]))
    relabelled, _ = materialise(KIND, TASK, Source({"train": others}, "here"), folder=tmp_path, seed=0)
    resplit, _ = written(tmp_path, seed=1)
    for same in (relabelled, resplit):
        assert same.fingerprint != data.fingerprint and same.read_fingerprint == data.read_fingerprint
    assert written(tmp_path, 99)[0].read_fingerprint != data.read_fingerprint


def test_answers_that_are_to_be_written_are_read_too(tmp_path):
    task = Task("causal-lm", "", ("prompt",), "answer", Metric("bits_per_byte", greater_is_better=False))
    found = set()
    for answer in ("one", "another"):
        rows = pa.table({"prompt": [f"{at}?" for at in range(60)], "answer": [f"{answer} {at}" for at in range(60)]})
        source = Source({"train": rows}, "here")
        found.add(materialise(kind("causal-lm"), task, source, folder=tmp_path, seed=0)[0].read_fingerprint)
    assert len(found) == 2


def test_two_test_sets_for_the_same_training_rows_stay_apart(tmp_path):
    made = [written(tmp_path, test=table(2, start=start))[0] for start in (500, 700)]
    assert made[0].fingerprint == made[1].fingerprint
    texts = [data.held_out()[1].column("text") for data in made]
    assert texts == [["text number 500", "text number 501"], ["text number 700", "text number 701"]]


def test_data_is_small_and_survives_pickle_and_json(tmp_path):
    data, _ = written(tmp_path, 2_000)
    assert len(pickle.dumps(data)) < 1_000
    for copy in (pickle.loads(pickle.dumps(data)), Data.from_json(json.loads(json.dumps(data.to_json())))):
        assert copy == data
        assert copy.training(1)[1].column("text") == data.training(1)[1].column("text")


def test_rows_survive_pickle_and_keep_their_order(tmp_path):
    rows, _ = written(tmp_path)[0].training(2)
    copy = pickle.loads(pickle.dumps(rows))
    assert copy.table().equals(rows.table())
    assert copy.column("row") == rows.indices.tolist()


@pytest.mark.parametrize(("num", "warned"), [(100, True), (1_500, False)])
def test_a_validation_set_too_small_to_choose_by(tmp_path, num, warned):
    data, _ = written(tmp_path, num)
    findings = check_split(KIND, TASK, data)
    assert [finding.check for finding in findings] == (["small-validation"] if warned else [])
    if warned:
        assert "The validation set has 20 rows" in findings[0].message and "6.7 points" in findings[0].message
        assert "225 validation rows" in findings[0].action


def test_a_validation_set_of_one_row_is_named_in_the_singular(tmp_path):
    data, _ = written(tmp_path, 10, validation=table(1, start=9_000))
    assert "The validation set has 1 row:" in check_split(KIND, TASK, data)[0].message


@pytest.mark.parametrize(
    ("sizes", "told", "severity"),
    [
        (
            [60, 40],
            "The validation rows are of one group of 'who' alone (of 2): how well a model does",
            "warning",
        ),
        ([20] * 10, "The validation rows are of 2 groups of 'who' (of 10): how well", "info"),
        ([2] * 100, None, None),
    ],
)
def test_validation_rows_of_few_groups_say_little_of_others(tmp_path, sizes, told, severity):
    rows = table(sum(sizes)).append_column("who", pa.array(np.repeat(np.arange(len(sizes)), sizes)))
    task = replace(TASK, group_column="who")
    data, _ = materialise(KIND, task, Source({"train": rows}, "here"), folder=tmp_path, seed=0)
    found = [finding for finding in check_split(KIND, task, data) if finding.check == "few-groups"]
    assert [finding.severity for finding in found] == ([severity] if told else [])
    assert all(finding.message.startswith(told) for finding in found)


def test_test_rows_of_one_group_say_nothing_of_others(tmp_path):
    task = replace(TASK, group_column="who")
    rows = table(400).append_column("who", pa.array(np.arange(400) // 2))
    test = table(50, start=9_000).append_column("who", pa.array([7] * 50))
    source = Source({"train": rows, "test": test}, "here")
    data, _ = materialise(KIND, task, source, folder=tmp_path, seed=0)
    [found] = [finding for finding in check_split(KIND, task, data) if finding.check == "few-groups"]
    assert found.message.startswith("The test rows are of one group of 'who' alone: how well")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match="pass another folder"):
        written(tmp_path / "file")


def test_a_full_disk_leaves_nothing_half_made(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(RunFolderError, match="free space"):
            written(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_targets_are_one_arrow_array(tmp_path):
    data, _ = written(tmp_path)
    for rows in data.training(0):
        targets = rows.targets()
        assert isinstance(targets, pa.Int64Array)
        assert len(targets) == len(rows)
        assert rows.numbers("row").tolist() == rows.column("row")
