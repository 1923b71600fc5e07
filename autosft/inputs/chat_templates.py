"""Chat templates: the one for tokenizers that have none, and those to which every turn only adds."""

from __future__ import annotations

from typing import Any

from autosft.errors import TrialFailed, explain

# For tokenizers without a template of their own. Its markers are plain text, so that every tokenizer has them; an
# answer ends with the tokenizer's own end of a sequence, at which every model stops.
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Two turns each, since some templates write earlier answers otherwise than the last one.
PROBE = [
    {"role": "user", "content": "2041"},
    {"role": "assistant", "content": "2042"},
    {"role": "user", "content": "2043"},
    {"role": "assistant", "content": "2044"},
]


def stable_template(tokenizer: Any) -> str:
    """Returns the tokenizer's chat template, or TRL's version of it where it writes earlier turns anew.

    Qwen3's, for one, leaves an answer's thinking out once another turn follows, so a model would learn to answer after
    a text that it never sees.
    """
    own = str(tokenizer.chat_template)
    if _is_stable(tokenizer, own):
        return own
    try:
        from trl.chat_template_utils import get_training_chat_template

        patched = get_training_chat_template(tokenizer)
    except (ImportError, ValueError):
        patched = None
    if patched is None or not _is_stable(tokenizer, patched):
        raise TrialFailed(unstable())
    return str(patched)


def _is_stable(tokenizer: Any, template: str) -> bool:
    written = ""
    for at in range(1, len(PROBE) + 1):
        ask = at % 2 == 1
        text = tokenizer.apply_chat_template(
            PROBE[:at], tokenize=False, add_generation_prompt=ask, chat_template=template
        )
        if not text.startswith(written):
            return False
        written = text
    return True


def unstable() -> str:
    """Returns the message about such a template."""
    return explain(
        wrong="the base model's chat template writes earlier turns otherwise once another one follows",
        expected="a template to which each turn only adds, so that what is learned is what will be asked for",
        fix="name another base model with models=",
    )
