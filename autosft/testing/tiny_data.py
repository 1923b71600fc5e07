"""Made-up rows that a tiny model can learn: each text holds words that only its label uses, among words of all labels.

For the tests of trainers, plugins included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from autosft.data.data import materialise
from autosft.data.source import Source
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import kind
from autosft.trainers.base import TrainingData

LABELS = ("card", "loan", "transfer")
_COMMON = ("i", "my", "the", "please", "about", "need", "help", "with", "today", "again", "why", "when", "it", "now")
_OWN = (("card", "chip", "pin", "visa"), ("loan", "mortgage", "rate", "debt"), ("transfer", "send", "abroad", "iban"))

#: Every word that the texts hold, for the vocabulary of a tiny model.
WORDS = (*_COMMON, *(word for words in _OWN for word in words))


def tiny_texts(num_rows: int, *, num_labels: int = len(LABELS), seed: int = 0) -> tuple[list[str], list[int]]:
    """Returns texts, no two alike, and the position of each one's label; labels take turns.

    Args:
        num_rows: Number of texts.
        num_labels: At most as many as `LABELS`.
        seed: Decides the words.
    """
    rng = np.random.default_rng(seed)
    targets = [row % num_labels for row in range(num_rows)]
    texts = []
    for row, target in enumerate(targets):
        words = [*rng.choice(_COMMON, size=rng.integers(3, 9)), *rng.choice(_OWN[target], size=3)]
        # The number keeps the audit from taking two texts of the same few words for copies.
        texts.append(f"{' '.join(rng.permutation(words))} {row * 7919 + 100_003}")
    return texts, targets


def tiny_task(labels: Sequence[str] = LABELS) -> Task:
    """Returns a text classification of the columns "text" and "label", decided by accuracy."""
    return Task("text-classification", "", ("text",), "label", Metric("accuracy"), tuple(labels))


def tiny_training_data(folder: Path, *, num_rows: int = 120, seed: int = 0) -> tuple[Task, TrainingData]:
    """Writes rows under `folder`; returns their task, and training data of which a fifth validates."""
    task = tiny_task()
    texts, targets = tiny_texts(num_rows, seed=seed)
    table = pa.table({"text": texts, "label": [LABELS[target] for target in targets]})
    data, _ = materialise(kind(task.kind), task, Source({"train": table}, "tiny rows"), folder=folder, seed=seed)
    train, validation = data.training(0)
    assert train.indices is not None and validation is not None and validation.indices is not None
    rows, _ = data.training(None)
    return task, TrainingData(Input.TEXT, Output.LABEL, rows, train.indices, validation.indices, data.fingerprint)
