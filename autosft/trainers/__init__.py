"""The table of trainers, by name. Packages outside add to it with the entry point group "autosft.trainers"."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from autosft.errors import PlanError
from autosft.plugins import load_plugin, registered

if TYPE_CHECKING:
    from autosft.trainers.base import Trainer

TRAINERS = {
    "frozen_head": "autosft.trainers.frozen_head:FrozenHead",
    "transformers": "autosft.trainers.with_transformers:TransformersTrainer",
    "contrastive": "autosft.trainers.with_sentence_transformers:ContrastiveTrainer",
    "trl": "autosft.trainers.with_trl:TrlTrainer",
    "tfidf": "autosft.trainers.tfidf:TfidfTrainer",
}

_GROUP = "autosft.trainers"


def trainer_names() -> list[str]:
    """Returns every registered trainer, ours first."""
    return list(registered(TRAINERS, _GROUP))


def trainer_class(name: str) -> type[Trainer]:
    """Imports a trainer by name.

    Raises:
        PlanError: No trainer has this name.
    """
    return cast("type[Trainer]", load_plugin(name, TRAINERS, _GROUP, what="trainer", error=PlanError))
