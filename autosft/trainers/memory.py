"""Memory that runs out: how it is told, how it is given back, and what asks for less until it fits."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from autosft.errors import TrialFailed

Found = TypeVar("Found")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU."""
    said = str(error)
    on_device = isinstance(error, torch.OutOfMemoryError) or "CUBLAS_STATUS_ALLOC_FAILED" in said
    return on_device or isinstance(error, MemoryError) or "can't allocate memory" in said or "std::bad_alloc" in said


def free_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def what_may_fit(
    error: RuntimeError, micro_batch_size: int, checkpointing: bool, *, can_checkpoint: bool = True, max_length: int
) -> tuple[int, bool]:
    """Returns what a training that failed is tried again with: half the rows at once, and at one row checkpointing.

    Args:
        error: What it failed with.
        micro_batch_size: Rows per forward pass that it was tried with.
        checkpointing: Whether it computed activations again in the backward pass instead of keeping them (Chen et al.,
            arXiv 1604.06174).
        can_checkpoint: Whether its model can do that.
        max_length: Of a row, for the message.

    Returns:
        Rows per forward pass, and whether to checkpoint.

    Raises:
        RuntimeError: `error`, where it does not say that memory ran out.
        TrialFailed: Nothing is left that asks for less.
    """
    if not is_out_of_memory(error):
        raise error
    # The halved batch comes first: it costs next to nothing, recomputed activations a third more time.
    if micro_batch_size > 1:
        return micro_batch_size // 2, checkpointing
    if checkpointing or not can_checkpoint:
        raise TrialFailed(f"one row of length {max_length} does not fit in memory") from error
    return 1, True


def in_batches_that_fit(run: Callable[[int], Found], batch_size: int, *, max_length: int) -> tuple[Found, int]:
    """Calls `run` with a batch size, halved as often as memory runs out.

    Args:
        run: Called with the rows of a batch; what it computed is lost where memory runs out.
        batch_size: To begin with.
        max_length: Of a row, for the message.

    Returns:
        What `run` returned, and the batch size that fitted.

    Raises:
        TrialFailed: Not even one row fits.
    """
    while True:
        try:
            return run(batch_size), batch_size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise TrialFailed(f"the model and one row of length {max_length} do not fit in memory") from error
        # Out here, where the error no longer holds what was computed.
        batch_size //= 2
        free_memory()
