"""The table of kinds of task, by name. Packages outside add to it with the entry point group "autosft.tasks"."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from autosft.errors import TaskError, did_you_mean, explain

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

KINDS: dict[str, str] = {"text-classification": "autosft.tasks.text_classification:TextClassification"}


def kind(name: str) -> TaskKind:
    """Returns a kind of task by name, importing it only now.

    Raises:
        TaskError: No kind has this name.
    """
    table = KINDS | {point.name: point.value for point in entry_points(group="autosft.tasks")}
    if name not in table:
        wrong = f"no kind of task is called '{name}'"
        raise TaskError(explain(wrong=wrong, expected="a registered kind of task", fix=did_you_mean(name, table)))
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()  # type: ignore[no-any-return]
