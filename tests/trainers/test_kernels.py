"""Which of torch's fast paths a training takes, on a CPU as well: SDPA attention and the fused AdamW."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autosft.testing.tiny_data import WORDS, tiny_training_data
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import loop
from autosft.trainers.base import FittedModel, Limits
from autosft.trainers.encoder import EncoderModel
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.networks import load_encoder
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

QUICK = TransformersConfig(num_train_epochs=1, batch_size=32, head="mean")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("kernels") / "base", words=WORDS)


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The queries that torch's scaled dot product attention was given."""
    given, original = [], nn.functional.scaled_dot_product_attention

    def recorded(query: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        given.append(query)
        return original(query, *arguments, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", recorded)
    return given


@pytest.fixture
def optimizers(monkeypatch: pytest.MonkeyPatch) -> list[torch.optim.Optimizer]:
    """The optimizers that stepped."""
    stepped: list[torch.optim.Optimizer] = []
    original = torch.optim.AdamW.step

    def recorded(self: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
        stepped.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    return stepped


def fit(base: Path, folder: Path, trainer: Any, config: Any) -> FittedModel:
    (folder / "scratch").mkdir()
    task, data = tiny_training_data(folder / "data", num_rows=60)
    model: FittedModel = trainer(tiny_base_model(base), base).fit(
        config,
        task,
        data,
        fidelity=1.0,
        seed=0,
        folder=folder / "scratch",
        report=lambda share, outputs: None,
        limits=Limits(num_threads=1, cache=folder / "cache"),
    )
    return model


def attention_of(module: nn.Module) -> str:
    [name] = {inner.config._attn_implementation for inner in module.modules() if hasattr(inner, "config")}
    return str(name)


def test_an_encoder_is_loaded_with_sdpa(base: Path) -> None:
    assert attention_of(load_encoder(base)) == "sdpa"


@pytest.mark.parametrize(
    ("trainer", "config"),
    [
        (TransformersTrainer, QUICK),
        (TransformersTrainer, replace(QUICK, head="architecture")),
        (FrozenHead, FrozenHeadConfig()),
    ],
)
def test_training_and_what_is_read_back_attend_with_sdpa(
    base: Path, tmp_path: Path, attended: list[torch.Tensor], trainer: Any, config: Any
) -> None:
    model = fit(base, tmp_path, trainer, config)
    assert isinstance(model, EncoderModel)
    assert attention_of(model.network) == "sdpa"
    assert attended
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    assert attention_of(EncoderModel.load(tmp_path / "model").network) == "sdpa"


def test_training_steps_with_the_fused_optimizer(
    base: Path, tmp_path: Path, optimizers: list[torch.optim.Optimizer]
) -> None:
    fit(base, tmp_path, TransformersTrainer, QUICK)
    assert len({id(optimizer) for optimizer in optimizers}) == 1
    assert all(group["fused"] is True for group in optimizers[0].param_groups)


def test_timing_steps_with_the_optimizer_that_training_uses(
    base: Path, tmp_path: Path, optimizers: list[torch.optim.Optimizer]
) -> None:
    task, data = tiny_training_data(tmp_path / "data", num_rows=60)
    limits = Limits(num_threads=1, cache=tmp_path / "cache")
    TransformersTrainer(tiny_base_model(base), base).measure(QUICK, task, data, limits=limits)
    assert len(optimizers) == loop._TIMED_STEPS + loop._UNTIMED_STEPS
    assert all(group["fused"] is True for group in optimizers[0].param_groups)
