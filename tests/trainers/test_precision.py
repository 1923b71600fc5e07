"""What is fast on one CPU and not on another changes how long a model takes, and not what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autosft.trainers import precision
from autosft.trainers.precision import inference

has_both = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()), reason="needs MKL and oneDNN"
)


@has_both
@pytest.mark.parametrize("mkl_is_slow", [False, True])
def test_linear_layers_say_the_same_by_either_library(mkl_is_slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_mkl_is_slow", lambda: mkl_is_slow)
    torch.manual_seed(0)
    layers = [nn.Linear(256, 300), nn.Linear(256, 300, bias=False)]
    for rows in (torch.randn(7, 256), torch.randn(5, 3, 256).transpose(0, 1), torch.randn(256), torch.randn(0, 256)):
        for layer in layers:
            bias = 0 if layer.bias is None else layer.bias
            wanted = (rows.double() @ layer.weight.double().T + bias).detach().float()
            with inference():
                found = layer(rows)
            assert not found.requires_grad
            np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-4)
            np.testing.assert_allclose(layer(rows).detach().numpy(), wanted.numpy(), atol=1e-4)


@has_both
def test_onednn_is_what_multiplies_where_mkl_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_mkl_is_slow", lambda: True)
    layer, rows = nn.Linear(256, 300), torch.randn(7, 256)
    with torch.profiler.profile() as profiled, inference():
        layer(rows)
    assert any("mkldnn" in event.key for event in profiled.key_averages())


def test_without_instructions_for_it_nothing_trains_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not precision.trains_in_bf16()
    alone = precision.forward_share()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert precision.trains_in_bf16() and precision.forward_share() > alone
