"""Texts that are to be written: by the names of columns, and by what the sentence asks for.

Which columns by their names answer which is told by `autosft.inference.prompts`.
"""

from __future__ import annotations

import re

from autosft.inference.columns import TEXT_ROLES, ColumnProfile, Role, are_twins, name_words, word_set
from autosft.inference.prompts import SUMMARIES, prompt_of
from autosft.inference.sentence import Sentence

_ANSWERS_A_PROMPT, _MAY_ANSWER, _TO_BE_WRITTEN = 11.0, 8.0, 6.0

# The object of the first is what is written, that of the second what is read.
_WRITES = word_set("write writes generate generates compose composes draft drafts")
_READS = word_set(
    "answer answers solve solves continue continues complete completes reply replies respond responds follow follows "
    "summarise summarises summarize summarizes translate translates paraphrase rewrite fix correct simplify"
)
_TURNS = word_set("for about of from to given on in into as with using")
_REACH = 4
# What an answer is found in is not the answer.
_CONTEXTS = word_set("context contexts passage passages paragraph evidence")

_TURNS_INTO = r"\b(?:translat|turn|convert|rewrit|transform|chang)(?:e|es|ing|s)?\b"
_INTO = re.compile(r"\b(?:in)?to ([a-z]+)")
#: How columns of a language are called, by its English name.
_LANGUAGES = {
    "arabic": "ar ara", "chinese": "zh zho cmn", "czech": "cs ces", "danish": "da dan", "dutch": "nl nld",
    "english": "en eng", "finnish": "fi fin", "french": "fr fra", "german": "de deu ger", "greek": "el ell",
    "hindi": "hi hin", "hungarian": "hu hun", "indonesian": "id ind", "italian": "it ita", "japanese": "ja jpn",
    "korean": "ko kor", "norwegian": "no nor", "polish": "pl pol", "portuguese": "pt por", "romanian": "ro ron",
    "russian": "ru rus", "spanish": "es spa", "swedish": "sv swe", "turkish": "tr tur", "ukrainian": "uk ukr",
    "vietnamese": "vi vie",
}  # fmt: skip


def as_written(column: ColumnProfile, profiles: list[ColumnProfile], sentence: Sentence) -> list[tuple[float, str]]:
    """Returns points, with reasons, for a text that is written in answer to another column."""
    if column.role not in TEXT_ROLES:
        return []
    texts = [other for other in profiles if other.role in TEXT_ROLES]
    prompt, certain = prompt_of(column, profiles)
    if prompt and any(prompt_of(other, profiles)[0] and are_twins(column.name, other.name) for other in texts):
        # Of two answers to one question one is chosen.
        prompt = None
    if prompt and _is_beside_the_point(column, profiles, sentence):
        prompt = None
    found = []
    if prompt is not None:
        points = _ANSWERS_A_PROMPT if certain else _MAY_ANSWER
        found.append((points, f"by its name it is written in answer to '{prompt.name}'"))
    if (source := turned_into(column, texts, sentence)) is not None:
        return [*found, (_ANSWERS_A_PROMPT, f"the sentence asks to turn '{source.name}' into it")]
    if any(turned_into(other, texts, sentence) is column for other in texts):
        return []
    wanted = sentence.wants_text()
    if wanted is None:
        return found
    if len(texts) > 1 and _is_translation(column, sentence):
        return [*found, (_ANSWERS_A_PROMPT, "the sentence asks for that language")]
    written = [other for other in texts if _is_object(other, sentence, _WRITES)]
    if written:
        return [*found, (_ANSWERS_A_PROMPT, f"the sentence says '{wanted}' of it")] if column in written else []
    read = [other for other in texts if _is_object(other, sentence, _READS)]
    if prompt is not None or (column not in read and sentence.mention(column.name).strength):
        found.append((_TO_BE_WRITTEN, f"the sentence says '{wanted}'"))
    elif len(texts) == 2 and len(read) == 1 and column not in read and not _CONTEXTS & set(name_words(column.name)):
        found.append((_MAY_ANSWER, f"the sentence says '{wanted}' of '{read[0].name}'"))
    return found


def _is_beside_the_point(column: ColumnProfile, profiles: list[ColumnProfile], sentence: Sentence) -> bool:
    """Tells whether a label beside a written text is what the sentence is about: the text is then read, or left out."""
    labels = [other for other in profiles if other.role in (Role.LABEL, Role.LABELS, Role.NUMBER)]
    mention = sentence.mention(column.name)
    if not labels or sentence.wants_text() or (mention.strength and mention.asked_to_give):
        return False
    if SUMMARIES & set(name_words(column.name)):
        return not mention.strength or mention.as_input
    if sentence.judges():
        return True
    # "About" is said of much beside topics, and an assistant is asked for in many words.
    hints = {sentence.hints_at(other.name) for other in labels} - {None, "about"}
    return bool(hints) and sentence.wants_chat() is None


def turned_into(column: ColumnProfile, texts: list[ColumnProfile], sentence: Sentence) -> ColumnProfile | None:
    """Returns the text that the sentence asks to turn into this one, both by their names as they are: "A into B"."""
    for other in texts:
        pair = rf"['\"`]?{_exactly(other)}['\"`]? (?:in)?to (?:the )?(?:column )?['\"`]?{_exactly(column)}"
        if other is not column and re.search(rf"{_TURNS_INTO}[^.]*(?<!\w){pair}(?!\w)", sentence.text.casefold()):
            return other
    return None


def _exactly(column: ColumnProfile) -> str:
    return re.escape(column.name.casefold())


def _is_object(column: ColumnProfile, sentence: Sentence, verbs: frozenset[str]) -> bool:
    """Tells whether one of these verbs stands before a column's name, and no preposition between."""
    return any(
        _nearest(sentence.words[max(0, place - _REACH) : place]) in verbs
        # "The abstract's title" is a title.
        and sentence.words[place + 1 : place + 2] != ["s"]
        for place in sentence.places(column.name)
    )


def _nearest(before: list[str]) -> str | None:
    # "Reply to the customer": the preposition is the verb's own.
    own = (("reply", "to"), ("replies", "to"), ("respond", "to"), ("responds", "to"))
    words = [word for i, word in enumerate(before) if (*before[max(0, i - 1) : i], word) not in own]
    return next((word for word in reversed(words) if word in _WRITES | _READS | _TURNS), None)


def _is_translation(column: ColumnProfile, sentence: Sentence) -> bool:
    """Tells whether a column is named by the language that the sentence asks to translate into."""
    into = [word for word in _INTO.findall(sentence.text.casefold()) if word in _LANGUAGES]
    return any({word, *_LANGUAGES[word].split()} & set(name_words(column.name)) for word in into)
