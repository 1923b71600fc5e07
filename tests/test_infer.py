from __future__ import annotations

import random

import pyarrow as pa
import pytest

from autosft.data.source import Source
from autosft.errors import TaskError
from autosft.infer import infer
from autosft.task import Metric

ROWS = 120
NOUNS = ["card", "transfer", "balance", "account", "refund", "payment", "phone", "parcel", "window", "garden", "engine"]
VERBS = ["arrived", "failed", "changed", "stopped", "vanished", "returned", "waited", "opened"]


def texts(words=9, seed=0, rows=ROWS):
    draw = random.Random(seed + words)
    return [" ".join(draw.choice(NOUNS + VERBS) for _ in range(words)) + f" {i}" for i in range(rows)]


def cycle(*values, rows=ROWS):
    """Every value, the first far more often than the others."""
    draw = random.Random(repr(values))
    return [values[i % len(values)] if i < len(values) * 3 else draw.choice([values[0], *values]) for i in range(rows)]


def source(**columns):
    return Source({"train": pa.table({name.replace("__", " "): values for name, values in columns.items()})}, "test")


YES_NO = {"text": texts(), "label": cycle(0, 1)}
SPAM = {"message": texts(), "label": cycle("ham", "spam")}
BANK = {"text": texts(), "category": cycle(*[f"{noun}_{verb}" for noun in NOUNS[:4] for verb in VERBS[:3]])}
REVIEWS = {
    "id": list(range(ROWS)),
    "date": [f"2024-03-{i % 28 + 1:02d}" for i in range(ROWS)],
    "stars": cycle(5, 1, 2, 3, 4),
    "text": texts(30),
}
TICKETS = {
    "subject": texts(4),
    "body": texts(40, 1),
    "queue": cycle("billing", "technical", "sales"),
    "priority": cycle("low", "medium", "high"),
}
NEWS = {
    "url": [f"https://example.org/{i}" for i in range(ROWS)],
    "headline": texts(6),
    "content": texts(50, 2),
    "author": cycle("Ann Lee", "Bo Chan", "Cy Dorn"),
    "section": cycle("sports", "business", "science"),
    "split": cycle("train", "test"),
}
LANGUAGE = {"text": texts(), "text_lang": cycle("en", "de", "fr")}
SMS = {"column_1": cycle("ham", "spam"), "column_2": texts()}
MOODS = cycle("angry", "calm", "sad")
TWICE = {"text": texts(), "label": [len(mood) for mood in MOODS], "label_text": MOODS}
MANY = {
    "user_id": [f"u{i % 60}" for i in range(ROWS)],
    "comment": texts(),
    "toxic": [i % 9 == 0 for i in range(ROWS)],
    "annotator": cycle("A", "B", "C", "D"),
    "rationale": texts(40, 5),
}
EMOTIONS = {"utterance": texts(), "speaker": cycle("Ann", "Bo"), "emotion": cycle("joy", "fear", "anger")}
PAIR = {"question1": texts(8), "question2": texts(8, 3), "is_duplicate": cycle(0, 1)}
NAMES = {"name": [f"{v.title()}{n}" for v in VERBS for n in NOUNS], "origin": cycle("Czech", "Irish", rows=88)}
SURVEY = {"Respondent ID": list(range(1000, 1000 + ROWS)), "Answer": texts(), "ThemeCode": cycle("price", "staff")}
LONELY = {"sentence": texts(), "constant": ["x"] * ROWS, "verdict": cycle("ok", "bad"), "empty": [None] * ROWS}
TITLED = {"review_title": texts(4), "review_body": texts(30), "polarity": cycle("neg", "pos")}

