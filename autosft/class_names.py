"""What the names of classes say: a name that is words is one more text of its class, and where rows are few a good one.

`benchmarks/class_names.py` measures what that is worth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: The setting that says as how many rows a name counts; it means something only where rows come with names.
_SETTING = "class_name_rows"

#: Where one word of a name ends and the next begins: before a digit or a capital letter, and at signs that join words.
_JOINTS = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=[^\WA-Z\d_])(?=[A-Z])|[_\-/.:+|\s]+")

#: Answers that say nothing of what was asked.
_BARE_ANSWERS = frozenset({"yes", "no", "true", "false", "maybe", "unknown", "none", "other", "not"})

#: Latin letters of a name that is more than a code; one letter of another script may be a word.
_FEWEST_LETTERS = 3


def class_names(labels: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the text that each label's name is, such as "add to playlist" for "AddToPlaylist".

    None where they are codes ("A1", "en"), differ by a number alone ("class 1", "class 2"), or are all bare answers
    such as "yes" and "no".
    """
    texts = tuple(" ".join(_JOINTS.sub(" ", label).split()).lower() for label in labels)
    letters = [re.sub(r"[\W\d_]+", "", text) for text in texts]
    if len(texts) < 2 or len(set(letters)) < len(letters):
        return None
    if any(len(word) < (_FEWEST_LETTERS if word.isascii() else 1) for word in letters):
        return None
    if all(word in _BARE_ANSWERS for text in texts for word in text.split()):
        return None
    return texts


def told_settings(config: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """Returns the settings that had an effect: without that of names where the data came without any."""
    return {name: value for name, value in config.items() if named or name != _SETTING}


def told_names(config: Mapping[str, Any], *, named: bool) -> str:
    """Says as how many rows the names of classes were trained on; "" where they were not."""
    number = config.get(_SETTING, 0)
    if not named or not number:
        return ""
    return f"the name of each class counts as {number} more training row{'' if number == 1 else 's'} of it"
