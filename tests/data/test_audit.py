from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from autosft.data.audit import CHECKS, audit
from autosft.data.finding import Severity
from autosft.data.source import Source
from autosft.errors import DataError, PlanError
from autosft.task import Metric, Task
from autosft.tasks import kind

KIND = kind("text-classification")
WORDS = np.array([f"w{at}" for at in range(500)])


def texts(num, seed=0, length=8):
    return [" ".join(row) for row in np.random.default_rng(seed).choice(WORDS, (num, length))]


def make(train, test=None, *, labels=("a", "b"), inputs=("text",), metric=None, **splits):
    """A task over a table, or over (text, label) pairs."""
    tables = {"train": train, **({"test": test} if test is not None else {}), **splits}
    tables = {name: t if isinstance(t, pa.Table) else pairs(t) for name, t in tables.items()}
    return Task("text-classification", "", inputs, "label", metric or Metric("accuracy"), labels), Source(
        tables, "here"
    )


def checked(task, source, **options):
    return audit(KIND, task, source, **options)


def pairs(rows):
    return pa.table({"text": pa.array([r[0] for r in rows], pa.string()), "label": pa.array([r[1] for r in rows])})


def plain(num=40, labels=("a", "b")):
    return [(text, labels[at % len(labels)]) for at, text in enumerate(texts(num))]


def found(findings, check):
    return next((finding for finding in findings if finding.check == check), None)


def rows_of(source, split="train"):
    table = source.splits[split]
    return list(zip(table.column("text").to_pylist(), table.column("label").to_pylist(), strict=True))


def test_clean_data_is_left_alone():
    task, source = make(plain(), [("something else entirely", "a")])
    cleaned, same, findings = checked(task, source)
    assert rows_of(cleaned) == rows_of(source)
    assert same == task
    assert findings == ()


FIXES = {
    "missing-labels": ([("no label", None), ("blank label", " ")], []),
    "missing-inputs": ([("  ", "a"), (None, "b")], []),
    "exact-duplicates": ([("one  two", "a"), ("one two ", "a")], [("one  two", "a")]),
    "conflicting-labels": (
        [("mostly a", "a"), ("mostly  a", "a"), ("mostly a", "b"), ("tie", "a"), ("tie", "b")],
        [("mostly a", "a"), ("mostly  a", "a")],
    ),
    "duplicates-across-splits": ([("HELLO  there", "a"), ("hello there", "b")], []),
}


@pytest.mark.parametrize("check", FIXES)
@pytest.mark.parametrize("off", [False, True])
def test_rows_are_dropped_unless_the_fix_is_off(check, off):
    added, kept = FIXES[check]
    test = [("Hello there", "a"), ("unseen in training", "b"), ("twice", "a"), ("twice", "a")]
    task, source = make(plain() + added, test)
    others = set(FIXES) - {check}
    cleaned, _, findings = checked(task, source, off=others | {check} if off else others)
    assert rows_of(cleaned)[40:] == (added if off else kept)
    assert rows_of(cleaned, "test") == test
    finding = found(findings, check)
    assert finding.fixed is not off
    assert finding.examples
    assert finding.action


def test_all_fixes_can_be_switched_off_and_still_report():
    everything = [row for added, _ in FIXES.values() for row in added]
    task, source = make(plain() + everything, [("hello there", "a")])
    cleaned, _, findings = checked(task, source, off="all")
    assert rows_of(cleaned) == rows_of(source)
    assert set(FIXES) <= {finding.check for finding in findings}
    assert not any(finding.fixed for finding in findings)


def test_an_unknown_check_gets_the_nearest_match():
    task, source = make(plain())
    with pytest.raises(PlanError, match="did you mean 'exact-duplicates'"):
        checked(task, source, off=["exact-duplicate"])


@pytest.mark.parametrize(("changed", "dropped"), [(1, 1), (12, 0)])
def test_near_duplicates_of_test_rows(changed, dropped):
    original = texts(1, seed=5, length=60)[0]
    near = original.split()
    near[:changed] = [f"other{at}" for at in range(changed)]
    task, source = make([*plain(), (" ".join(near), "a")], [(original, "a")])
    cleaned, _, findings = checked(task, source)
    assert cleaned.train.num_rows == 41 - dropped
    finding = found(findings, "near-duplicates-across-splits")
    assert (finding is not None) == bool(dropped)
    assert cleaned.splits["test"].num_rows == 1


