"""Two texts that are judged together, told by their names, by the sentence, or by looking alike.

A title and its body are one text, unless the sentence compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autosft.inference.columns import (
    BODIES,
    TEXT_NAMES,
    TEXT_ROLES,
    ColumnProfile,
    Role,
    are_twins,
    name_words,
    word_set,
)
from autosft.inference.sentence import Sentence, stem

_TITLES = word_set("title subject headline heading header")
#: Text about the labelling: it is often there in training and missing, or a giveaway, later.
AFTERTHOUGHTS = word_set("rationale explanation reason annotator note notes parse tree lemmas")
_PARTNERS = tuple(
    frozenset(map(stem, pair.split()))
    for pair in (
        "premise hypothesis", "question answer", "question passage", "question context", "question sentence",
        "question document", "question paragraph", "question abstract", "query passage", "query document",
        "claim evidence", "text hypothesis", "answer context", "answer passage",
        "question option", "question choice", "source translation", "original translation", "tweet reply",
        "query title", "query product", "query description", "query result", "search title", "search product",
        "search description", "search result", "comment reply", "article summary", "document summary", "source summary",
    )
)  # fmt: skip
# What is asked of a model and what it gave: two texts where the sentence judges; else the one is written for the other.
_EXCHANGES = (word_set("prompt instruction"), word_set("response output completion answer reply"))
# Two texts of one kind are about as long; the shorter one has at least this share of the longer one's length.
_ALIKE = 0.5
_WORDY = 3.0
# What repeats is a text that is compared rather than a label from here on.
_SIDE_WORDS = 1.5


def is_pair(names: Sequence[str]) -> bool:
    """Tells whether columns, by their names, are two texts that are judged together; a title and its body are one."""
    if len(names) != 2:
        return False
    first, second = names
    words = (set(map(stem, name_words(first))), set(map(stem, name_words(second))))
    if any(words[0] & pair and words[1] & pair and (words[0] | words[1]) >= pair for pair in _PARTNERS):
        return True
    return are_twins(first, second)


def is_judged_exchange(first: ColumnProfile, second: ColumnProfile, sentence: Sentence) -> bool:
    """Tells whether the sentence judges, and two columns are by their names a prompt and what a model answered."""
    words = (set(name_words(first.name)), set(name_words(second.name)))
    asked, given = _EXCHANGES
    return sentence.judges() and any(one & asked and other & given for one, other in (words, words[::-1]))


def are_side_by_side(columns: Sequence[ColumnProfile], sentence: Sentence) -> bool:
    """Tells whether columns that are all to be read are a pair, and not parts of one text."""
    if len(columns) != 2 or any(column.role not in TEXT_ROLES for column in columns):
        return is_pair([column.name for column in columns])
    return is_pair([c.name for c in columns]) or sentence.compares() is not None or _look_alike(*columns)


def with_compared_side(columns: list[ColumnProfile]) -> list[ColumnProfile]:
    """Returns the columns, of which one that repeats is a text too, where the sentence compares two.

    It is a partner of a text by its name, else the only one of several words, and about as long as the only text.
    Another column is left to predict.
    """
    texts = [column for column in columns if column.role is Role.TEXT]
    labels = [column for column in columns if column.role in (Role.LABEL, Role.NUMBER)]
    strings = [column for column in labels if column.is_string]
    sides = [column for column in strings if any(is_pair((column.name, text.name)) for text in texts)]
    if not sides and len(texts) == 1:
        sides = [column for column in strings if column.mean_words > _SIDE_WORDS and are_as_long(column, texts[0])]
    if len(sides) != 1 or len(labels) < 2:
        return columns
    return [replace(column, role=Role.TEXT) if column is sides[0] else column for column in columns]


def plain_pair(
    pool: Sequence[ColumnProfile], sentence: Sentence, *, named: Sequence[ColumnProfile]
) -> tuple[list[ColumnProfile], str]:
    """Returns two texts whose names do not say that they are a pair, and why they are one; none where they are not.

    Args:
        pool: The texts to choose from.
        sentence: One that compares two things makes a pair of the only two texts.
        named: Those that the sentence names: it may mean that one alone.
    """
    two = [column for column in pool if not AFTERTHOUGHTS & set(name_words(column.name))]
    if len(two) != 2:
        return [], ""
    if words := sentence.compares():
        return two, f"the sentence says '{words}' of the two texts, and they are read side by side"
    if not named and _look_alike(*two):
        return two, "their names tell nothing and they look alike, so they are read side by side"
    return [], ""


def _look_alike(first: ColumnProfile, second: ColumnProfile) -> bool:
    """Tells whether two texts with plain names are as long and wordy as each other."""
    if any((TEXT_NAMES | _TITLES) & set(name_words(column.name)) for column in (first, second)):
        return False
    return min(first.mean_words, second.mean_words) >= _WORDY and are_as_long(first, second)


def are_as_long(first: ColumnProfile, second: ColumnProfile) -> bool:
    """Tells whether two texts are about as long as each other."""
    shorter, longer = sorted((first.mean_length, second.mean_length))
    return shorter >= _ALIKE * longer


def is_title(column: ColumnProfile) -> bool:
    """Tells whether a column, by its name, holds titles."""
    return bool(_TITLES & set(name_words(column.name)))


def belong_together(first: ColumnProfile, second: ColumnProfile) -> bool:
    """Tells whether two columns, by their names, are a title and its body, or a pair."""
    words = (set(name_words(first.name)), set(name_words(second.name)))
    for one, other in (words, words[::-1]):
        if one & _TITLES and other & BODIES:
            return True
    return is_pair((first.name, second.name))
