"""The contract of a modality: rows as a model is given them, in batches.

One file a modality lives beside this one. What a model does with the batches is the trainers' affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.data.data import Rows

if TYPE_CHECKING:
    import torch


class Examples(ABC):
    """What a model is shown, one after the other: mostly one a row; several where a long row is cut into windows.

    Attributes:
        lengths: What each example costs, in tokens (1 for images), shape (examples,).
        max_length: Tokens an example is cut at (pixels of a side for images).
        cut: Positions of the rows that lose something by that, ascending.
        share_unknown: Share of what was read that the model has no word for.
    """

    lengths: NDArray[np.integer[Any]]
    max_length: int
    cut: NDArray[np.int64] = np.zeros(0, np.int64)
    share_unknown: float = 0.0

    def __len__(self) -> int:
        return len(self.lengths)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the examples of some rows, in their order."""
        return rows

    @abstractmethod
    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns one batch, as keyword arguments of a model's forward."""


class Reader(ABC):
    """Turns canonical columns of one input into examples. Goes with a model, so that it reads the same ever after."""

    @classmethod
    @abstractmethod
    def of_base(cls, folder: Path, *, max_length: int | None, context_tokens: int) -> Self:
        """Returns the reader of a base model's folder.

        Args:
            max_length: Tokens an example is cut at; None lets `cached` choose.
            context_tokens: The most the model takes.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Returns the reader that `save` wrote."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes what reading needs into a model's folder, in the ecosystem's own format."""

    @abstractmethod
    def examples(self, table: pa.Table) -> Examples:
        """Returns the examples of a table in memory, for prediction."""

    @abstractmethod
    def cached(self, rows: Rows, key: str, cache: Path) -> Examples:
        """Returns the examples of rows from files that are mapped into memory, written where they are not there yet.

        Args:
            rows: All rows that a search may see.
            key: What tells these rows, and this base model, from others.
            cache: Folder to keep them in.
        """

    @abstractmethod
    def cut_at(self, max_length: int) -> Self:
        """Returns the same reader with the length that `cached` chose."""
