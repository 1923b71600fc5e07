"""Comma-, semicolon-, tab- and bar-separated text, already in UTF-8.

What lives here: finding the delimiter and the quoting, and reading with Arrow. Headers are judged in `header`, types
in `column_types`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from autosft.data.column_types import check_names, typed_cells
from autosft.data.header import Header, decide_header
from autosft.errors import DataError, explain

if TYPE_CHECKING:
    import _csv

_SAMPLE_BYTES = 1 << 19
_BLOCK_BYTES = 1 << 25  # a cell must fit in one block
_DELIMITERS = ("\t", ",", ";", "|")
_NO_DELIMITER = "\x1f"
_CONSISTENT_SHARE = 0.8
#: Excel's word for the delimiter, in a line before the header.
_DECLARED = re.compile(rb'"?sep=([\t,;|])"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)
_DELIMITER_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


def read_delimited(
    text: pa.Buffer, *, place: str, suffix: str, expected: Sequence[str] = (), keep_text: Collection[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads delimited text.

    Only an empty cell without quotes is missing; words such as "None" stay text. Columns of numbers become int64 or
    double.

    Args:
        text: The file in UTF-8.
        place: The file's name, for messages.
        suffix: ".csv", ".tsv", ".txt" or anything else.
        expected: Column names that the file should have; see `decide_header`.
        keep_text: Columns that stay strings even when every cell is a number.

    Returns:
        The table, and notes on what was decided.

    Raises:
        DataError: Empty, ragged (with the line), an unclosed quote, repeated column names, or a header alone.
    """
    if not bytes(memoryview(text)[:_SAMPLE_BYTES]).strip():
        raise DataError(
            explain(
                wrong=f"{place} is empty",
                expected="a header line and at least one row",
                fix="check that the export finished, or point to another file",
            )
        )
    declared = _DECLARED.match(bytes(memoryview(text)[:20]))
    if declared is not None:
        # Lines are counted from the one below.
        text, place = text.slice(declared.end()), f"{place} below its line 'sep='"
        delimiter = declared.group(1).decode()
    else:
        delimiter = _sniff(text, suffix=suffix, expected=expected)
    text, escape_notes = _with_doubled_quotes(text, delimiter, place=place)
    sample = _sample(text, delimiter)
    table, notes = _read_cells(text, delimiter, width=len(sample[0]), place=place)
    header = decide_header(sample, expected=expected)
    table, header_notes = _apply(header, table, place=place)
    table, type_notes = typed_cells(table, delimiter=delimiter, keep_text=keep_text)
    return table, (*escape_notes, *notes, *header_notes, *type_notes)


