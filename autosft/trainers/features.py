"""Features of a frozen network, cached as Arrow and computed at most once per row.

The cache holds no labels, so rows of every fold may share it.
"""

from __future__ import annotations

import gc
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from numpy.typing import NDArray

from autosft.errors import TrialFailed
from autosft.inputs.base import Examples
from autosft.inputs.batches import batches_by_length
from autosft.trainers.base import Limits
from autosft.trainers.networks import PREDICT_BATCH_SIZE, device

_BLOCK_ROWS = 1024

#: From a batch, as keyword arguments of a model, to features of shape (rows, size).
Embed = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


class FeatureCache:
    """Features of rows by position.

    Each call that computes missing rows adds one Arrow file with the columns "row" and "feature", written under a lock
    and renamed into place, so that a killed process leaves either a whole file or none.

    Args:
        key: What tells rows, base model and pooling from others.
        examples: One a row.
        embed: From a batch to features, shape (rows, size).
    """

    def __init__(self, cache: Path, key: str, examples: Examples, embed: Embed, size: int) -> None:
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        self._folder = cache / "features" / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._examples = examples
        self._embed = embed
        self.size = size
        self._values = np.zeros((len(examples), self.size), np.float32)
        self._done = np.zeros(len(examples), bool)
        self._read: set[str] = set()
        self._batch_size = PREDICT_BATCH_SIZE
        self._refresh()

    def compute(
        self, rows: NDArray[np.int64], limits: Limits, *, deadline: float | None = None, seed: int = 0
    ) -> NDArray[np.int64]:
        """Computes what is missing of `rows`.

        Args:
            limits: Of the training that needs them; its stop file is looked at now and then.
            deadline: Monotonic time to stop at; rows are then taken in random order, so that what is there is a sample.

        Returns:
            The rows whose features are there: all of them, unless the deadline came first.

        Raises:
            TrialFailed: The stop file appeared, or not even one row fits in memory; what was computed until then is
                kept.
        """
        with FileLock(str(self._folder / "lock")):
            self._refresh()
            missing = rows[~self._done[rows]]
            if deadline is not None:
                missing = np.random.default_rng(seed).permutation(missing)
            computed: list[NDArray[np.int64]] = []
            try:
                for start in range(0, len(missing), _BLOCK_ROWS):
                    limits.raise_if_stopped()
                    block = missing[start : start + _BLOCK_ROWS]
                    self._values[block] = self._encode(block)
                    self._done[block] = True
                    computed.append(block)
                    if deadline is not None and time.monotonic() >= deadline:
                        break
            finally:
                if computed:
                    self._write(np.concatenate(computed))
        limits.raise_if_stopped()
        return rows[self._done[rows]]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns features of computed rows, shape (rows, size)."""
        return self._values[rows]

    def measure(self, rows: NDArray[np.int64]) -> float:
        """Returns the encoder's speed in rows per second on a sample of `rows`, sized to a second or two."""
        sample = np.random.default_rng(0).permutation(rows)[: 4 * PREDICT_BATCH_SIZE]
        self._encode(sample[:PREDICT_BATCH_SIZE])  # The first pass also pays for allocation.
        started = time.perf_counter()
        self._encode(sample)
        return len(sample) / (time.perf_counter() - started)

    def _encode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns features, in batches of half the size, for good, where memory runs out."""
        while True:
            try:
                return self._forward(rows)
            except RuntimeError as error:
                from autosft.trainers.loop import is_out_of_memory

                if not is_out_of_memory(error):
                    raise
                if self._batch_size == 1:
                    wrong = f"the encoder and one row of up to {self._examples.max_length} tokens do not fit in memory"
                    raise TrialFailed(wrong) from error
            # Out here, where the error no longer holds what was computed.
            self._batch_size //= 2
            free_memory()

    def _forward(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        where = device()
        values = np.zeros((len(rows), self.size), np.float32)
        # In float32 on a GPU too: a head fitted on coarser features predicts otherwise elsewhere.
        with torch.inference_mode():
            for batch in batches_by_length(self._examples.lengths[rows], self._batch_size):
                tensors = {name: value.to(where) for name, value in self._examples.collate(rows[batch]).items()}
                values[batch] = self._embed(tensors).float().cpu().numpy()
        return values

    def _refresh(self) -> None:
        for path in sorted(self._folder.glob("*.arrow")):
            if path.name in self._read:
                continue
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            rows = table.column("row").to_numpy()
            flat = table.column("feature").combine_chunks().flatten().to_numpy(zero_copy_only=False)
            self._values[rows] = flat.reshape(len(rows), self.size)
            self._done[rows] = True
            self._read.add(path.name)

    def _write(self, rows: NDArray[np.int64]) -> None:
        flat = pa.array(self._values[rows].ravel(), pa.float32())
        table = pa.table({"row": rows, "feature": pa.FixedSizeListArray.from_arrays(flat, self.size)})
        path = self._folder / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.arrow"
        unfinished = path.with_suffix(".unfinished")
        with pa.ipc.new_file(str(unfinished), table.schema) as writer:
            writer.write_table(table)
        unfinished.replace(path)
        self._read.add(path.name)


def free_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
