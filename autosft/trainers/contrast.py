"""Supervised contrast: rows of one class are to be more alike than rows of others. Its loss, and its batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autosft.inputs.batches import shuffled_by_length

#: Of lengths, in the logarithm: so much noise that the rows of a class stand together otherwise in every epoch.
_LENGTH_NOISE = 0.3


def supervised_contrastive_loss(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns how badly the rows of a class are told from the rest of a batch (Khosla et al., arXiv 2004.11362).

    For each row that has others of its class in the batch: the cross-entropy of telling these from the rest of the
    batch by their cosine similarities, the mean over them (L_out in the paper); the mean over these rows.

    Args:
        vectors: Shape (rows, size), of any length.
        labels: Shape (rows,), the class of each.
        temperature: What similarities are divided by.

    Returns:
        0 where no two rows are of one class.
    """
    # In float32: bfloat16 cannot tell similarities apart that differ by less than a hundredth.
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        logits = (vectors @ vectors.T / temperature).masked_fill(itself, -1e9)
        alike = (labels[:, None] == labels[None]) & ~itself
        log_shares = logits.log_softmax(dim=1).masked_fill(~alike, 0.0)
        num_alike = alike.sum(dim=1)
        loss = -log_shares.sum(dim=1) / num_alike.clamp(min=1)
        return loss.sum() / (num_alike > 0).sum().clamp(min=1)


class ClassBatches(torch.utils.data.Sampler[list[int]]):
    """Batches in which rows of a class stand together; each pass over it is another epoch, of every row once.

    Rows that are alone in their class are in it too: others are told from them.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, rows_per_class: int, seed: int) -> None:
        self._classes = _by_class(labels, np.arange(len(labels)))
        self._num_rows = len(labels)
        self._batch_size = batch_size
        self._rows_per_class = rows_per_class
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return -(-self._num_rows // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        groups: list[NDArray[np.int64]] = []
        for rows in self._classes:
            shuffled = rng.permutation(rows)
            groups.extend(np.split(shuffled, range(self._rows_per_class, len(rows), self._rows_per_class)))
        order = np.concatenate([groups[at] for at in rng.permutation(len(groups))])
        for start in range(0, len(order), self._batch_size):
            yield order[start : start + self._batch_size].tolist()


def shuffled_by_class_and_length(
    labels: NDArray[np.int64],
    lengths: NDArray[np.integer[Any]],
    batch_size: int,
    rows_per_class: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Returns an epoch's order of rows: batches of similar length, in which rows of a class stand together.

    Rows of a class that are about as long make a group; groups are shuffled as `shuffled_by_length` does rows.
    """
    noisy = lengths * np.exp(rng.normal(0.0, _LENGTH_NOISE, len(lengths)))
    groups: list[NDArray[np.int64]] = []
    for rows in _by_class(labels, noisy):
        # Groups begin anywhere, so that those of a class with few rows are others in every epoch too.
        first = int(rng.integers(1, rows_per_class + 1))
        groups.extend(np.split(rows, range(first, len(rows), rows_per_class)))
    longest = np.array([lengths[group].max() for group in groups])
    order = shuffled_by_length(longest, max(1, batch_size // rows_per_class), rng)
    return np.concatenate([groups[at] for at in order])


def _by_class(labels: NDArray[np.int64], keys: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Returns the positions of each class's rows, in the order of their keys."""
    order = np.lexsort((keys, labels))
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
