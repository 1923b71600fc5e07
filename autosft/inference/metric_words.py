"""Words that ask for a metric: its name, or what they say of the two ways to be wrong; and words that set one aside.

What is made of them is decided by `autosft.inference.metric`.
"""

from __future__ import annotations

import re

# The two ways to be wrong: passing one over, and seeing one where there is none.
_MISS = r"(?:miss(?:es|ed|ing)?|overlook\w*|false[ -]negatives?|letting (?:\w+ ){1,3}?through)"
_ALARM = (
    r"(?:false[ -](?:positives?|alarms?)|(?:wrongly|falsely|mistakenly|needlessly) \w+"
    r"|(?:flagging|blocking|rejecting|removing) (?:an? |the )?(?:harmless|good|clean|innocent|legitimate)(?: \w+)?)"
)

_GAP = r"[^.;!?]{0,60}?"
_UNDENIED = r"(?<!\bno )(?<!\bnot )(?<!n't )"
_WORSE = (
    rf"{_UNDENIED}\b(?:(?:worse|costlier|graver|more|bigger|greater)(?: \w+){{0,3}}? than"
    r"|outweighs?|(?:twice|times) as \w+ as)\b"
)
_BETTER = (
    rf"(?:{_UNDENIED}\b(?:better|cheaper|preferable|less(?: \w+){{0,4}}?) (?:than|to)"
    r"|(?:\bnot|n't) (?:nearly |quite |half )?(?:as|so) \w+ as)\b"
)
_EQUAL = r"(?:\bas \w+ as|(?:\bno|\bnot|n't) (?:worse|better|more \w+|less \w+) than)\b"


def _is_worse(one: str, other: str) -> str:
    """Returns the pattern of what says that one error is worse than the other."""
    return "|".join(
        (
            rf"\b{one}\b{_GAP}{_WORSE}{_GAP}\b{other}\b",
            rf"\b{other}\b{_GAP}{_BETTER}{_GAP}\b{one}\b",
            # "It is worse to miss one than to raise a false alarm", "rather a false alarm than a miss".
            rf"{_UNDENIED}\b(?:worse|costlier|more (?!false)\w+)\b{_GAP}\b{one}\b{_GAP}\bthan\b{_GAP}\b{other}\b",
            rf"{_UNDENIED}\b(?:rather|better|prefer\w*)\b{_GAP}\b{other}\b{_GAP}\b(?:than|to|over)\b{_GAP}\b{one}\b",
            # "False alarms are bad, missing one is worse."
            rf"\b{other}\b[^.!?]{{0,60}}?\b{one}\b{_GAP}{_UNDENIED}\b(?:worse|costlier)\b(?!(?: \w+){{0,3}}? than)",
        )
    )


_FINE = (
    r"(?:fine|ok|okay|acceptable|tolerable|bearable|harmless|cheap|no (?:big |real )?(?:problem|issue|concern|deal))"
)


def _is_borne(error: str) -> str:
    """Returns the pattern of what says that an error may happen."""
    after = (
        rf"(?:is|are) (?:\w+ly |quite |all |still |just )?{_FINE}|can be (?:tolerated|accepted)"
        r"|costs? (?:us )?(?:little|nothing)|(?:is|are|do|does)(?: not|n't) (?:really |much )?"
        r"(?:matter|hurt|a (?:big |real )?(?:problem|issue|concern)|bad|costly|expensive|important|harmful)"
    )
    before = (
        r"(?:\bnot|n't|\bdont) (?:really |much )?(?:care|mind|worry|bother)(?: about| if)?|\bnever mind"
        r"|(?<!\bnot )(?<!n't )(?<!\bnever )(?<!\bcannot )\b(?:tolerate|accept|live with|put up with)"
        r"|\bat the (?:cost|price|expense) of|\beven if"
    )
    return rf"\b{error}\b(?: \w+){{0,3}}? (?:{after})\b|(?:{before})(?: \w+){{0,3}}? {error}\b"


