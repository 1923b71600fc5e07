from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest

from autosft.data.source import Source
from autosft.errors import TaskError
from autosft.infer import infer
from autosft.inference.sentence import same_stem
from autosft.task import Metric, Task

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


def mostly(values, *odd):
    """The values, the odd ones at places 5, 15, 25 and so on."""
    return [odd[i // 10] if i % 10 == 5 and i // 10 < len(odd) else value for i, value in enumerate(values)]


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


WEIGHED = {
    "recall": [
        "missing a toxic comment is worse than a false alarm",
        "a missed toxic comment costs more than a false positive",
        "Missing one is far more expensive than a false alarm",
        "a false negative is worse than a false positive",
        "False negatives matter more to us than false positives",
        "a miss outweighs many false alarms",
        "It is worse to miss a toxic comment than to raise a false alarm",
        "a false alarm is better than a miss",
        "A false positive is less of a problem than a missed comment",
        "false alarms are not as bad as misses",
        "a false alarm isn\u2019t nearly as costly as missing one",
        "we would rather have false alarms than miss one",
        "Better a false alarm than a missed comment",
        "we prefer false positives to false negatives",
        "overlooking a toxic comment is worse than wrongly flagging one",
        "False alarms are bad, but missing one is worse",
        "false alarms are fine",
        "we don't mind false positives",
        "find them even at the cost of some false alarms",
        "false positives do not matter",
        "recall is more important than precision",
        "recall, not precision",
        "recall rather than precision",
        "precision is less important than recall",
        "precision does not matter, recall does",
        "we cannot accept missing any",
        "high accuracy, and never miss one",
        "We prefer recall over precision",
        "a miss costs ten times as much as a false alarm",
        "letting spam through is worse than blocking a good mail",
        "false alarms cost us nothing",
        "I care more about recall than about precision",
        "maximise recall at the cost of precision",
        "misses are not acceptable",
    ],
    "precision": [
        "a false alarm is worse than a miss",
        "false positives cost more than false negatives",
        "a false alarm is much worse than missing a toxic comment",
        "False positives hurt us more than missed ones",
        "it is worse to raise a false alarm than to overlook one",
        "a miss is better than a false alarm",
        "missing one is not as bad as a false alarm",
        "we would rather miss one than raise a false alarm",
        "better to miss a few than to have false alarms",
        "wrongly flagging a comment is worse than overlooking one",
        "missing one is bad, false alarms are worse",
        "a few misses are fine",
        "we do not mind missing a few",
        "we don't care about missing some",
        "no false alarms, please",
        "we do not want false positives",
        "we cannot tolerate false alarms",
        "false alarms are not acceptable",
        "precision matters more than recall",
        "do not look at recall but at precision",
        "precision instead of recall",
        "we don't want low precision",
        "do not sacrifice precision",
        "a false alarm is twice as bad as a miss",
        "flagging a harmless comment is worse than missing a toxic one",
        "I care less about recall than precision",
    ],
    "f1": [
        "a miss is as bad as a false alarm",
        "false alarms are no worse than misses",
        "recall and precision both count",
        "the classes are imbalanced, so accuracy is misleading",
        "F1, not accuracy",
        "F1 matters more than accuracy",
    ],
    "macro_f1": [
        "do not optimise for accuracy",
        "accuracy is not what matters",
        "we don't care about accuracy",
        "accuracy isn't everything",
    ],
    "accuracy": [
        "which rank does the review have",
        "Predict the rank of the author",
        "is the comment by a high-ranking member?",
        "the classes are not imbalanced",
        "do not use F1",
        "recall is not important",
        "don't lose accuracy",
        "is it about Miss Marple",
        "is a parcel missing",
        "accuracy of no less than 90%",
    ],
    "roc_auc": ["rank the comments", "Please rank them", "comments are ranked by how toxic they are", "a good ranking"],
}


@pytest.mark.parametrize(("metric", "sentence"), [(name, said) for name, group in WEIGHED.items() for said in group])
def test_what_a_sentence_weighs_or_sets_aside_decides_the_metric(metric, sentence):
    task = infer(sentence, source(**MANY), target="toxic")
    assert task.metric.name == metric, task.reasons


def test_a_metric_that_is_set_aside_is_not_the_reason():
    reasons = infer("Is it toxic? Do not optimise for accuracy.", source(**MANY)).reasons
    assert not any("says 'accuracy'" in reason for reason in reasons)
    assert any("macro_f1" in reason and "accuracy" in reason and "aside" in reason for reason in reasons)


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
    (source(text=texts(), code=list(range(ROWS))), {"target": "code"}, "an identifier"),
    (
        source(text=texts(6, rows=2500), n=[f"v{i % 1100}" for i in range(2500)]),
        {"target": "n", "kind": "text-classification"},
        "1,100 different values",
    ),
    (source(text=texts(), label=cycle("a", "b")), {"kind": "text-regression"}, "looks like labels"),
    (source(text=texts(), label=["7"] * ROWS), {"target": "label", "kind": "text-regression"}, "only one value, '7'"),
    (source(text=texts(), label=cycle("a", "b")), {"kind": "chat"}, "no columns fit the kind 'chat'"),
    (source(text=texts(), label=cycle("a", "b")), {"kind": "token-classification"}, "no columns fit the kind"),
    (source(text=texts(), label=cycle("a", "b")), {"kind": "image-classification"}, "no column holds images"),
    (source(text=texts(), label=cycle("a", "b")), {"kind": "text-pair-classification"}, "not two columns of text"),
    (
        source(text=texts(), score=[i / 7 for i in range(ROWS)]),
        {"positive": 1},
        "no label that a metric could be about",
    ),
    (source(text=texts(), score=[i / 7 for i in range(ROWS)]), {"metric": "acuracy"}, "use one of|did you mean"),
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


MESSAGES = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}] for text in texts()]
SHARED = [[{"from": "human", "value": text}, {"from": "gpt", "value": "Yes."}] for text in texts()]
DIALOGUES = [[{"speaker": "USER", "utterance": text}, {"speaker": "SYSTEM", "utterance": "Yes."}] for text in texts()]
TOKENS = [text.split() for text in texts()]
TAGS = [["B-PER", "I-PER", "O", "B-LOC"] + ["O"] * (len(tokens) - 4) for tokens in TOKENS]
SPANS = [[{"start": 0, "end": 4, "label": "PER"}, {"start": 5, "end": 6, "label": "LOC"}] for _ in range(ROWS)]
ENTITIES = [[{"start": 0, "end": 4, "entity": "PER"}] for _ in range(ROWS)]
SEVERAL = cycle("joy", "fear", "anger", "joy,fear", "fear,anger", "joy,anger")
FLAGS = {"joy": cycle(0, 1), "fear": cycle(0, 1, 0), "anger": cycle(1, 0, 0)}
FILES = [f"photos/{i}.JPG" for i in range(ROWS)]
STORED = [{"bytes": b"x", "path": None} for _ in range(ROWS)]
FRACTIONS = [i % 50 / 10 for i in range(ROWS)]
HALVES = [i % 9 / 2 for i in range(ROWS)]
FIVE = cycle(0, 1, 2, 3, 4, 5)
NLI = {"premise": texts(8), "hypothesis": texts(8, 3), "label": cycle("entailment", "neutral", "contradiction")}
ALPACA = {"instruction": texts(6), "input": ["", *texts(5)[1:]], "output": texts(20)}
DOLLY = {"instruction": texts(6), "context": texts(30), "response": texts(20), "category": cycle("qa", "open", "list")}
MATHS = {"question": texts(20), "answer": [f"{text}\n#### {i}" for i, text in enumerate(texts(30))]}
JUDGED = {"question": texts(6), "answer": texts(20), "label": cycle(0, 1)}

