"""What tests of several trainers share."""

from __future__ import annotations

import pytest
import torch

from autosft.trainers.precision import trains_in_bf16


@pytest.fixture(params=["float32", "bfloat16"])
def in_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Has trainings compute as they do on CPUs with and without instructions for bfloat16; oneDNN emulates these."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param == "bfloat16")
    assert torch.cuda.is_available() or trains_in_bf16() == (request.param == "bfloat16")
    return trains_in_bf16()
