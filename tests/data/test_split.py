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


def num_validation(result):
    return int((result.search.folds == 0).sum())


def num_proof(result):
    return len(result.held_out[1].rows) if result.held_out and result.held_out[0] == "proof" else 0


def column(part, name, mask):
    return np.array(part.table.column(name).to_pylist())[mask]


@pytest.mark.parametrize("num", [40, 770, 5_000, 30_000])
def test_folds_are_stratified_and_sized_as_stated(num):
    result = parts(table(num, labels=7), test=table(5))
    folds, plan = result.search.folds, result.plan
    assert folds.dtype == np.int8
    error = 100 * math.sqrt(0.09 / num_validation(result))
    assert f"known to {error:.1f} points" in " ".join(plan.reasons)
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
    assert num_validation(result) == pytest.approx(2_000, abs=2)
    assert (result.search.folds == -1).sum() == pytest.approx(100_000, abs=200)


@pytest.mark.parametrize(("num", "proof"), [(1_999, 0), (2_000, 300), (40_000, 5_000)])
def test_proof_rows_are_set_aside_from_two_thousand_rows_on(num, proof):
    result = parts(table(num, labels=4))
    assert num_proof(result) == pytest.approx(proof, abs=0.01 * num)
    held = [] if result.held_out is None else result.held_out[1].rows.tolist()
    assert sorted(held + result.search.rows.tolist()) == list(range(num))
    if proof:
        assert result.held_out[0] == "proof"
        counts = np.unique(column(result.held_out[1], "label", slice(None)), return_counts=True)[1]
        assert counts.max() - counts.min() <= 0.02 * proof


def test_given_splits_are_kept():
    validation, test = table(20), table(30)
    result = parts(table(3_000), validation=validation, test=test)
    assert num_proof(result) == 0
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
    assert (num_proof(result) > 0) == (num >= 2_000)


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
    assert len(proof.rows) == pytest.approx(600, abs=60)
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
    assert num_proof(result) == pytest.approx(450, abs=30)


@pytest.mark.parametrize("share", [0.6, 0.95])
@pytest.mark.parametrize("num", [400, 4_000])
def test_a_group_with_most_of_the_rows_trains(num, share):
    result = parts(table(num, team=[max(0, at - int(share * num)) // 3 for at in range(num)]), group="team")
    assert 0 < num_validation(result) <= 0.25 * num
    assert num_proof(result) <= 0.2 * num


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
    assert num_validation(parts(table(10, day=[f"2024-03-{at:02d}" for at in range(1, 11)]), time="day")) == 2


@pytest.mark.parametrize("size", [1, 4], ids=["rows", "groups"])
def test_a_time_that_many_rows_share_gives_no_more_rows_than_wanted(size):
    years = np.repeat([2022, 2023, 2024], [4_000, 4_000, 12_000])
    train = table(20_000, year=years, person=np.arange(20_000) // size)
    result = parts(train, time="year", group="person" if size > 1 else None)
    assert 3_000 - size < num_proof(result) <= 3_000
    assert 1_690 < num_validation(result) <= 1_700
    judged = [(result.held_out[1], slice(None)), (result.search, result.search.folds == 0)]
    for part, mask in judged:
        assert set(column(part, "year", mask)) == {2024}
    people = [set(column(part, "person", mask)) for part, mask in (*judged, (result.search, result.search.folds == -1))]
    if size > 1:
        assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
    assert f"12,000 rows share the time at which the proof begins; the seed drew {num_proof(result):,} of them." in (
        result.plan.reasons
    )
    again, other = (parts(train, time="year", seed=seed) for seed in (0, 1))
    assert sorted(other.search.rows.tolist()) != sorted(again.search.rows.tolist())


def test_a_time_that_many_rows_share_fills_up_what_later_rows_leave():
    years = np.repeat([2023, 2024, 2025], [1_000, 2_900, 100])
    result = parts(table(4_000, year=years), time="year")
    assert num_proof(result) == 600
    assert (column(result.held_out[1], "year", slice(None)) == 2025).sum() == 100


def test_a_time_is_not_divided_where_later_rows_are_enough():
    result = parts(table(4_000, year=np.repeat([2023, 2024, 2025], [3_300, 300, 400])), time="year")
    assert num_proof(result) == 400
    assert set(column(result.held_out[1], "year", slice(None))) == {2025}


def test_the_smallest_group_judges_where_all_of_the_latest_are_larger_than_wanted():
    people = np.repeat([0, 1, 2], [1_200, 800, 1_000])
    result = parts(table(3_000, year=[2024] * 3_000, person=people), time="year", group="person")
    assert set(column(result.held_out[1], "person", slice(None))) == {1}


@pytest.mark.parametrize("num", [400, 4_000])
def test_a_group_with_most_of_the_rows_trains_though_it_is_the_latest(num):
    team = [0 if at >= 0.4 * num else 1 + at // 3 for at in range(num)]
    result = parts(table(num, team=team, day=range(num)), time="day", group="team")
    assert 0 < num_validation(result) <= 0.2 * num
    assert num_proof(result) <= 0.15 * num


@pytest.mark.parametrize("missing", [None, math.nan])
def test_rows_without_a_time_train(missing):
    times = pa.array([missing if at % 2 else float(at) for at in range(4_000)], from_pandas=False)
    result = parts(table(4_000, time=times), time="time")
    for part, mask in ((result.held_out[1], slice(None)), (result.search, result.search.folds == 0)):
        assert not np.isnan(column(part, "time", mask).astype(float)).any()
    assert num_proof(result) == 600


def test_a_single_row_is_named_in_the_singular():
    train = table(3_000, person=[None, *range(1, 3_000)])
    result = parts(table(6), test=table(1))
    said = " ".join([*result.plan.reasons, *parts(train, validation=train[5:6], group="person").plan.reasons])
    assert "1 of 2,551 rows validates:" in said
    assert "The given test set (1 row) is kept" in said and "The given validation set (1 row) is kept" in said
    assert "1 row only trains: its value of 'person' is also in the given validation set." in said
    twice = table(6).set_column(0, "text", pa.array(["same", "same", "a", "b", "c", "d"]))
    assert "(1 repeats an earlier one)" in " ".join(parts(twice).plan.reasons)


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
