"""Token ids of prompts with their answers, as a decoder is given them in batches, and which of them are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import one_array
from autosft.inputs.base import Examples

if TYPE_CHECKING:
    import torch

#: What labels say of a token that is not learned, in PyTorch's convention.
NOT_LEARNED = -100
#: An answer is given the length that this share of the answers have, and a few tokens more.
_ANSWERS_COVERED, _SPARE_TOKENS = 0.995, 8


class PromptTokens(Examples):
    """Token ids of many rows.

    Args:
        table: Columns "input_ids" and "learned", lists, and "num_learned", "full_length" and "full_learned", counts of
            tokens, the latter two before anything was cut; the schema's metadata hold "max_length".
        pad_token_id: What fills up short rows.

    Attributes:
        num_learned: Learned tokens of each row, shape (rows,).
        full_learned: The same before anything was cut.
    """

    def __init__(self, table: pa.Table, pad_token_id: int) -> None:
        ids, learned = one_array(table.column("input_ids")), one_array(table.column("learned"))
        self._lists = ids, learned
        self._offsets = ids.offsets.to_numpy(zero_copy_only=True)
        self._ids = ids.values.to_numpy(zero_copy_only=True)
        self._learned = learned.values.to_numpy(zero_copy_only=True).view(bool)
        self._pad = pad_token_id
        self.max_length = int(table.schema.metadata[b"max_length"])
        self.lengths = np.diff(self._offsets)
        self.num_learned = table.column("num_learned").to_numpy()
        self.full_learned = table.column("full_learned").to_numpy()
        self.cut = np.flatnonzero(table.column("full_length").to_numpy() > self.max_length)

    def ids(self, row: int) -> NDArray[np.int32]:
        """Returns a row's tokens."""
        return self._ids[self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]

    def learned(self, row: int) -> NDArray[np.bool_]:
        """Returns which of a row's tokens are learned."""
        return self._learned[self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]

    def labels(self, row: int) -> NDArray[np.int64]:
        """Returns a row's tokens, NOT_LEARNED where they are only read."""
        return np.where(self.learned(row), self.ids(row), NOT_LEARNED).astype(np.int64)

    def answer_lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many tokens each answer in these rows has; a conversation has several."""
        first, last = np.zeros_like(self._learned), np.zeros_like(self._learned)
        starts, ends = self._offsets[:-1][self.lengths > 0], self._offsets[1:][self.lengths > 0] - 1
        first[1:], last[:-1] = ~self._learned[:-1], ~self._learned[1:]
        # Neighbours in memory need not be of one row.
        first[starts] = last[ends] = True
        begins, finishes = np.flatnonzero(first & self._learned), np.flatnonzero(last & self._learned)
        wanted = np.isin(np.searchsorted(self._offsets, begins, side="right") - 1, rows)
        return (finishes - begins + 1)[wanted].astype(np.int64)

    def table(self, rows: NDArray[np.int64]) -> pa.Table:
        """Returns rows as TRL wants them when they are tokenised: "input_ids" and "labels", both int32."""
        ids, learned = (lists.take(pa.array(rows)) for lists in self._lists)
        tokens = ids.values.to_numpy(zero_copy_only=True)
        labels = np.where(learned.values.to_numpy(zero_copy_only=True), tokens, np.int32(NOT_LEARNED))
        return pa.table(
            {"input_ids": ids, "labels": pa.ListArray.from_arrays(ids.offsets, pa.array(labels, pa.int32()))}
        )

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns "input_ids", "attention_mask" and "labels", int64, shape (rows, longest), padded on the right."""
        import torch

        longest = int(self.lengths[examples].max(initial=1))
        ids = np.full((len(examples), longest), self._pad, np.int64)
        labels = np.full((len(examples), longest), NOT_LEARNED, np.int64)
        mask = np.zeros((len(examples), longest), np.int64)
        for at, row in enumerate(examples.tolist()):
            length = int(self.lengths[row])
            ids[at, :length], labels[at, :length], mask[at, :length] = self.ids(row), self.labels(row), 1
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(values) for name, values in batch.items()}


def longest_answer(lengths: NDArray[np.int64]) -> int:
    """Returns the tokens that an answer is given, by the lengths of those to learn from; nearly all are shorter."""
    return int(np.ceil(np.quantile(lengths, _ANSWERS_COVERED))) + _SPARE_TOKENS if len(lengths) else 1


def token_block(rows: list[list[int]], masks: list[list[bool]]) -> pa.RecordBatch:
    """Returns rows of tokens and of which are learned as columns of `PromptTokens`."""
    learned = pa.array([np.asarray(mask, np.int8) for mask in masks], pa.list_(pa.int8()))
    return pa.record_batch({"input_ids": pa.array(rows, pa.list_(pa.int32())), "learned": learned})
