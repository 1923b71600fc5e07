"""Making the columns of a validation or test table those of the training table.

What lives here: matching by name and by type. Rows are never changed or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from autosft.data.column_types import is_number, is_text
from autosft.errors import DataError, did_you_mean, explain


def align_splits(splits: Mapping[str, pa.Table], *, place: str) -> tuple[dict[str, pa.Table], tuple[str, ...]]:
    """Gives all splits the columns of "train", in its order and with common types.

    Names match exactly, or else by letters alone (case and outer spaces aside). Where one split has integers and
    another fractions, both become double; numbers and text become text.

    Returns:
        The splits, and notes on columns dropped, renamed or converted.

    Raises:
        DataError: A split lacks a column that train has, or two types have nothing in common.
    """
    aligned = {"train": splits["train"]}
    notes: list[str] = []
    for split, table in splits.items():
        if split != "train":
            table, more = _match_names(table, splits["train"].column_names, split=split, place=place)
            aligned[split] = table
            notes += more
    for name in splits["train"].column_names:
        types = {split: table.schema.field(name).type for split, table in aligned.items()}
        if len(set(types.values())) > 1:
            common = _common_type(name, types, place=place)
            aligned = {split: _convert(table, name, common) for split, table in aligned.items()}
            if {str(type_) for type_ in types.values()} != {"int64", "double"}:
                notes.append(f"Column '{name}' has different types in the splits; read as {common} in all of them.")
    return aligned, tuple(notes)


def _match_names(table: pa.Table, wanted: list[str], *, split: str, place: str) -> tuple[pa.Table, list[str]]:
    by_letters = {name.strip().casefold(): name for name in table.column_names}
    taken: dict[str, str] = {}
    for name in wanted:
        found = name if name in table.column_names else by_letters.get(name.strip().casefold())
        if found is None:
            raise DataError(
                explain(
                    wrong=f"{place}: the {split} data has no column '{name}' (it has: {', '.join(table.column_names)})",
                    expected=f"the columns of the training data: {', '.join(wanted)}",
                    fix=did_you_mean(name, table.column_names) + f"; rename it to '{name}'",
                )
            )
        taken[name] = found
    extra = [name for name in table.column_names if name not in taken.values()]
    renamed = [f"'{found}' as '{name}'" for name, found in taken.items() if name != found]
    notes = [f"{split}: columns dropped that train does not have: {', '.join(extra)}."] if extra else []
    notes += [f"{split}: columns read under train's names: {', '.join(renamed)}."] if renamed else []
    return table.select(list(taken.values())).rename_columns(list(taken)), notes


def _common_type(name: str, types: Mapping[str, pa.DataType], *, place: str) -> pa.DataType:
    kinds = list(types.values())
    if all(is_number(kind) for kind in kinds):
        return pa.float64()
    if all(is_text(kind) or is_number(kind) or pa.types.is_boolean(kind) for kind in kinds):
        return pa.string()
    listed = ", ".join(f"{split}: {kind}" for split, kind in types.items())
    raise DataError(
        explain(
            wrong=f"{place}: column '{name}' has types that do not fit together ({listed})",
            expected="the same type of values in every split",
            fix=f"convert '{name}' in one of the splits, or drop it",
        )
    )


def _convert(table: pa.Table, name: str, type_: pa.DataType) -> pa.Table:
    index = table.column_names.index(name)
    return table.set_column(index, name, table.column(index).cast(type_))
