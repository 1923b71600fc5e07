from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from autosft.data.source import Source
from autosft.data.split import num_folds_for, split
from autosft.errors import DataError
from autosft.task import Metric, Task
from autosft.tasks import kind


def table(num, labels=2, **columns):
    names = [f"c{at % labels}" for at in range(num)]
    return pa.table({"text": [f"text number {at}" for at in range(num)], "label": names, **columns})


def parts(train, *, seed=0, group=None, time=None, **others):
    labels = tuple(sorted(set(train.column("label").to_pylist())))
    task = Task("text-classification", "", ("text",), "label", Metric("accuracy"), labels)
    task = Task(**{**task.__dict__, "group_column": group, "time_column": time})
    return split(kind(task.kind), task, Source({"train": train, **others}, "here"), seed=seed)


def column(part, name, mask):
    return np.array(part.table.column(name).to_pylist())[mask]


@pytest.mark.parametrize("num", [40, 770, 5_000, 30_000])
def test_folds_are_stratified_and_sized_as_stated(num):
    result = parts(table(num, labels=7), test=table(5))
    folds, plan = result.search.folds, result.plan
    assert folds.dtype == np.int8
    assert plan.validation_rows == (folds == 0).sum()
    assert plan.standard_error == pytest.approx(math.sqrt(0.09 / plan.validation_rows))
    assert sorted(set(folds.tolist())) == list(range(plan.num_folds))
    assert plan.num_folds == num_folds_for(num)
    labels = np.array(result.search.table.column("label").to_pylist())
    for label in set(labels):
        by_fold = np.bincount(folds[labels == label], minlength=plan.num_folds)
        assert by_fold.max() - by_fold.min() <= 1
    sizes = np.bincount(folds)
    assert sizes[0] <= 2_000
    assert sizes.max() - sizes.min() <= 7


@pytest.mark.parametrize(("num", "share"), [(100, 0.2), (3_000, 0.2), (10_000, 0.1), (100_000, 0.02)])
def test_validation_is_a_fifth_of_small_data_and_two_thousand_rows_of_large(num, share):
    assert 1 / num_folds_for(num) == pytest.approx(share)


