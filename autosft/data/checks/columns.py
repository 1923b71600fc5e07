"""Columns that carry nothing to learn from, identifiers and constants, and codes where a text is expected.

Columns that carry too much are found in `autosft.data.checks.leaks`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autosft.counting import counted
from autosft.data.checks.subject import NUM_EXAMPLES, Outcome, Subject
from autosft.data.finding import Severity
from autosft.data.texts import as_text, shortened

_MIN_ROWS = 20
_MAX_IDENTIFIER_LENGTH = 40
#: Values of a column of codes at most, by themselves and for each row, and the characters of one.
_MAX_CODES, _CODES_SHARE, _MAX_CODE_LENGTH = 50, 0.05, 40
#: A text of many numbers and nothing else, and the share of texts that must be so.
_LISTED_NUMBERS, _NEARLY_ALL = (
    r"^[\[(]?\s*([-+]?[0-9]+([.][0-9]*)?([eE][-+]?[0-9]+)?[\s,;|]+){15}[-+0-9.,;|eE\s]*[\])]?$",
    0.95,
)


def id_like_columns(subject: Subject) -> Outcome | None:
    """Finds columns with another whole number or another short word in every row."""
    found = [name for name, column in _columns(subject) if _is_id_like(column)]
    return _report(subject, found, "have another number or word in every row, as identifiers do")


def constant_columns(subject: Subject) -> Outcome | None:
    """Finds columns with one value, or none, in all training rows."""
    found = [name for name, column in _columns(subject) if _is_constant(column)]
    return _report(subject, found, "have the same value in every row")


def codes_as_text(subject: Subject) -> Outcome | None:
    """Finds a table taken for text: all that is read is a few short values, beside as many columns of the same sort."""
    texts, inputs = subject.texts["train"], subject.task.input_columns
    if not subject.reads_text or not _holds_codes(texts):
        return None
    beside = [name for name, column in _columns(subject) if name not in inputs and _holds_values(subject, name, column)]
    if len(beside) < len(inputs):
        return None
    num_values, listed = pc.count_distinct(texts).as_py(), ", ".join(f"'{name}'" for name in inputs)
    others = f"{counted(len(beside), 'column')} of numbers or codes {'is' if len(beside) == 1 else 'are'} not read"
    return Outcome(
        Severity.WARNING,
        f"All that is read ({listed}) is {num_values} short values in {counted(len(texts), 'row')}, and {others}: this "
        "looks like a table, and autosft reads text and images.",
        len(beside),
        examples=tuple(shortened(f"{name}: {subject.source.train.column(name)[0].as_py()}") for name in beside[:3]),
        advice="name a column of text with inputs=, or take a library for tables",
    )


def numbers_as_text(subject: Subject) -> Outcome | None:
    """Finds texts without a word in them: the pixels of an image, or measurements, written as numbers in a row."""
    texts = subject.texts["train"]
    if not subject.reads_text or not len(texts):
        return None
    is_listed = pc.match_substring_regex(texts, _LISTED_NUMBERS)
    count, named = is_listed.true_count, ", ".join(map(repr, subject.task.input_columns))
    if count < _NEARLY_ALL * len(texts):
        return None
    return Outcome(
        Severity.WARNING,
        f"Texts that hold nothing but numbers: {count:,} of {len(texts):,} in {named}. A model of text reads no more "
        "than digits there.",
        count,
        examples=subject.examples("train", np.flatnonzero(is_listed.to_numpy(zero_copy_only=False))),
        advice="where they are the pixels of images, write these as image files, with one sub-folder a class or a "
        "column of paths; where they are measurements, take a library for tables",
    )


def _holds_codes(texts: pa.Array) -> bool:
    """Whether values are few for so many rows, and short: names of groups of rows more than texts."""
    num_values = pc.count_distinct(texts).as_py()
    few = num_values <= min(_MAX_CODES, _CODES_SHARE * len(texts))
    return few and (pc.max(pc.utf8_length(texts)).as_py() or 0) <= _MAX_CODE_LENGTH


def _holds_values(subject: Subject, name: str, column: pa.Array) -> bool:
    type_ = subject.source.train.schema.field(name).type
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or _holds_codes(column)


def _columns(subject: Subject) -> Iterator[tuple[str, pa.Array]]:
    """Yields every flat column but the target, as text."""
    train, task = subject.source.train, subject.task
    named = {task.target_column, task.group_column, task.time_column}
    # Where no text is read, an input column holds names of files, or their bytes: its letters mean nothing.
    named |= set() if subject.reads_text else set(task.input_columns)
    for field in train.schema:
        if field.name not in named and not pa.types.is_nested(field.type):
            yield field.name, as_text(train.column(field.name))


def _is_constant(column: pa.Array) -> bool:
    return len(pc.unique(column)) == 1 and len(column) > 1


def _is_id_like(column: pa.Array) -> bool:
    if len(column) < _MIN_ROWS or column.null_count or pc.count_distinct(column).as_py() < len(column):
        return False
    # A fraction is a measurement, not a name; both differ from row to row.
    plain = pc.match_substring_regex(column, rf"^[^\s.]{{1,{_MAX_IDENTIFIER_LENGTH}}}$")
    return bool(pc.all(plain).as_py())


def _report(subject: Subject, found: list[str], what: str) -> Outcome | None:
    if not found:
        return None
    inputs = [name for name in found if name in subject.task.input_columns]
    train = subject.source.train
    return Outcome(
        Severity.WARNING if inputs else Severity.INFO,
        f"Columns that {what}: {', '.join(map(shortened, found))}.",
        len(found),
        examples=tuple(shortened(f"{name}: {train.column(name)[0].as_py()}") for name in found[:NUM_EXAMPLES]),
        advice=f"leave {', '.join(inputs)} out of the inputs" if inputs else "",
    )
