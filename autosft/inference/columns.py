"""What a column looks like: its profile (type, cardinality, lengths) and the role that follows from it.

Nothing here knows the user's sentence; which column is chosen for what is decided beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.images import image_columns, is_image_path
from autosft.data.split_names import SPLIT_COLUMNS, canonical_split
from autosft.data.texts import label_texts
from autosft.inference.combined_labels import combines_labels
from autosft.inference.written_numbers import has_fractions, number_type
from autosft.tasks.entity_columns import are_spans, holds_spans
from autosft.tasks.label_sets import is_list, is_written_list
from autosft.tasks.label_values import plain

_SAMPLE = 2000
_MAX_VALUES = 1001
_MAX_LABEL_WORDS = 6
# From here on, what a list holds are texts, not words or names.
_TEXT_WORDS = 3.0
_URL = re.compile(r"(https?://|www\.|s3://|gs://)\S+")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([T ]\d{1,2}:\d{2}\S*( ?\S+)?)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( \d.*)?"
)
_ID_NAME = re.compile(r"(^|_)(id|ids|uid|uuid|guid|idx|index|hash|md5|sha\d*|isbn|rowid|row|key|pk|unnamed \d+)$|^$")
_DATE_NAME = re.compile(r"(^|_)(date|datetime|timestamp|time|created|updated|day|month|year)(_at|_on|_utc)?$|_at$")
# Lists of objects that a file holds as text: conversations, answers with their places.
_OBJECTS = re.compile(r"\s*(\[\s*)?\{\s*(\"|')[\w ]+\2\s*:.*[\]}]\s*", re.DOTALL)
_MESSAGE_FIELDS = (frozenset({"role", "content"}), frozenset({"from", "value"}), frozenset({"speaker", "utterance"}))


def word_set(words: str) -> frozenset[str]:
    """Returns the words of a string, for tables of words."""
    return frozenset(words.split())


#: What the body of a text is called, and any text.
BODIES = word_set(
    "body text content description message article abstract selftext review comment details post answer plot "
    "synopsis overview"
)
TEXT_NAMES = BODIES | word_set("sentence utterance query question tweet document input prompt transcript ticket")
_TWIN = re.compile(r"^(.*?)[ _-]?([012ab]|one|two|left|right)$", re.IGNORECASE)


class Role(StrEnum):
    """What a column looks like, judged without the sentence."""

    TEXT = "free text"
    LABEL = "labels"
    NUMBER = "numbers"
    LABELS = "several labels per row"
    WORDS = "lists of words"
    TEXTS = "lists of texts"
    PARTS = "a label for each text of a list"
    SPANS = "marked spans of a text"
    MESSAGES = "conversations"
    IMAGE = "images"
    ID = "an identifier"
    CONSTANT = "one constant value"
    URL = "links"
    DATE = "dates"
    SPLIT = "names of splits"
    OTHER = "nested values"
    EMPTY = "nothing but missing values"


#: Texts to read, as one or in parts.
TEXT_ROLES = (Role.TEXT, Role.TEXTS)
_READ = frozenset({*TEXT_ROLES, Role.WORDS, Role.MESSAGES, Role.IMAGE})


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the training rows.

    Attributes:
        name: As in the data.
        position: Place among the columns, from 0.
        role: What it looks like.
        type: Its Arrow type, dictionary encoding aside.
        num_values: Rows with a value; white space alone and NaN count as missing.
        num_missing: Rows without.
        values: Distinct values as text, at most 1,001 of them, most frequent first; of lists, what stands in them.
        num_distinct: Number of distinct values.
        top_count: Rows that have the most frequent value.
        bottom: The least frequent value.
        mean_length: Characters per value, over the first rows; of lists of texts per row, of other lists per entry.
        mean_words: Words per value, likewise.
        written_numbers: Whether it is text that holds numbers, but for a few cells: a word, or an infinity.
    """

    name: str
    position: int
    role: Role
    type: pa.DataType
    num_values: int
    num_missing: int
    values: tuple[str, ...]
    num_distinct: int
    top_count: int
    bottom: str
    mean_length: float
    mean_words: float
    written_numbers: bool = False

    @property
    def is_string(self) -> bool:
        return is_string(self.type)

    @property
    def is_number(self) -> bool:
        plain = pa.types.is_integer(self.type) or pa.types.is_floating(self.type)
        return bool(plain or self.written_numbers)


def is_string(column_type: pa.DataType) -> bool:
    """Tells whether values of this type are text."""
    return bool(
        pa.types.is_string(column_type) or pa.types.is_large_string(column_type) or pa.types.is_string_view(column_type)
    )


