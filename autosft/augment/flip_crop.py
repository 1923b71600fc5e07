"""Flips and crops: an image mirrored left to right half the time, and moved by a few pixels (arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from autosft.augment.base import BatchAugmentation
from autosft.task import Input, Output


class FlipCrop(BatchAugmentation):
    """Mirrors and moves images. Not for what changes its meaning in a mirror, such as letters.

    Args:
        share: How far an image is moved at most, as a share of its side: 4 of 32 pixels in the paper on ResNet.
    """

    name: ClassVar[str] = "flip-crop"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.IMAGE})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL, Output.LABELS, Output.NUMBER})

    def __init__(self, share: float = 0.125) -> None:
        self.share = share

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        images = batch["pixel_values"]
        rows, _, height, width = images.shape
        flipped = torch.from_numpy(rng.random(rows) < 0.5)[:, None, None, None]
        images = torch.where(flipped, images.flip(-1), images)
        down, right = max(1, round(self.share * height)), max(1, round(self.share * width))
        # Edges are repeated: black would be a shape of its own on bright images.
        padded = torch.nn.functional.pad(images, (right, right, down, down), mode="replicate")
        tops, lefts = rng.integers(0, 2 * down + 1, rows), rng.integers(0, 2 * right + 1, rows)
        cut = [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(padded, tops, lefts, strict=True)
        ]
        return {**batch, "pixel_values": torch.stack(cut)}
