"""Memory that runs out beside the training itself, and a decoder whose rows cannot be padded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autosft.arrays import to_matrix
from autosft.base_models import describe
from autosft.errors import TrialFailed
from autosft.inputs.text import load_tokenizer
from autosft.testing.tiny_data import WORDS, tiny_training_data
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.trainers.base import Limits
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

OWN_HEAD = TransformersConfig(learning_rate=2e-3, num_train_epochs=1, batch_size=16, head="architecture")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


def fit(trainer: Any, base: Path, config: Any, folder: Path) -> Any:
    base_model = describe(str(base), allow_download=False)
    limits = Limits(num_threads=1, cache=folder / "cache")
    outputs: list[Any] = []
    trainer(base_model, base).fit(
        config, *tiny_training_data(folder / "data", num_rows=117), fidelity=1.0, seed=0, folder=folder,
        report=lambda share, found: outputs.append(to_matrix(found)), limits=limits,
    )  # fmt: skip
    return outputs[-1]


def run_out(monkeypatch: pytest.MonkeyPatch, *, above: int) -> list[int]:
    """Makes an encoder's memory run out above so many rows; returns the sizes of the batches that it was given."""
    from transformers import BertModel

    forward, given = BertModel.forward, []

    def limited(self: Any, input_ids: torch.Tensor, **other: Any) -> Any:
        given.append(len(input_ids))
        if len(input_ids) > above:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **other)

    monkeypatch.setattr(BertModel, "forward", limited)
    return given


def test_features_are_computed_in_batches_that_fit(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(FrozenHead, encoder, FrozenHeadConfig(), tmp_path / "whole")
    given = run_out(monkeypatch, above=10)
    pieces = fit(FrozenHead, encoder, FrozenHeadConfig(), tmp_path / "pieces")
    np.testing.assert_allclose(pieces, whole, atol=1e-4)
    assert max(size for size in given if size <= 10) == 8, "64, halved until it fits"
    assert all(size <= 8 for size in given[given.index(8) :]), "what did not fit is not tried again"


@pytest.mark.parametrize(
    ("trainer", "config"),
    [(FrozenHead, FrozenHeadConfig()), (TransformersTrainer, replace(OWN_HEAD, head="mean-from-probe"))],
)
def test_a_row_whose_features_do_not_fit_fails_the_trial(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Any, config: Any
) -> None:
    run_out(monkeypatch, above=0)
    with pytest.raises(TrialFailed, match="do not fit in memory"):
        fit(trainer, encoder, config, tmp_path)


def test_a_model_that_does_not_fit_on_its_device_fails_the_trial(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: nn.Module, *where: Any, **other: Any) -> nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("autosft.trainers.with_transformers.PooledClassifier.to", full, raising=False)
    monkeypatch.setattr("autosft.trainers.with_transformers._free", lambda module: None)
    with pytest.raises(TrialFailed, match="does not fit in memory"):
        fit(TransformersTrainer, encoder, replace(OWN_HEAD, head="mean"), tmp_path)


def write_decoder(folder: Path, encoder: Path, *, pads: bool) -> Path:
    from transformers import GPT2Config, GPT2Model

    tokenizer = load_tokenizer(encoder)
    if not pads:
        tokenizer.pad_token = None
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2, pad_token_id=None)
    GPT2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_decoder_that_was_not_told_its_padding_token_is_trained(encoder: Path, tmp_path: Path) -> None:
    decoder = write_decoder(tmp_path / "decoder", encoder, pads=True)
    assert np.isfinite(fit(TransformersTrainer, decoder, OWN_HEAD, tmp_path / "run")).all()


def test_a_decoder_without_a_padding_token_fails_the_trial(encoder: Path, tmp_path: Path) -> None:
    decoder = write_decoder(tmp_path / "decoder", encoder, pads=False)
    with pytest.raises(TrialFailed, match="no padding token"):
        fit(TransformersTrainer, decoder, OWN_HEAD, tmp_path / "run")
