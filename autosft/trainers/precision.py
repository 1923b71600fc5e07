"""In what precision and with whose matrix products a network computes: as fast as the machine can do it right.

Training multiplies in bfloat16 where that is faster. Weights, optimizer and losses are in float32 always, and so is
every prediction: a model predicts elsewhere what it was measured to.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: What a forward pass takes of the time of a training step on as many rows. With MiniLM on a CPU: 0.13 of 0.31 s in
#: float32; of a step in bfloat16 about half (`benchmarks/precision.py` has the ratios), and more with long texts.
_FORWARD_SHARE, _FORWARD_SHARE_OF_BF16 = 0.4, 0.6

#: Weights of a layer from which on oneDNN's product is worth its call (MiniLM's smallest layers have 147,456).
_FEWEST_WEIGHTS = 2**16


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


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Computes without gradients, in float32: `torch.inference_mode`, linear layers by the faster of two libraries.

    By itself torch rounds what convolutions on a GPU multiply to ten bits (TF32).
    """
    rounds = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode(), _OneDnnLinear() if _mkl_is_slow() else contextlib.nullcontext():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = rounds


@functools.cache
def _mkl_is_slow() -> bool:
    """Whether torch multiplies in float32 with an MKL that leaves half of the CPU unused.

    MKL uses AVX512 on Intel's CPUs alone: with MiniLM's layers it does 200 GFLOPS on two cores of an AMD EPYC, and
    oneDNN 460.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    with contextlib.suppress(OSError):
        is_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return is_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return False


class _OneDnnLinear(TorchFunctionMode):
    """Has oneDNN compute linear layers of float32 on the CPU, which torch gives to MKL."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.linear and not kwargs and len(args) == 3:
            rows, weight, bias = args
            plain = all(given.device.type == "cpu" and given.dtype == torch.float32 for given in (rows, weight))
            if plain and weight.numel() >= _FEWEST_WEIGHTS:
                # What torch's own compiler calls for them.
                return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return func(*args, **(kwargs or {}))
