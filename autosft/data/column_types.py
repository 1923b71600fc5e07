"""The few column types that the rest of the package meets: string, int64, double, bool, and whatever is nested.

What lives here: guessing the type of cells read as text, and widening Arrow's many types to those few.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from autosft.errors import DataError, explain

# No leading zeros and at most 18 digits: "007" and long identifiers are names, which a number could not give back.
_INTEGER = r"^\s*-?(0|[1-9][0-9]{0,17})\s*$"
_NUMBER = r"^\s*-?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*$"
_DECIMAL_COMMA = r"^\s*-?(0|[1-9][0-9]{0,17}),[0-9]+\s*$"
_MISSING_WORDS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A")
_INFINITE_WORDS = ("inf", "-inf", "Inf", "-Inf", "Infinity", "-Infinity")
_CONTROL = r"[\x00-\x08\x0e-\x1f]"
_MISSING_SHARE = 0.1
_PEEK_ROWS = 1000
#: What separates cells where commas stand in numbers.
_BESIDE_COMMAS = (";", "\t")


def typed_cells(
    table: pa.Table, *, delimiter: str = ",", keep_text: Collection[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """Turns columns of cells (strings) into int64 or double where every cell is a number.

    A word such as "NA" counts as missing only among numbers, where they make up at least nine tenths of the cells; one
    such as "inf" likewise as what it says. "1,5" is a number where semicolons or tabs separate the cells, and else
    where each cell of the column has one or two digits after a comma.

    Args:
        table: String columns; null where the cell was empty.
        delimiter: What separated the cells.
        keep_text: Columns that stay strings whatever they hold.

    Returns:
        The table, and a note for each column in which words were read as missing, or commas as decimal points.
    """
    notes: list[str] = []
    for index, name in enumerate(table.column_names):
        if name in keep_text:
            continue
        column, note = _typed_column(name, table.column(index))
        if is_text(column.type) and _has_decimal_commas(column, delimiter):
            numbers, more = _typed_column(name, pc.replace_substring(column, ",", "."))
            if is_number(numbers.type):
                column, note = numbers, more
                notes.append(f"Column '{name}' holds numbers with a decimal comma: '1,5' was read as 1.5.")
        table = table.set_column(index, name, column)
        notes += [note] if note else []
    return table, tuple(notes)


def plain_types(table: pa.Table, *, place: str) -> pa.Table:
    """Widens each column to string, int64 or double where it is a kind of text, integer or float; decodes dictionaries.

    Bytes that are text in UTF-8, as Spark and Impala write it to Parquet, become text.

    Raises:
        DataError: Two columns share a name, or there are no columns or no rows.
    """
    check_names(table.column_names, place=place)
    if table.num_rows == 0:
        raise DataError(
            explain(
                wrong=f"{place} has columns ({', '.join(table.column_names)}) but no rows",
                expected="at least one row of data",
                fix="check that the export finished, or point to the file that holds the rows",
            )
        )
    for index, field in enumerate(table.schema):
        plain = _plain_type(field.type)
        if plain != field.type:
            table = table.set_column(index, field.name, _cast(table.column(index), plain))
        elif is_bytes(field.type) and (text := _decoded(table.column(index))) is not None:
            table = table.set_column(index, field.name, text)
    return table.replace_schema_metadata(None)


def check_names(names: Collection[str], *, place: str) -> None:
    """Raises DataError when there is no column, or two of them share a name."""
    if not names:
        raise DataError(
            explain(
                wrong=f"{place} has no columns",
                expected="a table with named columns, for example 'text' and 'label'",
                fix="check that the file or object is the one you meant",
            )
        )
    seen: set[str] = set()
    repeated = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if repeated:
        raise DataError(
            explain(
                wrong=f"{place} has more than one column named '{repeated[0]}' (columns: {', '.join(names)})",
                expected="every column name once",
                fix="rename or remove the repeated columns",
            )
        )


def is_text(type_: pa.DataType) -> bool:
    """Whether a type is one of Arrow's strings."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def is_bytes(type_: pa.DataType) -> bool:
    """Whether a type is one of Arrow's bytes of any length."""
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_))