def test_more_rows_than_a_hundred_folds_hold():
    num = 300_000
    train = pa.table({"text": pa.array(np.arange(num)).cast(pa.string()), "label": pa.array(["a", "b"] * (num // 2))})
    result = parts(train, test=table(5))
    assert result.plan.num_folds == 100
    assert result.plan.validation_rows == pytest.approx(2_000, abs=2)
    assert (result.search.folds == -1).sum() == pytest.approx(100_000, abs=200)


@pytest.mark.parametrize(("num", "proof"), [(1_999, 0), (2_000, 300), (40_000, 5_000)])
def test_proof_rows_are_set_aside_from_two_thousand_rows_on(num, proof):
    result = parts(table(num, labels=4))
    assert result.plan.proof_rows == pytest.approx(proof, abs=0.01 * num)
    held = [] if result.held_out is None else result.held_out[1].rows.tolist()
    assert sorted(held + result.search.rows.tolist()) == list(range(num))
    if proof:
        assert result.held_out[0] == "proof"
        counts = np.unique(column(result.held_out[1], "label", slice(None)), return_counts=True)[1]
        assert counts.max() - counts.min() <= 0.02 * proof


def test_given_splits_are_kept():
    validation, test = table(20), table(30)
    result = parts(table(3_000), validation=validation, test=test)
    assert result.plan.proof_rows == 0
    assert result.plan.num_folds == 1
    assert result.search.table.filter(pa.array(result.search.folds == 0)).equals(validation)
    assert (result.search.folds[:3_000] == -1).all()
    assert result.search.rows.tolist() == [*range(3_000), *range(20)]
    assert result.held_out[0] == "test"
    assert result.held_out[1].table.equals(test)


def test_a_class_of_one_row_only_trains_and_one_of_two_is_validated():
    names = ["a"] * 30 + ["b"] * 30 + ["two"] * 2 + ["one"]
    train = pa.table({"text": [f"t{at}" for at in range(63)], "label": names})
    for seed in range(10):
        result = parts(train, seed=seed)
        labels, folds = np.array(names), result.search.folds
        assert folds[labels == "one"].tolist() == [-1]
        assert 0 in folds[labels == "two"]
        assert (folds[labels == "two"] != 0).any()


@pytest.mark.parametrize("num", [400, 4_000])
def test_groups_and_equal_texts_never_stand_on_both_sides(num):
    rng = np.random.default_rng(0)
    people = rng.integers(0, num // 8, num)
    train = pa.table(
        {
            "text": [f"  Text  {at}" if at % 2 else f"text {at}" for at in rng.integers(0, num * 30, num)],
            "label": [f"c{at}" for at in rng.integers(0, 4, num)],
            "person": people,
        }
    )
    result = parts(train, group="person")
    sides = {}
    held = [] if result.held_out is None else [(result.held_out[1], np.full(len(result.held_out[1].rows), 99))]
    for part, folds in [(result.search, result.search.folds), *held]:
        for text, person, fold in zip(
            part.table.column("text").to_pylist(), part.table.column("person").to_pylist(), folds.tolist(), strict=True
        ):
            for key in (" ".join(text.lower().split()), person):
                assert sides.setdefault(key, fold) == fold
    sizes = np.bincount(result.search.folds[result.search.folds >= 0])
    assert sizes.min() > 0.5 * sizes.max()
    assert (result.plan.proof_rows > 0) == (num >= 2_000)


def test_proof_rows_beside_a_given_validation_set_are_of_groups_that_are_not_in_it():
    people = np.arange(6_000) // 10
    # Every third person is in the validation set too, and one text ties a person who is not to one who is.
    validation = table(200, person=np.repeat(np.arange(0, 600, 3), 1))
    texts = [f"text number {at}" for at in range(6_000)]
    texts[10] = texts[0]
    train = table(6_000, person=people).set_column(0, "text", pa.array(texts))
    result = parts(train, group="person", validation=validation)
    name, proof = result.held_out
    assert name == "proof"
    assert result.plan.proof_rows == len(proof.rows) == pytest.approx(600, abs=60)
    proved = set(proof.table.column("person").to_pylist())
    assert not proved & set(validation.column("person").to_pylist())
    assert 1 not in proved
    assert not proved & set(result.search.table.column("person").to_pylist())
    assert (result.search.folds == 0).sum() == validation.num_rows
    assert "2,010 rows only train" in " ".join(result.plan.reasons)


@pytest.mark.parametrize("group", [range(6_000), [0] * 6_000], ids=["all", "one group"])
def test_no_proof_rows_where_every_group_is_in_the_given_validation_set(group):
    train = table(6_000, person=list(group))
    result = parts(train, group="person", validation=train)
    assert result.held_out is None
    assert len(result.search.rows) == 12_000


def test_rows_without_a_group_may_prove_beside_a_given_validation_set():
    nobody = pa.nulls(3_000, pa.string())
    result = parts(table(3_000, person=nobody), group="person", validation=table(20, person=nobody[:20]))
    assert result.plan.proof_rows == pytest.approx(450, abs=30)


@pytest.mark.parametrize("share", [0.6, 0.95])
@pytest.mark.parametrize("num", [400, 4_000])
def test_a_group_with_most_of_the_rows_trains(num, share):
    result = parts(table(num, team=[max(0, at - int(share * num)) // 3 for at in range(num)]), group="team")
    assert 0 < result.plan.validation_rows <= 0.25 * num
    assert result.plan.proof_rows <= 0.2 * num


@pytest.mark.parametrize("num", [500, 4_000])
def test_the_latest_rows_judge(num):
    days = np.random.default_rng(0).permutation(num)
    train = table(num, day=days)
    result = parts(train, time="day")
    validation = column(result.search, "day", result.search.folds == 0)
    training = column(result.search, "day", result.search.folds == -1)
    assert training.max() < validation.min()
    assert result.plan.num_folds == 1
    if num >= 2_000:
        assert validation.max() < column(result.held_out[1], "day", slice(None)).min()


def test_dates_that_do_not_sort_are_refused():
    with pytest.raises(DataError, match="31/12/2024"):
        parts(table(10, day=["31/12/2024"] * 10), time="day")
    assert parts(table(10, day=[f"2024-03-{at:02d}" for at in range(1, 11)]), time="day").plan.validation_rows == 2


def test_the_seed_decides():
    first, again, other = (parts(table(3_000), seed=seed) for seed in (1, 1, 2))
    assert (first.search.folds == again.search.folds).all()
    assert (first.search.rows == again.search.rows).all()
    assert (first.search.rows != other.search.rows).any()


@pytest.mark.parametrize(
    "train",
    [table(6, labels=6), pa.table({"text": ["same"] * 4, "label": ["a", "b"] * 2})],
    ids=["one row per class", "one text"],
)
def test_nothing_to_validate_on_is_an_error(train):
    with pytest.raises(DataError, match="set aside for validation"):
        parts(train)


def test_an_unknown_group_column_gets_the_nearest_match():
    with pytest.raises(DataError, match="did you mean 'person'"):
        parts(table(10, person=range(10)), group="persn")
