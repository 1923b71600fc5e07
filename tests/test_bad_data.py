"""Bad rows of every sort in every kind of task: each is found and named by its place, and what is left can be trained.

The line as `autosft.plan` goes it, up to the rows on disk: read, infer, audit, split, write. What is left is then
trained on as a worker of Ray would.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autosft.data.finding import Finding
from autosft.planning.arms import draft_arms
from autosft.prepare import Prepared, Question, check, understand
from autosft.search import work
from autosft.search.settings import Machine
from autosft.task import Input, Output
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_images import tiny_pixels
from autosft.testing.tiny_models import write_tiny_decoder, write_tiny_encoder, write_tiny_resnet
from autosft.trainers.base import Limits

NUM_ROWS = 60
Row = dict[str, Any]
Trains = Callable[[Prepared], None]
TEXTS, TARGETS = tiny_texts(NUM_ROWS)


def prepared(sentence: str, train: object, test: object = None, **options: Any) -> Prepared:
    question = Question(sentence, train, test=test, **options)
    return check(question, *understand(question))


def among(good: list[Row], bad: dict[int, Row]) -> list[Row]:
    """Returns the good rows with the bad ones at their places."""
    rest = iter(good)
    return [bad[at] if at in bad else next(rest) for at in range(len(good) + len(bad))]


def checked(found: Prepared, *expected: tuple[str, int, str]) -> dict[str, Finding]:
    """Asserts the findings, by name, number of rows and a place; and that nothing untrainable is left."""
    by_name = {finding.check: finding for finding in found.findings}
    for name, count, place in expected:
        assert name in by_name, (name, list(by_name))
        finding = by_name[name]
        assert finding.count == count, finding
        assert any(example.startswith(place) for example in finding.examples), finding
    for fold in range(found.data.num_folds):
        for rows in found.data.training(fold):
            assert rows is not None and len(rows)
            assert rows.targets().null_count == 0
    return by_name


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny base models by what they are."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        "encoder": write_tiny_encoder(folder / "encoder", words=WORDS),
        "decoder": write_tiny_decoder(folder / "decoder", words=WORDS),
        "resnet": write_tiny_resnet(folder / "resnet"),
    }


@pytest.fixture
def worker_trains(bases: dict[str, Path], tmp_path: Path) -> Trains:
    """A worker does a tenth of a tiny model's untuned default on the rows that are left, and predicts the test."""

    def train(found: Prepared) -> None:
        kind = task_kind(found.task.kind)
        trainer, base = "transformers", bases["resnet" if kind.input is Input.IMAGE else "encoder"]
        if kind.output is Output.TEXT:
            trainer, base = "trl", bases["decoder"]
        [arm], _ = draft_arms(
            kind.input, kind.output, num_rows=NUM_ROWS, models=[str(base)], trainers=[trainer], space=None,
            machine=Machine(1),
        )  # fmt: skip
        outcome = work.train(
            lambda *_, **values: None, trainer=trainer, base_model=arm.base_model, folder=arm.folder,
            config=arm.default, task=found.task, data=found.data, fold=0, fidelity=0.1, seed=0,
            scratch=tmp_path / "scratch", rungs=(1.0,), limits=Limits(num_threads=1, cache=tmp_path / "cache"),
        )  # fmt: skip
        assert math.isfinite(outcome["score"]) and math.isfinite(outcome["loss"])
        held_out = found.data.held_out()
        if held_out is not None:
            models, rows = {"only": (trainer, str(tmp_path / "scratch" / "model"))}, held_out[1]
            seen, outputs = work.predict(
                lambda *_, **values: None, task=found.task, models=models, rows=rows, seconds=None, seed=0
            )
            assert len(seen) == len(outputs["only"]) == len(rows)

    return train


def places(found: Prepared) -> set[int]:
    """The places in the data of all rows that are trained on."""
    return set(found.data.training(None)[0].numbers("row").tolist())


def messages(label: str = "label") -> list[Row]:
    return [{"text": text, label: LABELS[target]} for text, target in zip(TEXTS, TARGETS, strict=True)]