def test_texts_that_only_repeat_themselves_more_often_are_near_duplicates():
    shorter, longer = "good " * 5, "good " * 8
    task, source = make([*plain(), (longer, "a")], [(shorter, "a"), ("bad " * 9, "b")])
    cleaned, _, findings = checked(task, source)
    assert found(findings, "near-duplicates-across-splits").count == 1
    assert longer.strip() not in [text.strip() for text in cleaned.train.column("text").to_pylist()]
    task, source = make([*plain(), (longer, "a"), (shorter, "a")])
    assert found(checked(task, source)[2], "near-duplicates").count == 2


def test_texts_that_are_equal_but_for_case_are_no_near_duplicates():
    text = texts(1, seed=5)[0]
    task, source = make([*plain(), (text, "a"), (text.upper(), "a")])
    assert found(checked(task, source)[2], "near-duplicates") is None


def test_near_duplicates_agree_with_sets_of_five_characters():
    from autosft.data.checks.similarity import similar_pairs

    rng = np.random.default_rng(0)
    base = texts(60, length=25)
    rows = base + ["".join(c if rng.random() > 0.01 else "#" for c in text) for text in base]

    def jaccard(one, other):
        left, right = ({t[at : at + 5] for at in range(len(t) - 4)} for t in (one, other))
        return len(left & right) / len(left | right)

    expected = {(i, j) for i in range(60) for j in range(60, 120) if jaccard(rows[i], rows[j]) >= 0.8}
    found_pairs, similarity = similar_pairs(pa.array(rows), split_at=60, threshold=0.8)
    assert set(map(tuple, found_pairs.tolist())) == expected
    assert 0 < len(expected) < 60
    assert similarity == pytest.approx([jaccard(rows[i], rows[j]) for i, j in found_pairs])


def test_label_spellings_are_merged_everywhere_even_the_positive_one():
    train = [*plain(), ("x y z", "A"), ("v w x", "a ")]
    metric = Metric("f1", positive="A")
    task, source = make(train, [("p q r", "A"), ("s t u", "B")], labels=("A", "a", "b"), metric=metric)
    cleaned, merged, findings = checked(task, source)
    assert merged.labels == ("a", "b")
    assert merged.metric.positive == "a"
    assert set(cleaned.train.column("label").to_pylist()) == {"a", "b"}
    assert cleaned.splits["test"].column("label").to_pylist() == ["a", "b"]
    assert found(findings, "label-spelling").count == 4


def test_test_labels_that_training_lacks_are_scored_as_errors():
    task, source = make(plain(), [("one more", "a"), ("something else", "new")])
    _, extended, findings = checked(task, source)
    assert extended.labels == ("a", "b", "new")
    assert found(findings, "unseen-test-labels").severity == Severity.WARNING
    _, unchanged, _ = checked(task, source, off=["unseen-test-labels"])
    assert unchanged.labels == ("a", "b")
    _, _, findings = checked(*make(plain(), [("one more", "x"), ("something else", "y")]))
    assert found(findings, "unseen-test-labels").severity == Severity.ERROR


def test_a_test_set_without_labels_is_an_error_finding():
    test = pa.table({"text": ["one more", "and more"], "label": pa.array([None, None], pa.string())})
    cleaned, _, findings = checked(*make(plain(), test))
    assert cleaned.splits["test"].num_rows == 2
    assert found(findings, "missing-labels").severity == Severity.ERROR


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a b c", None), ("d e f", None)], "missing-labels: dropped 2 rows"),
        ([(text, "a") for text in texts(5)], "one class at most"),
        ([("same", "a"), ("same", "b")], "conflicting-labels"),
        ([*plain(1), ("", "b")], "missing-inputs: dropped 1 row"),
    ],
)
def test_nothing_left_to_learn_says_who_removed_it(rows, expected):
    with pytest.raises(DataError, match=expected):
        checked(*make(rows))


