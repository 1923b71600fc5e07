"""What every augmentation must do, and what each one is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autosft.augment import AUGMENTATIONS, augmentation
from autosft.augment.token_cutoff import TokenCutoff
from autosft.errors import PlanError
from autosft.task import Input


def batch(num_rows=64, num_tokens=20):
    ids = torch.arange(num_rows * num_tokens).reshape(num_rows, num_tokens)
    mask = torch.ones_like(ids)
    mask[::2, num_tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(params=[name for name in AUGMENTATIONS if Input.TEXT in augmentation(name).inputs])
def augment(request):
    found = augmentation(request.param)
    assert found.name == request.param
    return found


def test_rows_keep_their_shape_and_some_token(augment):
    assert Input.TEXT in augment.inputs
    changed = augment(batch(), np.random.default_rng(0))
    assert {key: (value.shape, value.dtype) for key, value in changed.items()} == {
        key: (value.shape, value.dtype) for key, value in batch().items()
    }
    assert changed["attention_mask"].sum(dim=1).min() > 0
    assert not (changed["attention_mask"] > batch()["attention_mask"]).any(), "padding is never shown"


def test_something_changes_and_the_given_batch_does_not(augment):
    given = batch()
    changed = augment(given, np.random.default_rng(0))
    assert any(not torch.equal(changed[key], given[key]) for key in given)
    assert all(torch.equal(given[key], value) for key, value in batch().items())


def test_the_seed_decides(augment):
    first, same, other = (augment(batch(), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_cutoff_hides_its_share_of_tokens_and_never_the_first(share):
    full = {key: torch.ones_like(value) for key, value in batch(500).items()}
    mask = TokenCutoff(share)(full, np.random.default_rng(0))["attention_mask"]
    assert mask[:, 0].all()
    assert 1 - mask[:, 1:].float().mean().item() == pytest.approx(share, abs=0.02)


def test_an_unknown_augmentation_gets_the_nearest_match():
    with pytest.raises(PlanError, match="did you mean 'token-cutoff'"):
        augmentation("token_cutof")
