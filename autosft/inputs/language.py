"""Which language texts are in, as far as the choice of a base model needs to know: by script, then by English words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

#: First words of Unicode character names, and the language that is most likely written in them.
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "CYRILLIC": "ru", "ARABIC": "ar", "HEBREW": "he",
    "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "THAI": "th", "GREEK": "el", "GEORGIAN": "ka",
}  # fmt: skip

#: The commonest words of English that other languages in Latin script do not share.
_ENGLISH = frozenset({
    "the", "and", "of", "to", "is", "that", "it", "was", "for", "you", "with", "this", "have", "are", "not", "be", "my",
    "what", "how", "can", "from", "they", "has", "your", "when", "will",
})  # fmt: skip

#: Function words make up two fifths of English running text; short messages and commands have fewer.
_ENGLISH_SHARE = 0.04

_SAMPLE_CHARACTERS = 20_000


def language_of(texts: Sequence[str]) -> str | None:
    """Returns an ISO 639-1 code by script, "en" or "und" for text in Latin script, None where there is no text."""
    sample = " ".join(texts)[:_SAMPLE_CHARACTERS]
    scripts = Counter(unicodedata.name(letter, "").split(" ")[0] for letter in sample if letter.isalpha())
    if not scripts:
        return None
    found = Counter({code: scripts[name] for name, code in _SCRIPTS.items() if name not in ("KATAKANA", "CJK")})
    # Japanese mixes its own syllables with Chinese characters; a few of the former settle it.
    found["ja"] += scripts["KATAKANA"]
    found["ja" if found["ja"] > 0.05 * scripts["CJK"] else "zh"] += scripts["CJK"]
    code, count = found.most_common(1)[0]
    if count > 0.3 * scripts.total():
        return code
    words = re.findall(r"[a-z']+", sample.lower())
    return "en" if sum(word in _ENGLISH for word in words) >= _ENGLISH_SHARE * len(words) else "und"
