"""The names splits go by, and the three that autosft uses.

What lives here: mapping of names. Which tables carry them is decided where they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.texts import as_text
from autosft.errors import DataError, did_you_mean, explain

T = TypeVar("T")

#: What a column is called that says which split or fold a row belongs to.
SPLIT_COLUMNS = frozenset(
    {"split", "set", "subset", "partition", "fold", "dataset_split", "data_split", "ds_type"}
    | {"is_train", "is_test", "is_valid"}
)
#: What else it is called where its values are names of splits.
_PERHAPS = frozenset({"usage"})
#: What yes and no say of a row. "is_valid" is not among them, as it is mostly something to predict.
_FLAGS = {"is_train": ("train", "test"), "is_test": ("test", "train")}
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")

#: Spellings without blanks, hyphens and underscores.
_CANONICAL = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "holdout": "test",
    "heldout": "test",
    "privatetest": "test",
}
#: Words for rows to predict on.
_UNANSWERED = frozenset({"pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled"})


def canonical_split(name: str) -> str | None:
    """Returns "train", "validation" or "test" for a name that is exactly one of their spellings, else None."""
    return _CANONICAL.get(re.sub(r"[ _-]", "", name.casefold()))


def split_in_name(stem: str) -> str | None:
    """Returns the split that a file's name begins or ends with ("test-v1.3", "reviews_dev", "held_out_1"), or None."""
    words = _words(stem)
    ends = [*words[:1], *words[-1:], "".join(words[:2]), "".join(words[-2:])]
    found = [_CANONICAL[word] for word in ends if word in _CANONICAL]
    return found[0] if found else None


def is_for_predictions(name: str) -> bool:
    """Whether a name begins or ends with a word for rows without answers ("pred", "seg_pred")."""
    words = _words(name)
    return bool(_UNANSWERED & {*words[:1], *words[-1:]})


def splits_in_column(table: pa.Table) -> tuple[str, dict[str, pa.Table]] | None:
    """Tells a table that says of each row which split it belongs to.

    Returns:
        The column, and the rows of each split without it; None unless a column that is called so holds nothing but
        names of splits, the training split among several, or says yes and no to "is_train" or "is_test".
    """
    names = _called_like_splits(table)
    for name in sorted(names, key=lambda name: _folded(name) == "is_test"):
        values = _as_splits(name, as_text(table.column(name)))
        found = {value: canonical_split(value or "") for value in pc.unique(values).to_pylist()}
        if None in found.values() or len(found) < 2 or "train" not in found.values():
            continue
        if len(set(found.values())) == len(found):
            rest = table.drop_columns([name])
            return name, {value: rest.filter(pc.equal(values, value)) for value in found}
    return None


def unfollowed_splits(table: pa.Table) -> tuple[str, ...]:
    """Returns a note on each column that is called like one of splits and was not followed."""
    notes = []
    for name in _called_like_splits(table):
        values = pc.unique(as_text(table.column(name)).drop_null()).to_pylist()
        if len(values) > 1 and (_folded(name) in SPLIT_COLUMNS or any(map(canonical_split, values))):
            shown = ", ".join(values[:5]) + (" ..." if len(values) > 5 else "")
            notes.append(
                f"Column '{name}' ({shown}) is called like one of splits and was not followed: rows are trained on "
                "whatever it says. In a single table one is, that has one name each for train and for held-out rows."
            )
    return tuple(notes)


def _called_like_splits(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if _folded(name) in SPLIT_COLUMNS | _PERHAPS]


def _folded(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", "_", name.strip()).casefold()


def _as_splits(name: str, values: pa.Array) -> pa.Array:
    """Returns the values, as names of splits where the column says yes and no to one."""
    if _folded(name) not in _FLAGS:
        return values
    yes, no = (pc.is_in(pc.utf8_lower(values), value_set=pa.array(words, values.type)) for words in (_YES, _NO))
    first, second = _FLAGS[_folded(name)]
    return pc.if_else(yes, first, pc.if_else(no, second, pa.scalar(None, pa.string())))


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", name.casefold()) if word]


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
