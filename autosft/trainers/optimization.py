"""AdamW with layer-wise rates, and a linear schedule that anneals by steps or by time, whichever is further along."""

from __future__ import annotations

import re
import time
from typing import Any

import torch
from torch import nn

from autosft.errors import TrialFailed

#: The outermost numbered part of a network: of convolutional ones their stages, which hold layers of their own, or the
#: patches that each of them starts with beside it.
_LAYER = re.compile(r"\.(?:stages?|layers?|h|blocks?|patch_embeddings)\.(\d+)\.")

#: What is below all layers. MPNet and T5 keep the embeddings of distances beside their layers.
_EMBEDDING = re.compile(r"embed|(?:\b|_)stem\b|relative_attention_bias")


class Clockwork:
    """How far along a training is, in [0, 1]: by steps, or by time where a limit makes that the larger share.

    Annealing a schedule to the budget instead of cutting it off is what "Budgeted Training" (Li et al., ICLR 2020)
    found to matter most when a run must be short.

    Attributes:
        step: Optimizer steps done.
        total_steps: Steps of the whole run.
        limit_seconds: Time the steps may take, or None.
    """

    def __init__(self, total_steps: int, limit_seconds: float | None) -> None:
        self.step = 0
        self.total_steps = total_steps
        self.limit_seconds = limit_seconds
        self._started = time.monotonic()

    def start(self) -> None:
        """Starts the clock: what came before (loading, the probe) is not training."""
        self._started = time.monotonic()

    @property
    def progress(self) -> float:
        by_steps = self.step / self.total_steps
        if self.limit_seconds is None:
            return by_steps
        return min(1.0, max(by_steps, (time.monotonic() - self._started) / max(self.limit_seconds, 1e-3)))

    @property
    def seconds_per_step(self) -> float:
        return (time.monotonic() - self._started) / max(self.step, 1)


def linear_schedule(optimizer: torch.optim.Optimizer, clockwork: Clockwork, warmup_share: float) -> Any:
    """Warms up linearly over `warmup_share` of the run, then decays linearly to zero at its end."""

    def factor(step: int) -> float:
        # The scheduler is asked for the factor of the step to come, one ahead of the steps done.
        at = max(clockwork.progress, (step + 0.5) / clockwork.total_steps)
        return at / warmup_share if at < warmup_share else max(0.0, (1.0 - at) / (1.0 - warmup_share))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def check_loss(found: Any, step: int) -> Any:
    """Returns what `compute_loss` gave, a loss or a pair of it and outputs.

    Raises:
        TrialFailed: The loss is no finite number.
    """
    loss = found[0] if isinstance(found, tuple) else found
    if not torch.isfinite(loss):
        raise TrialFailed(f"the training loss became {loss.item()} at step {step}")
    return found


def parameter_groups(
    module: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups parameters for AdamW.

    Biases and normalisation weights are not decayed. With `layer_decay` below 1 the rate falls by that factor per layer
    from the head down to the embeddings (Howard and Ruder, ACL 2018, call it discriminative fine-tuning).
    """
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    depth = 1 + max((int(found.group(1)) for name in names if (found := _LAYER.search(name))), default=-1)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = learning_rate * layer_decay ** _distance_from_head(name, depth)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def freeze(module: nn.Module, share: float) -> None:
    """Keeps the lowest `share` of a network's layers or stages as they are, and above 0 its embeddings or stem too.

    Layers near the words change least in fine-tuning, and few rows can only spoil them (Lee et al., arXiv 1911.03090).
    Those near the pixels are the most general ones (Yosinski et al., arXiv 1411.1792).
    """
    layers = {name: int(found.group(1)) for name, _ in module.named_parameters() if (found := _LAYER.search(name))}
    num_frozen = round(share * (1 + max(layers.values(), default=-1)))
    for name, parameter in module.named_parameters():
        below = layers[name] < num_frozen if name in layers else share > 0 and _is_embedding(name)
        if below:
            parameter.requires_grad_(False)


def _distance_from_head(name: str, depth: int) -> int:
    if found := _LAYER.search(name):
        return depth - int(found.group(1))
    return depth + 1 if _is_embedding(name) else 0


def _is_embedding(name: str) -> bool:
    return bool(_EMBEDDING.search(name))
