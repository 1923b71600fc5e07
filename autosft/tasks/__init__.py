"""The table of kinds of task, by name. Packages outside add to it with the entry point group "autosft.tasks"."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from autosft.errors import TaskError
from autosft.plugins import load_plugin

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

KINDS: dict[str, str] = {
    "text-classification": "autosft.tasks.text_classification:TextClassification",
    "multi-label-classification": "autosft.tasks.multi_label_classification:MultiLabelClassification",
    "text-regression": "autosft.tasks.text_regression:TextRegression",
    "text-pair-classification": "autosft.tasks.text_pair_classification:TextPairClassification",
    "text-pair-regression": "autosft.tasks.text_pair_regression:TextPairRegression",
    "causal-lm": "autosft.tasks.causal_lm:CausalLm",
    "chat": "autosft.tasks.chat:Chat",
    "token-classification": "autosft.tasks.token_classification:TokenClassification",
    "image-classification": "autosft.tasks.image_classification:ImageClassification",
}


def kind(name: str) -> TaskKind:
    """Returns a kind of task by name.

    Raises:
        TaskError: No kind has this name.
    """
    found = load_plugin(name, KINDS, "autosft.tasks", what="kind of task", error=TaskError)
    return cast("TaskKind", found())
