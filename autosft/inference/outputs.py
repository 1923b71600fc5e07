"""What is predicted, by what the target looks like: one label, several, a number, or a text."""

from __future__ import annotations

import re
from itertools import islice
from typing import Never

import pyarrow as pa

from autosft.data.nested import how_to_flatten
from autosft.data.texts import label_texts, shortened
from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, Role, name_words, word_set
from autosft.inference.points import is_short_label
from autosft.inference.sentence import Sentence
from autosft.inference.written_numbers import MAX_ODD_NUMBERS, has_fractions, is_number
from autosft.task import Output
from autosft.tasks.label_sets import is_list

#: Integers with more values than this may be measurements as well as numbers of classes.
_FEW_NUMBERS = 20
_CLASS_NAMES = word_set("label labels class classes category categories intent target id code topic type")
_MEASURE_NAMES = word_set(
    "score scores rating overall similarity grade price value age year count length percent points relevance"
)
_MAX_CLASS_WORDS = 6.0
MAX_CLASSES = 1000
_NUM_NAMED = 3
_TAG = re.compile(r"O|[BIESLU]-\S+")
# What stands around and between the entries of a list that was printed.
_LISTING = re.compile(r"[\[\]'\",]")
# "$12.50", "12 %", "1,234" and "3,5".
_SIGNED = re.compile(r"(?=.*[$€£¥%,])[+-]?\s?[$€£¥]?\s?\d[\d.,]*\s?[%€£$¥]?")


def output_of(column: ColumnProfile, sentence: Sentence) -> tuple[Output, str]:
    """Returns what is predicted, and why where that could be otherwise."""
    refuse_loose_tags(column)
    if column.role in (Role.LABELS, Role.PARTS):
        return Output.LABELS, "a row may have several of them"
    if _are_spoilt_numbers(column):
        return Output.NUMBER, "most of its values are numbers"
    _refuse_signs(column)
    _refuse_tags(column)
    if column.role is Role.TEXT:
        # Short texts in a column that is called a label are labels of which each has one row: a mistake to be told.
        classes = sentence.wants_classes() and column.mean_words <= _MAX_CLASS_WORDS
        if (is_short_label(column) or classes) and not sentence.wants_text():
            return Output.LABEL, ""
        return Output.TEXT, "it is free text, to be written"
    if not column.is_number or column.num_distinct <= 2:
        return Output.LABEL, ""
    if words := sentence.wants_number():
        return Output.NUMBER, f"the sentence says '{words}'"
    if column.role is Role.NUMBER:
        return Output.NUMBER, f"{column.num_distinct:,} different numbers are a measurement"
    if column.role is Role.LABEL and column.num_distinct > _FEW_NUMBERS:
        return _many_numbers(column), f"by its name, {column.num_distinct:,} numbers are that"
    return Output.LABEL, ""


def _refuse_signs(column: ColumnProfile) -> None:
    """Raises TaskError for many numbers that are written with a currency, a percent sign or commas."""
    if not column.is_string or column.is_number or column.num_distinct <= _FEW_NUMBERS:
        return
    odd = [value for value in column.values if not is_number(value)]
    signed = [value for value in odd if _SIGNED.fullmatch(value)]
    if len(signed) > 0.5 * len(column.values) and len(signed) > 0.9 * len(odd):
        raise TaskError(
            explain(
                wrong=f"column '{column.name}' holds numbers that are written as text, such as '{signed[0]}'",
                expected="plain numbers with a decimal point, or a few labels that repeat",
                fix="take off signs and commas, or say kind='text-classification' where each is a class of its own",
            )
        )


def _refuse_tags(column: ColumnProfile) -> None:
    """Raises TaskError for tags of words that stand in rows of their own: a word is nothing without its sentence."""
    if column.is_string and "O" in column.values and all(map(_TAG.fullmatch, column.values)) and len(column.values) > 1:
        tag = next(value for value in column.values if value != "O")
        raise TaskError(
            explain(
                wrong=f"column '{column.name}' holds one tag of a word in each row, 'O' and '{tag}'",
                expected="a row a sentence, with a list of words and a list of their tags, or a CoNLL file",
                fix="gather the words of a sentence, as by frame.groupby('sentence')[['word', 'tag']].agg(list); "
                "where only its first word names the sentence, frame['sentence'] = frame['sentence'].ffill() is first",
            )
        )


