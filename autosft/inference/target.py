"""Which column is predicted: every column is a candidate, points say how likely, and close calls are the user's.

The points live in `autosft.inference.points`, what becomes of the target in `autosft.inference.outputs`.
"""

from __future__ import annotations

from collections.abc import Container

import pyarrow as pa

from autosft.data.nested import how_to_flatten
from autosft.data.texts import label_texts, shortened
from autosft.errors import TaskError, explain
from autosft.inference.columns import TEXT_ROLES, ColumnProfile, Role, name_words
from autosft.inference.points import ROLE_POINTS, TELLING_NAMES, TYPICAL_NAMES, UNFIT, TargetReading, read_column
from autosft.inference.sentence import Sentence
from autosft.inference.written_numbers import has_fractions

_CLOSE = 1.0
_MOST_LISTED = 4
#: Points from which a column's name alone says that it is predicted.
_TELLING = 4.0


def choose_target(
    profiles: list[ColumnProfile],
    sentence: Sentence,
    table: pa.Table,
    *,
    excluded: Container[str],
    roles: Container[Role] | None = None,
) -> tuple[TargetReading, TargetReading | None]:
    """Returns the best reading of the target and the runner-up.

    Args:
        profiles: Every column.
        sentence: What the user wrote.
        table: The training rows, to see whether two columns say the same.
        excluded: Columns that were given another part.
        roles: Where the kind of task is known, what its target may look like; columns that do go first.

    Raises:
        TaskError: No column can be the target, or two readings are close.
    """
    readings = [read_column(column, sentence, profiles) for column in profiles if column.name not in excluded]
    if roles is not None:
        readings = [reading for reading in readings if reading.column.role in roles] or readings
    readings.sort(key=lambda reading: -reading.points)
    if not readings:
        raise TaskError(_no_target(profiles, sentence, excluded))
    best = readings[0]
    known = roles is not None and best.column.role in roles
    second = next((other for other in readings[1:] if _may_be_meant(other)), None)
    if best.points <= UNFIT or not (known or best.reasons or _needs_no_reason(best.column, readings)):
        numbers = second is not None and best.column.role is second.column.role is Role.NUMBER
        none = _no_target(profiles, sentence, excluded)
        raise TaskError(_close_call(readings, best, second) if second and numbers else none)
    if not known and best.points < _TELLING and not best.is_asked_for and _unlearnable_label(readings):
        raise TaskError(_no_target(profiles, sentence, excluded))
    if second and best.points - second.points < _CLOSE and not _same_labels(best.column, second.column, table):
        raise TaskError(_close_call(readings, best, second))
    return best, second


def _needs_no_reason(column: ColumnProfile, readings: list[TargetReading]) -> bool:
    """Tells whether a column may be the target by its looks alone."""
    if column.role is Role.NUMBER:
        return sum(reading.column.role is Role.NUMBER for reading in readings) == 1 and has_fractions(column.values)
    return column.role not in TEXT_ROLES


def _unlearnable_label(readings: list[TargetReading]) -> bool:
    """Tells whether a column is called a label, and nothing can be learned from it."""
    names = [name_words(r.column.name) for r in readings if r.column.role in (Role.ID, Role.CONSTANT, Role.EMPTY)]
    return any(len(words) == 1 and words[0] in TELLING_NAMES for words in names)


def _may_be_meant(reading: TargetReading) -> bool:
    # A text that the sentence merely names is what is read.
    at_least = ROLE_POINTS[Role.LABEL] if reading.column.role in TEXT_ROLES else UNFIT
    return reading.column.role in ROLE_POINTS and reading.points > at_least


def _same_labels(first: ColumnProfile, second: ColumnProfile, table: pa.Table) -> bool:
    """Tells whether two columns are one labelling written twice, as a number and as a name."""
    if first.num_distinct != second.num_distinct or first.role is not Role.LABEL:
        return False
    pairs = pa.table({"first": label_texts(table[first.name]), "second": label_texts(table[second.name])})
    return bool(pairs.group_by(["first", "second"]).aggregate([]).num_rows <= first.num_distinct + 1)


def _close_call(readings: list[TargetReading], best: TargetReading, second: TargetReading) -> str:
    """Words two readings that are close, of equals what the sentence speaks of first, and names the others."""
    others = [
        other
        for other in readings
        if other not in (best, second)
        and _may_be_meant(other)
        and (other.is_asked_for or best.points - other.points < _CLOSE)
    ]
    listed = sorted([best, second, *others], key=lambda reading: not reading.is_asked_for)[:_MOST_LISTED]
    names = [reading.column.name for reading in listed]
    wrong = f"two readings of the task are close: (1) {listed[0].describe()}; (2) {listed[1].describe()}"
    if names[2:]:
        wrong += f"; {' and '.join(map(repr, names[2:]))} may be meant too"
    return explain(
        wrong=wrong,
        expected="a sentence or column names that tell which column is to be predicted",
        fix="pass " + " or ".join(f"target='{name}'" for name in names),
    )


def _no_target(profiles: list[ColumnProfile], sentence: Sentence, excluded: Container[str]) -> str:
    """Says why no column can be the target: of the one that was meant, as far as its name tells."""
    columns = [column for column in profiles if column.name not in excluded]
    meant = [_why_not(column) for column in columns if _is_meant(column, sentence)]
    bare = [_why_not(column) for column in columns if column.role in (Role.EMPTY, Role.CONSTANT, Role.PARTS)]
    seen, fix = next(filter(None, (*meant, *bare)), (None, None))
    looks = "; ".join(f"'{column.name}' looks like {column.role}" for column in profiles[:12])
    name_it = "name the column to predict with target='...'"
    return explain(
        wrong=f"no column looks like a label: {seen}" if seen else f"no column looks like a label ({looks})",
        expected="a column with a few values that repeat, with numbers, or with texts to write",
        fix=f"{fix}, or {name_it}" if fix else name_it,
    )


def _is_meant(column: ColumnProfile, sentence: Sentence) -> bool:
    words, mention = name_words(column.name), sentence.mention(column.name)
    telling = bool({words[0], words[-1]} & (TELLING_NAMES | TYPICAL_NAMES)) if words else False
    if column.role in TEXT_ROLES:
        return telling and column.role is Role.TEXTS
    return telling or bool(mention.strength and not mention.as_input)


def _why_not(column: ColumnProfile) -> tuple[str, str] | None:
    """Returns what keeps a column from being learned, and what would help; None where it is its kind alone."""
    if column.role is Role.EMPTY:
        return f"column '{column.name}' is empty (every label is missing)", "fill in its labels"
    if column.role is Role.CONSTANT:
        value = shortened(column.values[0], limit=60)
        return f"column '{column.name}' has one value only ('{value}')", "add rows of a second class"
    if column.role is Role.PARTS:
        return f"column '{column.name}' has {column.role}, and none for the row", "make a row of each text"
    if column.role is Role.OTHER:
        fix = how_to_flatten(column.name, column.type) or "give what is to be predicted a column of its own"
        return f"column '{column.name}' holds {column.role}", fix
    if column.role is Role.TEXTS:
        return f"column '{column.name}' holds {column.role}", "join each list to one text"
    if column.num_distinct == column.num_values > 0:
        return f"every label in column '{column.name}' has a single row", "merge labels until they repeat"
    return None
