"""What the words of the user's sentence say: which columns and labels they name, and which metric they ask for.

Words and stems only, no language model. A sentence in another language names nothing, and then the columns decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autosft.inference import phrases
from autosft.inference.columns import name_words, word_set
from autosft.inference.metric_words import metrics_in, without_metrics

# Verbs and nouns that every such sentence has; a column of that name is not meant by them.
_GENERIC = word_set(
    "a an and are as at be by can classification classified classifier classify classifying column correct data "
    "dataset detect determine do does each every find for from given guess has have how i identify in into is it "
    "its label labelled labels me model of on one or our predict predicting prediction right row rows say tag "
    "tell text texts that the their them these this to train two us want was we what whether which who with would "
    "you your about categorize categorise categorizing categorising not no if they"
)
_TARGET_CUES = word_set(
    "by predict predicting into to determine identify detect detecting assign which what per infer guess tell find "
    "recognize recognise whether is would will does did"
)
_SUBJECT_CUES = word_set("is whether would will does did")
_INPUT_CUES = word_set("from given using on read reading")
_CUE_REACH = 4
_MAX_LISTED = 20
# To tag is said of any labels, but where a column is called so.
_TAGS, _TO_TAG = word_set("tag tags"), word_set("tag tagging")
# What may stand between the words that set a column aside and its name.
_ASIDE_PLAIN = word_set(
    "a an the their its any all use using read reading look looking at from by column columns field"
)
_AND = word_set("and or nor")
# Endings, and how many letters must be left: "family" is no form of "fami", nor "table" one of "t".
_SUFFIXES = (
    ("ization", 3), ("isation", 3), ("abilities", 4), ("ability", 4), ("ibility", 4), ("eness", 3),
    ("ingly", 3), ("ities", 3), ("able", 4), ("ible", 4), ("ness", 3), ("ely", 4), ("ing", 3), ("ies", 3), ("ity", 3),
    ("ly", 5), ("ed", 3), ("es", 3), ("s", 3), ("y", 3), ("e", 3),
)  # fmt: skip
_DOUBLED = re.compile(r"([bdgmnprt])\1$")
_NEGATIONS = frozenset({"not", "no", "non", "none"})
# What a column's name may end in without its being said: "relatedness" is meant by "relatedness_score".
_UNSAID = word_set("score scores rating label labels class value values flag judgment judgement annotation")
# "Recommended" is all that "Recommended IND" means. "Product name" is meant where the product is asked for, and not by
# what is said of a product.
_EMPTY = word_set("ind indicator flag yn")
_OF_A_THING = word_set("name index idx code id type no nr num")
_IN_PART, _BY_THE_REST = 0.75, 0.5

# Words for the same thing: a sentence that uses one hints at a column named by another.
_SYNONYMS: tuple[frozenset[str], ...] = tuple(
    word_set(group)
    for group in (
        "intent intention category class route purpose",
        "route queue department team desk assignee destination forward",
        "sentiment polarity positive negative opinion feeling stars rating mood happy satisfied attitude score",
        "topic subject category section theme genre area field about",
        "spam ham junk",
        "language lang locale",
        "toxic toxicity hate hateful offensive abusive abuse insult moderation",
        "urgent urgency priority severity critical important importance",
        "emotion feeling mood",
        "genre category style",
        "similarity similar alike relatedness related score",
        "author writer speaker",
        "status state resolved outcome",
    )
)
# What is meant by a column's name, and not by the same word in a sentence.
_MEANING = {"overall": "rating"}


@dataclass(frozen=True)
class Mention:
    """How a sentence speaks of a column.

    Attributes:
        strength: 0 where it does not; 1 where all words of the column's name occur, less for its last word alone, and
            still less where its last word is one that goes without saying.
        as_target: Whether the words before it ask for it ("by priority", "predict the intent").
        as_subject: Whether they are only those that a subject follows ("is the answer right", "whether the text").
        as_input: Whether the words before it offer it ("from the title").
    """

    strength: float = 0.0
    as_target: bool = False
    as_input: bool = False
    as_subject: bool = False

    @property
    def asked_to_give(self) -> bool:
        return self.as_target and not self.as_subject


class Sentence:
    """The user's sentence, cut into words once."""

    def __init__(self, description: str) -> None:
        self.text = description
        self.words = re.findall(r"[^\W_]+", description.casefold().replace("_", " "))

    def mention(self, column: str) -> Mention:
        """Returns how the sentence speaks of a column."""
        names = [word for word in name_words(column) if not word.isdigit()]
        if not names:
            return Mention()
        places = {name: self._places(name) for name in names}
        if not places[names[-1]]:
            return self._mention_of_the_rest(names, places)
        # "text_lang" is not meant by "text", but "customer_intent" is by "intent".
        strength = 1.0 if all(places.values()) else _IN_PART
        cues = [self._cue_before(place) for place in places[names[-1]]]
        return Mention(
            strength,
            as_target=self._tags_by(names) or any(cue in _TARGET_CUES for cue in cues),
            as_input=any(cue in _INPUT_CUES for cue in cues),
            as_subject=all(cue in _SUBJECT_CUES for cue in cues),
        )

    def _mention_of_the_rest(self, names: list[str], places: dict[str, list[int]]) -> Mention:
        rest = names[:-1]
        if names[-1] not in _UNSAID | _EMPTY | _OF_A_THING or not rest or not all(places[name] for name in rest):
            return Mention()
        # "From the text" offers the text, not the "text_label".
        cues = [self._cue_before(place) for place in places[rest[-1]]]
        if any(cue in _INPUT_CUES for cue in cues):
            return Mention()
        mention = Mention(
            _BY_THE_REST if names[-1] in _UNSAID - _EMPTY else 1.0,
            as_target=any(cue in _TARGET_CUES for cue in cues),
            as_subject=all(cue in _SUBJECT_CUES for cue in cues),
        )
        if names[-1] not in _OF_A_THING:
            return mention
        alone = any(self._stands_alone(place) for place in places[rest[-1]])
        return mention if mention.asked_to_give and alone else Mention()

    def sets_aside(self, column: str) -> str | None:
        """Returns the words by which the sentence leaves a column out, as in "without the title"; None without any."""
        names = name_words(column)
        for found in phrases.ASIDE.finditer(self.text.casefold()) if names else ():
            rest = re.split(r"[.,;:?!]", self.text.casefold()[found.end() :])[0]
            words = re.findall(r"[^\W_]+", rest.replace("_", " "))
            for i, word in enumerate(words):
                if same_stem(word, names[-1]):
                    return found.group()
                # "Without the title and the body" goes on to the second.
                if word not in _ASIDE_PLAIN | _AND | set(names) and words[i + 1 : i + 2] not in [["and"], ["or"]]:
                    break
        return None

    def places(self, column: str) -> list[int]:
        """Returns where the last word of a column's name stands among the words."""
        names = [word for word in name_words(column) if not word.isdigit()]
        return self._places(names[-1]) if names else []

    def names_after_or(self, column: str) -> bool:
        """Tells whether a column's whole name follows an "or", as the last of some choices does."""
        names = name_words(column)
        return any(self.words[place - len(names)] == "or" for place in self.places(column) if place >= len(names))

    def content_words(self) -> list[str]:
        """Returns the words that are not of every such sentence, nor part of a metric's name."""
        rest = without_metrics(self.text).replace("_", " ")
        return [word for word in re.findall(r"[^\W_]+", rest) if word not in _GENERIC]

    def lists_labels(self, values: Sequence[str]) -> bool:
        """Tells whether a sentence lists every one of a few labels, as in "yes, no or maybe"."""
        named = [name_words(value) for value in values]
        return 2 <= len(named) <= _MAX_LISTED and all(
            names and not any(word.isdigit() for word in names) and set(names) <= set(self.words) for names in named
        )

    def uses_answering(self) -> bool:
        """Tells whether "answer" is a verb in it: what is asked of a text, and no column."""
        return phrases.ANSWERING.search(self.text.casefold()) is not None

    def hints_at(self, column: str) -> str | None:
        """Returns the word by which the sentence hints at a column without naming it."""
        names = [_MEANING.get(name, name) for name in name_words(column)]
        groups = [group for group in _SYNONYMS if any(same_stem(name, word) for name in names for word in group)]
        hints = (word for word in self.words if any(same_stem(word, other) for group in groups for other in group))
        return next(hints, None)

    def names_label(self, label: str) -> bool:
        """Tells whether every word of a label occurs; digits, single letters and negated labels are never named."""
        names = name_words(label)
        if not names or len(names) > 4 or _NEGATIONS & set(names) or any(word.isdigit() for word in names):
            return False
        return max(map(len, names)) >= 3 and all(self._places(name) for name in names)

    def metrics(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the metrics that the sentence asks for and those that it sets aside, as `metrics_in` does."""
        return metrics_in(self.text)

    def wants_number(self) -> str | None:
        """Returns the words that ask for a number, None where none do; "F1 score" does not."""
        return _first(phrases.NUMBER, without_metrics(self.text))

    def wants_text(self) -> str | None:
        """Returns the verb that asks for a text to be written, None where none does."""
        return _first(phrases.WRITE, self.text.casefold())

    def asks_how(self, column: str) -> str | None:
        """Returns the word after "how" where it stands for this column: "how intense" asks for the intensity."""
        found = phrases.HOW.search(self.text.casefold())
        return found[1] if found and any(same_stem(found[1], name) for name in name_words(column)) else None

    def compares(self) -> str | None:
        """Returns the words that are said of two texts, None where none are; "exact match" is a metric."""
        return _first(phrases.COMPARE, without_metrics(self.text))

    def judges(self) -> bool:
        """Tells whether it asks what holds of a text that is there, and for no text to be written."""
        return self.wants_text() is None and phrases.JUDGE.search(without_metrics(self.text.casefold())) is not None

    def wants_classes(self) -> bool:
        """Tells whether it asks in so many words to classify."""
        return phrases.CLASSIFY.search(self.text.casefold()) is not None

    def wants_several(self) -> str | None:
        """Returns the words that ask for several labels a row, None where none do."""
        return _first(phrases.SEVERAL, self.text.casefold())

    def asks_one_thing(self) -> bool:
        """Tells whether it asks for one answer a row: yes or no, this or that."""
        return self.wants_several() is None and phrases.ONE_THING.search(self.text.casefold()) is not None

    def names_kinds(self) -> bool:
        """Tells whether it asks for kinds or labels in the plural, and not for rows that have one of them."""
        return phrases.KINDS_OF.search(self.text.casefold()) is not None

    def wants_marks(self) -> str | None:
        """Returns the words that ask for marks in a text, None where none do."""
        return _first(phrases.MARK, self.text.casefold())

    def asks_for_tags(self, names: Sequence[str]) -> str | None:
        """Returns the words that ask for the tags that a column's name stands for, None where none do."""
        patterns = (pattern for name, pattern in phrases.TAGS.items() if name in names)
        return next((words for pattern in patterns if (words := _first(pattern, self.text.casefold()))), None)

    def wants_chat(self) -> str | None:
        """Returns the words that speak of conversations, None where none do."""
        return _first(phrases.CHAT, self.text.casefold())

    def _cue_before(self, place: int) -> str | None:
        before = self.words[max(0, place - _CUE_REACH) : place]
        return next((word for word in reversed(before) if word in _TARGET_CUES | _INPUT_CUES), None)

    def _stands_alone(self, place: int) -> bool:
        """Tells "predict the issue" and "which issue" from "predict the issue priority"."""
        after = self.words[place + 1 : place + 2]
        asked = self.words[max(0, place - 1) : place] in (["which"], ["what"])
        return asked or not after or after[0] in _GENERIC | _INPUT_CUES

    def _tags_by(self, names: list[str]) -> bool:
        """Tells "tag the questions", which asks for a column of tags, from "tag the questions by topic"."""
        verbs = [place for place, word in enumerate(self.words) if word in _TO_TAG]
        return names[-1] in _TAGS and bool(verbs) and not {"by", "with", "as"} & set(self.words[verbs[0] :])

    def _places(self, name: str) -> list[int]:
        if name in _TAGS:
            return [i for i, word in enumerate(self.words) if word in _TAGS | _TO_TAG]
        if name in _GENERIC:
            return []
        return [i for i, word in enumerate(self.words) if word not in _GENERIC and same_stem(word, name)]


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group().strip() if found else None


def same_stem(first: str, second: str) -> bool:
    """Tells whether two words are forms of one: equal stems, or long words that share most of their letters."""
    if first == second or stem(first) == stem(second):
        return True
    shorter, longer = sorted((first, second), key=len)
    shared = next((i for i, letter in enumerate(shorter) if letter != longer[i]), len(shorter))
    return len(shorter) >= 6 and shared >= 5 and shared >= 0.7 * len(longer)


def stem(word: str) -> str:
    """Returns a word without its English ending, at least three letters of it; "spamming" gives "spam"."""
    for suffix, least in _SUFFIXES:
        # "Essay" ends in no "y" of its own.
        if suffix == "y" and word[-2:-1] in "aeiou":
            continue
        if word.endswith(suffix) and len(word) - len(suffix) >= least:
            rest = word[: -len(suffix)]
            return rest[:-1] if suffix in ("ing", "ed") and len(rest) > 3 and _DOUBLED.search(rest) else rest
    return word
