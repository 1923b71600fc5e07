from __future__ import annotations

import random

import pyarrow as pa
import pytest

from autosft.data.audit import audit
from autosft.data.finding import Severity
from autosft.data.source import Source
from autosft.task import Metric, Task
from autosft.tasks import kind

ROWS = 400
SAID = {
    "yes": "we could show a clear effect of it",
    "no": "there was not any difference between the groups",
    "maybe": "more trials are needed before that is known",
}


def words(seed, length=12):
    draw = random.Random(seed)
    return [" ".join(draw.choice(["cells", "patients", "dose", "risk", "age", "scan"]) for _ in range(length)) + f" {i}"
            for i in range(ROWS)]  # fmt: skip


LABELS = [random.Random(i).choice(list(SAID)) for i in range(ROWS)]
SPOKEN = ["yes" if i % 5 == 0 else label for i, label in enumerate(LABELS)]
ANSWERS = [f"{text}, {SAID[label]}" for text, label in zip(words(1), SPOKEN, strict=True)]
QUESTIONS, CONTEXTS = words(2), words(3, 40)
LISTS = [text.split("age") for text in CONTEXTS]


def finding(columns, inputs, labels=None):
    labels = labels or LABELS
    name = "text-pair-classification" if len(inputs) == 2 else "text-classification"
    distinct = tuple(sorted(set(labels)))
    task = Task(name, "", inputs, "decision", Metric("accuracy"), distinct)
    _, _, findings = audit(kind(name), task, Source({"train": pa.table({**columns, "decision": labels})}, "here"))
    return next((one for one in findings if one.check == "leaking-columns"), None)


@pytest.mark.parametrize(
    "columns",
    [
        {"question": QUESTIONS, "context": CONTEXTS, "answer": ANSWERS},
        {"QUESTION": QUESTIONS, "CONTEXTS": LISTS, "LONG_ANSWER": ANSWERS},
        {"query": QUESTIONS, "longAnswer": ANSWERS},
        {"text": QUESTIONS, "explanation": ANSWERS},
    ],
    ids=lambda columns: " ".join(columns),
)
def test_an_answer_that_tells_the_label_better_than_what_it_answers(columns):
    first, *_, last = columns
    told = finding(columns, (first, last))
    assert (told.severity, told.count) == (Severity.WARNING, 1)
    assert last in told.message and "of the labels" in told.examples[0] and f"'{last}' will be there" in told.action
    unused = finding(columns, (first,))
    assert (unused.severity, unused.action) == (Severity.INFO, "none of them is an input; keep it so")


@pytest.mark.parametrize("named", ["comment", "answer"])
def test_a_text_that_begins_with_the_label(named):
    begun = [f"{label.title()}, {text}" for label, text in zip(LABELS[:300], words(5)[:300], strict=True)]
    begun += words(6)[300:]
    told = finding({"question": QUESTIONS, named: begun}, ("question", named))
    assert told.severity is Severity.WARNING and "begins with the label's own name" in told.examples[0]


@pytest.mark.parametrize(
    "columns",
    [
        # The answer is judged; the body of a ticket says more than its subject; an answer that says nothing.
        {"question": QUESTIONS, "answer": ANSWERS},
        {"subject": QUESTIONS, "body": ANSWERS},
        {"question": QUESTIONS, "context": CONTEXTS, "answer": words(7)},
        {"question": QUESTIONS, "context": ANSWERS, "answer": ANSWERS[::-1]},
        {"explanation": ANSWERS},
    ],
    ids=lambda columns: " ".join(columns),
)
def test_texts_that_may_well_tell_the_label(columns):
    assert finding(columns, (next(iter(columns)), next(reversed(columns)))[: len(columns)]) is None


def test_texts_that_always_begin_in_one_way():
    begun = [f"yes {text}" for text in words(5)]
    assert finding({"text": begun}, ("text",)) is None
