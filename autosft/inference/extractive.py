"""Answers as places in a text, and preferences among answers: recognised by their columns, and refused in words."""

from __future__ import annotations

from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, name_words, word_set
from autosft.inference.sentence import Sentence

#: The field of SQuAD, and of all that was made like it, that says where in the context an answer begins.
_PLACE = "answer_start"
#: What such data has beside its answers, none of which is predicted for its own sake.
_PARTS = word_set("question questions context contexts passage passages paragraph paragraphs answer answers id")
#: What preference tuning calls an answer that was liked and one that was not.
_PREFERRED = (("chosen", "rejected"), ("chosen_response", "rejected_response"))


def refuse_extractive(profiles: list[ColumnProfile], sentence: Sentence, target: str | None) -> None:
    """Raises TaskError for questions with the places of their answers, unless another column is to be predicted."""
    places = [column for column in profiles if _holds_places(column)]
    named = [word for column in profiles for word in (*name_words(column.name), *name_words(str(column.type)))]
    if not places or not {"question", "questions"} & set(named):
        return
    if target is not None and target not in [column.name for column in places]:
        return
    others = [sentence.mention(column.name) for column in profiles if not set(name_words(column.name)) & _PARTS]
    if target is None and any(mention.strength and not mention.as_input for mention in others):
        return
    raise TaskError(
        explain(
            wrong=f"column '{places[0].name}' says where in a text the answers to questions stand, and extractive "
            "question answering is not trained here",
            expected="for a decoder, a column of prompts (the question and its context) and one of completions",
            fix="write the context and the question into a column 'prompt' and the answer's words into 'completion'; "
            "or name another column to predict with target=",
        )
    )


def refuse_preferences(profiles: list[ColumnProfile], sentence: Sentence, target: str | None) -> None:
    """Raises TaskError for pairs of a chosen and a rejected answer, unless another column is to be predicted."""
    names = {column.name.casefold(): column.name for column in profiles}
    pair = next((pair for pair in _PREFERRED if names.keys() >= set(pair)), None)
    if pair is None or target is not None:
        return
    chosen, rejected = (names[name] for name in pair)
    others = [sentence.mention(column.name) for column in profiles if column.name not in (chosen, rejected, "prompt")]
    if any(mention.strength and not mention.as_input for mention in others):
        return
    raise TaskError(
        explain(
            wrong=f"columns '{chosen}' and '{rejected}' hold a preferred answer and another one, and preference tuning "
            "(DPO) is not trained here",
            expected="for a decoder, a column of prompts and one of the answers to learn, or conversations",
            fix=f"to learn the preferred answers alone, rename '{chosen}' to 'completion' beside a column 'prompt' (or "
            f"to 'messages' where it holds turns) and drop '{rejected}'; or name a column to predict with target=",
        )
    )


def _holds_places(column: ColumnProfile) -> bool:
    # Files of cells hold such an object as text.
    return _PLACE in (column.values[0] if column.is_string and column.values else str(column.type))
