"""The table of trainers, by name. Packages outside add to it with the entry point group "autosft.trainers"."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from autosft.errors import PlanError, did_you_mean, explain

if TYPE_CHECKING:
    from autosft.trainers.base import Trainer

TRAINERS = {
    "frozen_head": "autosft.trainers.frozen_head:FrozenHead",
    "transformers": "autosft.trainers.with_transformers:TransformersTrainer",
}


def trainer_names() -> list[str]:
    """Returns every registered trainer, ours first."""
    return list(_table())


def trainer_class(name: str) -> type[Trainer]:
    """Imports a trainer by name.

    Raises:
        PlanError: No trainer has this name.
    """
    table = _table()
    if name not in table:
        raise PlanError(
            explain(
                wrong=f"no trainer is called '{name}'", expected="a registered trainer", fix=did_you_mean(name, table)
            )
        )
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


def _table() -> dict[str, str]:
    return TRAINERS | {point.name: point.value for point in entry_points(group="autosft.trainers")}
