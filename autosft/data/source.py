"""The Source: tables as they were read, before anything was decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa


@dataclass(frozen=True)
class Source:
    """What was read from the user's data.

    Attributes:
        splits: Arrow tables by split name. "train" is always there; "validation" and "test" only where the data or the
            caller brought them. All have the same columns.
        origin: Where the rows came from, for messages: a path, a hub id, or a type such as "pandas.DataFrame".
        notes: What the reader had to decide, one sentence each ("read as cp1252", "no header line: ...").
    """

    splits: Mapping[str, pa.Table]
    origin: str
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> pa.Table:
        return self.splits["train"]

    def with_split(self, name: str, table: pa.Table) -> Source:
        """Returns the same source with one split replaced or added."""
        return replace(self, splits={**self.splits, name: table})
