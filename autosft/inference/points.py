"""How likely a column is to be the target, in points: by its looks, its name and what the sentence says of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from autosft.inference.columns import TEXT_ROLES, ColumnProfile, Role, name_words, word_set
from autosft.inference.initials import meant_by_initial
from autosft.inference.pairs import is_pair
from autosft.inference.sentence import Sentence
from autosft.inference.writing import as_written

# Points. Only their order matters: being asked for beats a telling name, which beats looking like labels.
ROLE_POINTS = {Role.LABEL: 1.0, Role.LABELS: 1.0, Role.NUMBER: -0.5, Role.TEXT: -5.0, Role.TEXTS: -5.0}
UNFIT = -8.0
_NAMED, _ASKED_FOR, _OFFERED_AS_INPUT = 4.0, 2.0, -6.0
_LABEL_NAMED, _LABELS_LISTED, _HINTED = 3.0, 8.0, 2.5
_TELLING, _TELLING_IN_PART, _TYPICAL, _METADATA = 4.0, 3.0, 2.0, -2.0
_NUMBER_ASKED_FOR, _MEASURES_A_PAIR = 2.0, 2.0
_MOSTLY_MISSING, _LAST_COLUMN = -1.0, 0.5

TELLING_NAMES = word_set("label labels target targets class classes y gold truth groundtruth outcome")
TYPICAL_NAMES = word_set(
    "category categories intent sentiment topic tag type emotion genre toxic toxicity spam stars rating overall "
    "polarity priority queue department urgency severity status section stance verdict decision judgment judgement is"
)
_NUMBER_NAMES = word_set("score scores rating overall similarity grade price value valence arousal dominance relevance")
# Those of them that say how good something is, in a few steps too.
_MARKS = word_set("score scores grade")
_METADATA_NAMES = word_set(
    "lang language locale source author user username year month version annotator annotators length len count country "
    "region platform channel gender domain device confidence license agreement worker rater"
)
_LABEL_NAMES = (TELLING_NAMES | TYPICAL_NAMES | {"code"}) - word_set("target targets gold truth groundtruth y is")
_MAX_LABEL_WORDS = 6.0
# What one of several people said, or a model: beside what is to be learned, whatever else the name says.
_OF_ONE_VOICE = word_set("annotator annotators rater raters worker workers pred preds predicted prediction predictions")
# How far those who labelled a row were apart, and how many they were.
_SPREAD = word_set("variance std stdev stddev")
_ASKED_HOW = (Role.LABEL, Role.NUMBER)
_PAIR_MEASURES = word_set("score similarity relatedness relevance")


@dataclass(frozen=True)
class TargetReading:
    """One reading of which column is predicted, with its points and the reasons in words."""

    column: ColumnProfile
    points: float
    reasons: tuple[str, ...]

    @property
    def is_asked_for(self) -> bool:
        """Whether it is the sentence that speaks for it."""
        return any("the sentence" in reason for reason in self.reasons)

    def describe(self) -> str:
        because = f" because {' and '.join(self.reasons)}" if self.reasons else ""
        return f"target '{self.column.name}' ({_shown(self.column)}){because}"


def read_column(column: ColumnProfile, sentence: Sentence, profiles: list[ColumnProfile]) -> TargetReading:
    """Returns the reading of a column as the target."""
    # Labels of which each has one row look like texts. To read another column would leave the mistake untold.
    role = Role.LABEL if is_short_label(column) else column.role
    points = ROLE_POINTS.get(role, UNFIT)
    reasons: list[str] = []
    if column.position == len(profiles) - 1:
        points += _LAST_COLUMN
    if column.num_missing > column.num_values:
        points += _MOSTLY_MISSING
    found = (
        *_from_sentence(column, sentence, profiles),
        *_from_name(column, sentence, profiles),
        *as_written(column, profiles, sentence),
    )
    for added, reason in found:
        points += added
        if added > 0:
            reasons.append(reason)
    return TargetReading(column, points, tuple(reasons))


def is_short_label(column: ColumnProfile) -> bool:
    """Tells whether texts are labels of which each has one row: they are short, in a column that is called so."""
    words = set(name_words(column.name))
    return column.role is Role.TEXT and column.mean_words <= _MAX_LABEL_WORDS and bool(words & _LABEL_NAMES)


def _from_sentence(column: ColumnProfile, sentence: Sentence, profiles: list[ColumnProfile]) -> list[tuple[float, str]]:
    mention, found = sentence.mention(column.name), []
    how = {other.name: sentence.asks_how(other.name) for other in profiles}
    # "Each message" and "from the title" name what is read.
    if mention.as_input:
        found.append((_OFFERED_AS_INPUT, ""))
    elif column.name in _choices(profiles, sentence):
        pass
    elif column.role in _ASKED_HOW and not _SPREAD & set(name_words(column.name)) and (word := how[column.name]):
        found.append((_NAMED + _ASKED_FOR, f"the sentence asks how '{word}'"))
    elif (mention.as_subject and any(how.values())) or _is_other_named(column, profiles, sentence):
        pass
    elif mention.strength and (column.role not in TEXT_ROLES or mention.asked_to_give):
        found.append((_NAMED * mention.strength, "the sentence names the column"))
        if mention.as_target:
            found.append((_ASKED_FOR, "asks for it"))
    elif column.role in (Role.LABEL, Role.LABELS, Role.NUMBER) and (word := sentence.hints_at(column.name)):
        found.append((_HINTED, f"the sentence says '{word}'"))
    if column.role is Role.NUMBER and (words := sentence.wants_number()):
        found.append((_NUMBER_ASKED_FOR, f"the sentence says '{words}'"))
    if not mention.strength and (word := meant_by_initial(column, profiles, sentence)):
        found.append((_NAMED + _ASKED_FOR, f"the sentence says '{word}', and no other word begins as such a column"))
    if column.role is Role.LABEL and sentence.lists_labels(column.values):
        found.append((_LABELS_LISTED, "the sentence lists its values"))
    elif column.role is Role.LABEL and column.num_distinct <= 20:
        named = next((value for value in column.values if sentence.names_label(value)), None)
        if named:
            found.append((_LABEL_NAMED, f"the sentence names its value '{named}'"))
    return found


def _is_other_named(column: ColumnProfile, profiles: list[ColumnProfile], sentence: Sentence) -> bool:
    """Tells whether the word that names a column in part is all that another is called: "toxic", and "severe_toxic"."""
    words = name_words(column.name)
    if len(words) < 2 or not 0 < sentence.mention(column.name).strength < 1:
        return False
    return any(name_words(other.name) == words[-1:] for other in profiles)


def _choices(profiles: list[ColumnProfile], sentence: Sentence) -> list[str]:
    """Returns the columns that "is it spam, fraud or neither?" names: what each counts is not what is asked for."""
    roles = (Role.LABEL, Role.NUMBER)
    named = [c.name for c in profiles if c.role in roles and sentence.mention(c.name).strength == 1]
    return named if len(named) > 1 and any(map(sentence.names_after_or, named)) else []


def _from_name(column: ColumnProfile, sentence: Sentence, profiles: list[ColumnProfile]) -> list[tuple[float, str]]:
    words = name_words(column.name)
    if column.role not in ROLE_POINTS or not words:
        return []
    mention = sentence.mention(column.name)
    beside = (_OF_ONE_VOICE | _SPREAD) & set(words) or (len(words) > 1 and words[-1] == "count")
    if beside and not (mention.as_target and mention.strength == 1):
        return [(_METADATA, "")]
    if words[-1] in TELLING_NAMES or words[0] in TELLING_NAMES:
        return [(_TELLING if len(words) == 1 else _TELLING_IN_PART, "targets are often called that")]
    if words[-1] in TYPICAL_NAMES or words[0] in TYPICAL_NAMES:
        return [(_TYPICAL, "its name is typical of a target")]
    if column.role is Role.NUMBER and _PAIR_MEASURES & set(words) and _has_pair(profiles):
        return [(_TYPICAL + _MEASURES_A_PAIR, "its name is typical of what is measured of two texts")]
    if _NUMBER_NAMES & set(words) and (column.role is Role.NUMBER or (column.is_number and _MARKS & set(words))):
        return [(_TYPICAL, "its name is typical of a number to predict")]
    asked = mention.strength or sentence.hints_at(column.name)
    return [(_METADATA, "")] if _METADATA_NAMES & set(words) and not asked else []


def _has_pair(profiles: list[ColumnProfile]) -> bool:
    texts = [column.name for column in profiles if column.role in TEXT_ROLES]
    return any(is_pair(pair) for pair in combinations(texts, 2))


def _shown(column: ColumnProfile) -> str:
    shown = ", ".join(value if len(value) <= 24 else value[:21] + "..." for value in column.values[:3])
    return f"{column.num_distinct:,} values: {shown}" + (", ..." if column.num_distinct > 3 else "")
