"""Random erasing: a rectangle of an image is overwritten with noise (Zhong et al., arXiv 1708.04896)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from autosft.augment.base import BatchAugmentation
from autosft.task import Input, Output

#: Areas as shares of the image, and ratios of height to width: those of the paper.
_AREA = (0.02, 0.4)
_RATIO = (0.3, 1 / 0.3)
_ATTEMPTS = 10


class RandomErasing(BatchAugmentation):
    """Hides a rectangle of some images.

    Args:
        probability: Share of the images that lose one.
    """

    name: ClassVar[str] = "random-erasing"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.IMAGE})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL, Output.LABELS, Output.NUMBER})

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        images = batch["pixel_values"].clone()
        _, channels, height, width = images.shape
        for row in np.flatnonzero(rng.random(len(images)) < self.probability):
            for _ in range(_ATTEMPTS):
                area = rng.uniform(*_AREA) * height * width
                ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
                tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
                if not (0 < tall < height and 0 < wide < width):
                    continue
                top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
                # Normalised images have about mean 0 and deviation 1, and so has the noise.
                noise = rng.standard_normal((channels, tall, wide), np.float32)
                images[row, :, top : top + tall, left : left + wide] = torch.from_numpy(noise)
                break
        return {**batch, "pixel_values": images}
