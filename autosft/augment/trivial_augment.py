"""TrivialAugment: one operation an image, drawn at random, at a random strength (Müller and Hutter, arXiv 2103.10158).

The operations and their widest ranges are the paper's; translation goes by the image's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from autosft.augment.base import BatchAugmentation
from autosft.inputs.base import Examples
from autosft.task import Input, Output

#: Strengths from 0 to 30 of 30, as in the paper.
_NUM_STRENGTHS = 31

#: Weights of a channel in an image's brightness (ITU-R BT.601), as Pillow's conversion to grey has them.
_LUMA = (0.299, 0.587, 0.114)

#: Of images (rows, 3, height, width) with values in [0, 1], and a strength in [-1, 1] each, shape (rows,).
_Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TrivialAugment(BatchAugmentation):
    """Turns, shears, moves, recolours or sharpens images, each by one operation.

    At full strength: rotation 135 degrees; shear 0.99; translation a quarter of the side; brightness, contrast, colour
    and sharpness from 0.01 to 1.99 times; posterize to 2 bits; solarize everything. Identity, auto-contrast and
    equalize have no strength.
    """

    name: ClassVar[str] = "trivial-augment"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.IMAGE})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL, Output.LABELS})

    def __init__(self, black: Any = -1.0, white: Any = 1.0) -> None:
        self._black = torch.as_tensor(np.broadcast_to(np.float32(black), 3).copy())[:, None, None]
        self._white = torch.as_tensor(np.broadcast_to(np.float32(white), 3).copy())[:, None, None]

    def prepared(self, examples: Examples, width: int) -> TrivialAugment:
        # Colours need to know what is black and white among normalised values.
        return TrivialAugment(getattr(examples, "black", -1.0), getattr(examples, "white", 1.0))

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        given = batch["pixel_values"]
        images = ((given - self._black) / (self._white - self._black)).clamp(0, 1)
        chosen = rng.integers(0, len(_OPERATIONS), len(images))
        strengths = rng.integers(0, _NUM_STRENGTHS, len(images)) / (_NUM_STRENGTHS - 1)
        signed = torch.from_numpy((strengths * rng.choice([-1.0, 1.0], len(images))).astype(np.float32))
        changed = images.clone()
        for at, operation in enumerate(_OPERATIONS):
            rows = torch.from_numpy(np.flatnonzero(chosen == at))
            if len(rows):
                changed[rows] = operation(images[rows], signed[rows]).clamp(0, 1)
        return {**batch, "pixel_values": changed * (self._white - self._black) + self._black}


def _identity(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    return images


def _moved(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Samples images where the matrices (rows, 2, 3) lead, in coordinates from -1 to 1; black outside."""
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _matrices(strength: torch.Tensor) -> torch.Tensor:
    return torch.eye(2, 3).repeat(len(strength), 1, 1)


def _rotate(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    angle = strength * math.radians(135)
    matrices = _matrices(strength)
    # Coordinates are scaled to a square, so that the turn must know the image's shape.
    shape = images.shape[2] / images.shape[3]
    matrices[:, 0, 0], matrices[:, 0, 1] = angle.cos(), -angle.sin() * shape
    matrices[:, 1, 0], matrices[:, 1, 1] = angle.sin() / shape, angle.cos()
    return _moved(images, matrices)


def _shear_across(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    matrices = _matrices(strength)
    matrices[:, 0, 1] = 0.99 * strength
    return _moved(images, matrices)


def _shear_down(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    matrices = _matrices(strength)
    matrices[:, 1, 0] = 0.99 * strength
    return _moved(images, matrices)


def _move_across(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    matrices = _matrices(strength)
    matrices[:, 0, 2] = 0.5 * strength  # A side is 2 long, so this is a quarter of it.
    return _moved(images, matrices)


def _move_down(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    matrices = _matrices(strength)
    matrices[:, 1, 2] = 0.5 * strength
    return _moved(images, matrices)


def _away_from(base: torch.Tensor, images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Leads images towards a base (negative strength) or away from it."""
    factor = (1 + 0.99 * strength)[:, None, None, None]
    return base + factor * (images - base)


def _grey(images: torch.Tensor) -> torch.Tensor:
    return (images * torch.tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def _brightness(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    return _away_from(torch.zeros_like(images), images, strength)


def _contrast(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    return _away_from(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, strength)


def _colour(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    return _away_from(_grey(images), images, strength)


def _sharpness(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]).expand(3, 1, 3, 3) / 13
    smooth = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return _away_from(smooth, images, strength)


def _posterize(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    bits = 8 - (6 * strength.abs()).round()
    steps = (2**bits)[:, None, None, None]
    return (images * 255 / 256 * steps).floor() * 256 / 255 / steps


def _solarize(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    threshold = (1 - strength.abs())[:, None, None, None]
    return torch.where(images >= threshold, 1 - images, images)


def _auto_contrast(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalize(images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Spreads each channel's values evenly: a value becomes the share of pixels that are no brighter."""
    flat = (images * 255).round().long().flatten(2)
    counts = torch.zeros(*flat.shape[:2], 256).scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.float32))
    shares = counts.cumsum(dim=2)
    first = shares.gather(2, flat.amin(dim=2, keepdim=True))
    spread = (shares - first) / (flat.shape[2] - first).clamp(min=1)
    plain = first == flat.shape[2]  # A channel of one value has nothing to spread.
    return torch.where(plain, images.flatten(2), spread.gather(2, flat)).view_as(images)


_OPERATIONS: tuple[_Operation, ...] = (
    _identity, _auto_contrast, _equalize, _rotate, _solarize, _colour, _posterize, _contrast, _brightness, _sharpness,
    _shear_across, _shear_down, _move_across, _move_down,
)  # fmt: skip