def test_labels_that_no_row_is_left_of_leave_the_task():
    train = [*plain(), ("tie", "c"), ("tie", "a")]
    _, task, _ = checked(*make(train, labels=("a", "b", "c")))
    assert task.labels == ("a", "b")
    with pytest.raises(DataError, match="positive label 'c'"):
        checked(*make(train, labels=("a", "b", "c"), metric=Metric("f1", positive="c")))


def with_column(name, values, num=60):
    table = pairs(plain(num))
    return table.append_column(name, pa.array(values))


COLUMNS = [
    ("id-like-columns", with_column("ref", [f"T{at:04d}" for at in range(60)])),
    ("id-like-columns", with_column("number", range(60))),
    ("constant-columns", with_column("source", ["web"] * 60)),
    ("constant-columns", with_column("empty", pa.nulls(60, pa.string()))),
    ("leaking-columns", with_column("code", [at % 2 for at in range(60)])),
    (None, with_column("length", np.random.default_rng(0).random(60))),
    (None, with_column("channel", [("web", "app", "mail")[at % 3] for at in range(60)])),
]


@pytest.mark.parametrize(("check", "table"), COLUMNS)
@pytest.mark.parametrize("as_input", [False, True])
def test_columns_that_carry_nothing_or_too_much(check, table, as_input):
    name = table.column_names[-1]
    task, source = make(table, inputs=("text", name) if as_input else ("text",))
    _, _, findings = checked(task, source)
    assert [finding.check for finding in findings] == ([check] if check else [])
    if check:
        assert name in findings[0].message
        assert findings[0].severity == (Severity.WARNING if as_input else Severity.INFO)


@pytest.mark.parametrize("template", ["{text} ({label})", "{text} {token}"])
def test_an_input_that_gives_the_label_away(template):
    labels = ("refund", "delivery", "login")
    tokens = dict(zip(labels, ("zzq", "xxv", "kkp"), strict=True))
    rows = [(template.format(text=t, label=n, token=tokens[n]), n) for t, n in plain(90, labels)]
    _, _, findings = checked(*make(rows, labels=labels))
    assert found(findings, "leaking-columns").severity == Severity.WARNING
    _, _, findings = checked(*make(plain(90, labels), labels=labels))
    assert found(findings, "leaking-columns") is None


@pytest.mark.parametrize(
    ("check", "counts", "metric"),
    [
        ("imbalance", [100, 6], "accuracy"),
        ("many-classes", [6] * 30, "accuracy"),
        ("rare-classes", [9, 9, 1], "macro_f1"),
    ],
)
def test_how_rows_spread_over_classes(check, counts, metric):
    labels = tuple(f"c{at:02d}" for at in range(len(counts)))
    names = np.repeat(labels, counts).tolist()
    rows = list(zip(texts(len(names)), names, strict=True))
    cleaned, _, findings = checked(*make(rows, labels=labels, metric=Metric(metric)))
    assert [finding.check for finding in findings] == [check]
    assert cleaned.train.num_rows == len(rows)


def test_labels_may_be_numbers_and_inputs_several():
    table = pa.table({"title": texts(30), "body": texts(30, seed=1), "label": [at % 3 for at in range(30)]})
    table = pa.concat_tables([table, table.slice(0, 2)])
    cleaned, task, findings = checked(*make(table, labels=("0", "1", "2"), inputs=("title", "body")))
    assert cleaned.train.num_rows == 30
    assert task.labels == ("0", "1", "2")
    assert [finding.check for finding in findings] == ["exact-duplicates"]


def test_many_rows_take_seconds():
    rng = np.random.default_rng(0)
    words = np.array([f"w{at}" for at in range(5000)])
    many = pa.table(
        {
            "text": [" ".join(row) for row in rng.choice(words, (33_000, 10))],
            "label": [f"c{at}" for at in rng.integers(0, 30, 33_000)],
        }
    )
    labels = tuple(f"c{at}" for at in range(30))
    started = time.process_time()
    checked(*make(many.slice(0, 30_000), many.slice(30_000), labels=labels))
    assert time.process_time() - started < 10


def test_every_check_has_a_kebab_name():
    assert all(name == name.lower() and "_" not in name for name in CHECKS)
