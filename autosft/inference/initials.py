"""Columns called by one letter, such as V, A and D for valence, arousal and dominance: which one a sentence means."""

from __future__ import annotations

from autosft.inference.columns import ColumnProfile, Role, name_words, word_set
from autosft.inference.sentence import Sentence

# Words that say what is read, or how, and never what a letter stands for.
_PLAIN = word_set(
    "about abstract accurate actual after again also always among another answer anything article available average "
    "value values variable vector version very various decimal degree description develop dialogue different directly "
    "document documents does done each every number please predictions score scores sentence sentences text utterance"
)
_SHORTEST = 4


def meant_by_initial(column: ColumnProfile, profiles: list[ColumnProfile], sentence: Sentence) -> str | None:
    """Returns the word whose first letter is this column's name, where it can mean no other such column.

    One word alone of the sentence may begin like any of the columns of numbers that are called by one letter: "valence
    of a discourse" leaves open whether V or D is meant, and then none is.
    """
    letters = {other.name.casefold() for other in profiles if _is_letter(other)}
    if not _is_letter(column) or len(letters) < 2:
        return None
    named = {word for other in profiles for word in name_words(other.name)}
    words = {
        word
        for word in sentence.content_words()
        if len(word) >= _SHORTEST and word[0] in letters and word not in _PLAIN | named
    }
    return words.pop() if len(words) == 1 and next(iter(words))[0] == column.name.casefold() else None


def _is_letter(column: ColumnProfile) -> bool:
    numbers = column.is_number and column.role in (Role.NUMBER, Role.LABEL)
    return numbers and len(column.name) == 1 and column.name.isalpha()
