"""Phrases by which a sentence asks for something: a number, a text, several labels, marks or a chat.

Those that ask for a metric live in `metric_words`. What is made of them is decided by who asks `sentence`.
"""

from __future__ import annotations

import re

# Words that ask for a measure, and verbs that ask for a text where they open the sentence or follow "to".
NUMBER = re.compile(
    r"\bscores?\b|\bregress\w*|\bsimilarity\b|\brelatedness\b"
    r"|\bhow (?:similar|alike|related|close|much|strong\w*|likely|intense)\b|\bestimate\b"
    r"|\b(?:as|on) a (?:number|scale)\b|\bnumber (?:from|between)\b|\bdegree of\b|\bnumeric\w*"
    r"|\b(?:from|between) -?\d+(?:\.\d+)? (?:to|and) -?\d"
)
WRITE = re.compile(
    r"^\W*(?:please )?(?:learn )?(write|generate|answer|solve|continue|complete|reply|respond|follow|summari[sz]e"
    r"|translate|paraphrase|rewrite|compose|draft|fix|correct|simplify)\b"
    r"|\bto (write|generate|answer|solve|continue|complete|reply|respond|follow instructions|summari[sz]e|translate"
    r"|paraphrase|rewrite|compose)\b"
    r"|\b(generates|writes|solves|continues|completes|replies|responds|summari[sz]es|translates)\b"
)
SEVERAL = re.compile(
    r"\bmulti[ -]?label|\ball (?:that|the|of)\b|\bseveral\b|\bwhich of\b|\b(?:tags|labels|topics|categories"
    r"|emotions|genres|themes|kinds|types)\b"
)
# What is asked of a text that is there: whether something holds of it, how much of it there is, what it is worth.
JUDGE = re.compile(
    r"^\W*(?:is|are|was|were|does|did|will|would|could|should|has|have)\b"
    r"|^\W*do (?:the|they|these|those|both|it|people)\b|\bwhether\b"
    r"|\bhow (?:many|much|well|good|bad|likely)\b|\brat(?:e|es|ing|ings)\b|\bdetect\w*|\bflag(?:s|ging)?\b"
    r"|\bclassif\w+|\bcategori[sz]\w+|\bmoderat\w+|\bjudg\w+|\bgrad(?:e|ing)\b|\bscor(?:e|ing)\b|\bsentiment\b"
)
CLASSIFY = re.compile(r"\bclassif\w+|\bcategor\w+|\bwhich class\b")
# Where one thing is asked of each row.
ONE_THING = re.compile(
    r"^\W*(?:is|are|was|were|does|do|did|will|would|can|could|should|has|have)\b|\bwhether\b|\b\w+ or \w+\b"
)
KINDS_OF = re.compile(r"\bmulti[ -]?label|\b(?:kinds|types|labels|tags|topics|categories|genres|themes)\b")
# Where "answer" is what a text does to a question, and not a text itself.
ANSWERING = re.compile(
    r"\b(?:contexts?|passages?|texts?|documents?|paragraphs?|articles?|abstracts?|sentences?|it|they|to) answers?\b"
    r"|^\W*answer\b"
)
MARK = re.compile(
    r"\bentit(?:y|ies)\b|\bner\b|\btags?\b|\btagging\b|\bspans?\b|\btokens?\b|\bextract\w*|\bmark\b|\bchunk\w*"
    r"|\bpart[ -]of[ -]speech\b|\bslots?\b|\bword by word\b|\bhighlight\b"
)
# What columns of tags are called, and how a sentence asks for them.
TAGS = {
    "ner": re.compile(r"\bner\b|\b(?:named )?entit\w+|\bnames?\b|\bpeople\b|\bpersons?\b|\bplaces\b"),
    "pos": re.compile(r"\bpos\b|\bparts?[ -]of[ -]speech\b|\bword class\w*"),
    "chunk": re.compile(r"\bchunk\w*|\bphrases?\b"),
}
# What is said of two texts. "Between 1 and 5" and "between good and bad" say it of none.
COMPARE = re.compile(
    r"\bpairs?\b|\bsame\b|\bsimilar\w*|\bduplicat\w*|\bparaphrase\w*|\bentail\w*|\bcontradict\w*|\bmatch(?:es|ing)?\b"
    r"|\bfits?\b|\brelevan(?:t|ce)\b(?=[^.;?!]*\b(?:to|for) (?:the|its|each)\b)"
    r"|\bboth\b|\beach other\b|\bone another\b|\bequivalen\w+|\bidentical\b|\brelatedness\b"
    r"|\bbetween (?:the |these |those )?(?:two|both|them|texts|sentences|questions|statements|passages|documents)\b"
)
# "How intense is the emotion?" asks for the intensity, and not for the emotion.
HOW = re.compile(r"\bhow (?:very )?([a-z]+) (?:is|are|was|were|does|do|did|would|will|can)\b")
# What sets aside the columns whose names follow. "Comments that are not toxic" and "do not miss one" set none aside.
ASIDE = re.compile(
    r"\b(?:(?:(?:(?:do|must|should) not|don['\u2019]?t|never) (?:use|read|look at|consider|include|take|predict|give)"
    r"|not (?:using|reading|from|by)|(?<=, )(?:but |and )?not (?=the\b)|without|ignor(?:e|ing)|disregard(?:ing)?"
    r"|except(?: for)?|exclud(?:e|ing)|omit(?:ting)?|skip|leav(?:e|ing) out|instead of|rather than)\b"
    r"|leav(?:e|ing)\b(?=[^.;?!]* out\b))"
)
CHAT = re.compile(r"\bchat\w*|\bassistant\b|\bconvers\w+|\bdialog\w*|\brepl(?:y|ies)\b|\brespon\w+|\bturns?\b")
