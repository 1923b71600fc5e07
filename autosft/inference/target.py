"""Which column is predicted: every column is a candidate, points say how likely, and close calls are the user's.

What columns look like lives in `autosft.inference.columns`, what the sentence says in `autosft.inference.sentence`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import pyarrow as pa

from autosft.data.texts import label_texts, shortened
from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, Role, has_fractions, name_words, word_set
from autosft.inference.prompts import prompt_of
from autosft.inference.sentence import Sentence
from autosft.tasks.label_sets import is_list

MAX_CLASSES = 1000
_CLOSE = 1.0

# Points. Only their order matters: being asked for beats a telling name, which beats looking like labels.
_ROLE_POINTS = {Role.LABEL: 1.0, Role.LABELS: 1.0, Role.NUMBER: -0.5, Role.TEXT: -5.0}
_UNFIT = -8.0
_NAMED, _ASKED_FOR, _OFFERED_AS_INPUT = 4.0, 2.0, -6.0
_LABEL_NAMED, _HINTED = 3.0, 2.0
_TELLING, _TELLING_IN_PART, _TYPICAL, _METADATA = 4.0, 3.0, 2.0, -2.0
_ANSWERS_A_PROMPT, _MAY_ANSWER, _TO_BE_WRITTEN, _NUMBER_ASKED_FOR = 11.0, 8.0, 6.0, 2.0
_MOSTLY_MISSING, _LAST_COLUMN = -1.0, 0.5

_TELLING_NAMES = word_set("label labels target targets class classes y gold truth groundtruth outcome")
_TYPICAL_NAMES = word_set(
    "category categories intent sentiment topic tag type emotion genre toxic toxicity spam stars rating polarity "
    "priority queue department urgency severity status section stance verdict is"
)
_NUMBER_NAMES = word_set("score scores rating similarity grade price value valence arousal dominance relevance")
_METADATA_NAMES = word_set(
    "lang language locale source author user username year month version annotator annotators length len count country "
    "region platform channel gender domain device confidence license agreement worker rater"
)


@dataclass(frozen=True)
class TargetReading:
    """One reading of which column is predicted, with its points and the reasons in words."""

    column: ColumnProfile
    points: float
    reasons: tuple[str, ...]

    def describe(self) -> str:
        because = f" because {' and '.join(self.reasons)}" if self.reasons else ""
        return f"target '{self.column.name}' ({_shown(self.column)}){because}"


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
    readings = [_read(column, sentence, profiles) for column in profiles if column.name not in excluded]
    if roles is not None:
        readings = [reading for reading in readings if reading.column.role in roles] or readings
    readings.sort(key=lambda reading: -reading.points)
    if not readings:
        raise TaskError(_no_target(profiles, sentence, excluded))
    best = readings[0]
    known = roles is not None and best.column.role in roles
    second = next((other for other in readings[1:] if _may_be_meant(other)), None)
    if best.points <= _UNFIT or not (known or best.reasons or _needs_no_reason(best.column, readings)):
        numbers = second is not None and best.column.role is second.column.role is Role.NUMBER
        none = _no_target(profiles, sentence, excluded)
        raise TaskError(_close_call(best, second) if second and numbers else none)
    if second and best.points - second.points < _CLOSE and not _same_labels(best.column, second.column, table):
        raise TaskError(_close_call(best, second))
    return best, second


def _needs_no_reason(column: ColumnProfile, readings: list[TargetReading]) -> bool:
    """Tells whether a column may be the target by its looks alone."""
    if column.role is Role.NUMBER:
        return sum(reading.column.role is Role.NUMBER for reading in readings) == 1 and has_fractions(column.values)
    return column.role is not Role.TEXT


def _may_be_meant(reading: TargetReading) -> bool:
    # A text that the sentence merely names is what is read.
    at_least = _ROLE_POINTS[Role.LABEL] if reading.column.role is Role.TEXT else _UNFIT
    return reading.column.role in _ROLE_POINTS and reading.points > at_least


def check_labels(column: ColumnProfile) -> None:
    """Raises TaskError where a column cannot be learned as one label per row."""
    name, role = column.name, column.role
    if role is Role.EMPTY:
        _refuse(f"every label in column '{name}' is missing", "choose another column with target=")
    if role in (Role.OTHER, Role.WORDS, Role.SPANS, Role.MESSAGES, Role.IMAGE) or is_list(column.type):
        _refuse(f"column '{name}' of type {column.type} holds {role}", "keep one label per row in a column of its own")
    if role is Role.CONSTANT:
        _refuse(f"column '{name}' has only one class, '{column.values[0]}'", "add rows of a second class")
    if column.num_distinct > MAX_CLASSES or column.num_distinct > column.num_values / 2:
        looks = "free text" if column.mean_words >= 2 else "an identifier or free text"
        found = f"{column.num_distinct:,} different values in {column.num_values:,} rows"
        if column.num_distinct == column.num_values:
            found += ", a single row for every label"
        fix = f"choose another column with target=, or merge labels to at most {MAX_CLASSES:,} with several rows each"
        _refuse(f"column '{name}' has {found}: this looks like {looks}", fix)


def check_numbers(column: ColumnProfile) -> None:
    """Raises TaskError where a column cannot be learned as a number per row."""
    wrong = f"column '{column.name}' looks like {column.role}"
    if column.role is Role.EMPTY:
        wrong = f"every number in column '{column.name}' is missing"
    elif column.num_distinct == 1:
        wrong = f"column '{column.name}' has only one value, '{column.values[0]}'"
    elif column.is_number or (column.is_string and all(map(_is_number, column.values))):
        return
    fix = "choose another column with target=, or another kind with kind="
    raise TaskError(explain(wrong=wrong, expected="a number per row, of which some differ", fix=fix))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _refuse(wrong: str, fix: str) -> None:
    raise TaskError(explain(wrong=wrong, expected="one label per row out of a few that repeat", fix=fix))


def _read(column: ColumnProfile, sentence: Sentence, profiles: list[ColumnProfile]) -> TargetReading:
    points = _ROLE_POINTS.get(column.role, _UNFIT)
    reasons: list[str] = []
    if column.position == len(profiles) - 1:
        points += _LAST_COLUMN
    if column.num_missing > column.num_values:
        points += _MOSTLY_MISSING
    found = (*_from_sentence(column, sentence), *_from_name(column, sentence), *_as_text(column, sentence, profiles))
    for added, reason in found:
        points += added
        if added > 0:
            reasons.append(reason)
    return TargetReading(column, points, tuple(reasons))


def _from_sentence(column: ColumnProfile, sentence: Sentence) -> list[tuple[float, str]]:
    mention, found = sentence.mention(column.name), []
    # "Each message" and "from the title" name what is read.
    if mention.as_input:
        found.append((_OFFERED_AS_INPUT, ""))
    elif mention.strength and (column.role is not Role.TEXT or mention.as_target):
        found.append((_NAMED * mention.strength, "the sentence names the column"))
        if mention.as_target:
            found.append((_ASKED_FOR, "asks for it"))
    elif column.role in (Role.LABEL, Role.LABELS) and (word := sentence.hints_at(column.name)):
        found.append((_HINTED, f"the sentence says '{word}'"))
    if column.role is Role.NUMBER and (words := sentence.wants_number()):
        found.append((_NUMBER_ASKED_FOR, f"the sentence says '{words}'"))
    if column.role is Role.LABEL and column.num_distinct <= 20:
        named = next((value for value in column.values if sentence.names_label(value)), None)
        if named:
            found.append((_LABEL_NAMED, f"the sentence names its value '{named}'"))
    return found


def _from_name(column: ColumnProfile, sentence: Sentence) -> list[tuple[float, str]]:
    words = name_words(column.name)
    if column.role not in _ROLE_POINTS or not words:
        return []
    if words[-1] in _TELLING_NAMES or words[0] in _TELLING_NAMES:
        return [(_TELLING if len(words) == 1 else _TELLING_IN_PART, "targets are often called that")]
    if words[-1] in _TYPICAL_NAMES or words[0] in _TYPICAL_NAMES:
        return [(_TYPICAL, "its name is typical of a target")]
    if column.role is Role.NUMBER and _NUMBER_NAMES & set(words):
        return [(_TYPICAL, "its name is typical of a number to predict")]
    asked = sentence.mention(column.name).strength or sentence.hints_at(column.name)
    return [(_METADATA, "")] if _METADATA_NAMES & set(words) and not asked else []


def _as_text(column: ColumnProfile, sentence: Sentence, profiles: list[ColumnProfile]) -> list[tuple[float, str]]:
    """Returns points for a text that is written in answer to another column."""
    if column.role is not Role.TEXT:
        return []
    prompt, certain = prompt_of(column, profiles)
    wanted = sentence.wants_text()
    found = []
    if prompt is not None:
        points = _ANSWERS_A_PROMPT if certain else _MAY_ANSWER
        found.append((points, f"by its name it is written in answer to '{prompt.name}'"))
    if wanted and (prompt is not None or sentence.mention(column.name).strength):
        found.append((_TO_BE_WRITTEN, f"the sentence says '{wanted}'"))
    return found


def _same_labels(first: ColumnProfile, second: ColumnProfile, table: pa.Table) -> bool:
    """Tells whether two columns are one labelling written twice, as a number and as a name."""
    if first.num_distinct != second.num_distinct or first.role is not Role.LABEL:
        return False
    pairs = pa.table({"first": label_texts(table[first.name]), "second": label_texts(table[second.name])})
    return bool(pairs.group_by(["first", "second"]).aggregate([]).num_rows <= first.num_distinct + 1)


def _shown(column: ColumnProfile) -> str:
    shown = ", ".join(value if len(value) <= 24 else value[:21] + "..." for value in column.values[:3])
    return f"{column.num_distinct:,} values: {shown}" + (", ..." if column.num_distinct > 3 else "")


def _close_call(best: TargetReading, second: TargetReading) -> str:
    return explain(
        wrong=f"two readings of the task are close: (1) {best.describe()}; (2) {second.describe()}",
        expected="a sentence or column names that tell which column is to be predicted",
        fix=f"pass target='{best.column.name}' or target='{second.column.name}'",
    )


def _no_target(profiles: list[ColumnProfile], sentence: Sentence, excluded: Container[str]) -> str:
    """Says why no column can be the target: of the one that was meant, as far as its name tells."""
    columns = [column for column in profiles if column.name not in excluded]
    meant = [_why_not(column) for column in columns if _is_meant(column, sentence)]
    bare = [_why_not(column) for column in columns if column.role in (Role.EMPTY, Role.CONSTANT)]
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
    telling = bool({words[0], words[-1]} & (_TELLING_NAMES | _TYPICAL_NAMES)) if words else False
    return column.role is not Role.TEXT and (telling or bool(mention.strength and not mention.as_input))


def _why_not(column: ColumnProfile) -> tuple[str, str] | None:
    """Returns what keeps a column from being learned, and what would help; None where it is its kind alone."""
    if column.role is Role.EMPTY:
        return f"column '{column.name}' is empty (every label is missing)", "fill in its labels"
    if column.role is Role.CONSTANT:
        value = shortened(column.values[0], limit=60)
        return f"column '{column.name}' has one value only ('{value}')", "add rows of a second class"
    if column.num_distinct == column.num_values > 0:
        return f"every label in column '{column.name}' has a single row", "merge labels until they repeat"
    return None