CASES = [
    # sentence, columns, target, inputs, metric, positive
    ("Route each customer message to the banking intent it is about", BANK, "category", ["text"], "accuracy", None),
    ("", BANK, "category", ["text"], "accuracy", None),
    ("Ordne jede Nachricht der richtigen Absicht zu", BANK, "category", ["text"], "accuracy", None),
    ("銀行の問い合わせを分類する", BANK, "category", ["text"], "accuracy", None),
    ("Is this message spam?", SPAM, "label", ["message"], "accuracy", None),
    ("Detect spam with a good F1", SPAM, "label", ["message"], "f1", "spam"),
    ("Detect spam; don't miss any", SPAM, "label", ["message"], "recall", "spam"),
    ("Find spam, false alarms are costly", SPAM, "label", ["message"], "precision", "spam"),
    ("The classes are imbalanced", SPAM, "label", ["message"], "f1", "spam"),
    ("The classes are imbalanced", BANK, "category", ["text"], "macro_f1", None),
    ("best weighted F1", BANK, "category", ["text"], "weighted_f1", None),
    ("maximise F1", BANK, "category", ["text"], "macro_f1", None),
    ("recall matters", BANK, "category", ["text"], "recall", None),
    ("Optimise macro F1 on imbalanced intents", BANK, "category", ["text"], "macro_f1", None),
    ("Rank texts by how likely they are wanted", YES_NO, "label", ["text"], "roc_auc", None),
    ("high balanced accuracy please", YES_NO, "label", ["text"], "balanced_accuracy", None),
    ("average precision counts", YES_NO, "label", ["text"], "average_precision", "1"),
    ("well calibrated probabilities", YES_NO, "label", ["text"], "log_loss", None),
    ("", SMS, "column_1", ["column_2"], "accuracy", None),
    ("Is this message spam or ham?", SMS, "column_1", ["column_2"], "accuracy", None),
    ("What is the sentiment of each review?", REVIEWS, "stars", ["text"], "accuracy", None),
    ("", REVIEWS, "stars", ["text"], "accuracy", None),
    ("Route each ticket to the right queue", TICKETS, "queue", ["subject", "body"], "accuracy", None),
    ("How urgent is each ticket?", TICKETS, "priority", ["subject", "body"], "accuracy", None),
    ("Predict the priority from the subject", TICKETS, "priority", ["subject"], "accuracy", None),
    ("Classify tickets by queue", TICKETS, "queue", ["subject", "body"], "accuracy", None),
    ("Predict the topic of the news", NEWS, "section", ["headline", "content"], "accuracy", None),
    ("Is it about sports, business or science?", NEWS, "section", ["headline", "content"], "accuracy", None),
    ("Who is the author?", NEWS, "author", ["headline", "content"], "accuracy", None),
    ("Detect the language", LANGUAGE, "text_lang", ["text"], "accuracy", None),
    ("", LANGUAGE, "text_lang", ["text"], "accuracy", None),
    ("Classify the text", LANGUAGE | {"mood": cycle("up", "down")}, "mood", ["text"], "accuracy", None),
    ("Sort the texts", TWICE, "label", ["text"], "accuracy", None),
    ("Find angry texts", TWICE, "label_text", ["text"], "accuracy", None),
    ("Is the comment toxic? Do not miss any", MANY, "toxic", ["comment"], "recall", "true"),
    ("Moderate comments for hate", MANY, "toxic", ["comment"], "accuracy", None),
    ("Which emotions are in each utterance?", EMOTIONS, "emotion", ["utterance"], "accuracy", None),
    ("Do both questions ask the same?", PAIR, "is_duplicate", ["question1", "question2"], "accuracy", None),
    ("Guess where a name comes from", NAMES, "origin", ["name"], "accuracy", None),
    ("Code the answers by theme", SURVEY, "ThemeCode", ["Answer"], "accuracy", None),
    ("", LONELY, "verdict", ["sentence"], "accuracy", None),
    ("polarity of reviews", TITLED, "polarity", ["review_title", "review_body"], "accuracy", None),
]


@pytest.mark.parametrize(("sentence", "columns", "target", "inputs", "metric", "positive"), CASES)
def test_the_sentence_and_the_columns_give_the_task(sentence, columns, target, inputs, metric, positive):
    task = infer(sentence, source(**columns))
    assert (task.target_column, list(task.input_columns)) == (target, inputs), task.reasons
    assert (task.metric.name, task.metric.positive) == (metric, positive), task.reasons
    assert task.metric.greater_is_better == (metric != "log_loss")
    assert f"'{target}' is the target" in task.reasons[0]


