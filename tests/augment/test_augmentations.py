"""What every augmentation must do, and what each one is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from autosft.augment import AUGMENTATIONS, augmentation_class
from autosft.augment.punctuation import Punctuation
from autosft.augment.token_cutoff import TokenCutoff
from autosft.errors import PlanError
from autosft.inputs.text import TextReader
from autosft.task import Input
from autosft.testing.tiny_models import write_tiny_encoder

MARKS = ".;?:!,"


def batch(num_rows=64, num_tokens=20):
    ids = torch.arange(num_rows * num_tokens).reshape(num_rows, num_tokens)
    mask = torch.ones_like(ids)
    mask[::2, num_tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(params=[name for name in AUGMENTATIONS if Input.TEXT in augmentation_class(name).inputs])
def augment(request, examples):
    found = augmentation_class(request.param)()
    assert found.name == request.param
    return found.prepared(examples, 3)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Rows of a tokenizer that knows six marks, cut at 24 tokens."""
    base = write_tiny_encoder(tmp_path_factory.mktemp("augment") / "base", words=[*"abcd", *MARKS])
    return TextReader.of_base(base, max_length=24, context_tokens=64).examples(pa.table({"text": ["a b c d"] * 3}))


def test_rows_keep_their_number_their_types_and_some_token(augment):
    assert Input.TEXT in augment.inputs
    changed = augment(batch(), np.random.default_rng(0))
    assert {key: (len(value), value.dtype) for key, value in changed.items()} == {
        key: (len(value), value.dtype) for key, value in batch().items()
    }
    assert len({value.shape for value in changed.values()}) == 1
    assert changed["attention_mask"].sum(dim=1).min() > 0


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
    assert not (mask > full["attention_mask"]).any(), "padding is never shown"
    assert mask[:, 0].all()
    assert 1 - mask[:, 1:].float().mean().item() == pytest.approx(share, abs=0.02)


def test_punctuation_leaves_every_token_in_its_order_between_the_first_and_the_last(examples):
    augment, given = augmentation_class("punctuation")().prepared(examples, 3), batch()
    given["input_ids"] = given["input_ids"] + 1000
    given["token_type_ids"] = (torch.arange(20) >= 5).long().repeat(64, 1) * given["attention_mask"]
    changed = augment(given, np.random.default_rng(0))
    shares = []
    for row in range(64):
        old = given["input_ids"][row][given["attention_mask"][row] == 1].tolist()
        new = changed["input_ids"][row][changed["attention_mask"][row] == 1].tolist()
        assert [token for token in new if token not in augment.marks] == old
        assert new[0] == old[0] and new[-1] == old[-1] and len(old) < len(new) <= min(24, len(old) + len(old) // 3)
        sides = changed["token_type_ids"][row][: len(new)].tolist()
        assert sides == sorted(sides)
        shares.append((len(new) - len(old)) / len(old))
    assert 0.1 < np.mean(shares) < 0.25
    assert {token for token in changed["input_ids"].flatten().tolist() if token < 1000} >= set(augment.marks)
    padded = changed["attention_mask"] == 0
    assert (changed["input_ids"][padded] == examples.pad_token_id).all() and padded.any()


def test_where_a_tokenizer_has_no_marks_a_row_stays_as_it_is(examples):
    changed = Punctuation(marks=(), max_length=24)(batch(), np.random.default_rng(0))
    assert all(torch.equal(changed[key], value) for key, value in batch().items())


def test_an_unknown_augmentation_gets_the_nearest_match():
    with pytest.raises(PlanError, match="did you mean 'token-cutoff'"):
        augmentation_class("token_cutof")