def refuse_loose_tags(column: ColumnProfile) -> None:
    """Raises TaskError for several tags of words a row, without a column that has as many words.

    Where one has, they were read as lists, and are a kind of task of their own.
    """
    if not (column.is_string or is_list(column.type)) or column.role is Role.SPANS:
        return
    rows = [_LISTING.sub(" ", value).split() for value in column.values]
    tags = dict.fromkeys(tag for row in rows for tag in row)
    several = is_list(column.type) or sum(len(row) > 1 for row in rows) > 0.5 * len(rows)
    if not several or len(tags) < 2 or "O" not in tags or not all(map(_TAG.fullmatch, tags)):
        return
    tag = next(tag for tag in tags if tag != "O")
    raise TaskError(
        explain(
            wrong=f"column '{column.name}' holds tags of words, such as 'O' and '{tag}', and no column has a word for "
            "each tag",
            expected="a list of words and a list of as many tags in every row",
            fix="cut the text into words as it was cut for tagging, and give them as a list beside the tags, in a "
            "jsonl or parquet file",
        )
    )


def _are_spoilt_numbers(column: ColumnProfile) -> bool:
    """Tells measurements with too many words among them: to learn each number as a class would leave that untold."""
    many = column.is_string and not column.is_number and column.num_distinct > _FEW_NUMBERS
    return many and has_fractions(column.values) and sum(map(is_number, column.values)) > 0.5 * len(column.values)


def _many_numbers(column: ColumnProfile) -> Output:
    """Tells numbers of many classes from a measurement by the column's name.

    Raises:
        TaskError: The name does not tell.
    """
    words = set(name_words(column.name))
    if words & _MEASURE_NAMES or has_fractions(column.values):
        return Output.NUMBER
    if words & _CLASS_NAMES:
        return Output.LABEL
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: (1) '{column.name}' holds one of {column.num_distinct:,} "
            f"classes, written as numbers; (2) '{column.name}' holds a number to predict",
            expected="a sentence that tells whether these numbers are names of classes or a measurement",
            fix="pass kind='text-classification' or kind='text-regression'",
        )
    )


def refuse_list(column: ColumnProfile) -> Never:
    """Raises TaskError: several texts a row are read as one, and cannot be written."""
    raise TaskError(
        explain(
            wrong=f"column '{column.name}' of type {column.type} holds {column.role}, which cannot be written",
            expected="one text in every row",
            fix=f"join each list of '{column.name}' to one text, take its first, or make a row of each",
        )
    )


def check_labels(column: ColumnProfile) -> None:
    """Raises TaskError where a column cannot be learned as one label per row."""
    name, role = column.name, column.role
    if role is Role.EMPTY:
        _refuse(f"every label in column '{name}' is missing", "choose another column with target=")
    if role in (Role.OTHER, Role.WORDS, Role.SPANS, Role.MESSAGES, Role.IMAGE) or is_list(column.type):
        fix = how_to_flatten(name, column.type) if role is Role.OTHER else ""
        fix = fix or "keep one label per row in a column of its own"
        _refuse(f"column '{name}' of type {column.type} holds {role}", fix)
    if role is Role.CONSTANT:
        _refuse(f"column '{name}' has only one class, '{column.values[0]}'", "add rows of a second class")
    if column.num_distinct > MAX_CLASSES or column.num_distinct > column.num_values / 2:
        looks = "free text" if column.mean_words >= 2 else "an identifier or free text"
        found = f"{column.num_distinct:,} different values in {column.num_values:,} rows"
        if column.num_distinct == column.num_values:
            found += ", a single row for every label"
        fix = f"choose another column with target=, or merge labels to at most {MAX_CLASSES:,} with several rows each"
        if column.role is Role.TEXT:
            fix += ", or have them written with kind='causal-lm'"
        _refuse(f"column '{name}' has {found}: this looks like {looks}", fix)


def check_numbers(column: ColumnProfile, table: pa.Table) -> None:
    """Raises TaskError where a column cannot be learned as a number per row.

    A few cells that are no number are the audit's affair, which names them and leaves them out.
    """
    wrong = f"column '{column.name}' looks like {column.role}"
    if column.role is Role.EMPTY:
        wrong = f"every number in column '{column.name}' is missing"
    elif column.num_distinct == 1:
        wrong = f"column '{column.name}' has only one value, '{column.values[0]}'"
    elif column.is_number:
        return
    elif column.is_string:
        texts = label_texts(table.column(column.name)).to_pylist()
        odd = {row: text for row, text in enumerate(texts) if text is not None and not is_number(text)}
        if len(odd) < MAX_ODD_NUMBERS * column.num_values:
            return
        few = [f"row {row}: {shortened(text, limit=40)!r}" for row, text in islice(odd.items(), _NUM_NAMED)]
        wrong += f", and {len(odd):,} of {column.num_values:,} values are no numbers ({', '.join(few)})"
    fix = "choose another column with target=, or another kind with kind="
    if column.role is Role.OTHER and (flat := how_to_flatten(column.name, column.type)):
        fix = f"{flat}; or choose another column with target="
    raise TaskError(explain(wrong=wrong, expected="a number per row, of which some differ", fix=fix))


def _refuse(wrong: str, fix: str) -> None:
    raise TaskError(explain(wrong=wrong, expected="one label per row out of a few that repeat", fix=fix))
