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
CLASSIFY = re.compile(r"\bclassif\w+|\bcategor\w+|\bwhich class\b")
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
    r"|\bboth\b|\beach other\b|\bone another\b|\bequivalen\w+|\bidentical\b|\brelatedness\b"
    r"|\bbetween (?:the |these |those )?(?:two|both|them|texts|sentences|questions|statements|passages|documents)\b"
)
# "How intense is the emotion?" asks for the intensity, and not for the emotion.
HOW = re.compile(r"\bhow (?:very )?([a-z]+) (?:is|are|was|were|does|do|did|would|will|can)\b")
CHAT = re.compile(r"\bchat\w*|\bassistant\b|\bconvers\w+|\bdialog\w*|\brepl(?:y|ies)\b|\brespon\w+|\bturns?\b")
