"""Making the columns of a validation or test table those of the training table.

What lives here: matching by name and by type. Rows are never changed or dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.column_types import is_number, is_text
from autosft.data.texts import shortened
from autosft.errors import DataError, explain, nearest

#: Up to here a double holds every whole number.
_LARGEST_EXACT = 2.0**53


def align_splits(
    splits: Mapping[str, pa.Table], *, place: str, places: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, pa.Table], tuple[str, ...]]:
    """Gives all splits the columns of "train", in its order and with common types.

    Names match exactly, or else by letters alone (case and outer spaces aside). Where one split has integers and
    another fractions, both become double; floats that are whole numbers, as integers with missing values are often
    read, become integers. Numbers and text become text. What is nested gets the fields of all splits, null where one
    lacks them: annotations beside the turns of a conversation often hold what came up in it alone. A column that a
    split lacks is left empty there; where it is needed, `refuse_lacking` says so once that is known.

    Args:
        splits: Tables by split name, "train" among them.
        place: Where they came from, for messages.
        places: Where splits came from that were given apart.

    Returns:
        The splits, and notes on columns dropped, renamed, converted or left empty.

    Raises:
        DataError: A split has a column under a misspelt name, or fewer than two of train's, where an input and a target
            are needed at least; or two types have nothing in common.
    """
    aligned = {"train": splits["train"]}
    notes: list[str] = []
    for split, table in splits.items():
        if split != "train":
            table, more = _match_names(table, splits["train"].schema, split=split, place=places.get(split, place))
            aligned[split] = table
            notes += more
    for name in splits["train"].column_names:
        types = {split: table.schema.field(name).type for split, table in aligned.items()}
        if len(set(types.values())) > 1:
            common = _common_type(name, {split: table.column(name) for split, table in aligned.items()}, place=place)
            aligned = {split: _convert(table, name, common) for split, table in aligned.items()}
            if {str(type_) for type_ in types.values()} != {"int64", "double"}:
                read_as = "one with the fields of all" if pa.types.is_nested(common) else common
                notes.append(f"Column '{name}' has different types in the splits; read as {read_as} in all of them.")
    return aligned, tuple(notes)


def lacking_columns(splits: Mapping[str, pa.Table]) -> dict[str, tuple[str, ...]]:
    """Returns the columns of "train" that each other split has under no name that `align_splits` would match."""
    wanted = splits["train"].column_names
    others = {split: table for split, table in splits.items() if split != "train"}
    matched = {split: _matched(table.column_names, wanted) for split, table in others.items()}
    return {split: tuple(name for name in wanted if name not in taken) for split, taken in matched.items()}


def refuse_lacking(lacking: Mapping[str, Sequence[str]], needed: Sequence[str]) -> None:
    """Raises DataError where a split lacks a column that is needed; see `lacking_columns`."""
    for split, columns in lacking.items():
        for name in columns:
            if name in needed:
                raise DataError(
                    explain(
                        wrong=f"the {split} data has no column '{name}'",
                        expected=f"the columns that are read of the training data: {', '.join(needed)}",
                        fix=_missing_column_fix(name, [], split),
                    )
                )


def _matched(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Returns which of the names stands for each of the wanted ones; those without are left out."""
    by_letters = {name.strip().casefold(): name for name in names}
    found = {name: name if name in names else by_letters.get(name.strip().casefold()) for name in wanted}
    return {name: match for name, match in found.items() if match is not None}


def _match_names(table: pa.Table, train: pa.Schema, *, split: str, place: str) -> tuple[pa.Table, list[str]]:
    wanted = train.names
    taken = _matched(table.column_names, wanted)
    lacking = [name for name in wanted if name not in taken]
    others = [name for name in table.column_names if name not in wanted]
    for name in lacking:
        if len(taken) < 2 or nearest(name, others) is not None:
            raise DataError(
                explain(
                    wrong=f"{place}: the {split} data has no column '{name}' (it has: {', '.join(table.column_names)})",
                    expected=f"the columns of the training data: {', '.join(wanted)}",
                    fix=_missing_column_fix(name, others, split),
                )
            )
    extra = [name for name in table.column_names if name not in taken.values()]
    renamed = [f"'{found}' as '{name}'" for name, found in taken.items() if name != found]
    notes = [f"{split}: columns dropped that train does not have: {', '.join(extra)}."] if extra else []
    notes += [f"{split}: columns read under train's names: {', '.join(renamed)}."] if renamed else []
    notes += [f"{split}: columns of train that it lacks are left empty: {', '.join(lacking)}."] if lacking else []
    table = table.select(list(taken.values())).rename_columns(list(taken))
    for name in lacking:
        table = table.append_column(name, pa.nulls(table.num_rows, train.field(name).type))
    return table.select(wanted), notes


def _missing_column_fix(name: str, others: list[str], split: str) -> str:
    match = nearest(name, others)
    if match is not None:
        return f"did you mean '{match}'? Then rename it to '{name}'"
    return (
        f"add it, or drop it from the training data; if '{name}' is what to predict, {split} rows need answers, "
        "and rows without are for `autosft predict`"
    )


def _common_type(name: str, columns: Mapping[str, pa.ChunkedArray], *, place: str) -> pa.DataType:
    # A column without any value says nothing, as that of a test set without labels.
    with_values = {split: column for split, column in columns.items() if column.null_count < len(column)} or columns
    types = {split: column.type for split, column in with_values.items()}
    kinds = list(types.values())
    if len(set(kinds)) == 1:
        return kinds[0]
    if all(is_number(kind) for kind in kinds):
        some_integers = any(pa.types.is_integer(kind) for kind in kinds)
        return pa.int64() if some_integers and all(map(_is_whole, with_values.values())) else pa.float64()
    if all(is_text(kind) or is_number(kind) or pa.types.is_boolean(kind) for kind in kinds):
        return pa.string()
    if all(pa.types.is_nested(kind) for kind in kinds):
        with contextlib.suppress(pa.ArrowTypeError, pa.ArrowInvalid):
            return _united(kinds)
    listed = ", ".join(f"{split}: {shortened(kind)}" for split, kind in types.items())
    raise DataError(
        explain(
            wrong=f"{place}: column '{name}' has types that do not fit together ({listed})",
            expected="the same type of values in every split",
            fix=f"convert '{name}' in one of the splits, or drop it",
        )
    )


def _united(kinds: Sequence[pa.DataType]) -> pa.DataType:
    schemas = [pa.schema([("value", kind)]) for kind in kinds]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _is_whole(column: pa.ChunkedArray) -> bool:
    """Tells whether every number is whole and exact in 64 bits; NaN counts as missing."""
    if not pa.types.is_floating(column.type):
        return bool(pa.types.is_int64(column.type))
    numbers = column.drop_null()
    numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less_equal(pc.abs(numbers), _LARGEST_EXACT))
    return bool(pc.all(whole, min_count=0).as_py())


def _convert(table: pa.Table, name: str, type_: pa.DataType) -> pa.Table:
    index = table.column_names.index(name)
    column = table.column(index)
    if column.null_count == len(column):
        return table.set_column(index, name, pa.nulls(len(column), type_))
    if pa.types.is_floating(column.type) and pa.types.is_integer(type_):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return table.set_column(index, name, column.cast(type_))
