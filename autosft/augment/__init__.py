"""The table of augmentations, by name. Packages outside add to it with the entry point group "autosft.augment"."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from autosft.errors import PlanError
from autosft.plugins import load_plugin

if TYPE_CHECKING:
    from autosft.augment.base import BatchAugmentation

AUGMENTATIONS = {
    "token-cutoff": "autosft.augment.token_cutoff:TokenCutoff",
    "punctuation": "autosft.augment.punctuation:Punctuation",
    "flip-crop": "autosft.augment.flip_crop:FlipCrop",
    "trivial-augment": "autosft.augment.trivial_augment:TrivialAugment",
    "random-erasing": "autosft.augment.random_erasing:RandomErasing",
    "mixup": "autosft.augment.mixup:Mixup",
}


def augmentation(name: str) -> BatchAugmentation:
    """Returns an augmentation by name, at its untuned strength.

    Raises:
        PlanError: No augmentation has this name.
    """
    found = load_plugin(name, AUGMENTATIONS, "autosft.augment", what="augmentation", error=PlanError)
    return cast("BatchAugmentation", found())
