"""A small question of every kind of task: a sentence, rows, and a tiny base model to learn them with.

For the tests that every kind must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_images import write_tiny_images
from autosft.testing.tiny_models import write_tiny_decoder, write_tiny_encoder, write_tiny_resnet

NUM_ROWS = 90


@dataclass(frozen=True)
class Question:
    """What a user would bring.

    Attributes:
        sentence: What is wanted.
        data: What `autosft.fit` reads.
        new: Rows to predict.
        base: Folder of a base model.
    """

    sentence: str
    data: object
    new: list[dict[str, Any]]
    base: Path


def question(kind: str, folder: Path) -> Question:
    """Returns the small question of a kind; raises KeyError for a kind that has none.

    Args:
        folder: For the base model, and for data that are files.
    """
    return _QUESTIONS[kind](folder)


def _text_classification(folder: Path) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(texts, targets, strict=True)]
    return Question("Sort the messages by topic", rows, [{"text": texts[0]}], _encoder(folder))


def _multi_label(folder: Path) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    both = [f"{text} {texts[at - 1]}" for at, text in enumerate(texts)]
    labels = [sorted({LABELS[targets[at]], LABELS[targets[at - 1]]})[: 1 + at % 2] for at in range(NUM_ROWS)]
    rows = [{"text": text, "topics": own} for text, own in zip(both, labels, strict=True)]
    return Question("Which topics is each message about?", rows, [{"text": both[0]}], _encoder(folder))


def _text_regression(folder: Path) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    rows = [
        {"text": text, "score": round(2.5 * target + at / 1000, 3)}
        for at, (text, target) in enumerate(zip(texts, targets, strict=True))
    ]
    return Question("Predict the score as a number", rows, [{"text": texts[0]}], _encoder(folder))


def _pairs(folder: Path, name: str, answer: Callable[[int, bool], object], sentence: str) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    partners = [(at * 5 + 1) % NUM_ROWS for at in range(NUM_ROWS)]
    rows = [
        {"sentence1": texts[at], "sentence2": texts[other], name: answer(at, targets[at] == targets[other])}
        for at, other in enumerate(partners)
    ]
    new = [{"sentence1": texts[0], "sentence2": texts[1]}]
    return Question(sentence, rows, new, _encoder(folder))


def _text_pair_classification(folder: Path) -> Question:
    def answer(at: int, same: bool) -> str:
        return "same" if same else "other"

    return _pairs(folder, "label", answer, "Are the two sentences about the same topic?")


def _text_pair_regression(folder: Path) -> Question:
    def answer(at: int, same: bool) -> float:
        return round(4.0 * same + at / 1000, 3)

    return _pairs(folder, "score", answer, "How similar are the two sentences? Predict the score as a number")


def _token_classification(folder: Path) -> Question:
    texts, _ = tiny_texts(NUM_ROWS)
    tags = {"visa": "B-CARD", "chip": "B-CARD", "abroad": "B-PLACE", "iban": "B-CODE"}
    tokens = [text.split() for text in texts]
    rows = [{"tokens": row, "tags": [tags.get(token, "O") for token in row]} for row in tokens]
    return Question("Find the named entities", rows, [{"tokens": tokens[0]}], _encoder(folder))


def _causal_lm(folder: Path) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    rows = [
        {"prompt": text, "completion": f"this is about my {LABELS[target]} number {at}"}
        for at, (text, target) in enumerate(zip(texts, targets, strict=True))
    ]
    return Question("Write the completion", rows, [{"prompt": texts[0]}], _decoder(folder))


def _chat(folder: Path) -> Question:
    texts, targets = tiny_texts(NUM_ROWS)
    rows = [
        {
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": f"this is about my {LABELS[target]} number {at}"},
            ]
        }
        for at, (text, target) in enumerate(zip(texts, targets, strict=True))
    ]
    new = [{"messages": [{"role": "user", "content": texts[0]}]}]
    return Question("Answer as the assistant", rows, new, _decoder(folder))


def _image_classification(folder: Path) -> Question:
    images = write_tiny_images(folder / "images", NUM_ROWS)
    new = [{"image": str(sorted(images.rglob("*.png"))[0])}]
    return Question("Which class is in the image?", images, new, write_tiny_resnet(folder / "base"))


def _encoder(folder: Path) -> Path:
    return write_tiny_encoder(folder / "base", words=WORDS)


def _decoder(folder: Path) -> Path:
    return write_tiny_decoder(folder / "base", words=WORDS)


_QUESTIONS: dict[str, Callable[[Path], Question]] = {
    "text-classification": _text_classification,
    "multi-label-classification": _multi_label,
    "text-regression": _text_regression,
    "text-pair-classification": _text_pair_classification,
    "text-pair-regression": _text_pair_regression,
    "token-classification": _token_classification,
    "causal-lm": _causal_lm,
    "chat": _chat,
    "image-classification": _image_classification,
}
