"""The table of augmentations, by name. Packages outside add to it with the entry point group "autosft.augment"."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from autosft.errors import PlanError, did_you_mean, explain

if TYPE_CHECKING:
    from autosft.augment.base import BatchAugmentation

AUGMENTATIONS = {"token-cutoff": "autosft.augment.token_cutoff:TokenCutoff"}


def augmentation(name: str) -> BatchAugmentation:
    """Returns an augmentation by name, at its untuned strength.

    Raises:
        PlanError: No augmentation has this name.
    """
    table = AUGMENTATIONS | {point.name: point.value for point in entry_points(group="autosft.augment")}
    if name not in table:
        wrong = f"no augmentation is called '{name}'"
        raise PlanError(explain(wrong=wrong, expected="a registered augmentation", fix=did_you_mean(name, table)))
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()  # type: ignore[no-any-return]
