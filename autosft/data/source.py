"""The Source: tables as they were read, before anything was decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """What was read from the user's data.

    Attributes:
        splits: Arrow tables by split name. "train" is always there; "validation" and "test" only where the data or the
            caller brought them. All have the same columns.
        origin: Where the rows came from, for messages: a path, a hub id, or a type such as "pandas.DataFrame".
        notes: What the reader had to decide, one sentence each ("read as cp1252", "no header line: ...").
        lacking: The columns that a split was brought without, by split; they are empty in it.
        kept: Where rows were dropped since, the positions of those that are left, int64 by split.
    """

    splits: Mapping[str, pa.Table]
    origin: str
    notes: tuple[str, ...] = ()
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def train(self) -> pa.Table:
        return self.splits["train"]

    def places(self, name: str) -> NDArray[np.int64]:
        """Returns the position of each row in the split as it was read, from 0, shape (rows,)."""
        kept = self.kept.get(name)
        return np.arange(self.splits[name].num_rows) if kept is None else np.asarray(kept.to_numpy(), np.int64)

    def filtered(self, masks: Mapping[str, NDArray[np.bool_]]) -> Source:
        """Returns the source with only the rows of each named split that its mask keeps."""
        tables = {name: self.splits[name].filter(pa.array(mask)) for name, mask in masks.items()}
        kept = {name: pa.array(self.places(name)[mask]) for name, mask in masks.items()}
        return replace(self, splits={**self.splits, **tables}, kept={**self.kept, **kept})

    def with_split(self, name: str, table: pa.Table) -> Source:
        """Returns the same source with one split replaced by other values of the same rows."""
        return replace(self, splits={**self.splits, name: table})