KINDS = [
    # sentence, columns, kind, inputs, target, metric
    ("Reply as the assistant", {"messages": MESSAGES}, "chat", ["messages"], "messages", "bits_per_byte"),
    ("", {"id": list(range(ROWS)), "conversations": SHARED}, "chat", ["conversations"], "conversations", None),
    ("", {"turns": DIALOGUES, "services": [["a", "b"]] * ROWS}, "chat", ["turns"], "turns", None),
    (
        "Find the entities",
        {"tokens": TOKENS, "ner_tags": TAGS},
        "token-classification",
        ["tokens"],
        "ner_tags",
        "entity_f1",
    ),
    ("", {"ner_tags": TAGS, "tokens": TOKENS}, "token-classification", ["tokens"], "ner_tags", None),
    (
        "Don't miss a name",
        {"tokens": TOKENS, "tags": TAGS},
        "token-classification",
        ["tokens"],
        "tags",
        "entity_recall",
    ),
    ("", {"text": texts(), "spans": SPANS}, "token-classification", ["text"], "spans", None),
    ("", {"text": texts(), "entities": ENTITIES}, "token-classification", ["text"], "entities", None),
    (
        "What is in the picture?",
        {"image": STORED, "label": cycle("cat", "dog")},
        "image-classification",
        ["image"],
        "label",
        "accuracy",
    ),
    ("", {"file": FILES, "species": cycle("cat", "dog", "cow")}, "image-classification", ["file"], "species", None),
    ("", {"picture": [b"\x89PNG"] * ROWS, "label": cycle(0, 1)}, "image-classification", ["picture"], "label", None),
    (
        "Which emotions?",
        {"text": texts(), "emotions": SEVERAL},
        "multi-label-classification",
        ["text"],
        "emotions",
        "micro_f1",
    ),
    (
        "",
        {"text": texts(), "tags": [["a", "b"], ["c"], []] * (ROWS // 3)},
        "multi-label-classification",
        ["text"],
        "tags",
        None,
    ),
    ("", {"text": texts(), **FLAGS}, "multi-label-classification", ["text"], "labels", None),
    ("macro F1 over all", {"text": texts(), **FLAGS}, "multi-label-classification", ["text"], "labels", "macro_f1"),
    ("Predict the score", {"text": texts(), "score": FRACTIONS}, "text-regression", ["text"], "score", "spearman"),
    ("", {"text": texts(), "valence": FRACTIONS}, "text-regression", ["text"], "valence", None),
    ("Rating from 0 to 5", {"text": texts(), "rating": FIVE}, "text-regression", ["text"], "rating", None),
    ("Predict the rating", {"text": texts(), "rating": FIVE}, "text-classification", ["text"], "rating", "accuracy"),
    ("", {"text": texts(), "rating": HALVES}, "text-classification", ["text"], "rating", None),
    (
        "Estimate it with a small error",
        {"text": texts(), "price": FRACTIONS},
        "text-regression",
        ["text"],
        "price",
        "rmse",
    ),
    ("high correlation", {"text": texts(), "price": FRACTIONS}, "text-regression", ["text"], "price", "spearman"),
    ("best F1 score", {"text": texts(), "stars": FIVE}, "text-classification", ["text"], "stars", "macro_f1"),
    ("Do they contradict?", NLI, "text-pair-classification", ["premise", "hypothesis"], "label", "accuracy"),
    ("", PAIR, "text-pair-classification", ["question1", "question2"], "is_duplicate", None),
    ("Does the answer fit the question?", JUDGED, "text-pair-classification", ["question", "answer"], "label", None),
    (
        "How similar are they?",
        {"sentence1": texts(8), "sentence2": texts(8, 3), "label": FRACTIONS},
        "text-pair-regression",
        ["sentence1", "sentence2"],
        "label",
        "spearman",
    ),
    (
        "",
        {"text_a": texts(8), "text_b": texts(8, 3), "score": FRACTIONS},
        "text-pair-regression",
        ["text_a", "text_b"],
        "score",
        None,
    ),
    (
        "",
        {"query": texts(4), "passage": texts(30), "label": cycle(0, 1)},
        "text-pair-classification",
        ["query", "passage"],
        "label",
        None,
    ),
    ("", TITLED, "text-classification", ["review_title", "review_body"], "polarity", None),
    ("Follow the instruction", ALPACA, "causal-lm", ["instruction", "input"], "output", "bits_per_byte"),
    ("", DOLLY, "causal-lm", ["instruction", "context"], "response", None),
    ("Predict the category", DOLLY, "text-classification", None, "category", "accuracy"),
    ("Solve the problem", MATHS, "causal-lm", ["question"], "answer", "bits_per_byte"),
    ("Solve it, exact match counts", MATHS, "causal-lm", ["question"], "answer", "exact_match"),
    (
        "low perplexity",
        {"prompt": texts(), "completion": texts(20)},
        "causal-lm",
        ["prompt"],
        "completion",
        "bits_per_byte",
    ),
    ("Translate", {"source": texts(), "target": texts(9, 1)}, "causal-lm", ["source"], "target", None),
    ("Summarise the article", {"article": texts(60), "summary": texts(12)}, "causal-lm", ["article"], "summary", None),
]


@pytest.mark.parametrize(("sentence", "columns", "kind", "inputs", "target", "metric"), KINDS)
def test_the_sentence_and_the_columns_give_the_kind(sentence, columns, kind, inputs, target, metric):
    task = infer(sentence, source(**columns))
    assert (task.kind, task.target_column) == (kind, target), task.reasons
    assert inputs is None or list(task.input_columns) == inputs, task.reasons
    assert metric is None or task.metric.name == metric, task.reasons
    assert any(kind in reason for reason in task.reasons)


@pytest.mark.parametrize(
    ("columns", "labels", "target_columns"),
    [
        ({"text": texts(), "emotions": SEVERAL}, ("anger", "fear", "joy"), ()),
        ({"text": texts(), "n": [[10, 9], [1], []] * (ROWS // 3)}, ("1", "9", "10"), ()),
        ({"text": texts(), **FLAGS}, ("joy", "fear", "anger"), ("joy", "fear", "anger")),
        ({"tokens": TOKENS, "tags": TAGS}, ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), ()),
        ({"text": texts(), "spans": SPANS}, ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), ()),
        ({"text": texts(), "score": FRACTIONS}, (), ()),
        (MATHS, (), ()),
    ],
)
def test_labels_are_those_that_the_kind_has(columns, labels, target_columns):
    task = infer("", source(**columns))
    assert (task.labels, task.target_columns) == (labels, target_columns)


CLOSE = [
    # Text with spans and an intent; a column of conversations beside a labelled text; numbers that may be either.
    ({"text": texts(), "spans": SPANS, "label": cycle("a", "b")}, ["kind='token-classification'", "target='label'"]),
    ({"messages": MESSAGES, "text": texts(), "label": cycle("a", "b")}, ["kind='chat'", "target='label'"]),
    ({"text": texts(), "amount": [i % 30 for i in range(ROWS)]}, ["text-classification", "text-regression"]),
    ({"text": texts(), "a": FRACTIONS, "b": FRACTIONS[::-1]}, ["target='a'", "target='b'"]),
]


@pytest.mark.parametrize(("columns", "settling"), CLOSE)
def test_close_kinds_are_both_told_with_the_argument_that_settles_it(columns, settling):
    with pytest.raises(TaskError, match="two readings of the task are close") as error:
        infer("", source(**columns))
    assert all(argument in str(error.value) for argument in settling)


@pytest.mark.parametrize(
    ("columns", "overrides", "kind"),
    [
        (CLOSE[0][0], {"kind": "token-classification"}, "token-classification"),
        (CLOSE[0][0], {"target": "label"}, "text-classification"),
        (CLOSE[0][0], {"target": "spans"}, "token-classification"),
        (CLOSE[1][0], {"kind": "chat"}, "chat"),
        (CLOSE[1][0], {"target": "label"}, "text-classification"),
        (CLOSE[2][0], {"kind": "text-classification"}, "text-classification"),
        (CLOSE[2][0], {"kind": "text-regression"}, "text-regression"),
        ({"text": texts(), "rating": FIVE}, {"kind": "text-regression"}, "text-regression"),
        (PAIR, {"kind": "text-classification"}, "text-classification"),
        (PAIR, {"inputs": ["question2"]}, "text-classification"),
        (TITLED, {"kind": "text-pair-classification"}, "text-pair-classification"),
        ({"text": texts(), **FLAGS}, {"target": "joy"}, "text-classification"),
        ({"text": texts(), **FLAGS}, {"kind": "text-classification", "target": "joy"}, "text-classification"),
        ({"text": texts(), "x": cycle(0, 1), "z": cycle(1, 0)}, {"kind": "multi-label-classification"}, None),
        ({"text": texts(), "mood": cycle("a", "b")}, {"kind": "multi-label-classification", "target": "mood"}, None),
        (DOLLY, {"target": "category"}, "text-classification"),
        ({"caption": texts(), "image": STORED, "label": cycle(0, 1)}, {"inputs": "caption"}, "text-classification"),
        ({"text": texts(), "summary": texts(12)}, {"target": "summary"}, "causal-lm"),
        ({"text": texts(6, rows=2500), "n": [i % 1100 for i in range(2500)]}, {"target": "n"}, "text-regression"),
    ],
)
def test_naming_a_kind_or_a_column_settles_the_kind(columns, overrides, kind):
    task = infer("", source(**columns), **overrides)
    assert task.kind == (kind or overrides["kind"]), task.reasons


def test_the_sentence_settles_between_marks_and_a_label():
    columns = {"text": texts(), "spans": SPANS, "intent": cycle("a", "b")}
    assert infer("Extract the entities", source(**columns)).kind == "token-classification"
    assert infer("Predict the intent", source(**columns)).kind == "text-classification"


def test_one_flag_that_the_sentence_names_is_a_label_of_its_own():
    task = infer("Is there joy in it?", source(text=texts(), **FLAGS))
    assert (task.kind, task.target_column) == ("text-classification", "joy")


def test_where_answers_are_marked_an_exact_match_reads_them():
    assert infer("exact match", source(**MATHS)).answer == r"####\s*(.+)"
    assert infer("", source(**MATHS)).answer is None
    assert infer("exact match", source(**ALPACA)).answer is None


def last_number(text):
    return text.split()[-1]


@pytest.mark.parametrize("answer", [r"#### (\d+)", last_number])
def test_what_reads_the_answer_may_be_named_and_survives_json(answer):
    task = infer("", source(**MATHS), answer=answer)
    assert (task.answer, task.metric.name) == (answer, "bits_per_byte")
    assert any("finds an answer in 100% of the texts" in reason for reason in task.reasons)
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_an_answer_function_that_is_gone_is_an_error_where_it_is_needed():
    row = infer("", source(**MATHS), answer=last_number).to_json()
    row["answer"]["function"] += "_moved"
    with pytest.raises(TaskError, match="start a new run with answer="):
        Task.from_json(row)
    with pytest.raises(TaskError, match="last_number_moved can no longer be imported"):
        Task.from_json(row, strict=False).answer("12")


@pytest.mark.parametrize(
    ("columns", "answer", "words"),
    [
        (SPAM, r"(\d+)", "text-classification generates no text"),
        (MATHS, "Answer: (.*)", "finds no answer in the first 120 texts of 'answer'"),
        (MATHS, "(", "is not a regular expression"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused_at_once(columns, answer, words):
    with pytest.raises(TaskError, match=words):
        infer("", source(**columns), answer=answer)


def test_numbers_taken_as_classes_have_regression_as_the_runner_up():
    assert "text-regression" in (infer("", source(text=texts(), stars=FIVE)).runner_up or "")


@pytest.mark.parametrize(
    ("columns", "name", "metric"),
    [
        ({"text": texts(), "emotions": SEVERAL}, "f1", "micro_f1"),
        ({"text": texts(), "emotions": SEVERAL}, "accuracy", "subset_accuracy"),
        ({"text": texts(), "score": FRACTIONS}, "correlation", "spearman"),
        ({"text": texts(), "score": FRACTIONS}, "RMSE", "rmse"),
        ({"tokens": TOKENS, "tags": TAGS}, "F1", "entity_f1"),
        (MATHS, "perplexity", "bits_per_byte"),
    ],
)
def test_a_metric_is_known_by_its_usual_names(columns, name, metric):
    assert infer("", source(**columns), metric=name).metric.name == metric


FOUND = ["It was unclear before.", "We measured twenty cells.", "All of them grew.", "So that is it."]
ABSTRACTS = [[f"{part} {i}" for part in FOUND[: 2 + i % 3]] for i in range(ROWS)]
SECTIONS = [["BACKGROUND", "METHODS", "RESULTS", "CONCLUSIONS"][: len(part)] for part in ABSTRACTS]
DECISIONS = cycle("yes", "no", "maybe")
PUBMED = {
    "QUESTION": texts(8),
    "CONTEXTS": ABSTRACTS,
    "LABELS": SECTIONS,
    "MESHES": [["Humans", f"Cell {i}"] for i in range(ROWS)],
    "YEAR": cycle("2011", "2012", "2009"),
    "reasoning_required_pred": cycle("maybe", "yes", "no"),
    "final_decision": DECISIONS,
    "LONG_ANSWER": texts(20, 3),
}
JOINED = PUBMED | {"CONTEXTS": [" ".join(part) for part in ABSTRACTS]}
TLDR = {
    "source": ABSTRACTS,
    "source_labels": [[0] * (len(part) - 1) + [1] for part in ABSTRACTS],
    "rouge_scores": [[(i + j) / 97 for j, _ in enumerate(part)] for i, part in enumerate(ABSTRACTS)],
    "target": [[f"We say in short what {i} is."] * (1 + i % 2) for i in range(ROWS)],
    "title": texts(6),
}
NUMBERS = {"V": FRACTIONS, "A": FRACTIONS[::-1], "D": FRACTIONS, "text": texts(12)}
CONLL = {
    "tokens": TOKENS,
    "pos_tags": [["NN", "VB"] * (len(tokens) // 2) + ["IN"] * (len(tokens) % 2) for tokens in TOKENS],
    "ner_tags": TAGS,
}
ANY_ANSWER = {"question": texts(8), "context": texts(40), "answer": texts(12), "faithful": cycle(0, 1)}
SICK = {
    "sentence_A": texts(8),
    "sentence_B": texts(8, 3),
    "relatedness_score": FRACTIONS,
    "entailment_judgment": cycle("NEUTRAL", "ENTAILMENT", "CONTRADICTION"),
}
SNLI = {
    "genre": cycle("fiction", "travel"),
    "sentence1": texts(10),
    "sentence2": texts(6, 2),
    "sentence1_parse": texts(15, 3),
    "sentence2_parse": texts(15, 4),
    "gold_label": cycle("entailment", "neutral"),
    "annotator_labels": [["entailment", "neutral"]] * ROWS,
}
FEW_QUESTIONS = {"sentence1": cycle("lamp", "chair", "radio"), "sentence2": texts(8), "score": FRACTIONS}
FEW_ANSWERS = {"text_a": texts(12), "text_b": cycle("yes sir", "no sir", "maybe"), "match": cycle("fits", "does not")}
SURVEY = {"q1": texts(12), "q2": cycle("red", "green", "blue")}
STS = {"genre": cycle("news", "forum"), "score": FRACTIONS, "sentence1": texts(8), "sentence2": texts(8, 3)}
TOXIC = {"comment_text": texts(20), "toxic": cycle(0, 1), "insult": cycle(0, 1, 0), "threat": cycle(1, 0, 0)}
YES = "Does the context answer the question with yes, no or maybe?"

AS_USERS_WRITE = [
    # sentence, columns, kind, inputs, target
    (YES, PUBMED, "text-pair-classification", ["QUESTION", "CONTEXTS"], "final_decision"),
    (YES, JOINED, "text-pair-classification", ["QUESTION", "CONTEXTS"], "final_decision"),
    ("Answer with yes, no or maybe", JOINED, "text-pair-classification", ["QUESTION", "CONTEXTS"], "final_decision"),
    ("Predict the decision", JOINED, "text-pair-classification", ["QUESTION", "CONTEXTS"], "final_decision"),
    ("Is the answer faithful?", ANY_ANSWER, "text-pair-classification", ["question", "answer"], "faithful"),
    ("Is the answer faithful to the context?", ANY_ANSWER, "text-pair-classification", ["context", "answer"],
     "faithful"),
    ("Does the answer follow from the context?", JUDGED | {"context": texts(40)}, "text-pair-classification",
     ["answer", "context"], "label"),
    ("Predict the valence of the sentence", NUMBERS, "text-regression", ["text"], "V"),
    ("Predict the valence of a document, from 1 to 5", NUMBERS, "text-regression", ["text"], "V"),
    ("How aroused is the writer?", NUMBERS, "text-regression", ["text"], "A"),
    ("Rate the dominance of each text", NUMBERS, "text-regression", ["text"], "D"),
    ("Tag the names of people", CONLL, "token-classification", ["tokens"], "ner_tags"),
    ("Part-of-speech tagging", CONLL, "token-classification", ["tokens"], "pos_tags"),
    ("natural language inference", SNLI, "text-pair-classification", ["sentence1", "sentence2"], "gold_label"),
    ("Predict relatedness", SICK, "text-pair-regression", ["sentence_A", "sentence_B"], "relatedness_score"),
    ("Predict entailment", SICK, "text-pair-classification", ["sentence_A", "sentence_B"], "entailment_judgment"),
    ("How alike are they?", FEW_QUESTIONS, "text-pair-regression", ["sentence1", "sentence2"], "score"),
    ("Does it match?", FEW_ANSWERS, "text-pair-classification", ["text_a", "text_b"], "match"),
    ("Which colour?", SURVEY, "text-classification", ["q1"], "q2"),
    ("Semantic similarity", STS, "text-pair-regression", ["sentence1", "sentence2"], "score"),
    ("Which kinds of toxicity are in it?", TOXIC, "multi-label-classification", ["comment_text"], "labels"),
    ("Find the toxic comments", TOXIC, "text-classification", ["comment_text"], "toxic"),
    ("Translate English to German", {"en": texts(8), "de": texts(8, 3)}, "causal-lm", ["en"], "de"),
    ("Translate German to English", {"en": texts(8), "de": texts(8, 3)}, "causal-lm", ["de"], "en"),
    ("Reply to the customer", {"customer": texts(8), "agent": texts(20)}, "causal-lm", ["customer"], "agent"),
    ("Summarise the report", {"report": texts(80), "brief": texts(12)}, "causal-lm", ["report"], "brief"),
    ("Write a headline for the article", {"headline": texts(7), "article": texts(80)}, "causal-lm", ["article"],
     "headline"),
    ("Write the abstract's title", {"abstract": texts(80), "title": texts(7)}, "causal-lm", ["abstract"], "title"),
    ("Fix the grammar", {"incorrect": texts(9), "corrected": texts(9, 2)}, "causal-lm", ["incorrect"], "corrected"),
    ("", {"question": texts(8), "context": texts(50), "answers": texts(3)}, "causal-lm", ["question", "context"],
     "answers"),
    ("Is the headline clickbait?", {"headline": texts(8), "clickbait": cycle(0, 1)}, "text-classification",
     ["headline"], "clickbait"),
    ("", {"claim": texts(8), "evidence": texts(40), "verdict": cycle("yes", "no"), "explanation": texts(20)},
     "text-pair-classification", ["claim", "evidence"], "verdict"),
    ("", {"path": FILES, "label": cycle("cat", "dog"), "width": [100 + i % 30 for i in range(ROWS)]},
     "image-classification", ["path"], "label"),
    ("Classify the caption", {"file": FILES, "caption": texts(8), "topic": cycle("a", "b")}, "text-classification",
     ["caption"], "topic"),
    ("Which genres does the film have?", {"title": texts(4), "plot": texts(60), "genres": SEVERAL},
     "multi-label-classification", ["title", "plot"], "genres"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "columns", "kind", "inputs", "target"), AS_USERS_WRITE)
def test_columns_as_users_call_them_give_the_kind(sentence, columns, kind, inputs, target):
    task = infer(sentence, source(**columns))
    assert (task.kind, list(task.input_columns), task.target_column) == (kind, inputs, target), task.reasons


@pytest.mark.parametrize("named", [{}, {"kind": "causal-lm"}])
@pytest.mark.parametrize(
    ("sentence", "first", "second"),
    [
        ("Translate {} to {}", "column_1", "column_2"),
        ("turn {} into {}", "A", "B"),
        ("Convert '{}' to the column '{}'", "col 1", "col 2"),
        ("translate {} to {}", "hindi", "english"),
    ],
)
def test_what_is_to_be_turned_into_what_is_told_by_the_names_of_columns(sentence, first, second, named):
    columns = source(**{"note": texts(20, 2), first: texts(9), second: texts(8, 1)})
    for one, other in ((first, second), (second, first)):
        task = infer(sentence.format(one, other), columns, **named)
        assert (task.kind, task.input_columns, task.target_column) == ("causal-lm", (one,), other)


def test_two_texts_that_are_compared_are_not_turned_into_each_other():
    columns = source(text_a=texts(9), text_b=texts(8, 1), label=cycle("same", "other"))
    assert infer("Compare text_a to text_b", columns).target_column == "label"


def test_texts_that_are_left_out_are_told():
    assert "LONG_ANSWER" in " ".join(infer(YES, source(**PUBMED)).reasons)
    short = {"text": texts(20), "nickname": [f"{v}{n}" for v in VERBS for n in NOUNS][:ROWS] + texts(1)[:32]}
    reasons = " ".join(infer("", source(**short, label=cycle(0, 1))).reasons)
    assert "nickname" in reasons


def labelled(values, **others):
    return {"text": texts(), "label": values, **others}


REFUSED = [
    # sentence, columns, named, message
    ("", PUBMED, {}, "(?s)two readings.*target='LONG_ANSWER' or target='final_decision'"),
    ("", NUMBERS, {}, "(?s)two readings.*pass target='V'"),
    ("Predict valence, arousal and dominance", NUMBERS, {}, "(?s)two readings.*pass target='V'"),
    ("", CONLL, {}, "(?s)two readings.*target='pos_tags' or target='ner_tags'"),
    ("", SICK, {}, "(?s)two readings.*relatedness_score.*entailment_judgment"),
    ("Summarise the abstract", TLDR, {}, "(?s)'target' .* holds lists of texts.*join each list of 'target'"),
    ("", TLDR, {}, "'target' .* holds lists of texts"),
    (
        "Find the entities",
        {"tokens": list(map(str, TOKENS)), "tags": list(map(str, TAGS))},
        {},
        "'tokens' and 'tags': these lists are written as text",
    ),
    ("Reply", {"messages": list(map(json.dumps, MESSAGES))}, {}, "'messages': these lists are written as text"),
    (
        "Answer the question",
        {"question": texts(8), "context": texts(40), "answers": [{"text": ["a"], "at": [3]}] * ROWS},
        {},
        "'answers' of type struct.* holds nested",
    ),
    ("Predict the price", {"text": texts(), "price": [f"${i}.50" for i in range(ROWS)]}, {}, "numbers .* as text"),
    ("Predict the share", {"text": texts(), "share": [f"{i % 50}%" for i in range(ROWS)]}, {}, "such as '0%'"),
    (
        "Predict the score",
        {"text": texts(), "score": mostly([f"{i}.5" for i in range(ROWS)], *"abcdefgh")},
        {},
        "row 5: 'a'",
    ),
    ("", {"prompt": texts(), "answers": ABSTRACTS}, {"kind": "causal-lm"}, "join each list of 'answers'"),
    ("", {"text": texts(), "words": TOKENS}, {"target": "words", "kind": "causal-lm"}, "'words' .* holds lists"),
    ("", {"text": ABSTRACTS, "parts": SECTIONS}, {}, "has a label for each text of a list"),
    ("Predict the topic", {"messages": MESSAGES, "topic": cycle("a", "b")}, {}, "no column is left to read"),
    # A label a row, beside what else might pass for one.
    ("", labelled([f"class {i}" for i in range(ROWS)], lang=cycle("en", "de")), {}, "a single row for every label"),
    ("", labelled([f"how to pay by {i}" for i in range(ROWS)]), {}, "a single row for every label"),
    ("", labelled([f"c{i}" for i in range(ROWS)], source=cycle("web", "app")), {}, "'label' has a single row"),
    ("", labelled(["one"] * ROWS, source=cycle("web", "app")), {}, "'label' has one value only"),
    ("Predict the sentiment", {"text": texts(), "sentiment": [f"mood {i}" for i in range(ROWS)]}, {}, "a single row"),
    ("Classify by product", {"text": texts(), "product": [f"type {i} x" for i in range(ROWS)]}, {}, "kind='causal-lm'"),
]


SQUAD = {
    "id": [f"q{i}" for i in range(ROWS)],
    "title": cycle("Rome", "Lima", "Oslo"),
    "context": texts(40),
    "question": texts(8),
    "answers": [{"text": ["a"], "answer_start": [i]} for i in range(ROWS)],
}
NESTED = {"doc": [{"head": text, "body": text} for text in texts()], "label": cycle("a", "b")}

DPO = {"prompt": texts(8), "chosen": texts(20), "rejected": texts(20, 1)}
SAID = {
    name: [[{"role": "user", "content": text}] for text in texts(seed=i)]
    for i, name in enumerate(["chosen", "rejected"])
}

REFUSED += [
    ("Prefer good answers", DPO, {}, "(?s)'chosen' and 'rejected'.*preference tuning.*rename 'chosen' to 'completion'"),
    ("helpful assistant", SAID, {}, "preference tuning"),
    ("Answer the question", SQUAD, {}, "(?s)extractive question answering is not trained.*prompts.*'completion'"),
    ("", {**SQUAD, "answers": list(map(str, SQUAD["answers"]))}, {}, "extractive question answering is not trained"),
    ("", SQUAD, {"target": "answers", "kind": "causal-lm"}, "extractive question answering is not trained"),
    ("", NESTED, {}, "(?s)no column is left to read.*flatten it first.*{head: string, body: string} in 'doc'"),
    (
        "",
        {"text": texts(), "label": [{"name": name} for name in cycle("a", "b")]},
        {"target": "label"},
        "(?s)holds nested values.*flatten it first: give each field that you need of {name: string} in 'label'",
    ),
]


@pytest.mark.parametrize(("sentence", "columns", "named", "message"), REFUSED)
def test_what_columns_cannot_tell_is_asked_and_never_guessed(sentence, columns, named, message):
    with pytest.raises(TaskError, match=message):
        infer(sentence, source(**columns), **named)


@pytest.mark.parametrize(
    ("sentence", "named"), [("", {"target": "chosen", "inputs": ["prompt"]}), ("Predict the topic", {})]
)
def test_beside_preferences_an_answer_or_another_column_may_be_learned(sentence, named):
    task = infer(sentence, source(**DPO, topic=cycle("a", "b")), **named)
    assert task.target_column == named.get("target", "topic")


@pytest.mark.parametrize(("sentence", "named"), [("", {"target": "title"}), ("Predict the title", {})])
def test_beside_places_of_answers_another_column_may_be_predicted(sentence, named):
    assert infer(sentence, source(**SQUAD), **named).target_column == "title"


def test_labels_of_parts_and_labels_of_one_row_each_may_be_named():
    assert infer("", source(**PUBMED), target="LABELS").kind == "multi-label-classification"
    unique = labelled([f"class {i}" for i in range(ROWS)])
    assert infer("Predict the label", source(**unique), kind="causal-lm").target_column == "label"


MARKED = [[{"start": 0, "end": 4, "label": "PER"}] if i % 4 else [] for i in range(ROWS)]
IN_ORDER = [[span["start"], span["end"], span["label"]] for span in (spans[0] for spans in MARKED if spans)]
MEALS = [f"a {word} meal, visit {n}" for word in ("good", "bad", "fine", "cold", "warm") for n in range(24)]
PLAIN_PAIR = {"first": texts(9), "second": texts(9, 4), "label": cycle(0, 1)}
UNEVEN = {"first": texts(4), "second": texts(60), "label": cycle(0, 1)}
STANCE = {"headline": texts(8), "body": texts(60), "label": cycle("agree", "unrelated")}
DECIMALS = [str(number) for number in FRACTIONS]
QUESTIONS = {
    "title": texts(6),
    "body": texts(40),
    "tags": cycle("<python><pandas>", "<java>", "<c#><.net>", "<python>"),
}

AS_FILES_HOLD = [
    # sentence, columns, named, kind, inputs, target
    ("Write the title", TLDR, {}, "causal-lm", ["source"], "title"),
    ("Summarise", {"document": ABSTRACTS, "summary": texts(), "title": texts(5)}, {}, "causal-lm", ["document"],
     "summary"),
    ("", JUDGED | {"context": ABSTRACTS}, {"inputs": ["question", "context"]}, "text-pair-classification",
     ["question", "context"], "label"),
    ("Sort the abstracts", {"parts": ABSTRACTS, "topic": cycle("a", "b")}, {}, "text-classification", ["parts"],
     "topic"),
    ("Which intent?", {"tokens": TOKENS, "intent": cycle("a", "b")}, {}, "text-classification", ["tokens"], "intent"),
    # Spans as text: JSON, what Python prints, and triples.
    ("Find the entities", {"text": texts(), "entities": list(map(json.dumps, MARKED))}, {}, "token-classification",
     ["text"], "entities"),
    ("", {"text": texts(), "entities": list(map(str, MARKED))}, {}, "token-classification", ["text"], "entities"),
    ("", {"text": texts(), "label": [json.dumps([[0, 4, "PER"]])] * ROWS}, {}, "token-classification", ["text"],
     "label"),
    ("", {"text": texts(), "label": [str([(0, 4, "PER")])] * ROWS}, {}, "token-classification", ["text"], "label"),
    ("", {"text": texts(), "marks": list(map(json.dumps, MARKED))},
     {"kind": "token-classification", "target": "marks", "inputs": ["text"]}, "token-classification", ["text"],
     "marks"),
    ("", {"text": texts(), "topic": ["['joy', 'fear']", "['joy']"] * 60}, {}, "multi-label-classification", ["text"],
     "topic"),
    # A text with commas is no set of labels.
    ("", {"input": MEALS, "rating": [i % 80 / 10 for i in range(ROWS)]}, {}, "text-regression", ["input"], "rating"),
    ("", {"thing": MEALS, "rating": [i % 80 / 10 for i in range(ROWS)]}, {}, "text-regression", ["thing"], "rating"),
    ("", {"review": cycle("good, cheap", "good", "cheap", "cheap, far, good", "far"), "label": cycle(0, 1)}, {},
     "text-classification", ["review"], "label"),
    # Two texts with plain names.
    ("", PLAIN_PAIR, {}, "text-pair-classification", ["first", "second"], "label"),
    ("", PLAIN_PAIR, {"inputs": ["first", "second"]}, "text-pair-classification", ["first", "second"], "label"),
    ("Do they say the same?", PLAIN_PAIR, {}, "text-pair-classification", ["first", "second"], "label"),
    ("", UNEVEN, {}, "text-classification", ["second"], "label"),
    ("Do they match?", UNEVEN, {}, "text-pair-classification", ["first", "second"], "label"),
    ("Tell between good and bad ones", UNEVEN, {}, "text-classification", ["second"], "label"),
    ("", STANCE, {}, "text-classification", ["headline", "body"], "label"),
    ("Does the headline match the body?", STANCE, {}, "text-pair-classification", ["headline", "body"], "label"),
    ("", {"text": texts(9), "remark": texts(9, 4), "label": cycle(0, 1)}, {}, "text-classification", ["text"], "label"),
    # Numbers with a word among them.
    ("Predict the score", {"text": texts(), "score": mostly(DECIMALS, "many")}, {}, "text-regression", ["text"],
     "score"),
    ("", {"text": texts(), "score": mostly(DECIMALS, "many", "few")}, {"target": "score", "kind": "text-regression"},
     "text-regression", ["text"], "score"),
    ("Rate from 1 to 5", {"text": texts(), "stars": mostly(map(str, FIVE), "many")}, {}, "text-regression", ["text"],
     "stars"),
    ("", {"text": texts(), "stars": mostly(map(str, FIVE), "many")}, {}, "text-classification", ["text"], "stars"),
    # A wrong cell in a column a label.
    ("", {"text": texts(), **FLAGS, "fear": mostly(FLAGS["fear"], 2, 7)}, {}, "multi-label-classification", ["text"],
     "labels"),
    ("How intense is the emotion?", {"text": texts(), "emotion": MOODS, "intensity": FRACTIONS}, {}, "text-regression",
     ["text"], "intensity"),
    ("How intense is the emotion?", {"text": texts(), "emotion": MOODS, "intensity": cycle(1, 2, 3, 4)}, {},
     "text-regression", ["text"], "intensity"),
    ("How strongly is the emotion felt?", {"text": texts(), "emotion": MOODS, "strong": cycle("a", "b")}, {},
     "text-classification", ["text"], "strong"),
    ("", QUESTIONS, {}, "multi-label-classification", ["title", "body"], "tags"),
    ("Which topics?", {"text": texts(), "topics": cycle("{a,b}", "{a}", "{c,b}", "{}")}, {},
     "multi-label-classification", ["text"], "topics"),
    ("", {"plot": texts(40), "genres": cycle("Drama|Comedy", "Comedy", "Drama", "Action|Drama", "Action|War", "War")},
     {}, "multi-label-classification", ["plot"], "genres"),
    ("", {"text": texts(), "place": cycle("Paris, France", "Lyon, France", "Rome, Italy")}, {}, "text-classification",
     ["text"], "place"),
    ("", {"text": texts(), "label": [[{"start": 0, "end": 4, "text": "card", "labels": ["PER"]}]] * ROWS}, {},
     "token-classification", ["text"], "label"),
    ("Predict the price", {"text": texts(), "price": [1000 + i * 37.25 for i in range(ROWS)]}, {}, "text-regression",
     ["text"], "price"),
    ("Predict the score", {"text": texts(), "score": DECIMALS}, {}, "text-regression", ["text"], "score"),
    ("How good is the translation?", {"source": texts(9), "translation": texts(9, 4), "quality": FRACTIONS}, {},
     "text-pair-regression", ["source", "translation"], "quality"),
    ("Which answer is better?", {"question": texts(9), "answer_a": texts(20), "answer_b": texts(20, 5),
     "winner": cycle("a", "b")}, {}, "text-classification", ["question", "answer_a", "answer_b"], "winner"),
    ("How helpful is the review?", {"review": texts(20), "helpfulness": FIVE, "stars": cycle(5, 4, 3, 2, 1)}, {},
     "text-classification", ["review"], "helpfulness"),
    ("", {"text": texts(), "zip": [f"0{1000 + i % 25}" for i in range(ROWS)]}, {}, "text-classification", ["text"],
     "zip"),
    ("Pick the right option", {"question": texts(9), "options": ABSTRACTS, "answer": cycle("a", "b")}, {},
     "text-pair-classification", ["question", "options"], "answer"),
    ("", {"claim": texts(9), "evidence": ABSTRACTS, "label": cycle("yes", "no")}, {}, "text-pair-classification",
     ["claim", "evidence"], "label"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "columns", "named", "kind", "inputs", "target"), AS_FILES_HOLD)
def test_columns_as_files_hold_them_give_the_kind(sentence, columns, named, kind, inputs, target):
    task = infer(sentence, source(**columns), **named)
    assert (task.kind, list(task.input_columns), task.target_column) == (kind, inputs, target), task.reasons


def test_spans_of_a_text_give_their_types_as_labels():
    task = infer("", source(text=texts(), entities=list(map(json.dumps, MARKED))))
    assert task.labels == ("O", "B-PER", "I-PER")


def test_tags_in_angle_brackets_are_cut_apart():
    assert infer("", source(**QUESTIONS)).labels == (".net", "c#", "java", "pandas", "python")


def test_two_texts_with_plain_names_tell_the_other_reading():
    assert "inputs=" in (infer("", source(**PLAIN_PAIR)).runner_up or "")
    assert "first" in " ".join(infer("", source(**UNEVEN)).reasons)
    assert "first" in (infer("", source(**UNEVEN)).runner_up or "")


def test_too_many_words_among_numbers_are_refused_with_their_rows():
    data = source(text=texts(), score=mostly(DECIMALS, *["many", "few"] * 5))
    for named in ({"target": "score", "kind": "text-regression"}, {}):
        with pytest.raises(TaskError, match=r"(?s)10 of 120 values.*row 5: 'many'.*row 15: 'few'"):
            infer("Predict the score", data, **named)


def test_a_label_with_too_many_wrong_cells_is_left_out_and_told():
    flags = FLAGS | {"pride": mostly(cycle(0, 1), *range(2, 10))}
    task = infer("", source(text=texts(), **flags))
    assert task.labels == ("joy", "fear", "anger")
    assert "'pride' is left out, since 8 of its cells say neither 0 nor 1" in " ".join(task.reasons)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("intense", "intensity", True),
        ("intensely", "intensity", True),
        ("readable", "readability", True),
        ("credible", "credibility", True),
        ("toxic", "toxicity", True),
        ("polite", "politeness", True),
        ("strongly", "strong", True),
        ("spamming", "spam", True),
        ("replies", "reply", True),
        ("families", "family", True),
        ("rated", "rating", True),
        ("class", "clash", False),
        ("state", "station", False),
        ("posts", "position", False),
        ("table", "tablet", False),
        ("essays", "essay", True),
        ("days", "day", True),
    ],
)
def test_words_of_one_stem_are_told(first, second, same):
    assert same_stem(first, second) is same_stem(second, first) is same


def test_a_word_a_row_is_told_how_to_become_a_sentence_a_row():
    tags = ["B-geo", "O", "O", "B-per", "I-per", "O"] * 20
    words = {"Sentence__#": [f"Sentence: {at // 6}" for at in range(120)], "Word": [f"w{at % 40}" for at in range(120)]}
    with pytest.raises(TaskError, match=r"one tag of a word in each row.*(?s:.)*groupby.*ffill"):
        infer("Find the entities", source(**words, Tag=tags))


TITLED_TICKETS = {
    "id": list(range(ROWS)),
    "title": texts(4),
    "body": texts(40, 1),
    "department": cycle("billing", "technical", "sales"),
    "priority": cycle("low", "medium", "high"),
}


@pytest.mark.parametrize(
    "sentence",
    [
        "Don't use the title. Which department?",
        "Don\u2019t use the title column. Which department?",
        "Which department? Ignore the title.",
        "Department without the title",
        "Which department? Please do it without reading the title.",
        "Predict department but leave the title out",
        "Predict department, leaving out the title",
        "Predict the department from the body, not from the title",
        "Predict department from the body instead of the title",
        "Which department? Everything except the id and the title counts.",
        "Predict department excluding title",
    ],
)
def test_a_column_that_the_sentence_sets_aside_is_not_read(sentence):
    task = infer(sentence, source(**TITLED_TICKETS))
    assert (task.target_column, task.input_columns) == ("department", ("body",)), task.reasons
    assert any(reason.startswith("'title' is left out: the sentence says '") for reason in task.reasons)


@pytest.mark.parametrize(
    "sentence",
    [
        "Classify the tickets, but do not predict the priority",
        "Which department, not the priority?",
        "Predict the department instead of the priority",
        "Which department, rather than the priority?",
    ],
)
def test_a_column_that_the_sentence_sets_aside_is_not_predicted(sentence):
    task = infer(sentence, source(**TITLED_TICKETS))
    assert (task.target_column, task.input_columns) == ("department", ("title", "body")), task.reasons


def test_what_an_argument_names_is_used_though_the_sentence_sets_it_aside():
    task = infer("Which department? Ignore the title.", source(**TITLED_TICKETS), inputs=["title"])
    assert task.input_columns == ("title",)


def test_a_part_of_what_is_set_aside_is_not_set_aside_itself():
    columns = {"review": texts(30), "review_title": texts(4), "stars": FIVE}
    task = infer("How many stars? Ignore the review title.", source(**columns))
    assert task.input_columns == ("review",), task.reasons


@pytest.mark.parametrize(
    ("sentence", "columns", "inputs", "target"),
    [
        ("Which comments are not toxic?", MANY, ["comment"], "toxic"),
        ("Do not miss a toxic comment", MANY, ["comment"], "toxic"),
        ("Does the answer not follow from the context?", ANY_ANSWER, ["context", "answer"], "faithful"),
        ("Is the comment toxic or not?", MANY, ["comment"], "toxic"),
    ],
)
def test_a_no_that_is_about_the_text_sets_no_column_aside(sentence, columns, inputs, target):
    task = infer(sentence, source(**columns))
    assert (list(task.input_columns), task.target_column) == (inputs, target), task.reasons


def test_where_all_texts_are_set_aside_the_sentence_is_told_to_have_done_it():
    with pytest.raises(TaskError, match=r"the sentence sets it aside \('without'\)"):
        infer("Predict the label without the message", source(**SPAM))


FOOD = {"Id": list(range(ROWS)), "Score": cycle(5, 1, 2, 3, 4), "Summary": texts(4), "Text": texts(25, 2)}
AMAZON = {"reviewText": texts(25), "overall": cycle(5.0, 1.0, 2.0, 3.0, 4.0), "summary": texts(4)}
JUDGE = {"instruction": texts(9), "output": texts(12, 2), "score": cycle(1, 2, 3, 4, 5)}
SAFETY = {"prompt": texts(9), "response": texts(12, 2), "is_safe": cycle(1, 0)}


@pytest.mark.parametrize(
    ("sentence", "columns", "target"),
    [
        ("", FOOD, "Score"),
        ("How many stars did the customer give?", FOOD, "Score"),
        ("Is this review positive?", FOOD, "Score"),
        ("predict the star rating of a food review", FOOD, "Score"),
        ("Does the customer like the food?", FOOD, "Score"),
        ("Does the customer like the food?", FOOD | {"HelpfulnessNumerator": cycle(0, 1, 2, 3)}, "Score"),
        ("predict the star rating of the review", AMAZON, "overall"),
        ("sentiment of review", AMAZON, "overall"),
        ("Rate how good the output is", JUDGE, "score"),
        ("Is the output good?", JUDGE, "score"),
        ("Detect unsafe answers of a chatbot", SAFETY, "is_safe"),
        ("Moderation", SAFETY, "is_safe"),
        ("Does the answer follow from the context?", ANY_ANSWER, "faithful"),
    ],
)
def test_a_label_is_predicted_and_no_text_written_where_the_sentence_asks_to_judge(sentence, columns, target):
    task = infer(sentence, source(**columns))
    assert task.target_column == target and task.kind != "causal-lm", task.reasons
    assert sentence or task.input_columns == ("Text",)


@pytest.mark.parametrize(
    ("sentence", "columns", "inputs"),
    [
        ("Rate how good the output is", JUDGE, ("instruction", "output")),
        ("Detect unsafe answers of a chatbot", SAFETY, ("prompt", "response")),
    ],
)
def test_an_answer_that_is_judged_is_read_beside_its_prompt(sentence, columns, inputs):
    task = infer(sentence, source(**columns))
    assert task.input_columns == inputs and task.kind.startswith("text-pair"), task.reasons


@pytest.mark.parametrize(
    ("sentence", "columns", "target"),
    [
        ("Summarise the text", FOOD, "Summary"),
        ("Write a summary of each review", FOOD, "Summary"),
        ("Text summarization", FOOD, "Summary"),
        ("Predict the summary", FOOD, "Summary"),
        ("", JUDGE, "output"),
        ("Follow the instruction", JUDGE, "output"),
        ("An assistant that knows a lot about animals", SAFETY, "response"),
        ("Respond to the prompt", SAFETY, "response"),
        ("", {"text": texts(40), "summary": texts(8)}, "summary"),
    ],
)
def test_a_text_is_written_where_the_sentence_asks_for_it_or_nothing_speaks_against_it(sentence, columns, target):
    task = infer(sentence, source(**columns))
    assert (task.kind, task.target_column) == ("causal-lm", target), task.reasons


CLOTHES = {
    "Review__Text": texts(30),
    "Rating": cycle(5, 1, 2, 3, 4),
    "Recommended__IND": cycle(1, 0),
    "Division__Name": cycle("General", "Petite"),
    "Department__Name": cycle("Tops", "Dresses", "Bottoms"),
    "Class__Name": cycle("Knits", "Pants", "Jeans"),
}


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("Would the customer recommend the product?", "Recommended IND"),
        ("Predict whether the item is recommended", "Recommended IND"),
        ("Does she recommend it?", "Recommended IND"),
        ("Which department is the review about?", "Department Name"),
        ("Which department is it?", "Department Name"),
        ("Predict the rating", "Rating"),
        ("How many stars?", "Rating"),
    ],
)
def test_a_column_is_named_without_the_last_word_of_its_name_where_that_says_nothing(sentence, target):
    task = infer(sentence, source(**CLOTHES))
    assert task.target_column == target, task.reasons
    assert "says nothing" not in task.reasons[0]


def test_what_is_said_of_a_thing_does_not_ask_for_its_name():
    issues = {"text": texts(), "Issue__Type": cycle("bug", "task"), "Priority": cycle("minor", "major")}
    assert infer("Predict issue priority", source(**issues)).target_column == "Priority"
    columns = {"text": texts(), "Product__Name": cycle("lamp", "radio"), "sentiment": cycle("pos", "neg")}
    assert infer("Is the review of the product positive?", source(**columns)).target_column == "sentiment"
    assert infer("Which product is the review about?", source(**columns)).target_column == "Product Name"


def test_a_target_of_which_the_sentence_says_nothing_is_told_with_the_others():
    columns = {"text": texts(), "label": cycle("a", "b"), "channel": cycle("web", "app"), "shop": cycle("x", "y")}
    told = "the sentence says nothing of it, and target= names another: 'channel' or 'shop'"
    assert told in infer("Will they buy again?", source(**columns)).reasons[0]
    assert "says nothing" not in infer("", source(**columns)).reasons[0]
    assert "says nothing" not in infer("Is it good?", source(**YES_NO)).reasons[0]


ANSWERED = {
    "subject": texts(4),
    "body": texts(20, 1),
    "answer": texts(40, 2),
    "queue": cycle("billing", "technical", "sales"),
}


@pytest.mark.parametrize(
    ("sentence", "columns", "inputs"),
    [
        ("which department should get this ticket", ANSWERED, ("subject", "body")),
        ("which department should get this ticket", {**ANSWERED, "reply": texts(30, 3)}, ("subject", "body")),
        ("Predict the queue", {"text": texts(9), "answer": texts(40, 2), "queue": cycle("a", "b")}, ("text",)),
        ("Predict the queue", {"answer": texts(40, 2), "queue": cycle("a", "b")}, ("answer",)),
        ("Predict the queue from the answer", ANSWERED, ("answer",)),
    ],
)
def test_an_answer_that_comes_later_is_not_read_for_what_it_answers(sentence, columns, inputs):
    assert infer(sentence, source(**columns)).input_columns == inputs


TAGGED = {"Title": texts(4), "Body": texts(30), "Tags": QUESTIONS["tags"], "Y": cycle("HQ", "LQ_EDIT", "LQ_CLOSE")}


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("Tag the questions", "Tags"),
        ("Automatic tagging of questions", "Tags"),
        ("Predict the tags", "Tags"),
        ("Which tags does a question have?", "Tags"),
        ("", "Y"),
        ("Predict Y", "Y"),
    ],
)
def test_where_a_column_is_called_tags_to_tag_is_to_predict_it(sentence, target):
    task = infer(sentence, source(**TAGGED))
    assert (task.target_column, task.input_columns) == (target, ("Title", "Body")), task.reasons


def test_to_tag_by_another_column_is_to_predict_that():
    columns = {"text": texts(), "tags": QUESTIONS["tags"], "intent": cycle("a", "b")}
    assert infer("Tag each message with its intent", source(**columns)).target_column == "intent"


ONE_HOT = {"text": texts(), **{name: [int(i % 3 == at) for i in range(ROWS)] for at, name in enumerate(
    ("negative", "neutral", "positive"))}}  # fmt: skip
JOBS = {
    "description": texts(20),
    "telecommuting": cycle(0, 1),
    "has_company_logo": cycle(1, 0, 0),
    "fraudulent": cycle(0, 0, 1),
}


@pytest.mark.parametrize(
    ("sentence", "columns", "labels"),
    [
        ("Is the tweet negative, neutral or positive?", ONE_HOT, ("negative", "neutral", "positive")),
        ("What is the sentiment?", ONE_HOT, ("negative", "neutral", "positive")),
        ("Sentiment of tweets", ONE_HOT, ("negative", "neutral", "positive")),
        ("Is there joy, fear or anger in it?", {"text": texts(), **FLAGS}, ("joy", "fear", "anger")),
        ("Moderation", TOXIC, ("toxic", "insult", "threat")),
        ("", {"text": texts(), **FLAGS, "has_url": cycle(0, 1)}, ("joy", "fear", "anger")),
        ("Which labels, with has_url?", {"text": texts(), **FLAGS, "has_url": cycle(0, 1)},
         ("joy", "fear", "anger", "has_url")),
        ("", {"text": texts(), **{f"is_{name}": flag for name, flag in FLAGS.items()}},
         ("is_joy", "is_fear", "is_anger")),
    ],
)  # fmt: skip
def test_columns_a_label_are_read_together_where_the_sentence_speaks_of_several(sentence, columns, labels):
    task = infer(sentence, source(**columns))
    assert (task.kind, task.target_columns) == ("multi-label-classification", labels), task.reasons


@pytest.mark.parametrize(
    ("sentence", "columns", "settling"),
    [
        ("Is this job ad a scam?", JOBS, ["target='telecommuting'", "target='fraudulent'"]),
        ("Is this job ad a scam?", {"text": texts(), **FLAGS}, ["target='joy'", "target='fear'", "target='anger'",
         "kind='multi-label-classification'"]),
        ("good or bad", {"text": texts(), **FLAGS}, ["target='joy'", "kind='multi-label-classification'"]),
    ],
)  # fmt: skip
def test_columns_a_label_are_not_read_together_where_the_sentence_asks_about_one_thing(sentence, columns, settling):
    with pytest.raises(TaskError, match="two readings of the task are close") as error:
        infer(sentence, source(**columns))
    assert all(argument in str(error.value) for argument in settling)


def test_of_columns_a_label_the_one_that_is_asked_about_is_one_label():
    assert infer("Is the job ad fraudulent?", source(**JOBS)).target_column == "fraudulent"
    assert infer("Is the comment toxic?", source(**TOXIC)).target_column == "toxic"
    severe = TOXIC | {"severe_toxic": cycle(0, 0, 1)}
    assert infer("Is the comment toxic?", source(**severe)).target_column == "toxic"


def test_facts_about_a_row_are_labels_where_the_kind_is_named_and_too_few_others_are_there():
    columns = {"text": texts(), "joy": FLAGS["joy"], "is_new": FLAGS["fear"], "has_url": FLAGS["anger"]}
    task = infer("", source(**columns), kind="multi-label-classification")
    assert task.target_columns == ("joy", "is_new", "has_url")


def test_facts_about_a_row_that_are_no_labels_are_told_to_be_left_out():
    task = infer("", source(text=texts(), **FLAGS, has_url=cycle(0, 1)))
    assert "'has_url' is left out" in " ".join(task.reasons)


SEARCHES = {
    "product_uid": [f"p{i % 90}" for i in range(ROWS)],
    "product_title": texts(5),
    "search_term": texts(2, 1),
    "relevance": cycle(3.0, 1.0, 1.33, 2.0, 2.67),
    "relevance_variance": cycle(0.0, 0.471, 0.5),
}
PHRASES = {
    "anchor": cycle("abatement device", "lamp shade", "power of a motor", "radio wave"),
    "target": texts(2),
    "context": cycle("A47", "B01", "C10"),
    "score": cycle(0.0, 0.25, 0.5, 1.0),
}


@pytest.mark.parametrize(
    ("sentence", "columns", "kind", "inputs", "target"),
    [
        ("How relevant is the product to the search term?", SEARCHES, "text-pair-classification",
         ("product_title", "search_term"), "relevance"),
        ("rate how well a search result fits the query", SEARCHES, "text-pair-classification",
         ("product_title", "search_term"), "relevance"),
        ("Predict the relevance", SEARCHES, "text-pair-classification", ("product_title", "search_term"), "relevance"),
        ("How relevant is the product to the query?",
         {"query": cycle("lamp", "red chair", "radio"), "product_title": texts(5), "score": cycle(1, 2, 3)},
         "text-pair-classification", ("query", "product_title"), "score"),
        ("Predict the relevance", {"query": texts(3), "title": texts(6, 1), "relevance": FRACTIONS},
         "text-pair-regression", ("query", "title"), "relevance"),
        ("Does the offer fit the demand?", {"offer": texts(5), "demand": texts(30), "y": cycle(0, 1)},
         "text-pair-classification", ("offer", "demand"), "y"),
        ("How similar are the two phrases?", PHRASES, "text-pair-regression", ("anchor", "target"), "score"),
        ("Predict the score", {"text": texts(), "score": FRACTIONS, "score_std": FRACTIONS[::-1]}, "text-regression",
         ("text",), "score"),
    ],
)  # fmt: skip
def test_two_texts_that_are_compared_are_both_read(sentence, columns, kind, inputs, target):
    task = infer(sentence, source(**columns))
    assert (task.kind, task.input_columns, task.target_column) == (kind, inputs, target), task.reasons


def test_a_text_is_not_compared_with_a_place_or_a_label():
    columns = {"text": texts(), "location": cycle("New York", "San Jose", "Los Angeles"), "label": cycle("a", "b")}
    assert infer("Are they the same?", source(**columns)).input_columns == ("text",)


COUNTED = {
    "count": cycle(3, 6, 9),
    "hate_speech": cycle(0, 1, 2, 3),
    "neither": cycle(3, 0, 1, 2),
    "class": cycle(1, 0, 2),
    "tweet": texts(),
}


def test_columns_that_are_the_choices_of_a_question_are_not_what_it_asks_for():
    question = "Is the tweet hate speech, offensive or neither?"
    assert infer(question, source(**COUNTED)).target_column == "class"
    counts = {name: values for name, values in COUNTED.items() if name != "class"}
    with pytest.raises(TaskError, match=r"(?s)close.*target='hate_speech' or target='neither'"):
        infer(question, source(**counts))


SQL = {"question": texts(9), "schema": texts(20, 1), "hint": texts(4, 2), "sql": texts(12, 3)}


def test_what_the_sentence_names_is_read_for_what_is_written_and_the_rest_is_told():
    task = infer("Write SQL for a question and a schema", source(**SQL))
    assert (task.kind, task.input_columns, task.target_column) == ("causal-lm", ("question", "schema"), "sql")
    assert "other text is left out (hint), inputs= would bring it in" in " ".join(task.reasons)
    assert infer("Write SQL from the question", source(**SQL)).input_columns == ("question",)


def test_a_second_target_that_the_sentence_asks_for_is_told():
    columns = TITLED_TICKETS | {"language": cycle("en", "de")}
    task = infer("Predict department and language", source(**columns))
    assert task.target_column == "department"
    assert any("'language' is asked for too" in reason and "target='language'" in reason for reason in task.reasons)
    task = infer("Predict department", source(**columns))
    assert not any("is asked for too" in reason for reason in task.reasons)


def test_lists_of_one_label_each_are_told_how_to_become_one_label_a_row():
    told = "every row has exactly one of them: in a column of plain values, and not of lists, they are one label a row"
    one, several = [["pos"], ["neg"]] * (ROWS // 2), [["pos"], ["neg", "pos"]] * (ROWS // 2)
    assert told in " ".join(infer("", source(text=texts(), label=one)).reasons)
    assert told not in " ".join(infer("", source(text=texts(), label=several)).reasons)


def test_labels_of_which_no_row_has_any_are_refused():
    for kind in (None, "multi-label-classification"):
        with pytest.raises(TaskError, match="no row has a label in column 'label'"):
            infer("", source(text=texts(), label=[[]] * ROWS), kind=kind)


@pytest.mark.parametrize("sentence", ["Predict the mood", "How does the writer feel? The mood counts", "mood, please"])
def test_a_column_that_the_sentence_mentions_is_predicted_before_one_with_a_typical_name(sentence):
    columns = {"text": texts(), "mood": cycle("a", "b"), "category": cycle("x", "y")}
    assert infer(sentence, source(**columns)).target_column == "mood"


def test_a_close_call_lists_every_column_that_the_sentence_speaks_of():
    columns = {name: cycle(f"{name} a", f"{name} b") for name in ("priority", "queue", "sentiment", "shop")}
    with pytest.raises(TaskError, match=r"two readings of the task are close.*'[a-z]+' may be meant too") as error:
        infer("route what is urgent or by people that are not happy", source(text=texts(), **columns))
    assert all(f"target='{name}'" in str(error.value) for name in ("priority", "queue", "sentiment"))
    assert "target='shop'" not in str(error.value)
