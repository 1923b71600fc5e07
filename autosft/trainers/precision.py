"""In what precision trainings compute: matrix products in bfloat16 where that is faster, all else in float32.

Weights, optimizer and losses are in float32 always, and so is every prediction: a model predicts elsewhere what it was
measured to.
"""

from __future__ import annotations

import torch

#: What a forward pass takes of the time of a training step on as many rows. With MiniLM on a CPU: 0.13 of 0.31 s in
#: float32; of a step in bfloat16 0.6 to 1, the more the shorter the texts (`benchmarks/precision.py` has the ratios).
_FORWARD_SHARE, _FORWARD_SHARE_OF_BF16 = 0.4, 0.8


def trains_in_bf16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32, instead of emulating it.

    That is a GPU with units for it, or a CPU with AVX512-BF16: AMD from Zen 4 on, Intel from Sapphire Rapids on.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported())


def forward_share() -> float:
    """Returns what a prediction takes of the time of a training step on as many rows."""
    return _FORWARD_SHARE_OF_BF16 if trains_in_bf16() else _FORWARD_SHARE
