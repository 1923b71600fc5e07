"""Words with tags, or texts with spans, as the user's columns hold them: both become words with canonical tags.

Which of the two it is, the input column tells: a list holds words, a string holds a text. What tags mean lives in
`autosft.tasks.entities`.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import one_array
from autosft.counting import counted
from autosft.data.texts import codes
from autosft.errors import DataError, explain
from autosft.task import Task
from autosft.tasks.columns import user_column
from autosft.tasks.entities import Mark, Numbers, canonical, row_starts, split_tag, types_of, types_of_tags
from autosft.tasks.label_values import plain

#: What a span's fields may be called.
_STARTS = ("start", "begin", "start_offset")
_ENDS = ("end", "stop", "end_offset")
_LABELS = ("label", "entity", "type", "tag", "entity_type", "entity_group", "labels")

# How spans begin when they are written as text, and a row without any.
_SPANS, _NONE = re.compile(r"\s*\[\s*[\[({]"), re.compile(r"\s*\[\s*\]\s*")
_NEARLY_ALL = 0.9

# Scripts that put no spaces between words: Thai to Myanmar, Khmer, kana, Han. There each character is a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_SPACED = re.compile(rf"[^\W{_UNSPACED}]")
_JOINERS = "\u200c\u200d"


class Span(NamedTuple):
    """An entity in a text: its first character, the character after its last one, and its type."""

    start: int
    end: int
    label: str


class Trouble(StrEnum):
    """What can be wrong with a row's target. Of the first three a row has no target; the others are put right."""

    LENGTH = "length"
    UNREADABLE = "unreadable"
    UNSEEN = "unseen"
    OUTSIDE = "outside"
    OVERLAP = "overlap"
    CUT = "cut"


class Remark(NamedTuple):
    """What is wrong with one row, in words."""

    row: int
    trouble: Trouble
    words: str


@dataclass(frozen=True)
class Words:
    """The words of every row.

    Attributes:
        tokens: list<string>, without nulls.
        texts: The texts that they were cut out of; None where the rows came as words.
        starts: In each text, where each of its words starts; empty where there are no texts.
    """

    tokens: pa.ListArray
    texts: Sequence[str] | None = None
    starts: Sequence[Numbers] = ()

    @property
    def lengths(self) -> Numbers:
        """Words a row."""
        return np.asarray(self.tokens.value_lengths().to_numpy(zero_copy_only=False), np.int64)

    def ends(self, row: int) -> Numbers:
        """Returns where each word of a text ends."""
        lengths = [len(word) for word in self.tokens[row].as_py()]
        return self.starts[row] + np.asarray(lengths, np.int64)


@dataclass(frozen=True)
class Reading:
    """Targets as they could be read.

    Attributes:
        lengths: Words a row, shape (rows,).
        positions: Canonical positions in the task's labels, rows one after the other; 0 in rows without a target.
        has_target: Whether a row's target could be read, shape (rows,).
        remarks: What is wrong with which rows.
    """

    lengths: Numbers
    positions: Numbers
    has_target: NDArray[np.bool_]
    remarks: Sequence[Remark] = field(default=())


def holds_words(column_type: pa.DataType) -> bool:
    """Whether a column of this type holds lists of words."""
    return _is_list(column_type) and (_is_text(column_type.value_type) or pa.types.is_null(column_type.value_type))


def holds_spans(column_type: pa.DataType) -> bool:
    """Whether a column of this type holds lists of spans: structs with a start, an end and a label."""
    if not _is_list(column_type) or not pa.types.is_struct(column_type.value_type):
        return False
    names = {field.name for field in column_type.value_type}
    return all(names & set(known) for known in (_STARTS, _ENDS, _LABELS))


def are_spans(values: Sequence[str]) -> bool:
    """Tells whether texts are spans, nearly all of them, and some of them of an entity."""
    # Parsing is dear, and what is no list of lists or objects is no span.
    listed = [value for value in values if _SPANS.match(value) or _NONE.fullmatch(value)]
    if len(listed) < _NEARLY_ALL * len(values):
        return False
    found = [spans_of(value) for value in listed]
    return any(found) and sum(spans is not None for spans in found) >= _NEARLY_ALL * len(values)


def words_of_text(text: str) -> Iterator[tuple[int, int]]:
    """Yields where each word of a text starts and ends: runs of letters and digits, and every other sign by itself.

    Accents and vowel signs belong to the word before them. Where a script puts no spaces, each character is a word.
    """
    start = end = -1
    for found in _WORD.finditer(text):
        here, following = found.span()
        if start >= 0 and here == end and _goes_on(text, here):
            end = following
            continue
        if start >= 0:
            yield start, end
        start, end = here, following
    if start >= 0:
        yield start, end