_NEVER_MISS = (
    r"(?:\b(?:not|dont|never|cannot|without|avoid)|n't) (?:\w+ ){0,2}?miss(?:es|ed|ing)?\b|\bmiss (?:none|nothing|no)\b"
    rf"|\bmiss(?:es|ing)\b(?: \w+){{0,3}}? (?:(?:is|are)(?: not|n't) (?:{_FINE}|an option)|(?:is|are) unacceptable)\b"
    r"|\bcatch(?:ing)? (?:all|every|as many)|\bfalse[ -]negatives?\b"
)
# "Which rank does it have" asks for a column; "rank the comments" asks for an order.
_RANK = (
    r"(?:^|[.,:;!?] |\b(?:to|and|please|then|should|must|can|will|we) )"
    r"rank(?= (?:the|them|these|those|all|each|every|our|my|by|\w+s)\b)"
    r"|\branked(?: \w+){0,3}? (?:by|according to|above)\b|\branking (?:them|these|those|all|our)\b"
    r"|\b(?:good|best|better|correct) ranking\b"
)
# Of errors in this order: what a sentence weighs or bears says more than that it names them.
_ERRORS: tuple[tuple[str, str], ...] = (
    (_is_worse(_MISS, _ALARM), "recall"),
    (_is_worse(_ALARM, _MISS), "precision"),
    (rf"\b{_MISS}\b{_GAP}{_EQUAL}{_GAP}\b{_ALARM}\b|\b{_ALARM}\b{_GAP}{_EQUAL}{_GAP}\b{_MISS}\b", "f1"),
    (_is_borne(_ALARM), "recall"),
    (_is_borne(_MISS), "precision"),
    (_NEVER_MISS, "recall"),
    (r"\bfalse[ -](?:positives?|alarms?)\b", "precision"),
)
_NAMES: tuple[tuple[str, str], ...] = (
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
    (rf"\bau[ -]?roc\b|\bauc\b|\broc\b|{_RANK}", "roc_auc"),
    (r"\bmcc\b|\bmatthews", "mcc"),
    (r"log[ -]?loss|cross[ -]entropy|calibrat", "log_loss"),
    (r"\bsensitivity\b|\brecall\b", "recall"),
    (r"\bprecision\b", "precision"),
    (r"\b(?:im|un)balanced?\b|\bskewed\b", "imbalanced"),
)
_ACCURACY = (r"\baccura(?:cy|te|tely)\b", "accuracy")
_RARE, _ANY_ERROR = (r"\brare (?:class|label|categor)|\bminority\b", "imbalanced"), (r"\berrors?\b", "rmse")
# The first that a kind has decides: "high accuracy, and miss none" asks for more than accuracy.
_WORDS = (*_NAMES, *_ERRORS, _RARE, _ACCURACY, _ANY_ERROR)
_NOT = r"(?:\b(?:not|never|cannot|dont|no longer)|n't)"
# What sets aside the metric that follows, and the metric before it. "Do not sacrifice accuracy" asks for it.
_BEFORE = (
    rf"(?:{_NOT}(?: (?!only |just |merely )\w+)?"
    r" (?:optimi[sz]\w*|maximi[sz]\w*|use|using|want|need|care|tune|look|aim|go|judge|measure|chase|select|choose|rely"
    r"|interested|pick|evaluate|consider|focus|worry)"
    rf"(?: (?:for|on|about|by|in|at|with))?|{_NOT}|\b(?:instead of|over|ignor(?:e|ing)|disregard(?:ing)?|never mind"
    r"|forget(?: about)?|regardless of|at the (?:cost|price|expense) of|even if|care less about|anything but"
    r"|(?:more|better|rather)(?: \w+){0,3}? than(?: (?:for|on|about))?)) "
    r"(?:(?:the|a|any|plain|raw|overall|high|good|best|mere|much) )*"
)
_AFTER = (
    r"(?: (?:alone|itself|here))?(?: (?:is|are|do|does)(?: not|n't) (?:really |so |that |very |much )?(?:matter|count"
    r"|important|relevant|interesting|meaningful|useful|helpful|informative|needed|enough|everything|suitable|appropriate|what"
    r"|a (?:good|useful|suitable|meaningful)|(?:the|our) (?:goal|aim|point|metric|measure))"
    r"| (?:is|are) (?:\w+ly |rather |quite |often )?(?:misleading|useless|meaningless|irrelevant|unimportant|secondary"
    r"|the wrong|(?:far |much )?less (?:important|relevant))| (?:matters?|counts?) (?:far |much )?less)\b"
)
_SET_ASIDE = tuple(
    (re.compile(rf"({_BEFORE})(?:{pattern})|(?:{pattern})(?={_AFTER})"), name) for pattern, name in (*_NAMES, _ACCURACY)
)


def metrics_in(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the metrics that a text asks for and those that it sets aside, each with the words that do.

    "imbalanced" is one of them, and names no metric.
    """
    rest, aside = _plain(text), {}
    for pattern, name in _SET_ASIDE:
        if match := pattern.search(rest):
            aside[name] = match.group()[len(match[1] or "") :].strip()
            rest = pattern.sub(r"\1 ", rest)
    asked: dict[str, str] = {}
    for words, name in _WORDS:
        if match := re.search(words, rest):
            asked.setdefault(name, match.group().strip())
            rest = re.sub(words, " ", rest)
    return asked, aside


def without_metrics(text: str) -> str:
    """Returns the text, in lower case, without the words that ask for a metric."""
    rest = _plain(text)
    for words, _ in _WORDS:
        rest = re.sub(rf"(?:{words})(?: scores?)?", " ", rest)
    return rest


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("\u2019", "'").split())