def _apply(header: Header, table: pa.Table, *, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    check_names(header.names, place=place)
    table = table.rename_columns(list(header.names))
    if not header.present:
        return table, (f"{place}: no header line; the columns are named {', '.join(header.names)}.",)
    table = table.slice(1)
    if table.num_rows == 0:
        raise DataError(
            explain(
                wrong=f"{place} has a header ({', '.join(header.names)}) but no rows",
                expected="at least one row below the header",
                fix="check that the export finished, or point to another file",
            )
        )
    return table, ()


def _with_doubled_quotes(text: pa.Buffer, delimiter: str, *, place: str) -> tuple[pa.Buffer, tuple[str, ...]]:
    """Returns the text with quotes inside cells doubled where they stand behind backslashes, as in Spark and MySQL."""
    # Between tabs, quotes are mostly part of the text.
    if delimiter == "\t" or b'\\"' not in (raw := bytes(text)) or _is_strict(text, delimiter):
        return text, ()
    doubled = pa.py_buffer(re.sub(rb'\\(["\\])', lambda found: found[1].replace(b'"', b'""'), raw))
    if not _is_strict(doubled, delimiter):
        return text, ()
    return doubled, (f'{place}: quotes inside cells are written as \\" and were read as quotes.',)


def _is_strict(text: pa.Buffer, delimiter: str) -> bool:
    """Whether every quoted cell ends at its closing quote."""
    try:
        for _ in csv.reader(io.StringIO(bytes(text).decode("utf-8"), newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        # A cell beyond the module's limit says nothing of quotes.
        return "field larger" in str(error)
    return True


def _sample(text: pa.Buffer, delimiter: str) -> list[list[str]]:
    head = bytes(memoryview(text)[:_SAMPLE_BYTES]).decode("utf-8", errors="ignore")
    reader = _csv_reader(head, delimiter, quoted=delimiter != "\t")
    rows: list[list[str]] = []
    # A cell beyond the module's limit ends the sample: what came before is enough.
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in reader if row)
    cut_off = text.size > _SAMPLE_BYTES and len(rows) > 1
    return (rows[:-1] if cut_off else rows) or [[head]]


def _csv_reader(text: str, delimiter: str, *, quoted: bool) -> _csv.Reader:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    # newline="" keeps the csv module from splitting at U+0085 and other characters that end lines for Python only.
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)


def _sniff(text: pa.Buffer, *, suffix: str, expected: Sequence[str]) -> str:
    """Returns the delimiter under which most rows have as many cells as the first one."""
    usual = {".csv": ",", ".tsv": "\t"}.get(suffix)
    best, best_share = _NO_DELIMITER, 0.0
    for delimiter in _DELIMITERS:
        rows = _sample(text, delimiter)
        if len(rows[0]) < 2 or not _plausible(rows[0], delimiter, usual=usual, expected=expected):
            continue
        share = Counter(map(len, rows))[len(rows[0])] / len(rows)
        if delimiter == usual and share >= _CONSISTENT_SHARE:
            return delimiter
        if share > best_share:
            best, best_share = delimiter, share
    if best_share >= _CONSISTENT_SHARE:
        return best
    # Ragged under every delimiter: the suffix decides, and the ragged line is reported.
    wanted = usual or "\t"
    return wanted if len(_sample(text, wanted)[0]) > 1 else _NO_DELIMITER


def _plausible(first: list[str], delimiter: str, *, usual: str | None, expected: Sequence[str]) -> bool:
    # In a plain text file that should have one column, commas belong to the sentences.
    if usual or delimiter == "\t" or len(expected) != 1:
        return True
    return expected[0] in [cell.strip() for cell in first]


def _read_cells(text: pa.Buffer, delimiter: str, *, width: int, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    if delimiter != "\t":
        return _parse(text, delimiter, width=width, quoted=True, place=place), ()
    # Tab-separated files come in two dialects. Read plainly first; quotes are syntax only if every one of them fits.
    try:
        plain = _parse(text, delimiter, width=width, quoted=False, place=place)
    except DataError as ragged:
        try:
            return _parse(text, delimiter, width=width, quoted=True, place=place), ()
        except DataError:
            raise ragged from None
    opened, closed = _count_quoted(plain)
    if not opened:
        return plain, ()
    if opened == closed:
        return _parse(text, delimiter, width=width, quoted=True, place=place), ()
    return plain, (f"{place}: quotes are not balanced, so they were read as part of the text.",)


def _count_quoted(table: pa.Table) -> tuple[int, int]:
    """Returns how many cells begin with a quote, and how many of those are quoted properly to their end."""
    opened = closed = 0
    for column in table.columns:
        cells = column.filter(pc.starts_with(column, '"'))
        opened += len(cells)
        closed += pc.sum(pc.match_substring_regex(cells, r'(?s)^"([^"]|"")*"$'), min_count=0).as_py()
    return opened, closed


def _parse(text: pa.Buffer, delimiter: str, *, width: int, quoted: bool, place: str) -> pa.Table:
    names = [f"f{at}" for at in range(width)]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _ragged(text, delimiter, width=width, quoted=quoted, place=place, reason=str(error)) from error
    last = [str(column[-1].as_py() or "") for column in table.columns] if table.num_rows else []
    # Arrow takes an unclosed quote for a cell that runs to the end of the file, and says nothing.
    if quoted and any("\n" in cell for cell in last) and _ends_in_quotes(text, delimiter):
        raise _unclosed(place, bytes(text).count(b"\n") - sum(cell.count("\n") for cell in last) + 1)
    return table


def _ends_in_quotes(text: pa.Buffer, delimiter: str) -> bool:
    reader = csv.reader(io.StringIO(bytes(text).decode("utf-8"), newline=""), delimiter=delimiter, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        too_long = "field larger" in str(error)
        return not too_long or bytes(text).count(b'"') % 2 == 1
    return False


def _ragged(text: pa.Buffer, delimiter: str, *, width: int, quoted: bool, place: str, reason: str) -> DataError:
    reader = _csv_reader(bytes(text).decode("utf-8"), delimiter, quoted=quoted)
    line = 1
    try:
        for row in reader:
            if row and len(row) != width:
                return _wrong_width(place, line, row, width=width, delimiter=delimiter)
            line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
    return DataError(
        explain(
            wrong=f"{place} cannot be read as delimited text, from line {line} on ({reason.splitlines()[0]})",
            expected=f"{_cells(width)} in every line",
            fix="repair or remove that line",
        )
    )


def _wrong_width(place: str, line: int, row: list[str], *, width: int, delimiter: str) -> DataError:
    if any(cell.count("\n") > 1 for cell in row[-1:]) and len(row) < width:
        return _unclosed(place, line)
    shown = delimiter.join(row)
    return DataError(
        explain(
            wrong=f"{place}, line {line}: {_cells(len(row))} where the first line has {width}: {shown[:80]!r}",
            expected=f"{width} {_DELIMITER_NAMES.get(delimiter, 'delimiter')}-separated cells in every line",
            fix='put cells that hold the delimiter into double quotes ("), or repair the line',
        )
    )


def _cells(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"


def _unclosed(place: str, line: int) -> DataError:
    return DataError(
        explain(
            wrong=f"{place}: a double quote that opens at line {line} is never closed",
            expected='every quoted cell to end with a double quote; a quote inside it doubled ("")',
            fix="close or remove that quote",
        )
    )
