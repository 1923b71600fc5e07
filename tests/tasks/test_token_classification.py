"""Entities: schemes and spans give the same targets, metrics agree with seqeval, bad rows are told and cost no run."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from autosft.data.audit import audit
from autosft.data.data import materialise
from autosft.data.source import Source
from autosft.errors import DataError
from autosft.prepare import Question, check, understand
from autosft.task import Metric, Task
from autosft.tasks import kind
from autosft.tasks.entities import bio_labels, types_of_tags
from autosft.tasks.entity_columns import are_spans, entity_types, holds_spans, holds_words, spans_of, words_of_text

KIND = kind("token-classification")
LABELS = bio_labels(["PER", "LOC"])


def make_task(labels=LABELS, metric="entity_f1", function=None, inputs=("tokens",), target="tags"):
    return Task("token-classification", "", tuple(inputs), target, Metric(metric, True, None, function), tuple(labels))


SPAN_TASK = make_task(inputs=("text",), target="spans")


def table_of(*tags, tokens=None):
    tags = [row.split() for row in tags]
    tokens = tokens or [[f"w{at}" for at in range(len(row))] for row in tags]
    return pa.table({"tokens": pa.array(tokens, pa.list_(pa.string())), "tags": pa.array(tags, pa.list_(pa.string()))})


def texts_of(rows):
    return pa.table({"text": [text for text, _ in rows], "spans": [spans for _, spans in rows]})


def span(start, end, label):
    return {"start": start, "end": end, "label": label}


def outputs_for(rows, labels=LABELS, share=0.9):
    """Outputs whose likeliest tag is the one given, with `share` of the probability."""
    values = []
    for row in rows:
        matrix = np.full((len(row), len(labels)), (1 - share) / (len(labels) - 1), np.float32)
        matrix[np.arange(len(row)), [labels.index(tag) for tag in row]] = share
        values.append(matrix.tolist())
    return pa.array(values, pa.list_(pa.list_(pa.float32(), len(labels))))


def names(targets, labels=LABELS):
    return [None if row is None else [labels[at] for at in row] for row in targets.to_pylist()]


SCHEMES = {
    "IOB1": "I-PER I-PER B-PER O I-LOC I-PER O",
    "BIO": "B-PER I-PER B-PER O B-LOC B-PER O",
    "BIOES": "B-PER E-PER S-PER O S-LOC S-PER O",
    "BILOU": "B-PER L-PER U-PER O U-LOC U-PER O",
    "BMEWO": "B-PER E-PER W-PER O W-LOC W-PER O",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_gives_the_same_targets_and_scores(scheme):
    table, task = table_of(SCHEMES[scheme], "O O"), make_task()
    assert entity_types(task, table) == ("LOC", "PER")
    targets = KIND.encode_targets(task, table)
    assert targets.type == pa.list_(pa.int16())
    assert names(targets) == [SCHEMES["BIO"].split(), ["O", "O"]]
    outputs = outputs_for([["B-PER", "I-PER", "I-PER", "O", "B-LOC", "O", "O"], ["O", "B-LOC"]])
    scores = KIND.scores(task, targets, outputs)
    assert scores["entity_precision"] == pytest.approx(1 / 3)
    assert scores["entity_recall"] == pytest.approx(1 / 4)
    assert scores["entity_f1"] == pytest.approx(2 / 7)
    assert scores["macro_entity_f1"] == pytest.approx(1 / 3)
    assert scores["token_accuracy"] == pytest.approx(6 / 9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_files_of_every_scheme_give_the_same_score_for_the_same_predictions(scheme, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))

    def write(name, num_rows):
        pairs = [[(f"{name}{row}word{at}", tag) for at, tag in enumerate(SCHEMES[scheme].split())]
                 for row in range(num_rows)]  # fmt: skip
        path = tmp_path / f"{name}.conll"
        path.write_text("\n\n".join("\n".join(map("\t".join, row)) for row in pairs) + "\n", encoding="utf-8")
        return path

    asked = Question("Find the named entities", write("train", 20), test=write("test", 2))
    prepared = check(asked, *understand(asked))
    task = prepared.task
    assert task.kind == "token-classification" and task.labels == bio_labels(["LOC", "PER"])
    assert not [finding for finding in prepared.findings if finding.severity == "warning"]
    _, rows = prepared.data.held_out()
    # Of four entities in either sentence all are found in the first, and in the second one, beside one too long.
    predicted = [SCHEMES["BIO"].split(), ["B-PER", "I-PER", "I-PER", "O", "B-LOC", "O", "O"]]
    outputs = outputs_for(predicted, task.labels)
    assert KIND.scores(task, rows.targets(), outputs)["entity_f1"] == pytest.approx(2 * 5 / (6 + 8))


def test_bare_types_are_tags_of_their_own():
    table = table_of("person O creative-work creative-work B-side", "O person O O O")
    labels = bio_labels(entity_types(make_task(()), table))
    assert labels[1::2] == ("B-B-side", "B-creative-work", "B-person")
    expected = ["B-person", "O", "B-creative-work", "I-creative-work", "B-B-side"]
    assert names(KIND.encode_targets(make_task(labels), table), labels)[0] == expected
    assert types_of_tags(pa.array(["B-creative-work", "I-x-y", "O", None])) == ("creative-work", "x-y")


def random_tags(rng, num_rows, labels, *, legal):
    rows = []
    for _ in range(num_rows):
        row = [str(tag) for tag in rng.choice(labels, size=rng.integers(0, 12))]
        if legal:
            row = [
                f"B-{tag[2:]}" if tag[0] == "I" and (not at or row[at - 1][1:] != tag[1:]) else tag
                for at, tag in enumerate(row)
            ]
        rows.append(row)
    return rows


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_seqeval_also_on_malformed_predictions(seed):
    reference = pytest.importorskip("seqeval.metrics")
    rng = np.random.default_rng(seed)
    true = random_tags(rng, 60, LABELS, legal=True)
    noise = random_tags(rng, 60, LABELS, legal=False)
    predicted = [
        [own if rng.random() < 0.7 else (other + own_row)[at] for at, own in enumerate(own_row)]
        for own_row, other in zip(true, noise, strict=True)
        for other in [other[: len(own_row)]]
    ]
    table = pa.table({"tokens": true, "tags": true}).cast(
        pa.schema([("tokens", pa.list_(pa.string())), ("tags", pa.list_(pa.string()))])
    )
    targets, outputs = KIND.encode_targets(make_task(), table), outputs_for(predicted)
    chosen = np.stack([np.arange(60), rng.integers(60, size=60)])
    wanted = {
        "entity_f1": lambda *both: reference.f1_score(*both),
        "entity_precision": lambda *both: reference.precision_score(*both),
        "entity_recall": lambda *both: reference.recall_score(*both),
        "macro_entity_f1": lambda *both: reference.f1_score(*both, average="macro"),
    }
    for name, function in wanted.items():
        expected = [function([true[at] for at in rows], [predicted[at] for at in rows]) for rows in chosen]
        score = KIND.scorer(make_task(metric=name), targets, outputs)
        assert score(chosen) == pytest.approx(expected), name
    delivered = KIND.decode(make_task(), pa.table({"tokens": true}), outputs)["prediction"].to_pylist()
    assert reference.f1_score(true, delivered) == pytest.approx(reference.f1_score(true, predicted))
    accuracy = KIND.score(make_task(metric="token_accuracy"), targets, outputs)
    assert accuracy == pytest.approx(reference.accuracy_score(true, delivered))


def test_a_users_metric_gets_lists_of_tags():
    seen = []

    def count(true, predicted):
        seen.append((true, predicted))
        return float(len(true))

    task = make_task(function=count)
    targets = KIND.encode_targets(task, table_of("I-PER O", "", "O"))
    outputs = outputs_for([["I-PER", "O"], [], ["B-LOC"]])
    assert KIND.scorer(task, targets, outputs)(np.array([[0, 1, 2], [2, 2, 1]])).tolist() == [3.0, 3.0]
    assert seen[0] == ([["B-PER", "O"], [], ["O"]], [["B-PER", "O"], [], ["B-LOC"]])
    assert seen[1] == ([["O"], ["O"], []], [["B-LOC"], ["B-LOC"], []])


def test_nothing_found_and_nothing_there_scores_zero_and_no_rows_do_not_fail():
    targets = KIND.encode_targets(make_task(), table_of("O O"))
    scores = KIND.scores(make_task(), targets, outputs_for([["O", "O"]]))
    assert scores["entity_f1"] == 0 and scores["token_accuracy"] == 1
    assert KIND.loss(make_task(), targets.slice(0, 0), outputs_for([])) == 0
    empty = KIND.decode(make_task(), pa.table({"tokens": pa.array([], pa.list_(pa.string()))}), outputs_for([]))
    assert [len(column) for column in empty.values()] == [0, 0]


def test_the_loss_is_of_words_and_smaller_for_right_outputs():
    targets = KIND.encode_targets(make_task(), table_of("B-PER O O", "O"))
    right = [["B-PER", "O", "O"], ["O"]]
    assert KIND.loss(make_task(), targets, outputs_for(right)) == pytest.approx(-np.log(0.9), rel=1e-5)
    wrong = [["B-PER", "O", "O"], ["B-LOC"]]
    expected = (-3 * np.log(0.9) - np.log(0.025)) / 4
    assert KIND.loss(make_task(), targets, outputs_for(wrong)) == pytest.approx(expected, rel=1e-5)


def test_rows_without_targets_and_slices_are_left_out_of_scores():
    table = table_of("B-PER O", "B-XYZ", "O B-LOC")
    targets = KIND.encode_targets(make_task(), table, strict=False)
    assert names(targets) == [["B-PER", "O"], None, ["O", "B-LOC"]]
    outputs = outputs_for([["B-PER", "O"], ["B-LOC"], ["O", "O"]])
    scores = KIND.scores(make_task(), targets, outputs)
    assert scores["entity_precision"] == 1 and scores["entity_recall"] == 0.5
    assert KIND.score(make_task(), targets.slice(2), outputs.slice(2)) == 0
    assert KIND.scores(make_task(), targets.slice(0, 1), outputs.slice(0, 1))["entity_f1"] == 1


def test_decoded_tags_are_repaired_and_scored_by_the_least_sure_word():
    inputs = KIND.encode_inputs(make_task(), table_of("O O O", "", "O"))
    assert inputs.column_names == ["tokens"]
    sure = outputs_for([["O", "I-PER", "I-LOC"], [], ["O"]], share=0.9)
    unsure = outputs_for([["O", "I-PER", "I-LOC"], [], ["O"]], share=0.6)
    outputs = pa.array([[sure[0][0].as_py(), unsure[0][1].as_py(), sure[0][2].as_py()], [], sure[2].as_py()], sure.type)
    decoded = KIND.decode(make_task(), inputs, outputs)
    assert decoded["prediction"].to_pylist() == [["O", "B-PER", "B-LOC"], [], ["O"]]
    assert decoded["score"].to_pylist() == pytest.approx([0.6, 1.0, 0.9])


ROWS = [
    ("Angela Merkel visited Paris, twice.", [span(0, 13, "PER"), span(22, 27, "LOC")]),
    ("", []),
    ("  東京に行く हिन्दी café‍ ", [span(2, 4, "LOC"), span(8, 14, "PER")]),
    ("nothing here", []),
]


def test_spans_round_trip():
    table = texts_of(ROWS)
    inputs = KIND.encode_inputs(SPAN_TASK, table)
    assert inputs.column("tokens")[0].as_py() == ["Angela", "Merkel", "visited", "Paris", ",", "twice", "."]
    assert inputs.column("tokens")[2].as_py() == ["東", "京", "に", "行", "く", "हिन्दी", "café‍"]
    assert all(column.null_count == 0 for column in inputs.columns)
    assert KIND.encode_inputs(SPAN_TASK, table.slice(2)).to_pylist() == inputs.slice(2).to_pylist()
    targets = KIND.encode_targets(SPAN_TASK, table)
    decoded = KIND.decode(SPAN_TASK, inputs, outputs_for(names(targets)))["prediction"].to_pylist()
    for (text, spans), found in zip(ROWS, decoded, strict=True):
        assert found == [{**one, "text": text[one["start"] : one["end"]]} for one in spans]


def test_spans_are_read_by_other_names_and_from_json():
    text, spans = ROWS[0]
    renamed = [{"begin": one["start"], "stop": one["end"], "entity": one["label"]} for one in spans]
    triples = json.dumps([[one["start"], one["end"], one["label"]] for one in spans])
    expected = KIND.encode_targets(SPAN_TASK, texts_of(ROWS[:1])).to_pylist()
    printed = (str(spans), str([tuple(one.values()) for one in spans]))
    for given in (
        renamed,
        json.dumps(spans),
        triples,
        *printed,
        [{**one, "start": float(one["start"])} for one in spans],
    ):
        table = texts_of([(text, given)])
        assert KIND.encode_targets(SPAN_TASK, table).to_pylist() == expected
        assert entity_types(SPAN_TASK, table) == ("LOC", "PER")
    assert holds_spans(texts_of([(text, renamed)]).schema.field("spans").type)
    assert not holds_spans(table_of("O").schema.field("tags").type)
    assert holds_words(table_of("O").schema.field("tags").type)


def test_text_that_holds_spans_is_told_from_other_lists():
    some = json.dumps([span(0, 1, "PER")])
    assert are_spans([some, "[]", " [ ] "]) and are_spans(["[(0, 1, 'PER')]"] * 9 + ["no spans"])
    for other in (["[]"] * 3, ["['a', 'b']"], [some, "[1, 2]"], ["[[0, 1]]"], ["free text"], []):
        assert not are_spans(other)
    for broken in ("[[0, 1, 'PER'", "[{'start': 0}]", "[__import__('os')]", "7"):
        assert spans_of(broken) is None


def test_crooked_spans_are_put_right():
    text = "Angela Merkel in Paris"
    spans = [span(0, 6, "PER"), span(0, 13, "PER"), span(18, 40, "LOC"), span(50, 60, "LOC"), span(13, 14, "LOC")]
    targets = KIND.encode_targets(SPAN_TASK, texts_of([(text, spans)]))
    assert names(targets) == [["B-PER", "I-PER", "O", "B-LOC"]]


def test_punctuation_and_underscores_are_words():
    text = "a_b's (x) 3.5% — ok!?"
    words = [text[start:end] for start, end in words_of_text(text)]
    assert words == ["a_b", "'", "s", "(", "x", ")", "3", ".", "5", "%", "—", "ok", "!", "?"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (table_of("O", "O B-PER", tokens=[["a"], ["b"]]), r"row 1.*1 word, 2 tags(.|\n)*every word one tag"),
        (table_of("O", "X-PER"), r"row 1.*the tag 'X-PER'"),
        (table_of("O", "B-ORG", "B-ORG"), r"row 1.*and 1 more rows.*the tag 'B-ORG'(.|\n)*of that type"),
        (pa.table({"tokens": [["a"], ["b"]], "tags": [["O"], None]}), r"row 1.*no tags"),
        (pa.table({"tokens": [["a"]], "tags": [[3]]}), r"numbers(.|\n)*ClassLabel"),
        (pa.table({"tokens": ["a b"], "tags": [["O", "O"]]}), r"'tokens' as a list of words"),
        (pa.table({"tokens": [["a"]], "tags": [[span(0, 1, "PER")]]}), r"'tokens' as a text"),
        (pa.table({"tokens": [3], "tags": [["O"]]}), r"neither words nor texts"),
    ],
)
def test_targets_that_cannot_be_read_say_why(table, words):
    with pytest.raises(DataError, match=words):
        KIND.encode_targets(make_task(), table)


def test_two_input_columns_are_one_too_many():
    with pytest.raises(DataError, match="inputs="):
        KIND.encode_inputs(make_task(inputs=("tokens", "tags")), table_of("O"))


def test_strata_are_the_rarest_type():
    table = table_of("B-PER O", "B-PER B-LOC", "O O", "B-PER I-PER", "B-XYZ")
    assert KIND.strata(make_task(), table).tolist() == [2, 1, 0, 2, 0]
    assert KIND.rows_per_class(make_task(), KIND.encode_targets(make_task(), table, strict=False)) == 2


def findings_of(task, off=(), **splits):
    clean, task, findings = audit(KIND, task, Source(splits, "rows"), off=off)
    return clean, task, {finding.check: finding for finding in findings}


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"tokens": [["a", "b"], ["c"]] * 5, "tags": [["O", "O"], ["O"]] * 5}),
        pa.table({"tokens": ["a b", "c"] * 5, "tags": pa.array([[]] * 10, pa.list_(pa.null()))}),
    ],
    ids=["tags", "spans"],
)
def test_rows_in_which_nothing_is_marked_are_refused(table):
    with pytest.raises(DataError, match="every word in column 'tags' is outside of all entities"):
        audit(KIND, make_task(labels=bio_labels(())), Source({"train": table}, "rows"), off="all")


def test_the_audit_drops_rows_whose_tags_cannot_be_used_and_keeps_test_rows(tmp_path):
    tokens = [["a", "b"], ["c"], ["d", "e"], ["f"], ["g"], ["", " "], ["h", "i"]]
    table = table_of("O B-PER", "O O", "B-LOC X-LOC", "B-", "B-PER", "O O", "O B-LOC", tokens=tokens)
    test = table_of("B-PER O", "B-ORG O", "O", tokens=[["t", "u"], ["v", "w"], ["x", "y"]])
    clean, task, found = findings_of(make_task(), train=table, test=test)
    assert found["tag-counts"].count == 2 and "1 in train, 1 in test" in found["tag-counts"].message
    assert found["tag-counts"].examples[0].startswith("row 1: 1 word, 2 tags (c)")
    assert found["tag-counts"].examples[1].startswith("test row 2: 2 words, 1 tag")
    assert found["unknown-tags"].count == 2 and "dropped 2 rows" in found["unknown-tags"].action
    assert "missing-inputs" in found
    assert found["unseen-entity-types"].fixed and task.labels == bio_labels(["LOC", "ORG", "PER"])
    assert clean.train["tokens"].to_pylist() == [["a", "b"], ["g"], ["h", "i"]]
    assert clean.splits["test"].num_rows == 3
    data, _ = materialise(KIND, task, clean, folder=tmp_path, seed=0)
    _, held_out = data.held_out()
    assert names(held_out.targets(), task.labels) == [["B-PER", "O"], ["B-ORG", "O"], None]
    assert held_out.targets().type == pa.list_(pa.int16())


def test_the_audit_tells_iob1_from_broken_bio():
    _, _, found = findings_of(make_task(), train=table_of("I-PER I-PER B-PER", "I-LOC O", "O O O"))
    assert found["tag-scheme"].severity == "info" and "IOB1" in found["tag-scheme"].message
    _, _, found = findings_of(make_task(), train=table_of("B-PER I-PER B-PER", "O I-LOC", "O O O"))
    assert found["tag-scheme"].severity == "warning" and found["tag-scheme"].count == 1
    assert found["tag-scheme"].examples[0].startswith("row 1")
    _, _, found = findings_of(make_task(), train=table_of("B-PER I-PER B-PER", "O B-LOC", "O O O"))
    assert "tag-scheme" not in found


def test_the_audit_counts_crooked_spans():
    rows = [
        ("Angela Merkel in Paris", [span(0, 13, "PER"), span(7, 13, "PER"), span(17, 99, "LOC")]),
        ("Bo is in Rome now", [span(0, 2, "PER"), span(9, 12, "LOC")]),
        ("Ann was never there", [span(0, 3, "PER"), span(6, 6, "LOC")]),
    ]
    _, _, found = findings_of(SPAN_TASK, train=texts_of(rows))
    assert found["spans-outside-text"].count == 2
    assert found["overlapping-spans"].count == 1
    assert found["spans-cutting-words"].count == 1
    assert found["spans-cutting-words"].examples[0].startswith("row 1: LOC at 9 to 12 of 17 characters, 'Rom'")
    broken = [(text, json.dumps(spans)) for text, spans in rows] + [("Ed was here", '[{"start": 1}]')]
    clean, _, found = findings_of(SPAN_TASK, train=texts_of(broken))
    assert found["unknown-tags"].examples[0].startswith("row 3")
    assert clean.train.num_rows == 3


def test_a_clean_table_has_no_findings_of_its_own():
    _, _, found = findings_of(make_task(), train=table_of("B-PER O", "O B-LOC", "O O O"))
    assert not set(found) & set(KIND.checks)


def test_what_knows_nothing_says_the_frequent_tag_of_every_word():
    train = KIND.encode_targets(make_task(), table_of("O O B-PER", "O"))
    like = KIND.encode_targets(make_task(), table_of("B-LOC", "O O", ""))
    constant = KIND.constant(make_task(), train, like)
    assert [len(row) for row in constant.to_pylist()] == [1, 2, 0]
    inputs = KIND.encode_inputs(make_task(), table_of("O", "O O", ""))
    assert KIND.decode(make_task(), inputs, constant)["prediction"].to_pylist() == [["O"], ["O", "O"], []]
    assert KIND.score(make_task(), like, constant) == 0
