"""The table of augmentations, by name. Packages outside add to it with the entry point group "autosft.augment"."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from autosft.errors import PlanError, explain
from autosft.plugins import load_plugin
from autosft.task import Input, Output

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


def augmentation_class(name: str) -> type[BatchAugmentation]:
    """Returns an augmentation by name.

    Raises:
        PlanError: No augmentation has this name.
    """
    found = load_plugin(name, AUGMENTATIONS, "autosft.augment", what="augmentation", error=PlanError)
    return cast("type[BatchAugmentation]", found)


def augmentation(name: str, input: Input, output: Output) -> BatchAugmentation:
    """Returns an augmentation at its untuned strength.

    Raises:
        PlanError: No augmentation has this name, or it is not one for such inputs and outputs.
    """
    found = augmentation_class(name)
    if input not in found.inputs or output not in found.outputs:
        wrong = f"the augmentation '{name}' is not one for {input} to {output}"
        own = ", ".join(sorted(found.inputs))
        expected = f"an augmentation of {input} that leaves {output} true; '{name}' is one of {own}"
        raise PlanError(explain(wrong=wrong, expected=expected, fix="take it out of the search space"))
    return found()
