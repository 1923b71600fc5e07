"""The contract of an augmentation: noise on the inputs of training batches, never on validation or prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from autosft.inputs.base import Examples
from autosft.task import Input, Output


class BatchAugmentation(ABC):
    """Changes one training batch. Stateless but for its strength, so that a seed decides everything.

    Class attributes:
        name: The augmentation's public name.
        inputs: Inputs it understands.
        outputs: Outputs whose targets stay true under it.
    """

    name: ClassVar[str]
    inputs: ClassVar[frozenset[Input]]
    outputs: ClassVar[frozenset[Output]]

    def prepared(self, examples: Examples, width: int) -> BatchAugmentation:
        """Returns the augmentation, knowing what only the training does: most need nothing of it.

        Args:
            examples: Those that batches are made of.
            width: Values that the network gives a row: of labels, their number.
        """
        return self

    @abstractmethod
    def __call__(self, batch: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Returns the batch changed; the tensors it was given stay as they are.

        Args:
            batch: What a model's forward takes, and "labels".
        """