def is_number(type_: pa.DataType) -> bool:
    """Whether a type is an integer or a float."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _has_decimal_commas(column: pa.ChunkedArray, delimiter: str) -> bool:
    return all(_are_decimal_commas(part.drop_null(), delimiter) for part in (column.slice(0, _PEEK_ROWS), column))


def _are_decimal_commas(cells: pa.ChunkedArray, delimiter: str) -> bool:
    with_comma = pc.match_substring_regex(cells, _DECIMAL_COMMA)
    if not pc.any(with_comma, min_count=0).as_py():
        return False
    others = cells.filter(pc.invert(with_comma))
    words = pc.is_in(others, value_set=pa.array([*_MISSING_WORDS, *_INFINITE_WORDS]))
    if not pc.all(pc.or_(pc.match_substring_regex(others, _INTEGER), words), min_count=0).as_py():
        return False
    commas = cells.filter(with_comma)
    if pc.all(pc.match_substring_regex(commas, r",[0-9]{3}\s*$")).as_py():
        return False  # "1,234" may be a thousand.
    short = pc.all(pc.match_substring_regex(commas, r",[0-9]{1,2}\s*$")).as_py()
    if delimiter not in _BESIDE_COMMAS and (len(others) or not short):
        return False
    # Labels by number, as in "1,5", are mostly sorted; of decimals some cell is not, or all have two digits, as prices.
    pairs = pc.split_pattern(pc.utf8_trim_whitespace(commas), ",")
    first, second = (pc.abs(pc.list_element(pairs, at).cast(pa.float64())) for at in (0, 1))
    prices = pc.all(pc.match_substring_regex(commas, r",[0-9]{2}\s*$")).as_py()
    return bool(prices or not pc.all(pc.less(first, second)).as_py())


def _typed_column(name: str, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str | None]:
    # Most text columns are told by their first rows; only those that may be numbers are looked at whole.
    missing_words = pa.array(_MISSING_WORDS)
    peek = column.slice(0, _PEEK_ROWS).drop_null()
    all_words = pa.array([*_MISSING_WORDS, *_INFINITE_WORDS])
    peek_words = pc.is_in(peek, value_set=all_words)
    if not pc.all(pc.or_(pc.match_substring_regex(peek, _NUMBER), peek_words), min_count=0).as_py():
        return column, None
    cells = column.drop_null()
    numbers = pc.match_substring_regex(cells, _NUMBER)
    words = pc.is_in(cells, value_set=all_words)
    most_words = _MISSING_SHARE * len(cells)
    if not len(cells) or pc.sum(words).as_py() > most_words or not pc.all(pc.or_(numbers, words)).as_py():
        return column, None
    num_words = pc.sum(pc.is_in(cells, value_set=missing_words)).as_py()
    # What is infinite is no integer.
    values = cells.filter(pc.invert(pc.is_in(cells, value_set=missing_words)))
    integers = pc.match_substring_regex(values, _INTEGER)
    target = pa.int64() if pc.all(integers).as_py() else pa.float64()
    if num_words:
        column = pc.if_else(pc.is_in(column, value_set=missing_words), pa.scalar(None, pa.string()), column)
    cells_were = "cell such as 'NA' was" if num_words == 1 else "cells such as 'NA' were"
    note = f"Column '{name}' holds numbers; {num_words} {cells_were} read as missing." if num_words else None
    return pc.utf8_trim_whitespace(column).cast(target), note


def _plain_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain_type(type_.value_type)
    if is_text(type_) or pa.types.is_null(type_):
        return pa.string()
    if pa.types.is_integer(type_):
        return pa.int64()
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return pa.float64()
    return type_


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Returns bytes as text; None where they are none, or hold control characters."""
    try:
        text = column.cast(pa.large_string()).cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return None if pc.any(pc.match_substring_regex(text, _CONTROL), min_count=0).as_py() else text


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.cast(type_)
    except pa.ArrowInvalid:
        # Beyond int64, or more than 2 GB of text in one piece: the wider type holds what the plain one cannot.
        return column