def test_text_classification(worker_trains: Trains) -> None:
    bad = {
        3: {"text": "no label here", "label": None},
        7: {"text": " ", "label": "card"},
        11: {"text": "a word of mine", "label": "CARD"},
        20: {"text": "both of these", "label": "card"},
        21: {"text": "both of these", "label": "loan"},
        30: {"text": "said once already, and more", "label": "loan"},
        31: {"text": "said once already, and more", "label": "loan"},
        40: {"text": "one of its kind", "label": "lonely"},
    }
    test = [
        {"text": "said once already, and more", "label": "loan"},
        {"text": "something new", "label": "unheard"},
        {"text": "", "label": "card"},
        {"text": "nobody knows", "label": None},
    ]
    found = prepared("Sort the messages by label", among(messages(), bad), test)
    by_name = checked(
        found,
        ("missing-labels", 2, "row 3"),
        ("missing-inputs", 2, "row 7"),
        ("label-spelling", 1, "row 11"),
        ("conflicting-labels", 1, "rows 20, 21"),
        ("exact-duplicates", 1, "row 31, as row 30"),
        ("duplicates-across-splits", 1, "row 30, as test row 0"),
        ("unseen-test-labels", 1, "unheard: 1 row (test row 1)"),
        ("rare-classes", 1, "lonely: 1 row (row 40)"),
    )
    assert "not scored" in by_name["missing-labels"].action
    assert not {3, 7, 20, 21, 30, 31} & places(found)
    assert {11, 40, NUM_ROWS + len(bad) - 1} <= places(found)
    held_out = found.data.held_out()
    assert held_out is not None
    assert held_out[1].numbers("row").tolist() == [0, 1, 2, 3], "rows of a test set are never dropped"
    assert held_out[1].targets().is_null().to_pylist() == [False, False, False, True]
    worker_trains(found)


def test_near_repeats_are_named_on_both_sides() -> None:
    near = " ".join(TEXTS[:6])
    bad = {
        0: {"text": None, "label": "loan"},
        9: {"text": near, "label": "loan"},
        17: {"text": f"{near}!", "label": "loan"},
    }
    found = prepared("Sort the messages by label", among(messages(), bad), [{"text": f"{near}?", "label": "loan"}])
    by_name = {finding.check: finding for finding in found.findings}
    assert {example.split(":")[0] for example in by_name["near-duplicates-across-splits"].examples} == {
        "row 9 ~ test row 0",
        "row 17 ~ test row 0",
    }
    alone = prepared("Sort the messages by label", among(messages(), bad))
    by_name = {finding.check: finding for finding in alone.findings}
    assert by_name["near-duplicates"].examples[0].startswith("row 9 ~ row 17")


