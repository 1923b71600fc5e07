"""Words and tags that stand in a table as text."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from autosft.data.read import read
from autosft.errors import TaskError
from autosft.infer import infer

WORDS = [f"the kettle of Acme Corp broke on day {day}".split() for day in range(30)]
TAGS = [["O", "O", "O", "B-org", "I-org", "O", "O", "O", "O"]] * len(WORDS)
FORMS = {"printed": str, "JSON": json.dumps, "between blanks": " ".join}


@pytest.mark.parametrize("words", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("tags", FORMS.values(), ids=FORMS)
def test_tags_beside_as_many_words_are_read_as_lists(
    tmp_path: Path, words: Callable[[list[str]], str], tags: Callable[[list[str]], str]
) -> None:
    columns = {
        "Number": [f"Sentence: {at}" for at in range(len(WORDS))],
        "Sentence": list(map(words, WORDS)),
        "POS": [str(["DT", "NN", "IN", "NP", "NP", "VB", "IN", "NN", "CD"])] * len(WORDS),
        "Tag": list(map(tags, TAGS)),
    }
    frame = pd.DataFrame(columns)
    frame.to_csv(tmp_path / "ner.csv", index=False)
    source = read(tmp_path / "ner.csv", test=frame[:4])
    assert source.train["Sentence"].to_pylist() == WORDS and source.train["Tag"].to_pylist() == TAGS
    assert source.splits["test"]["Tag"].to_pylist() == TAGS[:4]
    assert any("'Sentence' and 'Tag' were read as lists" in note for note in source.notes)
    task = infer("find company names", source)
    assert (task.kind, task.input_columns, task.target_column) == ("token-classification", ("Sentence",), "Tag")


@pytest.mark.parametrize("form", [str, " ".join, list], ids=["printed", "between blanks", "list"])
def test_tags_without_as_many_words_are_refused_with_what_would_help(form: Callable[[list[str]], object]) -> None:
    draw = random.Random(0)
    rows = [
        {"Sentence": " ".join(words) + " and so on", "Tag": form(draw.sample(tags, draw.randint(5, 9)))}
        for words, tags in zip(WORDS, TAGS, strict=True)
    ]
    with pytest.raises(TaskError, match=r"(?s)'Tag' holds tags of words, such as 'O' and '.-org'.*give them as a list"):
        infer("find company names", read(rows))
    with pytest.raises(TaskError, match="'Tag' holds tags of words"):
        infer("", read(rows), target="Tag")


def test_tags_that_look_like_texts_are_named_where_nothing_else_can_be_meant() -> None:
    draw = random.Random(0)
    tags = [draw.choices(["O", "B-org", "I-org"], k=draw.randint(9, 30)) for _ in WORDS]
    rows = [{"Sentence": " ".join(words), "Tag": " ".join(row)} for words, row in zip(WORDS, tags, strict=True)]
    for sentence, named in (("find company names", {}), ("", {"kind": "token-classification"})):
        with pytest.raises(TaskError, match="'Tag' holds tags of words"):
            infer(sentence, read(rows), **named)
    rows = [{**row, "topic": ["a", "b"][at % 2]} for at, row in enumerate(rows)]
    assert infer("Predict the topic", read(rows)).target_column == "topic"


def test_texts_and_labels_are_no_tags() -> None:
    rows = [{"text": " ".join(words), "blood": "O" if at % 2 else "AB"} for at, words in enumerate(WORDS)]
    assert read(rows).train.to_pylist() == rows
    assert infer("Which blood group?", read(rows)).kind == "text-classification"