def name_words(name: str) -> tuple[str, ...]:
    """Returns the words of a column's name in lower case: "ticketType" and "ticket_type" give the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[^\W_]+", spaced.casefold()))


def profile(table: pa.Table) -> list[ColumnProfile]:
    """Profiles every column of a table that has rows."""
    columns = [_profile_column(name, i, plain(table.column(i))) for i, name in enumerate(table.column_names)]
    columns = _with_both_sides(_texts_first(columns))
    texts = [column.name for column in columns if column.role is Role.TEXTS]
    return [
        replace(column, role=Role.PARTS)
        if column.role in (Role.LABELS, Role.WORDS)
        and is_list(column.type)
        and any(same_lengths(table, column.name, name) for name in texts)
        else column
        for column in columns
    ]


def _texts_first(columns: list[ColumnProfile]) -> list[ColumnProfile]:
    """Returns the columns, of which one that is called a text is no set of labels while there is no other to read."""
    if any(column.role in _READ for column in columns):
        return columns
    return [
        replace(column, role=Role.TEXT)
        if column.role is Role.LABELS
        and column.is_string
        and not all(map(is_written_list, column.values))
        and set(name_words(column.name)) & TEXT_NAMES
        else column
        for column in columns
    ]


def _with_both_sides(columns: list[ColumnProfile]) -> list[ColumnProfile]:
    """Returns the columns, of which one that repeats is text where its twin is: a few questions, and many answers."""
    texts = [column.name for column in columns if column.role is Role.TEXT]
    return [
        replace(column, role=Role.TEXT)
        if column.role is Role.LABEL and column.is_string and is_side_of(column.name, texts)
        else column
        for column in columns
    ]


def are_twins(first: str, second: str) -> bool:
    """Tells whether two names are one with two numbers or letters: "question1" and "question2"."""
    twins = (_TWIN.match(first), _TWIN.match(second))
    return bool(twins[0] and twins[1] and twins[0][1] == twins[1][1] and twins[0][1].lower() not in ("column", ""))


def is_side_of(name: str, others: Iterable[str]) -> bool:
    """Tells whether a name is that of a text of which another one is the twin: "sentence1" and "sentence2"."""
    twin = _TWIN.match(name)
    return bool(twin and set(name_words(twin[1])) & TEXT_NAMES) and any(are_twins(name, other) for other in others)


def given_away(profiles: list[ColumnProfile], parts: Mapping[str, str | None], aside: Mapping[str, str]) -> str:
    """Words which columns that could be read were given another part, "" where there are others to read.

    Args:
        parts: Names of columns by the argument that named them.
        aside: The words by which the sentence sets columns aside, by the names of those.
    """
    readable = {column.name: column.role for column in profiles if column.role in _READ}
    if readable.keys() - set(parts.values()) - aside.keys():
        return ""
    given = [(name, f"you gave it as {part}=") for part, name in parts.items() if name in readable]
    given += [(name, f"the sentence sets it aside ('{said}')") for name, said in aside.items() if name in readable]
    return "; ".join(f"'{name}' holds {readable[name]}, and {why}" for name, why in given)


def same_lengths(table: pa.Table, first: str, second: str) -> bool:
    """Tells whether two columns of lists have as many entries in nearly every row, and some row several."""
    lengths = [pc.list_value_length(table.column(name).slice(0, _SAMPLE)) for name in (first, second)]
    same = pc.sum(pc.equal(*lengths)).as_py() or 0
    some = pc.max(lengths[0]).as_py() or 0
    # A few rows with a tag too few are the audit's affair.
    return bool(same >= 0.95 * len(lengths[0]) and some > 1)


def _profile_column(name: str, position: int, column: pa.ChunkedArray) -> ColumnProfile:
    nested = None if _has_text_form(column.type) else _role_of_nested(column)
    if nested in (Role.LABELS, Role.WORDS):
        listed = _profile_column(name, position, plain(pc.list_flatten(column)))
        num_missing = column.null_count
        num_values = len(column) - num_missing
        if nested is Role.WORDS and listed.is_string and listed.mean_words > _TEXT_WORDS:
            nested = Role.TEXTS
            per_row = (listed.num_values + listed.num_missing) / max(1, num_values)
            listed = replace(listed, mean_length=listed.mean_length * per_row, mean_words=listed.mean_words * per_row)
        return replace(
            listed,
            role=nested,
            type=column.type,
            num_values=num_values,
            num_missing=num_missing,
            written_numbers=False,
        )
    if nested is not None:
        num_missing = column.null_count
        return ColumnProfile(
            name, position, nested, column.type, len(column) - num_missing, num_missing, (), 0, 0, "", 0.0, 0.0
        )
    texts = label_texts(column).drop_null()
    counts = pa.Table.from_struct_array(texts.value_counts())
    counts = counts.sort_by([("counts", "descending"), ("values", "ascending")])
    values = counts["values"].slice(0, _MAX_VALUES).to_pylist()
    sample = texts.slice(0, _SAMPLE).to_pylist()
    numbers = number_type(sample) if is_string(column.type) else None
    return ColumnProfile(
        name=name,
        position=position,
        role=_role(name, numbers or column.type, values, counts.num_rows, sample, len(texts)),
        type=column.type,
        num_values=len(texts),
        num_missing=len(column) - len(texts),
        values=tuple(values),
        num_distinct=counts.num_rows,
        top_count=counts["counts"][0].as_py() if values else 0,
        bottom=counts["values"][-1].as_py() if values else "",
        mean_length=_mean([len(value) for value in sample]),
        mean_words=_mean([len(value.split()) for value in sample]),
        written_numbers=numbers is not None,
    )


def _role_of_nested(column: pa.ChunkedArray) -> Role:
    """Returns the role of values that have no text form: lists, structs, bytes."""
    if image_columns(pa.table({"": column})):
        return Role.IMAGE
    if not is_list(column.type):
        return Role.OTHER
    inner = plain(pa.array([], column.type.value_type)).type
    if pa.types.is_struct(inner):
        fields = {field.name for field in inner}
        if any(pair <= fields for pair in _MESSAGE_FIELDS):
            return Role.MESSAGES
        return Role.SPANS if holds_spans(column.type) else Role.OTHER
    if not _has_text_form(inner):
        return Role.OTHER
    return Role.LABELS if _repeats(label_texts(pc.list_flatten(column.slice(0, _SAMPLE)))) else Role.WORDS


def _repeats(values: pa.Array) -> bool:
    """Tells labels, of which each occurs many times, from words, of which most occur once or twice."""
    return bool(pc.count_distinct(values).as_py() <= min(1000, max(2, 0.1 * len(values))))


def _role(
    name: str, column_type: pa.DataType, values: list[str], num_distinct: int, sample: list[str], num_values: int
) -> Role:
    if not values:
        return Role.EMPTY
    if is_string(column_type) and are_spans(sample):
        return Role.SPANS
    if num_distinct == 1:
        return Role.CONSTANT
    folded = "_".join(name_words(name)) or name
    splits = all(canonical_split(value) or value.casefold() == "unused" for value in values)
    if splits or (folded in SPLIT_COLUMNS and num_distinct <= 20):
        return Role.SPLIT
    # "1234.50" is a price.
    if pa.types.is_temporal(column_type) or (is_string(column_type) and _share(sample, _DATE) > 0.9):
        return Role.DATE
    if _is_id(folded, column_type, num_distinct, num_values, sample):
        # Names of files are mostly unique, and often hold digits.
        return Role.IMAGE if is_string(column_type) and all(map(is_image_path, sample)) else Role.ID
    if not is_string(column_type):
        return _role_of_numbers(folded, column_type, values, num_distinct, num_values)
    return _role_of_strings(values, num_distinct, sample, num_values)


def _role_of_numbers(
    folded: str, column_type: pa.DataType, values: list[str], num_distinct: int, num_values: int
) -> Role:
    if pa.types.is_boolean(column_type):
        return Role.LABEL
    if _DATE_NAME.search(folded) and num_distinct > 12:
        return Role.DATE
    # Ratings in halves are classes; a measurement is told from them by how many values it takes.
    most = 1000 if pa.types.is_integer(column_type) else 10 if has_fractions(values) else 100
    return Role.LABEL if num_distinct <= min(most, max(2, num_values // 2)) else Role.NUMBER


def _role_of_strings(values: list[str], num_distinct: int, sample: list[str], num_values: int) -> Role:
    if all(map(is_image_path, sample)):
        return Role.IMAGE
    if _share(sample, _URL) > 0.9:
        return Role.URL
    if _share(sample, _OBJECTS) > 0.9:
        return Role.OTHER
    if sum(map(is_written_list, sample)) > 0.9 * len(sample) or combines_labels(values):
        return Role.LABELS
    mean_words = _mean([len(value.split()) for value in sample])
    # Utterances repeat too: many distinct values of several words are text, few of them are labels.
    repeated = num_distinct <= max(2, num_values // 2)
    wordy = mean_words > _MAX_LABEL_WORDS or (mean_words > 3 and num_distinct > num_values / 5)
    return Role.LABEL if repeated and num_distinct <= 1000 and (not wordy or num_distinct <= 2) else Role.TEXT


def _is_id(folded: str, column_type: pa.DataType, num_distinct: int, num_values: int, sample: list[str]) -> bool:
    nearly_unique = num_distinct > 0.95 * num_values and num_values >= 4
    named = _ID_NAME.search(folded) is not None
    if pa.types.is_integer(column_type):
        return nearly_unique or (named and num_distinct > max(10, 0.02 * num_values))
    if not is_string(column_type):
        return nearly_unique and named
    one_word = all(" " not in value for value in sample)
    coded = _share(sample, re.compile(r"(?=.*\d)[\w.:@/#+=-]+")) > 0.8
    return one_word and ((nearly_unique and coded) or (named and num_distinct > 20))


def _has_text_form(column_type: pa.DataType) -> bool:
    return not (pa.types.is_nested(column_type) or pa.types.is_duration(column_type) or "binary" in str(column_type))


def _share(sample: list[str], pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(value) is not None for value in sample) / max(1, len(sample))


def _mean(lengths: list[int]) -> float:
    return sum(lengths) / max(1, len(lengths))