def test_multi_label_in_lists(worker_trains: Trains) -> None:
    good = [
        {"text": text, "topics": [LABELS[at % 3], LABELS[at // 2 % 3]][: 1 + at % 2]} for at, text in enumerate(TEXTS)
    ]
    bad = {
        2: {"text": None, "topics": ["card"]},
        5: {"text": "nothing is said of it", "topics": None},
        9: {"text": "about none of them", "topics": []},
    }
    test = [{"text": "about another", "topics": ["card", "unheard"]}, {"text": "who knows", "topics": None}]
    found = prepared("Which topics is each message about?", among(good, bad), test)
    checked(
        found,
        ("missing-inputs", 1, "row 2"),
        ("missing-labels", 2, "row 5"),
        ("rows-without-any-label", 1, "row 9"),
        ("unseen-labels", 1, "test row 0: unheard"),
    )
    assert 9 in places(found) and not {2, 5} & places(found)
    assert "unheard" in found.task.labels
    held_out = found.data.held_out()
    assert held_out is not None and held_out[1].targets().is_null().to_pylist() == [False, True]
    worker_trains(found)


def flags(at: int) -> Row:
    return {"card": at % 2, "loan": at // 2 % 2, "transfer": int(at % 3 == 0)}


def test_multi_label_in_columns(worker_trains: Trains) -> None:
    """A cell other than 0 and 1 leaves its row out; a wrong one in the test is not scored."""
    good = [{"text": text, **flags(at)} for at, text in enumerate(TEXTS)]
    bad = {4: {"text": None, **flags(3)}, 6: {"text": "said too often", **flags(1), "loan": 2}}
    test = [{"text": "what is this", **flags(1), "card": 7}]
    found = prepared("Which topics is each message about?", among(good, bad), test)
    assert found.task.labels == ("card", "loan", "transfer")
    by_name = checked(found, ("unreadable-labels", 2, "row 6: loan is '2'"), ("missing-inputs", 1, "row 4"))
    assert by_name["unreadable-labels"].examples[1] == "test row 0: card is '7'"
    assert not {4, 6} & places(found)
    worker_trains(found)


def numbers(*names: str) -> list[Row]:
    return [{**dict.fromkeys(names, text), "score": round(target + at / 100, 2)} for at, (text, target) in
            enumerate(zip(TEXTS, TARGETS, strict=True))]  # fmt: skip


def test_text_regression(worker_trains: Trains) -> None:
    bad = {
        1: {"text": "no number", "score": None},
        8: {"text": "not a number", "score": math.nan},
        12: {"text": "beyond all numbers", "score": math.inf},
        13: {"text": None, "score": 1.0},
    }
    found = prepared(
        "Predict the score as a number", among(numbers("text"), bad), [{"text": "also", "score": -math.inf}] * 2
    )
    checked(
        found,
        ("missing-labels", 4, "row 1"),
        ("unreadable-numbers", 3, "row 12: 'inf'"),
        ("missing-inputs", 1, "row 13"),
    )
    assert not {1, 8, 12, 13} & places(found)
    worker_trains(found)


def test_numbers_of_a_file(tmp_path: Path) -> None:
    lines = [f"{row['text']},{row['score']}" for row in numbers("text")]
    lines[10:10] = ["beyond all numbers,inf", "not a number,nan", "no number,"]
    (tmp_path / "train.csv").write_text("\n".join(["text,score", *lines]), encoding="utf-8")
    found = prepared("Predict the score as a number", tmp_path / "train.csv")
    checked(found, ("unreadable-numbers", 1, "row 10: 'inf'"), ("missing-labels", 2, "row 11: not a number"))
    assert not {10, 11, 12} & places(found)


def test_a_word_among_numbers() -> None:
    good = [{**row, "score": str(row["score"])} for row in numbers("text")]
    found = prepared("Predict the score", among(good, {5: {"text": "a word", "score": "many"}}))
    assert found.task.kind == "text-regression"
    checked(found, ("unreadable-numbers", 1, "row 5: 'many'"))
    assert 5 not in places(found)


def test_a_word_among_the_numbers_of_a_file(tmp_path: Path, worker_trains: Trains) -> None:
    lines = [f"{row['text']},{row['score']}" for row in numbers("text")]
    lines[10:10] = ["a word,many", "no number,NA"]
    (tmp_path / "train.csv").write_text("\n".join(["text,score", *lines]), encoding="utf-8")
    found = prepared("Predict the score", tmp_path / "train.csv")
    assert found.task.kind == "text-regression"
    checked(found, ("unreadable-numbers", 2, "row 10: 'many'"))
    assert not {10, 11} & places(found)
    worker_trains(found)


def test_spans_written_as_text(tmp_path: Path, worker_trains: Trains) -> None:
    def line(text: str, spans: object) -> Row:
        return {"text": text, "entities": spans if isinstance(spans, str) else json.dumps(spans)}

    good = [line(text, [[0, text.index(" "), "CARD"]]) for text in TEXTS]
    bad = {3: line("ends too late", [[9, 40, "CARD"]]), 5: line("cannot be read", "[[0, 6"), 7: line("not seen", "")}
    found = prepared("Find the entities", among(good, bad))
    assert (found.task.kind, found.task.labels) == ("token-classification", ("O", "B-CARD", "I-CARD"))
    checked(
        found,
        ("spans-outside-text", 1, "row 3"),
        ("unknown-tags", 1, "row 5: the spans '[[0, 6'"),
        ("missing-labels", 1, "row 7"),
    )
    assert not {5, 7} & places(found)
    worker_trains(found)


@pytest.mark.parametrize("kind", ["text-pair-classification", "text-pair-regression"])
def test_pairs(kind: str, worker_trains: Trains) -> None:
    sentence, answer = {
        "text-pair-classification": ("Are the two sentences about the same topic?", "label"),
        "text-pair-regression": ("How similar are the two sentences? Predict the score as a number", "score"),
    }[kind]

    def value(at: int) -> object:
        return ("same", "other")[at % 2] if answer == "label" else round(at % 5 + at / 100, 2)

    good = [{"sentence1": text, "sentence2": TEXTS[at - 7], answer: value(at)} for at, text in enumerate(TEXTS)]
    bad = {
        2: {"sentence1": "", "sentence2": None, answer: value(1)},
        6: {"sentence1": "only this", "sentence2": None, answer: value(1)},
        9: {"sentence1": " ", "sentence2": "only that", answer: value(2)},
        10: {"sentence1": "left", "sentence2": "right", answer: None},
    }
    found = prepared(sentence, among(good, bad), [{"sentence1": None, "sentence2": "new", answer: value(1)}] * 2)
    assert found.task.kind == kind
    by_name = checked(
        found,
        ("missing-inputs", 1, "row 2"),
        ("missing-sides", 4, "row 6: no sentence2"),
        ("missing-labels", 1, "row 10"),
    )
    assert by_name["missing-sides"].examples[1].startswith("row 9: no sentence1")
    assert by_name["missing-sides"].examples[2].startswith("test row 0")
    assert {6, 9} <= places(found) and not {2, 10} & places(found)
    worker_trains(found)


def tagged(text: str, tags: str) -> Row:
    return {"tokens": text.split(), "tags": tags.split()}


def test_tagged_words(worker_trains: Trains) -> None:
    good = [{"tokens": ["ask", *text.split()], "tags": ["O", tag, *["O"] * (len(text.split()) - 1)]} for text, tag in
            zip(TEXTS, ["S-CARD", "S-PLACE"] * 30, strict=True)]  # fmt: skip
    bad = {
        1: tagged("one word more", "O O"),
        4: tagged("a bad tag", "O Q-CARD O"),
        6: {"tokens": [], "tags": []},
        8: {"tokens": ["no", "tags"], "tags": None},
        10: tagged("from here to there", "B-PLACE I-PLACE E-PLACE O"),
        12: tagged("begun and lost today", "B-PLACE I-PLACE O O"),
        14: tagged("opens in the middle", "O I-CARD E-CARD O"),
    }
    test = [tagged("some other", "O B-CARD"), tagged("unheard of", "S-UNHEARD O")]
    found = prepared("Find the named entities", among(good, bad), test)
    by_name = checked(
        found,
        ("tag-counts", 1, "row 1: 3 words, 2 tags"),
        ("unknown-tags", 1, "row 4: the tag 'Q-CARD'"),
        ("missing-inputs", 1, "row 6"),
        ("missing-labels", 1, "row 8"),
        ("unclosed-entities", 2, "row 12: an entity is not closed (begun and lost today)"),
        ("tag-scheme", 1, "row 14: an entity opens with I-"),
        ("unseen-entity-types", 1, "test row 1"),
    )
    assert by_name["unclosed-entities"].examples[1].startswith("test row 0")
    assert not {1, 4, 6, 8} & places(found) and {10, 12, 14} <= places(found)
    worker_trains(found)


def test_bio_closes_nothing() -> None:
    good = [{"tokens": text.split(), "tags": ["B-X", "I-X", *["O"] * (len(text.split()) - 2)]} for text in TEXTS]
    found = prepared("Find the named entities", good)
    assert "unclosed-entities" not in {finding.check for finding in found.findings}


def test_marked_texts(worker_trains: Trains) -> None:
    def span(start: int, end: int, label: str = "CARD") -> Row:
        return {"start": start, "end": end, "label": label}

    good = [{"text": text, "spans": [span(0, text.index(" "))]} for text in TEXTS]
    bad = {
        0: {"text": None, "spans": []},
        3: {"text": "ends too late", "spans": [span(9, 40)]},
        5: {"text": "starts too early", "spans": [span(-4, 6)]},
        7: {"text": "the wrong way round", "spans": [span(9, 4)]},
        9: {"text": "cut in a word", "spans": [span(0, 2)]},
        11: {"text": "two of them here", "spans": [span(0, 6), span(4, 11)]},
        13: {"text": "has no label", "spans": [{"start": 0, "end": 3, "label": None}]},
        15: {"text": "nobody looked at it", "spans": None},
    }
    found = prepared("Find the named entities", among(good, bad))
    checked(
        found,
        ("missing-inputs", 1, "row 0"),
        ("spans-outside-text", 3, "row 3: CARD at 9 to 40 of 13 characters"),
        ("spans-outside-text", 3, "row 5"),
        ("spans-outside-text", 3, "row 7"),
        ("spans-cutting-words", 1, "row 9"),
        ("overlapping-spans", 1, "row 11"),
        ("unknown-tags", 1, "row 13"),
        ("missing-labels", 1, "row 15"),
    )
    assert not {0, 13, 15} & places(found)
    worker_trains(found)


def test_prompts_and_completions(worker_trains: Trains) -> None:
    good = [{"prompt": text, "completion": f"about my {LABELS[target]} {at}"} for at, (text, target) in
            enumerate(zip(TEXTS, TARGETS, strict=True))]  # fmt: skip
    bad = {
        2: {"prompt": "nothing comes of this", "completion": " "},
        3: {"prompt": "nor of that", "completion": None},
        5: {"prompt": None, "completion": "an answer to nothing"},
        8: {"prompt": "what is it", "completion": "this"},
        9: {"prompt": "what  is it", "completion": "that"},
        12: {"prompt": "asked in the test as well", "completion": "yes"},
    }
    test = [{"prompt": "Asked in the test as well", "completion": "no"}, {"prompt": "and this", "completion": ""}]
    found = prepared("Write the completion", among(good, bad), test)
    by_name = checked(
        found,
        ("missing-labels", 3, "row 2: nothing comes of this"),
        ("missing-inputs", 1, "row 5"),
        ("several-answers", 1, "rows 8, 9: what is it"),
        ("duplicates-across-splits", 1, "row 12, as test row 0"),
    )
    assert by_name["missing-labels"].examples[1].startswith("row 3")
    assert by_name["missing-labels"].message.startswith("Rows without a text to learn: 2 in train, 1 in test")
    assert not {2, 3, 5, 12} & places(found) and {8, 9} <= places(found)
    worker_trains(found)


def talk(*turns: str | tuple[str, str | None]) -> Row:
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[at % 2], "content": turn} if isinstance(turn, str) else {"role": turn[0], "content": turn[1]}
            for at, turn in enumerate(turns)
        ]
    }


def test_conversations(worker_trains: Trains) -> None:
    good = [talk(text, f"about my {LABELS[target]} {at}") for at, (text, target) in
            enumerate(zip(TEXTS, TARGETS, strict=True))]  # fmt: skip
    bad = {
        1: talk("one", ("user", "two"), ("assistant", "three")),
        4: talk("a", "b", ("narrator", "c"), ("assistant", "d")),
        6: {"messages": []},
        7: {"messages": None},
        9: talk("say something", ("assistant", None)),
        11: talk("same question", "one answer"),
        12: talk("same question", "another answer"),
        15: talk("asked in the test", "yes"),
    }
    test = [talk("asked in the test", "no"), talk("nobody answers")]
    found = prepared("Answer as the assistant", among(good, bad), test)
    by_name = checked(
        found,
        ("broken-conversations", 6, "row 1: two turns of the user in a row"),
        ("broken-conversations", 6, "row 4: unknown role 'narrator'"),
        ("several-answers", 1, "rows 11, 12: same question"),
        ("duplicates-across-splits", 1, "row 15, as test row 0"),
        ("missing-labels", 1, "test row 1"),
    )
    assert "mended" in by_name["broken-conversations"].action
    assert not {1, 4, 6, 7, 9, 15} & places(found)
    worker_trains(found)


def test_images(tmp_path: Path, worker_trains: Trains) -> None:
    pixels, targets = tiny_pixels(NUM_ROWS)
    for at, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{at:03}.png")
    good = [{"image": str(tmp_path / f"{at:03}.png"), "label": "abc"[target]} for at, target in enumerate(targets)]
    (tmp_path / "half.png").write_bytes((tmp_path / "000.png").read_bytes()[:90])
    (tmp_path / "copy.png").write_bytes((tmp_path / "003.png").read_bytes())
    (tmp_path / "both.png").write_bytes((tmp_path / "004.png").read_bytes())
    Image.fromarray(pixels[0][:3, :3]).save(tmp_path / "tiny.png")
    bad = {
        0: {"image": str(tmp_path / "half.png"), "label": "a"},
        2: {"image": str(tmp_path / "gone.png"), "label": "b"},
        5: {"image": None, "label": "b"},
        8: {"image": str(tmp_path / "tiny.png"), "label": "c"},
        20: {"image": str(tmp_path / "copy.png"), "label": "abc"[targets[3]]},
        21: {"image": str(tmp_path / "both.png"), "label": "abc"[targets[4] - 1]},
    }
    test = [{"image": str(tmp_path / "half.png"), "label": "a"}, {"image": str(tmp_path / "tiny.png"), "label": "c"}]
    found = prepared("Which class is in the image?", among(good, bad), test)
    by_name = checked(
        found,
        ("unreadable-images", 3, f"row 0: {tmp_path.name}/half.png: "),
        ("unreadable-images", 3, f"row 2: {tmp_path.name}/gone.png: No such file"),
        ("unreadable-images", 3, f"test row 0: {tmp_path.name}/half.png: "),
        ("missing-inputs", 1, "row 5"),
        ("tiny-images", 2, f"row 8: {tmp_path.name}/tiny.png: 3 x 3"),
        ("exact-duplicates", 1, f"row 20, as row 6: {tmp_path.name}/copy.png"),
        ("conflicting-labels", 1, "rows 7, 21"),
        ("duplicates-across-splits", 1, "row 8, as test row 1"),
    )
    unreadable = by_name["unreadable-images"]
    assert unreadable.severity == "warning" and "test rows stay and are scored" in unreadable.action
    held_out = found.data.held_out()
    assert held_out is not None and len(held_out[1]) == 2
    worker_trains(found)


SCRIPTS = {"残高": "残高はいくらですか", "卡": "我的卡在哪里", "بطاقة": "أين بطاقتي؟", "כרטיס": "איפה הכרטיס שלי?"}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_other_scripts_come_through_unharmed(tmp_path: Path, ending: str) -> None:
    rows = [{"text": f"{text} {at}", "label": label} for at in range(20) for label, text in SCRIPTS.items()]
    rows.insert(7, {"text": "مرحبا", "label": ""})
    path = tmp_path / f"train.{ending}"
    if ending == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        sign = {"csv": ",", "tsv": "\t"}[ending]
        lines = [sign.join(row.values()) for row in [{"text": "text", "label": "label"}, *rows]]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = prepared("Sort the messages by label", path)
    checked(found, ("missing-labels", 1, "row 7: مرحبا"))
    assert set(found.task.labels) == set(SCRIPTS)
    kept = found.data.training(None)[0]
    targets = [found.task.labels[at] for at in kept.targets().to_pylist()]
    for place, text, label in zip(kept.numbers("row"), kept.column("text"), targets, strict=True):
        assert {"text": text, "label": label} == rows[place]
