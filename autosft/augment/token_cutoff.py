"""Token cut-off: a random share of each row's tokens is hidden from attention (Shen et al., arXiv 2009.13818)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from autosft.augment.base import BatchAugmentation
from autosft.task import Input, Output


class TokenCutoff(BatchAugmentation):
    """Hides tokens from attention and pooling; the first token always stays."""

    name: ClassVar[str] = "token-cutoff"
    inputs: ClassVar[frozenset[Input]] = frozenset({Input.TEXT, Input.TEXT_PAIR})
    outputs: ClassVar[frozenset[Output]] = frozenset({Output.LABEL, Output.LABELS, Output.NUMBER})

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        mask = batch["attention_mask"].clone()
        hidden = torch.from_numpy(rng.random(tuple(mask.shape)) < self.share)
        hidden[:, 0] = False
        mask[hidden] = 0
        return {**batch, "attention_mask": mask}
