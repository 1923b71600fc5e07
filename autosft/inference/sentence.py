"""What the words of the user's sentence say: which columns and labels they name, and which metric they ask for.

Words and stems only, no language model. A sentence in another language names nothing, and then the columns decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from autosft.inference.columns import name_words, word_set

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
    "recognize recognise whether is"
)
_INPUT_CUES = word_set("from given using on read reading")
_CUE_REACH = 4
_SUFFIXES = ("ization", "isation", "ingly", "ities", "ness", "ing", "ies", "ity", "ed", "es", "s", "y", "e")
_NEGATIONS = frozenset({"not", "no", "non", "none"})

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
        "author writer speaker",
        "status state resolved outcome",
    )
)

_NEVER_MISS = (
    r"\b(?:not|\w*n['\u2019]t|dont|never|cannot|without|avoid)\s+(?:\w+\s+){0,2}?miss(?:es|ed|ing)?\b"
    r"|\bcatch(?:ing)? (?:all|every|as many)|\bfalse negatives?\b|\bsensitivity\b|\brecall\b"
    r"|\bmiss (?:none|nothing|no)\b"
)
_METRIC_WORDS: tuple[tuple[str, str], ...] = (
    (r"\bhamming\b", "hamming_loss"),
    (r"\bspearman\w*|\brank correlation|\bcorrelat\w+", "spearman"),
    (r"\bpearson\w*", "pearson"),
    (r"\br2\b|\br[ -]?squared|\bvariance explained|\bexplained variance", "r2"),
    (r"\brmse\b|\broot mean squared?\b|\bsquared error\b", "rmse"),
    (r"\bmae\b|\babsolute error\b", "mae"),
    (r"\bbits per byte\b|\bperplexity\b", "bits_per_byte"),
    (r"\bexact(?:ly)?[ -]match\w*", "exact_match"),
    (r"average[ -]precision|pr[ -]?auc|auprc|precision[ -]recall (?:curve|auc)", "average_precision"),
    (r"macro[ -_]?(?:averaged )?f[ -_]?(?:1|score|measure)|f1[ -_]macro", "macro_f1"),
    (r"weighted[ -_]?(?:averaged )?f[ -_]?(?:1|score|measure)|f1[ -_]weighted", "weighted_f1"),
    (r"\bf[ -]?1\b|\bf[ -](?:score|measure)\b", "f1"),
    (r"balanced[ -_]accuracy", "balanced_accuracy"),
    (r"\bau[ -]?roc\b|\bauc\b|\broc\b|\brank(?:ed|ing|s)?\b", "roc_auc"),
    (r"\bmcc\b|\bmatthews", "mcc"),
    (r"log[ -]?loss|cross[ -]entropy|calibrat", "log_loss"),
    (_NEVER_MISS, "recall"),
    (r"\bprecision\b|\bfalse (?:positives?|alarms?)\b", "precision"),
    (r"\b(?:im|un)balanced?\b|\bskewed\b|\brare (?:class|label|categor)|\bminority\b", "imbalanced"),
    (r"\baccura(?:cy|te|tely)\b", "accuracy"),
    (r"\berrors?\b", "rmse"),
)

# Words that ask for a measure, and verbs that ask for a text where they open the sentence or follow "to".
_NUMBER = re.compile(
    r"\bscores?\b|\bregress\w*|\bhow (?:similar|alike|related|close|much|strong\w*|likely|intense)\b|\bestimate\b"
    r"|\b(?:as|on) a (?:number|scale)\b|\bnumber (?:from|between)\b|\bdegree of\b|\bnumeric\w*"
    r"|\b(?:from|between) -?\d+(?:\.\d+)? (?:to|and) -?\d"
)
_WRITE = re.compile(
    r"^\W*(?:please )?(?:learn )?(write|generate|answer|solve|continue|complete|reply|respond|follow|summari[sz]e"
    r"|translate|paraphrase|rewrite|compose)\b"
    r"|\bto (write|generate|answer|solve|continue|complete|reply|respond|follow instructions|summari[sz]e|translate"
    r"|paraphrase|rewrite|compose)\b"
    r"|\b(generates|writes|solves|continues|completes|replies|responds|summari[sz]es|translates)\b"
)
_SEVERAL = re.compile(
    r"\bmulti[ -]?label|\ball (?:that|the|of)\b|\bseveral\b|\bwhich of\b|\b(?:tags|labels|topics|categories"
    r"|emotions|genres|themes|kinds|types)\b"
)
_MARK = re.compile(
    r"\bentit(?:y|ies)\b|\bner\b|\btags?\b|\btagging\b|\bspans?\b|\btokens?\b|\bextract\w*|\bmark\b|\bchunk\w*"
    r"|\bpart[ -]of[ -]speech\b|\bslots?\b|\bword by word\b|\bhighlight\b"
)
_CHAT = re.compile(r"\bchat\w*|\bassistant\b|\bconvers\w+|\bdialog\w*|\brepl(?:y|ies)\b|\brespon\w+|\bturns?\b")


@dataclass(frozen=True)
class Mention:
    """How a sentence speaks of a column.

    Attributes:
        strength: 0 where it does not; 1 where all words of the column's name occur, less for its last word alone.
        as_target: Whether the words before it ask for it ("by priority", "predict the intent").
        as_input: Whether the words before it offer it ("from the title").
    """

    strength: float = 0.0
    as_target: bool = False
    as_input: bool = False


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
            return Mention()
        # "text_lang" is not meant by "text", but "customer_intent" is by "intent".
        strength = 1.0 if all(places.values()) else 0.75
        cues = [self._cue_before(place) for place in places[names[-1]]]
        return Mention(strength, any(cue in _TARGET_CUES for cue in cues), any(cue in _INPUT_CUES for cue in cues))

    def hints_at(self, column: str) -> str | None:
        """Returns the word by which the sentence hints at a column without naming it."""
        names = name_words(column)
        groups = [group for group in _SYNONYMS if any(same_stem(name, word) for name in names for word in group)]
        hints = (word for word in self.words if any(same_stem(word, other) for group in groups for other in group))
        return next(hints, None)

    def names_label(self, label: str) -> bool:
        """Tells whether every word of a label occurs; digits, single letters and negated labels are never named."""
        names = name_words(label)
        if not names or len(names) > 4 or _NEGATIONS & set(names) or any(word.isdigit() for word in names):
            return False
        return max(map(len, names)) >= 3 and all(self._places(name) for name in names)

    def metrics(self) -> dict[str, str]:
        """Returns the metrics that the sentence asks for, each with the words that do; "imbalanced" is one of them."""
        found: dict[str, str] = {}
        rest = self.text.casefold()
        for pattern, name in _METRIC_WORDS:
            match = re.search(pattern, rest)
            if match:
                found[name] = match.group().strip()
                rest = re.sub(pattern, " ", rest)
        return found

    def wants_number(self) -> str | None:
        """Returns the words that ask for a number, None where none do; "F1 score" does not."""
        rest = self.text.casefold()
        for pattern, _ in _METRIC_WORDS:
            rest = re.sub(rf"(?:{pattern})(?: scores?)?", " ", rest)
        return _first(_NUMBER, rest)

    def wants_text(self) -> str | None:
        """Returns the verb that asks for a text to be written, None where none does."""
        return _first(_WRITE, self.text.casefold())

    def wants_several(self) -> str | None:
        """Returns the words that ask for several labels a row, None where none do."""
        return _first(_SEVERAL, self.text.casefold())

    def wants_marks(self) -> str | None:
        """Returns the words that ask for marks in a text, None where none do."""
        return _first(_MARK, self.text.casefold())

    def wants_chat(self) -> str | None:
        """Returns the words that speak of conversations, None where none do."""
        return _first(_CHAT, self.text.casefold())

    def _cue_before(self, place: int) -> str | None:
        before = self.words[max(0, place - _CUE_REACH) : place]
        return next((word for word in reversed(before) if word in _TARGET_CUES | _INPUT_CUES), None)

    def _places(self, name: str) -> list[int]:
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
    """Returns a word without its English ending, at least three letters of it."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word
