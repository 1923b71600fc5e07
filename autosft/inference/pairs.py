"""Two texts that are judged together, told by their names, by the sentence, or by looking alike.

A title and its body are one text, unless the sentence compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

from autosft.inference.columns import BODIES, TEXT_NAMES, TEXT_ROLES, ColumnProfile, are_twins, name_words, word_set
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
        "comment reply", "article summary", "document summary", "source summary",
    )
)  # fmt: skip
# Two texts of one kind are about as long; the shorter one has at least this share of the longer one's length.
_ALIKE = 0.5
_WORDY = 3.0


def is_pair(names: Sequence[str]) -> bool:
    """Tells whether columns, by their names, are two texts that are judged together; a title and its body are one."""
    if len(names) != 2:
        return False
    first, second = names
    words = (set(map(stem, name_words(first))), set(map(stem, name_words(second))))
    if any(words[0] & pair and words[1] & pair and (words[0] | words[1]) >= pair for pair in _PARTNERS):
        return True
    return are_twins(first, second)


def are_side_by_side(columns: Sequence[ColumnProfile], sentence: Sentence) -> bool:
    """Tells whether columns that are all to be read are a pair, and not parts of one text."""
    if len(columns) != 2 or any(column.role not in TEXT_ROLES for column in columns):
        return is_pair([column.name for column in columns])
    return is_pair([c.name for c in columns]) or sentence.compares() is not None or _look_alike(*columns)


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
    shorter, longer = sorted((first, second), key=lambda column: column.mean_length)
    return shorter.mean_words >= _WORDY and shorter.mean_length >= _ALIKE * longer.mean_length


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
