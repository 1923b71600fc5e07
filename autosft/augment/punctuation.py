"""Punctuation put in at random places, which leaves every word and its order as they are (AEDA, arXiv 2108.13230)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from autosft.augment.base import BatchAugmentation
from autosft.inputs.base import Examples
from autosft.inputs.text import Tokens
from autosft.task import Input, Output


class Punctuation(BatchAugmentation):
    """Puts marks between the tokens of each row: at least one, and up to a share of its tokens.

    Args:
        share: The paper's is a third of the words.
        marks: Token ids of the marks, the paper's six; () until `prepared`, and where a tokenizer has none of them, and
            then nothing is put in.
        max_length: Tokens that a row may grow to.
        pad_token_id: What fills up short rows.
    """

    name: ClassVar[str] = "punctuation"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.TEXT, Input.TEXT_PAIR})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL, Output.LABELS, Output.NUMBER})

    def __init__(
        self, share: float = 1 / 3, marks: Sequence[int] = (), max_length: int = 0, pad_token_id: int = 0
    ) -> None:
        self.share = share
        self.marks = tuple(marks)
        self.max_length = max_length
        self._padding = {"input_ids": pad_token_id, "token_type_ids": 0}

    def prepared(self, examples: Examples, width: int) -> Punctuation:
        assert isinstance(examples, Tokens), "texts are read as tokens"
        return Punctuation(self.share, examples.punctuation, examples.max_length, examples.pad_token_id)

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        if not self.marks:
            return dict(batch)
        mask = batch["attention_mask"]
        lengths = mask.sum(dim=1).tolist()
        numbers = [self._number(length, rng) for length in lengths]
        longest = max(length + number for length, number in zip(lengths, numbers, strict=True))
        # Which token each place takes: those of the row in their order, its padding after them.
        takes = torch.full((len(mask), longest), -1, dtype=torch.int64)
        inserted = torch.zeros((len(mask), longest), dtype=torch.bool)
        for at, (length, number) in enumerate(zip(lengths, numbers, strict=True)):
            # Not before the first token nor after the last one, which are special.
            places = np.sort(rng.choice(np.arange(1, length + number - 1), size=number, replace=False))
            inserted[at, torch.from_numpy(places)] = True
            own = ~inserted[at, : length + number]
            # A mark takes what else is known of the token before it, such as which of two texts it is in.
            takes[at, : length + number] = own.cumsum(dim=0) - 1
        found = {**batch, "attention_mask": (takes >= 0).to(mask.dtype)}
        for name in self._padding.keys() & batch.keys():
            values = torch.gather(batch[name], 1, takes.clamp(min=0))
            found[name] = torch.where(takes >= 0, values, self._padding[name])
        marks = torch.from_numpy(rng.choice(np.array(self.marks, np.int64), size=tuple(takes.shape)))
        found["input_ids"] = torch.where(inserted, marks, found["input_ids"])
        return found

    def _number(self, length: int, rng: np.random.Generator) -> int:
        """Returns how many marks a row of so many tokens gets."""
        most = min(max(1, int(self.share * length)), self.max_length - length)
        return 0 if length < 3 or most < 1 else int(rng.integers(1, most + 1))