def _goes_on(text: str, at: int) -> bool:
    return _joins(text[at]) or (_joins(text[at - 1]) and _SPACED.match(text[at]) is not None)


def _joins(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def read_words(task: Task, table: pa.Table) -> Words:
    """Reads the input column.

    Raises:
        DataError: There are several, it is missing, or it holds neither words nor texts.
    """
    if len(task.input_columns) != 1:
        raise DataError(
            explain(
                wrong=f"tags are about the words of one column, and {len(task.input_columns)} are to be read: "
                + ", ".join(task.input_columns),
                expected="one column of words, or of texts",
                fix="name it with inputs=",
            )
        )
    name = task.input_columns[0]
    column = plain(user_column(table, name))
    if _is_text(column.type) or pa.types.is_null(column.type):
        return _cut([text or "" for text in column.to_pylist()])
    if _is_list(column.type) and not pa.types.is_nested(column.type.value_type):
        lengths, values, _ = _flat(column)
        return Words(_lists(lengths, values.fill_null("")))
    raise DataError(
        explain(
            wrong=f"column '{name}' of type {column.type} holds neither words nor texts",
            expected='a list of words in every row, such as ["Angela", "lives"], or a text',
            fix="convert the column, or name another one with inputs=",
        )
    )


def read_targets(task: Task, table: pa.Table, words: Words | None = None) -> Reading:
    """Reads the target column: tags of words, or spans of texts.

    Spans are tags of the whole words that they touch. Of spans that overlap the longest counts, of equal ones the
    first; what of a span lies outside of the text does not.

    Args:
        words: What `read_words` gave, where that is at hand.

    Raises:
        DataError: The column is missing, or holds something else.
    """
    words = words or read_words(task, table)
    column = plain(user_column(table, task.target_column))
    types = types_of(task.labels)
    if words.texts is not None:
        return _read_spans(task, column, words, types)
    return _read_tags(task, column, words, types)


def entity_types(task: Task, table: pa.Table) -> tuple[str, ...]:
    """Returns the entity types that the target column names, sorted.

    Args:
        task: Its columns are read, its labels are not.

    Raises:
        DataError: As in `read_targets`.
    """
    column = plain(user_column(table, task.target_column))
    if not _is_list(user_column(table, task.input_columns[0]).type):
        rows = [spans_of(value) or () for value in column.to_pylist()]
        return tuple(sorted({span.label for row in rows for span in row}))
    return types_of_tags(_flat(_tag_lists(task, column))[1])


def spans_of(value: Any) -> list[Span] | None:
    """Reads a row's spans: structs, [start, end, label], or text of either; None where that cannot be done.

    "entity", "type" and "tag" stand for "label" too, and so do other usual names for the rest; a list of one label, as
    Label Studio writes it, is that label. The text is JSON, or
    what Python prints, as pandas writes lists to csv: that is also how [start, end, label] gets into a column, since
    Arrow has no list of numbers and texts.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, list):
        return None
    found = [_span(item) for item in value]
    return None if None in found else [span for span in found if span is not None]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _span(item: Any) -> Span | None:
    start: Any
    end: Any
    label: Any
    if isinstance(item, Mapping):
        start, end, label = (
            next((item[name] for name in names if item.get(name) is not None), None)
            for names in (_STARTS, _ENDS, _LABELS)
        )
    elif isinstance(item, list | tuple) and len(item) == 3:
        start, end, label = item
    else:
        return None
    if not all(isinstance(number, int | float) and float(number).is_integer() for number in (start, end)):
        return None
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    return Span(int(start), int(end), label.strip()) if isinstance(label, str) and label.strip() else None


def _cut(texts: Sequence[str]) -> Words:
    tokens, starts = [], []
    for text in texts:
        places = list(words_of_text(text))
        tokens.append([text[start:end] for start, end in places])
        starts.append(np.array([start for start, _ in places], np.int64))
    return Words(pa.array(tokens, pa.list_(pa.string())), texts, starts)


def _read_tags(task: Task, column: pa.ChunkedArray, words: Words, types: Sequence[str]) -> Reading:
    lists = _tag_lists(task, column)
    lengths, values, there = _flat(lists)
    marks, kinds = _marks_and_kinds(values, types)
    wanted = words.lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    readable = there & (lengths == wanted)
    remarks = [
        Remark(int(at), Trouble.LENGTH, f"{counted(wanted[at], 'word')}, {counted(lengths[at], 'tag')}")
        for at in np.flatnonzero(there & ~readable)
    ]
    for trouble, code in ((Trouble.UNREADABLE, _UNREADABLE), (Trouble.UNSEEN, _UNSEEN)):
        rows, at = np.unique(row[kinds == code], return_index=True)
        chosen = np.flatnonzero(kinds == code)[at]
        remarks += [
            Remark(int(here), trouble, f"the tag {values[int(word)].as_py()!r}")
            for here, word in zip(rows, chosen, strict=True)
            if there[here]
        ]
        readable[rows] = False
    positions, _ = canonical(marks, kinds, row_starts(lengths))
    found = np.zeros(int(wanted.sum()), np.int64)
    found[np.repeat(readable, wanted)] = positions[np.repeat(readable, lengths)]
    if _is_text(column.type):
        texts = [text or "" for text in column.to_pylist()]
        remarks += [
            Remark(at, Trouble.UNREADABLE, f"the tags {text[:60]!r}")
            for at, text in enumerate(texts)
            if text.strip() and not there[at]
        ]
    return Reading(wanted, found, readable, sorted(remarks))


@dataclass(frozen=True)
class Openings:
    """How the entities of tags open, as words counted through all rows.

    Attributes:
        inside: Entities whose first tag is an "I-" or an "E-", as IOB1 has them, shape (entities,).
        rows: The rows they stand in, likewise.
        num_begin: Entities that open with a "B-" or an "S-" although nothing stands before them.
    """

    inside: Numbers
    rows: Numbers
    num_begin: int


def openings(task: Task, table: pa.Table) -> Openings:
    """Looks at how the entities of a column of tags open."""
    lengths, values, _ = _flat(_tag_lists(task, plain(user_column(table, task.target_column))))
    marks, kinds = _marks_and_kinds(values, types_of(task.labels))
    first = row_starts(lengths)
    _, begins = canonical(marks, kinds, first)
    inside = np.isin(marks, (Mark.INSIDE, Mark.END))
    # As if every tag was an "I-": what begins even so needs no "B-" in IOB1.
    _, alone = canonical(np.where(marks == Mark.OUTSIDE, Mark.OUTSIDE, Mark.INSIDE), kinds, first)
    row = np.repeat(np.arange(len(lengths)), lengths)
    found = np.flatnonzero(begins & inside)
    return Openings(found, row[found], int((begins & ~inside & alone).sum()))


def unclosed(task: Task, table: pa.Table) -> list[int]:
    """Returns the rows with an entity that is not closed; none where the tags' scheme closes none, as IOB1 and BIO.

    In BIOES and BILOU an entity of several words ends with an "E-" or "L-", and one of a single word is "S-" or "U-".
    """
    lengths, values, _ = _flat(_tag_lists(task, plain(user_column(table, task.target_column))))
    marks, kinds = _marks_and_kinds(values, types_of(task.labels))
    if not np.isin(marks, (Mark.END, Mark.SINGLE)).any():
        return []
    first = row_starts(lengths)
    _, begins = canonical(marks, kinds, first)
    goes_on = np.append((marks[1:] != Mark.OUTSIDE) & ~begins[1:] & ~first[1:], False)[: len(marks)]
    lost = np.isin(marks, (Mark.BEGIN, Mark.INSIDE)) & ~goes_on
    return np.unique(np.repeat(np.arange(len(lengths)), lengths)[lost]).tolist()  # type: ignore[no-any-return]


_UNSEEN, _UNREADABLE = -2, -3


def _marks_and_kinds(values: pa.Array, types: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Returns a Mark and a type for each tag; the type is -1 outside, or _UNSEEN or _UNREADABLE."""
    distinct = pc.unique(values.drop_null()).to_pylist()
    known, places = frozenset(types), {name: at for at, name in enumerate(types)}
    marks, kinds = np.zeros(len(distinct) + 1, np.int64), np.full(len(distinct) + 1, _UNREADABLE)
    for at, tag in enumerate(distinct):
        split = split_tag(tag, known)
        if split is not None:
            marks[at] = split[0]
            kinds[at] = -1 if split[0] is Mark.OUTSIDE else places.get(split[1], _UNSEEN)
    # A null has the code -1, the last place of both.
    numbers = codes(values)
    return marks[numbers], kinds[numbers]


def _read_spans(task: Task, column: pa.ChunkedArray, words: Words, types: Sequence[str]) -> Reading:
    if not (holds_spans(column.type) or _is_text(column.type) or _is_listed(column.type)):
        wrong = f"column '{task.target_column}' of type {column.type} holds no spans of the texts"
        fix = f"give '{task.input_columns[0]}' as a list of words where '{task.target_column}' holds their tags"
        expected = 'a list of {"start", "end", "label"} in every row, in characters, without the last one'
        raise DataError(explain(wrong=wrong, expected=expected, fix=fix))
    assert words.texts is not None
    places = {name: at for at, name in enumerate(types)}
    lengths = words.lengths
    readable = np.zeros(len(lengths), np.bool_)
    positions, remarks = [np.zeros(0, np.int64)], []
    for row, (value, text) in enumerate(zip(column.to_pylist(), words.texts, strict=True)):
        positions.append(np.zeros(lengths[row], np.int64))
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        spans = spans_of(value)
        if spans is None:
            remarks.append(Remark(row, Trouble.UNREADABLE, f"the spans {str(value)[:60]!r}"))
            continue
        unseen = next((span for span in spans if span.label not in places), None)
        if unseen is not None:
            remarks.append(Remark(row, Trouble.UNSEEN, f"the type '{unseen.label}'"))
            continue
        readable[row] = True
        troubles = _mark(positions[-1], spans, places, len(text), words.starts[row], words.ends(row))
        remarks += [Remark(row, trouble, _shown(span, text)) for trouble, span in troubles]
    return Reading(lengths, np.concatenate(positions), readable, tuple(remarks))


def _mark(
    positions: Numbers, spans: Sequence[Span], places: Mapping[str, int], length: int, starts: Numbers, ends: Numbers
) -> list[tuple[Trouble, Span]]:
    """Writes spans into the canonical positions of a text's words; returns what was put right."""
    troubles = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        start, end = max(span.start, 0), min(span.end, length)
        first, last = int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end))
        if (start, end) != span[:2] or start >= end or first >= last:
            troubles.append((Trouble.OUTSIDE, span))
        if start >= end or first >= last:
            continue
        if positions[first:last].any():
            troubles.append((Trouble.OVERLAP, span))
            continue
        if starts[first] < start or ends[last - 1] > end:
            troubles.append((Trouble.CUT, span))
        positions[first:last] = 2 * places[span.label] + 2
        positions[first] -= 1
    return troubles