@pytest.mark.parametrize("sentence", ["Classify support tickets", ""])
def test_close_readings_are_both_told_with_the_argument_that_settles_it(sentence):
    with pytest.raises(TaskError) as error:
        infer(sentence, source(**TICKETS))
    assert "target='queue'" in str(error.value) and "target='priority'" in str(error.value)
    assert "billing" in str(error.value)
    assert infer(sentence, source(**TICKETS), target="priority").target_column == "priority"


def test_the_runner_up_is_told():
    assert "'priority'" in (infer("Route each ticket to the right queue", source(**TICKETS)).runner_up or "")
    assert infer("", source(**BANK)).runner_up is None


@pytest.mark.parametrize(
    ("values", "labels", "label_type"),
    [
        (cycle(10, 9, 1), ("1", "9", "10"), "int"),
        (cycle("10", "9", "1"), ("1", "9", "10"), "string"),
        (cycle(" b", "b ", "a", None, " "), ("a", "b"), "string"),
        (cycle(1.0, 2.0, float("nan")), ("1", "2"), "float"),
        ([i % 3 / 2 for i in range(ROWS)], ("0", "0.5", "1"), "float"),
        (cycle(True, False), ("false", "true"), "bool"),
        (pa.array(cycle("z", "a")).dictionary_encode(), ("a", "z"), "string"),
        (cycle("none", "None", "x"), ("None", "none", "x"), "string"),
    ],
)
def test_labels_are_distinct_stripped_sorted_and_typed(values, labels, label_type):
    task = infer("", source(text=texts(), label=values))
    assert (task.labels, task.label_type) == (labels, label_type)


def test_labels_of_the_validation_rows_count_too():
    both = source(**SPAM).with_split("validation", pa.table({"message": ["x"], "label": ["phishing"]}))
    assert infer("", both).labels == ("ham", "phishing", "spam")


def share_long(targets, predictions):
    return 0.5


@pytest.mark.parametrize(
    ("columns", "overrides", "metric"),
    [
        (SPAM, {"metric": "accuracy"}, Metric("accuracy")),
        (SPAM, {"positive": "ham"}, Metric("recall", positive="ham")),
        (SPAM, {"metric": "F1"}, Metric("f1", positive="spam")),
        (SPAM, {"metric": "f1", "positive": "ham"}, Metric("f1", positive="ham")),
        (SPAM, {"metric": Metric("f1", positive="ham")}, Metric("f1", positive="ham")),
        (BANK, {"metric": "f1"}, Metric("macro_f1")),
        (BANK, {"metric": "f1", "positive": "card_failed"}, Metric("f1", positive="card_failed")),
        (YES_NO, {"metric": "AUC"}, Metric("roc_auc")),
        (YES_NO, {"metric": "log-loss"}, Metric("log_loss", False)),
        (YES_NO, {"metric": "recall", "positive": 0}, Metric("recall", positive="0")),
        (MANY, {"metric": "recall", "positive": True}, Metric("recall", positive="true")),
        (YES_NO, {"metric": share_long}, Metric("share_long", function=share_long)),
        (YES_NO, {"metric": Metric("cost", False, None, share_long)}, Metric("cost", False, None, share_long)),
    ],
)
def test_the_metric_can_be_chosen(columns, overrides, metric):
    assert infer("recall matters", source(**columns), **overrides).metric == metric


def test_inputs_group_and_time_can_be_chosen():
    task = infer("by queue", source(**TICKETS), inputs="body", group="subject", time="priority")
    assert (task.input_columns, task.group_column, task.time_column) == (("body",), "subject", "priority")


