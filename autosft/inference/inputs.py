"""Which columns the model reads: the text that the sentence names, else the longest, with its title if there is one.

Which column is predicted is decided before, in `autosft.inference.target`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, Role, name_words, word_set
from autosft.inference.sentence import Sentence

_TITLES = word_set("title subject headline heading header")
_BODIES = word_set("body text content description message article abstract selftext review comment details post answer")
_PARTNERS = tuple(
    word_set(pair)
    for pair in (
        "premise hypothesis", "question answer", "question passage", "question context", "question sentence",
        "query passage", "query document", "claim evidence", "text hypothesis",
    )
)  # fmt: skip
_TEXT_NAMES = _BODIES | word_set("sentence utterance query question tweet document input prompt transcript ticket")
# Text about the labelling: it is often there in training and missing, or a giveaway, later.
_AFTERTHOUGHTS = word_set("rationale explanation reason annotator note notes")
_TWIN = re.compile(r"^(.*?)[ _-]?([012ab]|one|two|left|right)$", re.IGNORECASE)
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
    pool = _readable(profiles, sentence, excluded)
    if not pool:
        looks = "; ".join(f"'{column.name}' looks like {column.role}" for column in profiles[:12])
        raise TaskError(
            explain(
                wrong=f"no column is left to read ({looks})",
                expected="a text column beside the target",
                fix="name the columns to read with inputs=['...']",
            )
        )
    if len(pool) == 1:
        return InputsReading((pool[0].name,), f"'{pool[0].name}' is the input: the only column of text")
    chosen, reason = _choose(pool, sentence)
    in_order = tuple(column.name for column in pool if column in chosen)
    others = [column.name for column in pool if column not in chosen]
    listed = ", ".join(f"'{name}'" for name in in_order)
    reason = f"{listed} {'is' if len(in_order) == 1 else 'are'} the input: {reason}"
    if others:
        reason += f"; other text is left out ({', '.join(others)}), inputs= would bring it in"
    runner_up = f"input '{others[0]}'" if others else f"input '{in_order[-1]}' alone"
    return InputsReading(in_order, reason, runner_up, is_pair=is_pair(in_order))


def choose_two(profiles: list[ColumnProfile], sentence: Sentence, *, excluded: Container[str]) -> InputsReading:
    """Returns two columns to be read side by side, for a kind that needs two.

    Raises:
        TaskError: There are not two columns of text.
    """
    chosen = choose_inputs(profiles, sentence, excluded=excluded)
    if len(chosen.columns) == 2:
        return chosen
    texts = [column for column in profiles if column.name not in excluded and column.role is Role.TEXT]
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


def is_pair(names: Sequence[str]) -> bool:
    """Tells whether columns, by their names, are two texts that are judged together; a title and its body are one."""
    return len(names) == 2 and _are_partners(*names)


def _readable(profiles: list[ColumnProfile], sentence: Sentence, excluded: Container[str]) -> list[ColumnProfile]:
    free = [column for column in profiles if column.name not in excluded]
    texts = [column for column in free if column.role is Role.TEXT]
    wordy = [column for column in texts if column.mean_words >= _WORDY]
    if wordy:
        # Names of people and products are unique strings too, but read only beside nothing better, or when asked for.
        return [c for c in texts if c in wordy or _is_title(c) or sentence.mention(c.name).as_input]
    if texts:
        return texts
    strings = [column for column in free if column.is_string and column.role is Role.LABEL]
    return sorted(strings, key=lambda column: -column.num_distinct)[:1]


def _choose(pool: list[ColumnProfile], sentence: Sentence) -> tuple[list[ColumnProfile], str]:
    mentions = {column.name: sentence.mention(column.name) for column in pool}
    offered = [column for column in pool if mentions[column.name].as_input]
    if offered:
        return offered, "the sentence says to read it"
    named = [column for column in pool if mentions[column.name].strength]
    if len(named) > 1 or (named and _is_title(named[0])):
        return named, "the sentence names it" if len(named) == 1 else "the sentence names them"
    main = named[0] if named else max(pool, key=_likely_main)
    partner = next((column for column in pool if column is not main and _belong_together(main, column)), None)
    if partner:
        how = "read side by side" if _are_partners(main.name, partner.name) else "joined by a line break"
        return [main, partner], f"they belong together by their names, and are {how}"
    if named:
        return named, "the sentence names it"
    longest = max(pool, key=lambda column: column.mean_length)
    if main is longest:
        return [main], f"the longest text ({main.mean_length:.0f} characters on average)"
    return [main], "its name is typical of a text"


def _likely_main(column: ColumnProfile) -> tuple[bool, bool, float]:
    words = set(name_words(column.name))
    return not words & _AFTERTHOUGHTS, bool(words & _TEXT_NAMES), column.mean_length


def _is_title(column: ColumnProfile) -> bool:
    return bool(_TITLES & set(name_words(column.name)))


def _belong_together(first: ColumnProfile, second: ColumnProfile) -> bool:
    words = (set(name_words(first.name)), set(name_words(second.name)))
    for one, other in (words, words[::-1]):
        if one & _TITLES and other & _BODIES:
            return True
    return _are_partners(first.name, second.name)


def _are_partners(first: str, second: str) -> bool:
    words = (set(name_words(first)), set(name_words(second)))
    if any(words[0] & pair and words[1] & pair and (words[0] | words[1]) >= pair for pair in _PARTNERS):
        return True
    twins = (_TWIN.match(first), _TWIN.match(second))
    return bool(twins[0] and twins[1] and twins[0][1] == twins[1][1] and twins[0][1].lower() not in ("column", ""))
