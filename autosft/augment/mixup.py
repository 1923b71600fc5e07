"""Mixup: images laid over one another, and their labels in the same shares (Zhang et al., arXiv 1710.09412)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from autosft.augment.base import BatchAugmentation
from autosft.inputs.base import Examples
from autosft.task import Input, Output


class Mixup(BatchAugmentation):
    """Mixes each row of a batch with another, in shares of a Beta(alpha, alpha) distribution.

    Labels become shares of each label, float32 of shape (rows, labels).

    Args:
        alpha: 0.2 is the paper's for ImageNet; larger values mix more evenly.
        num_labels: 0 until `prepared`; then as many as there are in a batch.
    """

    name: ClassVar[str] = "mixup"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.IMAGE})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL})

    def __init__(self, alpha: float = 0.2, num_labels: int = 0) -> None:
        self.alpha = alpha
        self.num_labels = num_labels

    def prepared(self, examples: Examples, width: int) -> Mixup:
        return Mixup(self.alpha, width)

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        images, labels = batch["pixel_values"], batch["labels"]
        shares = torch.from_numpy(rng.beta(self.alpha, self.alpha, len(images)).astype(np.float32))
        other = torch.from_numpy(rng.permutation(len(images)))
        own = shares[:, None, None, None]
        width = self.num_labels or int(labels.max()) + 1
        one_hot = torch.nn.functional.one_hot(labels, width).float()
        return {
            **batch,
            "pixel_values": own * images + (1 - own) * images[other],
            "labels": shares[:, None] * one_hot + (1 - shares[:, None]) * one_hot[other],
        }