UNFIT = [
    (source(text=texts(), score=[i / 7 for i in range(ROWS)]), {"target": "score"}, "looks like a regression"),
    (source(text=texts(), score=[i / 7 for i in range(ROWS)]), {}, "looks like a regression"),
    (source(text=texts(), tags=[["a", "b"]] * ROWS), {"target": "tags"}, "several labels per row"),
    (source(text=texts(), tags=cycle("a", "b", "c", "a;b", "b;c")), {"target": "tags"}, "several labels per row"),
    (source(text=texts(), summary=texts(12)), {"target": "summary"}, "looks like free text"),
    (source(text=texts(), code=list(range(ROWS))), {"target": "code"}, "an identifier"),
    (source(text=texts(6, rows=2500), n=[i % 1100 for i in range(2500)]), {"target": "n"}, "1,100 different values"),
    (source(text=texts(), label=["one"] * ROWS), {"target": "label"}, "only one class, 'one'"),
    (source(text=texts(), label=[None] * ROWS), {"target": "label"}, "every label .* missing"),
    (source(text=texts(), other=texts(5)), {}, "no column looks like a label"),
    (
        source(text=texts(), label=["one"] * ROWS),
        {},
        r"column 'label' has one value only \('one'\)\.\n.*\n.*second class",
    ),
    (source(text=texts(), label=[7] * ROWS), {}, r"column 'label' has one value only \('7'\)"),
    (source(text=texts(), verdict=["x" * 99] * ROWS), {}, r"one value only \('x{57}\.\.\.'\)"),
    (source(text=texts(), grumble=["one"] * ROWS), {}, "column 'grumble' has one value only"),
    (source(lang=["en"] * ROWS, text=texts(), label=[None] * ROWS), {}, "column 'label' is empty .*\n.*\n.*fill in"),
    (source(text=texts(), label=[" "] * ROWS), {}, "column 'label' is empty"),
    (source(text=texts(), label=[f"class {i}" for i in range(ROWS)]), {}, "a single row for every label"),
    (source(text=texts(), label=[f"c{i}" for i in range(ROWS)]), {}, "every label in column 'label' has a single row"),
    (source(text=texts(), label=list(range(ROWS))), {}, "every label in column 'label' has a single row"),
    (source(text=texts(), label=list(range(ROWS))), {"target": "label"}, "a single row for every label"),
    (source(label=cycle("a", "b"), number=list(range(ROWS))), {}, "no column is left to read"),
    (source(text=[], label=[]), {}, "training rows are empty"),
    (source(**SPAM), {"target": "lable"}, "did you mean 'label'"),
    (source(**SPAM), {"inputs": ["mesage"]}, "did you mean 'message'"),
    (source(**SPAM), {"group": "user"}, "no column 'user' for group="),
    (source(**SPAM), {"target": "label", "inputs": ["message", "label"]}, "'label' is named as target= and in inputs="),
    (source(**SPAM), {"inputs": []}, "inputs= is empty"),
    (source(**SPAM), {"metric": "acuracy"}, "did you mean 'accuracy'"),
    (source(**SPAM), {"positive": "spma"}, "did you mean 'spam'"),
    (source(**SPAM), {"kind": "text-clasification"}, "did you mean 'text-classification'"),
]


@pytest.mark.parametrize(("data", "overrides", "message"), UNFIT)
def test_what_cannot_be_a_task_is_refused_with_the_reason(data, overrides, message):
    with pytest.raises(TaskError, match=message):
        infer("predict score" if "score" in data.train.column_names else "", data, **overrides)


@pytest.mark.parametrize("values", [cycle("a", "b", "c", "a;b", "b;c"), [i % 20 / 2 for i in range(ROWS)]])
def test_naming_the_kind_takes_combinations_and_numbers_as_classes(values):
    task = infer("", source(text=texts(), tags=values), target="tags", kind="text-classification")
    assert len(task.labels) in (5, 20)


def test_numbers_as_labels_are_said_to_lose_their_order():
    assert "without their order" in infer("", source(**REVIEWS)).reasons[0]
    assert "order" not in infer("", source(**YES_NO)).reasons[0]


def test_labels_that_contain_a_comma_are_labels():
    task = infer("", source(text=texts(), topic=cycle("Food, Drink & more", "Travel", "Arts, Crafts")))
    assert "Food, Drink & more" in task.labels
