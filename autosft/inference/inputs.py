"""Which columns the model reads: the text that the sentence names, else the longest, with its title if there is one.

Which column is predicted is decided before, in `autosft.inference.target`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from itertools import combinations

from autosft.data.nested import how_to_flatten
from autosft.errors import TaskError, explain
from autosft.inference.columns import (
    TEXT_NAMES,
    TEXT_ROLES,
    ColumnProfile,
    Role,
    are_twins,
    is_side_of,
    is_string,
    name_words,
    word_set,
)
from autosft.inference.pairs import (
    AFTERTHOUGHTS,
    are_as_long,
    are_side_by_side,
    belong_together,
    is_judged_exchange,
    is_pair,
    is_title,
    plain_pair,
)
from autosft.inference.sentence import Sentence
from autosft.tasks.label_sets import is_list, is_written_list

_ANSWERS = word_set("answer answers reply replies response responses")
_WORD_NAMES = TEXT_NAMES | word_set("tokens words")
_WORDY = 3.0


@dataclass(frozen=True)
class InputsReading:
    """The chosen input columns, why, and what else they could have been (None where nothing).

    Attributes:
        is_pair: Whether they are two texts that are read side by side, as a premise and a hypothesis.
    """

    columns: tuple[str, ...]
    reason: str
    runner_up: str | None = None
    is_pair: bool = False


def choose_inputs(profiles: list[ColumnProfile], sentence: Sentence, *, excluded: Container[str]) -> InputsReading:
    """Returns the columns that the model reads.

    Raises:
        TaskError: No column holds text.
    """
    pool = _answers_aside(_readable(profiles, sentence, excluded), profiles, sentence, excluded)
    if not pool:
        looks = "; ".join(f"'{column.name}' looks like {column.role}" for column in profiles[:12])
        raise TaskError(
            explain(
                wrong=f"no column is left to read ({looks})",
                expected="a text column beside the target",
                fix=_how_to_read(profiles),
            )
        )
    texts = [column for column in profiles if column.role in TEXT_ROLES and column.name not in excluded]
    if len(pool) == 1:
        chosen, reason, side_by_side = pool, f"the only column of {'text' if len(texts) < 2 else 'long text'}", False
    else:
        chosen, reason, side_by_side = _choose(pool, sentence)
    in_order = tuple(column.name for column in pool if column in chosen)
    left = [column for column in texts if column not in chosen]
    others = [column.name for column in left if column in pool or _is_answer(column)]
    listed = ", ".join(f"'{name}'" for name in in_order)
    reason = f"{listed} {'is' if len(in_order) == 1 else 'are'} the input: {reason}"
    if left:
        reason += f"; other text is left out ({', '.join(text.name for text in left)}), inputs= would bring it in"
    last = in_order[-1]
    alone = f"input '{last}' alone, with inputs=['{last}']" if len(in_order) > 1 else None
    runner_up = f"input '{others[0]}'" if others else alone
    return InputsReading(in_order, reason, runner_up, is_pair=side_by_side)


def _how_to_read(profiles: list[ColumnProfile]) -> str:
    listed = (Role.LABELS, Role.OTHER, Role.CONSTANT)
    lists = [c.name for c in profiles if c.is_string and c.role in listed and is_written_list(c.values[0])]
    if lists:
        named = " and ".join(map(repr, lists[:2]))
        return f"{named}: these lists are written as text, so write them as lists, in jsonl or parquet"
    nested = (how_to_flatten(column.name, column.type) for column in profiles if column.role is Role.OTHER)
    return next(filter(None, nested), "name the columns to read with inputs=['...']")


def choose_two(profiles: list[ColumnProfile], sentence: Sentence, *, excluded: Container[str]) -> InputsReading:
    """Returns two columns to be read side by side, for a kind that needs two.

    Raises:
        TaskError: There are not two columns of text.
    """
    chosen = choose_inputs(profiles, sentence, excluded=excluded)
    if len(chosen.columns) == 2:
        return chosen
    texts = [column for column in profiles if column.name not in excluded and column.role in TEXT_ROLES]
    if len(texts) < 2:
        raise TaskError(
            explain(
                wrong="a pair of texts is wanted, and there are not two columns of text",
                expected="two columns of text beside the target",
                fix="name them with inputs=['...', '...'], or choose another kind",
            )
        )
    two = tuple(column.name for column in texts if column in sorted(texts, key=lambda text: -text.mean_length)[:2])
    return InputsReading(two, f"'{two[0]}' and '{two[1]}' are the inputs: the longest two texts")


def _answers_aside(
    pool: list[ColumnProfile], profiles: list[ColumnProfile], sentence: Sentence, excluded: Container[str]
) -> list[ColumnProfile]:
    """Returns the texts without answers to a question that stands beside its context, or to a title with its body.

    Such an answer says what the label says, or comes later, and is seldom there when a model predicts.
    """
    texts = [c for c in profiles if c.name not in excluded and c.role in TEXT_ROLES]
    others = [column for column in texts if not _is_answer(column)]
    if not any(belong_together(*pair) for pair in combinations(others, 2)):
        return pool
    return [column for column in pool if column in others or _is_judged(column, sentence)] or pool


def _is_judged(column: ColumnProfile, sentence: Sentence) -> bool:
    """Tells whether the sentence speaks of an answer, and not of answering."""
    mention = sentence.mention(column.name)
    return mention.as_input or (mention.strength == 1 and not sentence.uses_answering())


def _readable(profiles: list[ColumnProfile], sentence: Sentence, excluded: Container[str]) -> list[ColumnProfile]:
    free = [column for column in profiles if column.name not in excluded]
    texts = [column for column in free if column.role in TEXT_ROLES]
    wordy = [column for column in texts if column.mean_words >= _WORDY]
    if wordy:
        # Names of people and products are unique strings too, but read only beside nothing better, or when asked for.
        long = [column.name for column in wordy]
        wanted = {c.name for c in texts if is_title(c) or is_side_of(c.name, long) or sentence.mention(c.name).as_input}
        wanted |= {c.name for c in texts if any(is_pair((c.name, other)) and not _is_answer(c) for other in long)}
        if len(texts) == 2 and sentence.compares() and are_as_long(*texts):
            return texts
        return [column for column in texts if column in wordy or column.name in wanted]
    if texts:
        return texts
    words = [column for column in free if _holds_words(column)]
    if words:
        return words
    strings = [column for column in free if column.is_string and column.role is Role.LABEL]
    return sorted(strings, key=lambda column: -column.num_distinct)[:1]


def _choose(pool: list[ColumnProfile], sentence: Sentence) -> tuple[list[ColumnProfile], str, bool]:
    """Returns the columns to read, why, and whether they are two that are read side by side."""
    mentions = {column.name: sentence.mention(column.name) for column in pool}
    offered = [column for column in pool if mentions[column.name].as_input]
    named = [column for column in pool if mentions[column.name].strength]
    if offered:
        # "Does the answer follow from the context?"
        two = len(offered) == 1 and len(named) == 2 and are_side_by_side(named, sentence)
        chosen = named if two else offered
        why = "the sentence names both" if two else "the sentence says to read it"
        return chosen, why, are_side_by_side(chosen, sentence)
    if len(named) > 1 or (named and is_title(named[0])):
        why = "the sentence names it" if len(named) == 1 else "the sentence names them"
        return named, why, are_side_by_side(named, sentence)
    main = named[0] if named else max(pool, key=_likely_main)
    others = [column for column in pool if column is not main]
    exchange = [column for column in others if is_judged_exchange(main, column, sentence)]
    partner = next((column for column in others if column in exchange or belong_together(main, column)), None)
    if partner:
        third = [column for column in pool if _completes((main, partner), column)]
        if third:
            # A question, and the two answers of which one is chosen.
            return [main, partner, *third], "they belong together by their names, and are joined by line breaks", False
        side_by_side = partner in exchange or is_pair((main.name, partner.name))
        how = "read side by side" if side_by_side else "joined by a line break"
        return [main, partner], f"they belong together by their names, and are {how}", side_by_side
    two_texts, why = plain_pair(pool, sentence, named=named)
    if two_texts:
        return two_texts, why, True
    if named:
        return named, "the sentence names it", False
    longest = max(pool, key=lambda column: column.mean_length)
    if main is longest:
        return [main], f"the longest text ({main.mean_length:.0f} characters on average)", False
    return [main], "its name is typical of a text", False


def _completes(two: tuple[ColumnProfile, ColumnProfile], third: ColumnProfile) -> bool:
    """Tells whether a third text belongs to both of two, and two of the three are twins."""
    if third in two or not all(belong_together(third, one) for one in two):
        return False
    return any(are_twins(one.name, other.name) for one, other in combinations((*two, third), 2))


def _holds_words(column: ColumnProfile) -> bool:
    """Tells lists of words that make up a text, of many kinds or by their name."""
    if not is_list(column.type) or not is_string(column.type.value_type):
        return False
    return column.role is Role.WORDS or (
        column.role is Role.LABELS and bool(set(name_words(column.name)) & _WORD_NAMES)
    )


def _likely_main(column: ColumnProfile) -> tuple[bool, bool, bool, float]:
    words = set(name_words(column.name))
    is_text = bool(words & TEXT_NAMES)
    # A question comes before its answer, however long that is.
    return not words & AFTERTHOUGHTS, is_text and not _is_answer(column), is_text, column.mean_length


def _is_answer(column: ColumnProfile) -> bool:
    return bool(_ANSWERS & set(name_words(column.name)))
