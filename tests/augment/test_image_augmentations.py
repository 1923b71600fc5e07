"""What every augmentation of images must do, and what each one is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autosft.augment import AUGMENTATIONS, augmentation_class
from autosft.augment import trivial_augment as trivial
from autosft.augment.mixup import Mixup
from autosft.augment.random_erasing import RandomErasing
from autosft.augment.trivial_augment import TrivialAugment
from autosft.task import Input, Output

OF_IMAGES = [name for name in AUGMENTATIONS if Input.IMAGE in augmentation_class(name).inputs]


def batch(num_rows=64, height=16, width=24):
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.uniform(-1, 1, (num_rows, 3, height, width)).astype(np.float32))
    return {"pixel_values": images, "labels": torch.arange(num_rows) % 3}


@pytest.fixture(params=OF_IMAGES)
def augment(request):
    found = augmentation_class(request.param)()
    assert found.name == request.param
    return found.prepared(SimpleNamespace(black=np.float32([-1] * 3), white=np.float32([1] * 3)), 3)


def test_there_are_the_four():
    assert set(OF_IMAGES) == {"flip-crop", "trivial-augment", "random-erasing", "mixup"}


def test_images_keep_their_shape_and_stay_finite(augment):
    assert Output.LABEL in augment.outputs
    changed = augment(batch(), np.random.default_rng(0))
    assert changed.keys() == batch().keys()
    assert changed["pixel_values"].shape == batch()["pixel_values"].shape
    assert changed["pixel_values"].dtype == torch.float32
    assert changed["pixel_values"].isfinite().all()
    assert len(changed["labels"]) == 64


def test_something_changes_and_the_given_batch_does_not(augment):
    given = batch()
    changed = augment(given, np.random.default_rng(0))
    assert not torch.equal(changed["pixel_values"], given["pixel_values"])
    assert all(torch.equal(given[key], value) for key, value in batch().items())


def test_the_seed_decides(augment):
    first, same, other = (augment(batch(), np.random.default_rng(seed))["pixel_values"] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_one_row_is_enough(augment):
    assert augment(batch(1), np.random.default_rng(0))["pixel_values"].shape == (1, 3, 16, 24)


def test_a_flip_mirrors_and_a_crop_moves():
    ramp = torch.arange(24.0).expand(200, 3, 16, 24).contiguous()
    changed = augmentation_class("flip-crop")()({"pixel_values": ramp}, np.random.default_rng(0))["pixel_values"]
    steps = changed.diff(dim=3)[:, 0, 0, 6:18]
    assert (steps.abs() == 1).all(), "inside the edges it is still the ramp"
    assert 0.35 < (steps[:, 0] < 0).float().mean() < 0.65
    assert len(changed[:, 0, 0, 12].unique()) > 5


def test_mixup_gives_shares_that_add_up_and_mixes_images_alike():
    given = batch(500)
    given["pixel_values"] = given["labels"].float()[:, None, None, None].expand(500, 3, 4, 4).contiguous()
    changed = Mixup(0.4).prepared(SimpleNamespace(), 4)(given, np.random.default_rng(0))
    labels = changed["labels"]
    assert labels.shape == (500, 4) and labels.dtype == torch.float32
    assert torch.allclose(labels.sum(dim=1), torch.ones(500))
    assert (labels[:, 3] == 0).all()
    assert torch.allclose(changed["pixel_values"][:, 0, 0, 0], labels @ torch.arange(4.0), atol=1e-6)
    assert 0.2 < (labels.max(dim=1).values < 0.9).float().mean() < 0.8


def test_erasing_hides_rectangles_of_the_papers_size():
    given = {"pixel_values": torch.full((400, 3, 32, 32), 9.0)}
    changed = RandomErasing(0.5)(given, np.random.default_rng(0))["pixel_values"]
    erased = (changed[:, 0] != 9).float().mean(dim=(1, 2))
    assert 0.4 < (erased > 0).float().mean() < 0.6
    assert erased[erased > 0].min() > 0.01 and erased.max() < 0.45
    for image in changed[erased > 0][:20]:
        rows, columns = (image[0] != 9).any(1).sum(), (image[0] != 9).any(0).sum()
        assert (image[0] != 9).sum() == rows * columns


@pytest.mark.parametrize("operation", trivial._OPERATIONS, ids=lambda operation: operation.__name__)
def test_no_strength_changes_next_to_nothing(operation):
    images = torch.rand(2, 3, 16, 16)
    if operation in (trivial._auto_contrast, trivial._equalize):
        pytest.skip("has no strength")
    assert torch.allclose(operation(images, torch.zeros(2)), images, atol=0.005)


def test_operations_are_what_they_are_called():
    image, full = torch.rand(1, 3, 16, 16) * 0.5 + 0.2, torch.ones(1)
    assert trivial._auto_contrast(image, full).amin() == 0 and trivial._auto_contrast(image, full).amax() == 1
    assert len(trivial._posterize(image, full).unique()) <= 4
    assert torch.allclose(trivial._solarize(image, full), 1 - image)
    assert trivial._brightness(image, -full).max() < 0.02
    assert trivial._colour(image, -full).std(dim=1).max() < 0.01
    assert trivial._contrast(image, -full).std() < 0.01
    assert trivial._sharpness(image, -full).std() < image.std()
    assert abs(trivial._equalize(image, full).mean() - 0.5) < 0.02
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert torch.equal(trivial._equalize(flat, full), flat)
    point = torch.zeros(1, 3, 16, 16)
    point[..., 8, 8] = 1.0
    assert trivial._move_across(point, full)[0, 0, 8, 4] == 1
    assert trivial._move_down(point, full)[0, 0, 4, 8] == 1


def test_black_and_white_are_those_of_the_reader():
    black, white = np.float32([-2.1, -2.0, -1.8]), np.float32([2.2, 2.4, 2.6])
    augment = TrivialAugment().prepared(SimpleNamespace(black=black, white=white), 3)
    middle = torch.from_numpy((black + white) / 2)[:, None, None].expand(300, 3, 8, 8)
    changed = augment({"pixel_values": middle}, np.random.default_rng(0))["pixel_values"]
    assert (changed.amin(dim=(0, 2, 3)) >= torch.from_numpy(black) - 1e-4).all()
    assert (changed.amax(dim=(0, 2, 3)) <= torch.from_numpy(white) + 1e-4).all()
