"""The names splits go by, and the three that autosft uses.

What lives here: mapping of names. Which tables carry them is decided where they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from autosft.errors import DataError, did_you_mean, explain

T = TypeVar("T")

#: What a column is called that says which split a row belongs to.
_COLUMNS = ("split", "set", "subset", "partition", "dataset_split", "data_split")

_CANONICAL = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def canonical_split(name: str) -> str | None:
    """Returns "train", "validation" or "test" for a name that is exactly one of their spellings, else None."""
    return _CANONICAL.get(name.casefold())


def split_in_name(stem: str) -> str | None:
    """Returns the split that a file's name begins or ends with ("test-v1.3", "reviews_dev"), or None."""
    words = [word for word in re.split(r"[^a-z]+", stem.casefold()) if word]
    found = [_CANONICAL[word] for word in (words[:1] + words[-1:]) if word in _CANONICAL]
    return found[0] if found else None


def splits_in_column(table: pa.Table) -> tuple[str, dict[str, pa.Table]] | None:
    """Tells a table that says of each row which split it belongs to.

    Returns:
        The column, and the rows of each split without it; None unless a column that is called so holds nothing but
        names of splits, the training split among several.
    """
    for name in table.column_names:
        values = table.column(name)
        if name.casefold() not in _COLUMNS or not (
            pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        ):
            continue
        names = pc.unique(values).to_pylist()
        found = {value: canonical_split(value) for value in names if value is not None}
        if None in names or None in found.values() or len(found) < 2 or "train" not in found.values():
            continue
        if len(set(found.values())) == len(found):
            rest = table.drop_columns([name])
            return name, {value: rest.filter(pc.equal(values, value)) for value in found}
    return None


def name_splits(found: Mapping[str, T], *, place: str) -> tuple[dict[str, T], tuple[str, ...]]:
    """Renames splits to "train", "validation" and "test"; a lone split of any name becomes "train".

    Returns:
        The splits by their canonical name, and a note on those that were left aside.

    Raises:
        DataError: None of several splits is for training, or two of them mean the same.
    """
    if len(found) == 1:
        return {"train": next(iter(found.values()))}, ()
    named: dict[str, T] = {}
    unknown: list[str] = []
    for name, value in found.items():
        split = canonical_split(str(name))
        if split is None:
            unknown.append(str(name))
        elif split in named:
            raise DataError(
                explain(
                    wrong=f"{place} has two splits that both mean '{split}' (found: {', '.join(map(str, found))})",
                    expected="at most one split each for train, validation and test",
                    fix="rename or remove one, or pass the splits one by one: data=, validation=, test=",
                )
            )
        else:
            named[split] = value
    if "train" not in named:
        raise DataError(
            explain(
                wrong=f"{place} has no training split (found: {', '.join(map(str, found)) or 'none'})",
                expected="a split named 'train', or a single split",
                fix=did_you_mean("train", map(str, found)) + "; pass the one to train on as data",
            )
        )
    notes = (f"{place}: splits left aside: {', '.join(unknown)}.",) if unknown else ()
    return named, notes