def _shown(span: Span, text: str) -> str:
    inside = text[max(span.start, 0) : max(span.end, 0)]
    return f"{span.label} at {span.start} to {span.end} of {len(text)} characters, {inside[:40]!r}"


def _tag_lists(task: Task, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns tags as lists of strings; JSON of them is read, null where it is none."""
    if _is_text(column.type) or pa.types.is_null(column.type):
        return pa.chunked_array([pa.array([_tags(text) for text in column.to_pylist()], pa.list_(pa.string()))])
    if holds_words(column.type) or (_is_list(column.type) and pa.types.is_dictionary(column.type.value_type)):
        return column
    numbers = _is_list(column.type) and pa.types.is_integer(column.type.value_type)
    wrong = f"column '{task.target_column}' of type {column.type} holds no tags"
    fix = f"give '{task.input_columns[0]}' as a text where '{task.target_column}' holds spans of it"
    if numbers:
        wrong = f"the tags in column '{task.target_column}' are numbers, and nothing says what they stand for"
        fix = (
            "turn them into their names; a datasets.Dataset whose feature is a ClassLabel has them, other files do not"
        )
    expected = 'a list of tags in every row, such as ["B-PER", "O"], one for each word'
    raise DataError(explain(wrong=wrong, expected=expected, fix=fix))


def _tags(text: str | None) -> list[str] | None:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, list) and all(isinstance(tag, str) for tag in value) else None


def _flat(column: pa.ChunkedArray | pa.Array) -> tuple[Numbers, pa.Array, NDArray[np.bool_]]:
    """Returns lists' lengths (0 where null), their values one after the other as string, and which are not null."""
    lists = one_array(column)
    # Nulls may hide values of their own; `flatten` leaves those out.
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), np.int64)
    values = one_array(pc.list_flatten(lists))
    return lengths, values.cast(pa.string()), np.array(lists.is_valid().to_numpy(zero_copy_only=False))


def _lists(lengths: Numbers, values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _is_list(column_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(column_type) or pa.types.is_large_list(column_type) or pa.types.is_fixed_size_list(column_type)
    )


def _is_listed(column_type: pa.DataType) -> bool:
    """Whether rows hold no span at all, so that nothing says what one would look like."""
    return _is_list(column_type) and pa.types.is_null(column_type.value_type)


def _is_text(column_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(column_type) or pa.types.is_large_string(column_type) or pa.types.is_string_view(column_type)
    )
