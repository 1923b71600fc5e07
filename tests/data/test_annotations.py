"""Rows as tools for annotation export them: doccano, spaCy, Label Studio, Prodigy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from autosft.data.read import read
from autosft.errors import DataError
from autosft.infer import infer

TEXTS = ["Anna joined Acme", "Nobody came", "Omar left Globex"]
MARKED: list[list[list[Any]]] = [[[0, 4, "PER"], [12, 16, "ORG"]], [], [[0, 4, "PER"], [10, 16, "ORG"]]]
FIELDS = [[{"start": start, "end": end, "label": label} for start, end, label in row] for row in MARKED]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_spans_without_fields_are_read_as_spans(tmp_path: Path) -> None:
    rows = [{"text": text, "label": spans} for text, spans in zip(TEXTS, MARKED, strict=True)]
    frame = pd.DataFrame({"text": TEXTS, "label": [[tuple(span) for span in spans] for spans in MARKED]})
    for data in (written(tmp_path / "doccano.jsonl", lines(rows)), rows, frame):
        source = read(data)
        assert source.train["label"].to_pylist() == FIELDS
        task = infer("find company names", source)
        assert (task.kind, task.input_columns, task.target_column) == ("token-classification", ("text",), "label")
        assert task.labels == ("O", "B-ORG", "I-ORG", "B-PER", "I-PER")


def test_other_lists_that_mix_numbers_and_words_are_refused_as_before() -> None:
    for spans in ([0, 4, "PER"], [[0, "PER"]], [[0, 4, 5]] * 2 + [[0, 4, "PER"]], [[0.5, 4, "PER"]]):
        with pytest.raises(DataError, match="column 'label'"):
            read([{"text": "a", "label": [[0, 4, "PER"]]}, {"text": "b", "label": spans}])


def test_training_data_of_spacy_is_read(tmp_path: Path) -> None:
    pairs = [[text, {"entities": spans}] for text, spans in zip(TEXTS, MARKED, strict=True)]
    named = {"classes": ["PER", "ORG"], "annotations": [*pairs[:1], None, *pairs[1:]]}
    for data in (
        written(tmp_path / "spacy.json", pairs),
        written(tmp_path / "classes.json", named),
        [(text, notes) for text, notes in pairs],
    ):
        assert read(data).train.to_pydict() == {"text": TEXTS, "entities": FIELDS}


def task_of(text: str, results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    annotations = [{"id": 7, "result": results, **more}]
    return {"id": 1, "data": {"text": text}, "annotations": annotations, "predictions": [], "meta": {}}


def test_a_full_export_of_label_studio_is_read_as_spans_or_choices(tmp_path: Path) -> None:
    marked = [
        task_of(
            text,
            [
                {"from_name": "who", "type": "labels", "value": {"start": start, "end": end, "labels": [label]}}
                for start, end, label in spans
            ],
        )
        for text, spans in zip(TEXTS, MARKED, strict=True)
    ]
    marked += [task_of("Skipped", [], was_cancelled=True), {**task_of("Undone", []), "annotations": []}]
    table = read(written(tmp_path / "spans.json", marked)).train
    assert table.to_pydict() == {"text": [*TEXTS, "Skipped", "Undone"], "who": [*FIELDS, None, None]}

    def chosen(*choices: str) -> dict[str, Any]:
        return task_of("a", [{"from_name": "mood", "type": "choices", "value": {"choices": list(choices)}}])

    one = read(written(tmp_path / "one.json", [chosen("glad"), chosen(), chosen("sad"), task_of("b", [])])).train
    assert one["mood"].to_pylist() == ["glad", None, "sad", None]
    several = read(written(tmp_path / "several.json", [chosen("glad", "calm"), chosen("sad")])).train
    assert several["mood"].to_pylist() == [["glad", "calm"], ["sad"]]


def test_a_full_export_of_label_studio_without_spans_or_choices_is_refused_by_name() -> None:
    stars = task_of("a", [{"from_name": "stars", "type": "rating", "value": {"rating": 3}}])
    with pytest.raises(DataError, match=r"(?s)full export of Label Studio.*JSON-MIN"):
        read([stars, stars])


def prodigy(text: str, answer: str, **more: Any) -> dict[str, Any]:
    hashes = {"_input_hash": sum(text.encode()), "_task_hash": -sum(text.encode())}
    return {"text": text, **hashes, **more, "answer": answer, "_view_id": "any", "_timestamp": 1234567}


def test_what_was_rejected_in_prodigy_is_not_learned(tmp_path: Path) -> None:
    answers = ["reject", "accept", "accept", "ignore"]
    rows = [prodigy(f"{text} {at}", answers[at % 4], spans=FIELDS[at % 3]) for at, text in enumerate(TEXTS * 8)]
    source = read(written(tmp_path / "ner.jsonl", lines(rows)), test=rows[:8])
    assert source.train["text"].to_pylist() == [row["text"] for row in rows if row["answer"] == "accept"]
    assert source.splits["test"].num_rows == 4
    # Messages name rows by their places in the file.
    assert source.places("train").tolist()[:3] == [1, 2, 5]
    assert "answer" not in source.train.column_names
    assert any("train: 12 of 24 rows left out" in note for note in source.notes)
    assert infer("find company names", source).kind == "token-classification"


def test_rows_without_prodigys_own_columns_keep_their_answers() -> None:
    rows = [{"text": f"{text} {at}", "answer": ["accept", "reject"][at % 2]} for at, text in enumerate(TEXTS * 8)]
    assert read(rows).train.to_pylist() == rows


def test_of_one_label_asked_about_in_prodigy_the_answer_is_predicted() -> None:
    answers = ["reject", "accept", "accept", "ignore"]
    rows = [prodigy(f"{text} {at}", answers[at % 4], label="COMPLAINT") for at, text in enumerate(TEXTS * 8)]
    source = read(rows)
    assert source.train["answer"].to_pylist() == [row["answer"] for row in rows if row["answer"] != "ignore"]
    assert any("'COMPLAINT'" in note for note in source.notes)
    task = infer("is it a complaint?", source)
    assert (task.kind, task.input_columns, task.target_column) == ("text-classification", ("text",), "answer")


@pytest.mark.parametrize(
    ("choices", "kind"), [("ABA", "text-classification"), (["A", "AB", ""], "multi-label-classification")]
)
def test_choices_in_prodigy_are_the_target(choices: Any, kind: str) -> None:
    options = [{"id": name, "text": name} for name in "AB"]
    rows = [
        prodigy(f"{text} {at}", "ignore" if at == 5 else "accept", options=options, accept=list(choices[at % 3]))
        for at, text in enumerate(TEXTS * 8)
    ]
    task = infer("how does it sound", read(rows))
    assert (task.kind, task.input_columns, task.target_column) == (kind, ("text",), "accept")


def test_nothing_accepted_in_prodigy_is_told() -> None:
    with pytest.raises(DataError, match="none of the 3 train rows"):
        read([prodigy(text, "reject", spans=spans) for text, spans in zip(TEXTS, FIELDS, strict=True)])


def test_splits_of_which_one_marks_nothing_fit_together() -> None:
    rows = [{"text": text, "label": spans} for text, spans in zip(TEXTS, MARKED, strict=True)]
    source = read(rows, test=[{"text": "Nobody", "label": []}])
    assert source.splits["test"]["label"].to_pylist() == [[]]
    assert source.splits["test"].schema == source.train.schema
