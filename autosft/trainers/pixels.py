"""A network that was never trained: a linear layer over an image's pixels and the directions of its edges.

For where no pretrained model is at hand. Saved as a Transformers folder of a model type of our own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from autosft.made_models import PIXELS_MODEL_TYPE

#: Keeps the direction of a flat patch, and the length of an empty one, from being divided by zero.
_SMALL = 1e-4


class PixelsConfig(PretrainedConfig):
    """What a `PixelsModel` is made of.

    Attributes:
        image_size: Pixels of a side.
        num_directions: Directions of edges that are told apart.
        cell_size: Pixels of a side of the cells that edges are counted in.
        grey_size: Side of the picture in grey that is kept.
        colour_size: Side of the picture in colour that is kept.
    """

    model_type = PIXELS_MODEL_TYPE

    def __init__(
        self,
        image_size: int = 32,
        num_directions: int = 9,
        cell_size: int = 4,
        grey_size: int = 16,
        colour_size: int = 8,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.num_directions = num_directions
        self.cell_size = cell_size
        self.grey_size = grey_size
        self.colour_size = colour_size
        super().__init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Features of an image."""
        cells = (self.image_size // self.cell_size) ** 2
        return int(cells * self.num_directions + self.grey_size**2 + 3 * self.colour_size**2)


class PixelsModel(PreTrainedModel):
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) and small pictures, under a linear layer.

    Of the paper's descriptor: unsigned gradients, here of 3 x 3 pixels, each shared between its two nearest directions,
    counted in square cells, and scaled by the energy of the cells around.
    """

    config_class = PixelsConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    differences: torch.Tensor

    def __init__(self, config: PixelsConfig) -> None:
        super().__init__(config)
        # Differences to the right and downwards; the one thing that a folder of this model holds beside the head.
        self.register_buffer(
            "differences", torch.tensor([[[[-1.0, 0.0, 1.0]] * 3], [[[-1.0] * 3, [0.0] * 3, [1.0] * 3]]]) / 3
        )
        self.classifier = nn.Linear(config.hidden_size, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> ImageClassifierOutput:
        """Returns logits for images of shape (rows, 3, side, side)."""
        return ImageClassifierOutput(logits=self.classifier(self.features(pixel_values)))

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Returns features, shape (rows, hidden size)."""
        config = self.config
        grey = pixel_values.mean(dim=1, keepdim=True)
        pool = nn.functional.adaptive_avg_pool2d
        pictures = pool(grey, config.grey_size), pool(pixel_values, config.colour_size)
        return torch.cat([self._edges(grey), *(picture.flatten(1) for picture in pictures)], dim=1)

    def _edges(self, grey: torch.Tensor) -> torch.Tensor:
        config = self.config
        edges = nn.functional.conv2d(nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate"), self.differences)
        across, down = edges[:, :1], edges[:, 1:]
        strength = (across.square() + down.square() + _SMALL**2).sqrt()
        angle = torch.atan2(down, across + _SMALL) * (config.num_directions / math.pi)
        centres = torch.arange(config.num_directions, device=grey.device, dtype=grey.dtype)[:, None, None]
        # Edges of opposite sign count as one direction, so that the distance wraps around at half a turn.
        distance = (angle - centres + config.num_directions / 2) % config.num_directions - config.num_directions / 2
        shares = (1 - distance.abs()).clamp(min=0)
        cells = nn.functional.avg_pool2d(strength * shares, config.cell_size)
        energy = nn.functional.avg_pool2d(
            cells.square().sum(dim=1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False
        )
        return (cells / (energy.sqrt() + _SMALL)).sqrt().flatten(1)


AutoConfig.register(PIXELS_MODEL_TYPE, PixelsConfig, exist_ok=True)
AutoModelForImageClassification.register(PixelsConfig, PixelsModel, exist_ok=True)
