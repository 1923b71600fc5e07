"""Base models that are made on this machine, for where no pretrained one can be had: untrained, so that data teach all.

A folder of one looks like any other model's. What the network of "pixels" does lives in `autosft.trainers.pixels`.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from autosft.cache import cache_folder
from autosft.disk import writing

#: A small convolutional network with random weights.
SCRATCH_RESNET = "resnet-small-from-scratch"
#: Pixels and edges as they are, for a linear head.
PIXELS = "pixels"

#: Nothing at all, for what learns from the rows alone.
NO_MODEL_ID = "no base model"

#: What the network of PIXELS is called in its config.json.
PIXELS_MODEL_TYPE = "autosft-pixels"

#: Raised whenever a folder would be written otherwise, so that older ones in the cache are left alone.
_VERSION = 1
_SEED = 0
_PIXELS_SIDE = 32
_RESNET_SIDES = (64, 96)


def is_made(model_id: str) -> bool:
    """Whether a base model of this id is made here."""
    return model_id in _MAKERS


def made_folder(model_id: str) -> Path:
    """Returns the folder of a base model that is made here, written into the cache at the first call.

    Raises:
        RunFolderError: The cache cannot be written.
    """
    folder = cache_folder() / "made_models" / f"{model_id.replace(' ', '-')}-{_VERSION}"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
                unfinished.mkdir()
                try:
                    _MAKERS[model_id](unfinished)
                    os.replace(unfinished, folder)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_resnet(folder: Path) -> None:
    """Writes a ResNet of three stages of basic blocks (He et al., arXiv 1512.03385), weights by one seed."""
    import torch
    from safetensors.torch import save_file
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128],
        depths=[2, 2, 2],
        layer_type="basic",
        downsample_in_first_stage=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        weights = ResNetForImageClassification(config).state_dict()
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_processor(folder, _RESNET_SIDES[0])
    # Its last pooling takes any size, so that the side goes by the images.
    _write_json(folder / "autosft_sides.json", {"sides": list(_RESNET_SIDES)})


def _write_pixels(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    _write_json(folder / "config.json", {"model_type": PIXELS_MODEL_TYPE, "image_size": _PIXELS_SIDE})
    across = np.array([[-1, 0, 1]] * 3, np.float32) / 3
    filters = np.ascontiguousarray(np.stack([across, across.T])[:, None])
    save_file({"differences": filters}, folder / "model.safetensors", metadata={"format": "pt"})
    _write_processor(folder, _PIXELS_SIDE)


def _write_nothing(folder: Path) -> None:
    _write_json(folder / "config.json", {})


def _write_processor(folder: Path, side: int) -> None:
    row = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 2,  # Bilinear, in Pillow's numbers.
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    _write_json(folder / "preprocessor_config.json", row)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


_MAKERS: dict[str, Callable[[Path], None]] = {
    SCRATCH_RESNET: _write_resnet,
    PIXELS: _write_pixels,
    NO_MODEL_ID: _write_nothing,
}
