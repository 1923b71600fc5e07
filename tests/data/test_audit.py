from __future__ import annotations

import time
from dataclasses import replace

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


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("off", [(), "all"])
def test_rows_that_share_no_label_with_training_are_refused_with_the_labels_of_both(split, off):
    strange = pairs([("one more", "x"), ("something else", "y"), ("and this", None)])
    task, source = make(plain(), **{split: strange})
    with pytest.raises(DataError) as raised:
        checked(task, source, off=off)
    message = str(raised.value)
    assert f"the {split} rows have 'x', 'y'" in message and "the training rows have 'a', 'b'" in message
    assert "map" in message


def test_of_many_labels_that_are_not_shared_a_few_are_named():
    test = [(f"test {text}", f"t{at}") for at, text in enumerate(texts(20, seed=1))]
    with pytest.raises(DataError, match=r"the test rows have 't0', .* and 15 more"):
        checked(*make(plain(), test))


def test_spellings_of_one_label_are_shared():
    _, task, _ = checked(*make(plain(), [("one more", "A"), ("something else", "B ")]))
    assert task.labels == ("a", "b")


def with_odd(label, num, labels=("a", "b")):
    return [*plain(60, labels), *((text, label) for text in texts(num, seed=3))]


@pytest.mark.parametrize("label", ["N/A", "na", "NaN", "NULL", "None", "-", "?"])
def test_a_rare_label_that_looks_like_a_missing_answer_is_said(label):
    cleaned, task, findings = checked(*make(with_odd(label, 5), labels=("a", "b", label)))
    finding = found(findings, "labels-like-missing")
    assert f"'{label}' (5 rows) looks like a missing answer" in finding.message
    assert "class of its own" in finding.message
    assert finding.examples[0].startswith("row 60")
    assert not finding.fixed and "remove" in finding.action
    assert cleaned.train.num_rows == 65 and label in task.labels


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (with_odd("unknown", 5), ("a", "b", "unknown")),
        (with_odd("none", 8), ("a", "b", "none")),
        (with_odd("none", 5, labels=("a",)), ("a", "none")),
    ],
)
def test_other_labels_frequent_ones_and_one_of_two_are_answers(rows, labels):
    assert found(checked(*make(rows, labels=labels))[2], "labels-like-missing") is None


def test_several_labels_that_look_like_missing_answers_are_said_at_once():
    rows = [*with_odd("n/a", 3), ("one more", "?")]
    finding = found(checked(*make(rows, labels=("?", "a", "b", "n/a")))[2], "labels-like-missing")
    assert "'n/a' (3 rows) and '?' (1 row) look like missing answers" in finding.message
    assert finding.count == 4 and len(finding.examples) == 2


@pytest.mark.parametrize("group", [None, "sender"])
def test_near_repeats_of_rows_ask_for_a_group_only_where_there_is_none(group):
    text = texts(1, seed=5, length=60)[0]
    table = pairs([*plain(), (text, "a"), (f"{text}!", "a")])
    table = table.append_column("sender", pa.array([f"s{at % 7}" for at in range(table.num_rows)]))
    task, source = make(table)
    finding = found(checked(replace(task, group_column=group), source)[2], "near-duplicates")
    assert ("group=" in finding.action) == (group is None)


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


def test_no_validation_row_left_is_told():
    again = pa.table({"text": ["one more", "and more"], "label": ["a", "b"]})
    with pytest.raises(DataError, match=r"no validation rows are left of 2 in .*duplicates-across-splits"):
        checked(*make(plain(), again, validation=again))


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


def table_of_codes(num=400):
    return {
        "purpose": [f"A4{at % 10}" for at in range(num)],
        "savings": [f"A6{at % 5}" for at in range(num)],
        "amount": [at * 7 for at in range(num)],
    }


def test_a_table_of_codes_is_said_to_be_no_text():
    labels = [("a", "b")[at % 10 > 5] for at in range(400)]
    _, _, findings = checked(*make(pa.table({**table_of_codes(), "label": labels}), inputs=("purpose",)))
    one = found(findings, "codes-as-text")
    assert one.severity is Severity.WARNING and not one.fixed
    assert "('purpose') is 10 short values in 400 rows, and 2 columns of numbers or codes are not read" in one.message
    assert "looks like a table" in one.message


@pytest.mark.parametrize(
    "columns",
    [
        {"purpose": texts(400), "amount": list(range(400))},
        {"purpose": ["yes", "no"] * 200},
        {"purpose": [text * 5 for text in texts(10)] * 40, "amount": list(range(400))},
    ],
    ids=["texts", "nothing beside", "long texts that repeat"],
)
def test_what_is_read_as_text_is_no_table(columns):
    table = pa.table({**columns, "label": ["a", "b"] * 200})
    _, _, findings = checked(*make(table, inputs=("purpose",)), off="all")
    assert found(findings, "codes-as-text") is None


@pytest.mark.parametrize("separator", [" ", ", "])
def test_texts_of_nothing_but_numbers_are_told_to_become_images(separator):
    pixels = [separator.join(str((at * 31 + i * i) % 256) for i in range(100)) for at in range(60)]
    _, _, findings = checked(*make(pa.table({"text": pixels, "label": ["a", "b"] * 30})))
    one = found(findings, "numbers-as-text")
    assert one.count == 60 and "'text'" in one.message and "write these as image files" in one.action


@pytest.mark.parametrize(
    "text", ["call 555 0199 555 0100", "12 34 56", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 apples"]
)
def test_texts_with_words_or_a_few_numbers_are_texts(text):
    table = pa.table({"text": [f"{text} {at}" for at in range(60)], "label": ["a", "b"] * 30})
    assert found(checked(*make(table))[2], "numbers-as-text") is None


def test_where_codes_leave_one_class_the_error_names_them_and_the_table():
    labels = ["b" if at < 100 else "a" for at in range(400)]
    with pytest.raises(DataError, match=r"(?s)told apart by 'purpose' alone.*exact-duplicates.*looks like a table"):
        checked(*make(pa.table({**table_of_codes(), "label": labels}), inputs=("purpose",)))
