"""Made-up images that a tiny model can learn: bright bars on noise, whose direction tells the label.

For the tests of trainers, plugins included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.data.data import materialise
from autosft.data.source import Source
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import kind
from autosft.trainers.base import TrainingData

IMAGE_LABELS = ("across", "down", "none")


def tiny_pixels(num_rows: int, *, side: int = 16, seed: int = 0) -> tuple[NDArray[np.uint8], list[int]]:
    """Returns images, shape (rows, side, side, 3), and the position of each one's label; labels take turns."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, (num_rows, side, side, 3)).astype(np.uint8)
    targets = [row % len(IMAGE_LABELS) for row in range(num_rows)]
    for image, target in zip(values, targets, strict=True):
        at = int(rng.integers(2, side - 4))
        if target == 0:
            image[at : at + 3] += 150
        elif target == 1:
            image[:, at : at + 3] += 150
    return values, targets


def write_tiny_images(folder: Path, num_rows: int, *, side: int = 16, seed: int = 0) -> Path:
    """Writes `tiny_pixels` as files <label>/<row>.png; returns the folder."""
    from PIL import Image

    values, targets = tiny_pixels(num_rows, side=side, seed=seed)
    for row, (image, target) in enumerate(zip(values, targets, strict=True)):
        path = folder / IMAGE_LABELS[target] / f"{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def tiny_image_task() -> Task:
    """Returns an image classification of the columns "image" and "label", decided by accuracy."""
    return Task("image-classification", "", ("image",), "label", Metric("accuracy"), IMAGE_LABELS)


def tiny_image_data(folder: Path, *, num_rows: int = 90, seed: int = 0, **changed: Any) -> tuple[Task, TrainingData]:
    """Writes images and rows under `folder`; returns their task, and training data of which a fifth validates."""
    from autosft.data.read import read

    task = tiny_image_task()
    table: pa.Table = read(write_tiny_images(folder / "images", num_rows, seed=seed, **changed)).train
    data, _ = materialise(kind(task.kind), task, Source({"train": table}, "tiny images"), folder=folder, seed=seed)
    train, validation = data.training(0)
    assert train.indices is not None and validation is not None and validation.indices is not None
    rows, _ = data.training(None)
    return task, TrainingData(Input.IMAGE, Output.LABEL, rows, train.indices, validation.indices, data.fingerprint)
