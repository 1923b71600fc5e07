"""Folders of a competition: their test rows have no answers, and a file shows what an entry looks like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from autosft.data.files import data_suffix


def with_known_answers(folder: Path, splits: Mapping[str, pa.Table]) -> tuple[dict[str, pa.Table], tuple[str, ...]]:
    """Returns the splits without test rows that lack columns of training, where a sample submission asks for those.

    Without such a file a missing column may be a mistake, which the caller tells.

    Returns:
        The splits, and a note on what was set aside.
    """
    entries = [
        path.name for path in sorted(folder.iterdir()) if "submission" in path.name.casefold() and data_suffix(path)
    ]
    if not entries or not {"train", "test"} <= set(splits):
        return dict(splits), ()
    there = {name.strip().casefold() for name in splits["test"].column_names}
    lacking = [name for name in splits["train"].column_names if name.strip().casefold() not in there]
    if not lacking:
        return dict(splits), ()
    note = (
        f"{folder.name}: the test rows were set aside: they have no {', '.join(map(repr, lacking))}, which "
        f"{entries[0]} asks for. Predict on them with `autosft predict`."
    )
    return {name: table for name, table in splits.items() if name != "test"}, (note,)
