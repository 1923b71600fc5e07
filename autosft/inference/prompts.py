"""Columns that hold what a text is written in answer to, and the text: by their names.

How a column is chosen among others is decided in `autosft.inference.target`.
"""

from __future__ import annotations

from autosft.inference.columns import ColumnProfile, Role, name_words, word_set

#: Of a document; of a review, what stands above it.
SUMMARIES = word_set("summary summaries highlights")
# Which names go together. The first table leaves no doubt; a "question" with an "answer" may also be judged.
_CERTAIN = (
    (word_set("instruction prompt query user problem"), word_set("response output completion answer reply solution")),
    (word_set("input"), word_set("output")),
    (word_set("source"), word_set("target")),
    (word_set("document article text dialogue"), SUMMARIES),
    (word_set("complex"), word_set("simple simplified")),
    (word_set("incorrect ungrammatical original"), word_set("correct corrected correction")),
)
_LIKELY = ((word_set("question query post comment message email"), word_set("answer answers response reply solution")),)
_PARTS = word_set("instruction prompt input question context query problem source document article dialogue passage")
_WRITTEN_LIKE = (Role.TEXT, Role.TEXTS, Role.LABEL, Role.CONSTANT)


def prompt_of(column: ColumnProfile, profiles: list[ColumnProfile]) -> tuple[ColumnProfile | None, bool]:
    """Returns the column that this one answers, None where there is none, and whether the names leave no doubt."""
    words = set(name_words(column.name))
    for pairs, certain in ((_CERTAIN, True), (_LIKELY, False)):
        for prompts, answers in pairs:
            if not words & answers:
                continue
            for other in profiles:
                if other is not column and other.role in _WRITTEN_LIKE and prompts & set(name_words(other.name)):
                    return other, certain
    return None, False


def parts_of_prompt(
    target: ColumnProfile, profiles: list[ColumnProfile], excluded: frozenset[str]
) -> tuple[ColumnProfile, ...]:
    """Returns the columns of text that by their names stand before the one that is written, in order."""
    return tuple(
        column
        for column in profiles
        if column is not target
        and column.name not in excluded
        and (column.is_string or column.role is Role.TEXTS)
        and column.role in _WRITTEN_LIKE
        and name_words(column.name)[-1:] != ()
        and name_words(column.name)[-1] in _PARTS
    )
