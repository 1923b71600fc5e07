"""Features of a frozen network, kept in a file that is mapped into memory, and computed at most once per row.

The cache holds no labels, so rows of every fold may share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.inputs.base import Examples
from autosft.inputs.batches import batches_by_length
from autosft.trainers.base import Limits
from autosft.trainers.memory import in_batches_that_fit
from autosft.trainers.networks import PREDICT_BATCH_SIZE, device, rows_per_second
from autosft.trainers.precision import inference

#: Rows between two looks at the clock and the stop file: a few at first, then what takes so long, at most so many.
_FIRST_BLOCK_ROWS, _BLOCK_SECONDS, _BLOCK_ROWS = 16, 2.0, 1024

#: Between two looks at the clock and the stop file while another process computes.
_LOCK_SECONDS = 0.5

#: Of the files; features in another format lie under another name.
_FORMAT = 2

#: Bytes of a row's place and checksum; bytes of features that are looked at at once.
_ENTRY_BYTES, _LOOK_BYTES = 16, 1 << 18

#: From a batch, as keyword arguments of a model, to features of shape (rows, size).
Embed = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


class FeatureCache:
    """Features of rows by position.

    The file "values" holds them in the order in which they were computed, float32; the file "rows" says in two int64
    whose each is, and their checksum. Both only ever grow, one process at a time, and "rows" after "values" is safely
    on disk: so a killed process leaves whole rows that count, and at most an end that does not and that is written
    over. Rows whose features a failing disk or a careless hand changed do not count either, and are computed again.

    Args:
        key: What tells rows, base model and pooling from others.
        examples: One a row.
        embed: From a batch to features, shape (rows, size).
    """

    def __init__(self, cache: Path, key: str, examples: Examples, embed: Embed, size: int) -> None:
        name = hashlib.sha256(f"{_FORMAT}|{key}".encode()).hexdigest()[:24]
        self._folder = cache / "features" / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._examples = examples
        self._embed = embed
        self.size = size
        self._values: NDArray[np.float32] = np.zeros((0, size), np.float32)
        #: Where in `_values` each row's features are; -1 where they are nowhere.
        self._places = np.full(len(examples), -1, np.int64)
        self._batch_size = PREDICT_BATCH_SIZE
        self._refresh()

    def compute(
        self,
        rows: NDArray[np.int64],
        limits: Limits,
        *,
        deadline: float | None = None,
        seed: int = 0,
        order: NDArray[np.int64] | None = None,
        seconds_after: Callable[[int], float] | None = None,
    ) -> NDArray[np.int64]:
        """Computes what is missing of `rows`.

        Args:
            limits: Of the training that needs them; its stop file is looked at now and then.
            deadline: Monotonic time to stop at; rows are then taken in random order, so that what is there is a sample.
            order: The rows as a deadline takes them instead.
            seconds_after: Time to leave before the deadline, by how many of the rows are there: what is done with more
                of them takes longer.

        Returns:
            The rows whose features are there: all of them, unless the deadline came first.

        Raises:
            TrialFailed: The stop file appeared, or not even one row fits in memory; what was computed until then is
                kept.
        """
        with phase("features"), self._locked(limits, deadline) as mine:
            self._refresh()
            missing = rows if order is None or deadline is None else order
            missing = missing[self._places[missing] < 0]
            if deadline is not None and order is None:
                missing = np.random.default_rng(seed).permutation(missing)
            size = _FIRST_BLOCK_ROWS
            while mine and len(missing):
                limits.raise_if_stopped()
                block, missing = missing[:size], missing[size:]
                started = time.monotonic()
                self._write(block, self._encode(block))
                seconds = max(time.monotonic() - started, 1e-6)
                # Large blocks are better sorted by length, and slow rows are no reason to miss the clock.
                size = int(np.clip(len(block) * _BLOCK_SECONDS / seconds, _FIRST_BLOCK_ROWS, _BLOCK_ROWS))
                if deadline is not None:
                    after = seconds_after(int(np.count_nonzero(self._places[rows] >= 0))) if seconds_after else 0.0
                    if time.monotonic() + after >= deadline:
                        break
        limits.raise_if_stopped()
        return rows[self._places[rows] >= 0]

    @contextlib.contextmanager
    def _locked(self, limits: Limits, deadline: float | None) -> Iterator[bool]:
        """Waits while another process computes; yields whether the files are this one's before the deadline.

        Raises:
            TrialFailed: The stop file appeared.
        """
        lock = FileLock(str(self._folder / "lock"))
        while not lock.is_locked:
            limits.raise_if_stopped()
            # One try at least, where the deadline has passed already.
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=_LOCK_SECONDS)
            if deadline is not None and time.monotonic() >= deadline:
                break
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns features of computed rows, shape (rows, size)."""
        return self._values[self._places[rows]]

    def measure(self, rows: NDArray[np.int64]) -> float:
        """Returns the encoder's speed in rows per second on a sample of `rows`, sized to a second or two.

        The features are kept, so that whoever needs them does not wait for them again.
        """
        return rows_per_second(self._compute_anew, self._examples, rows, seconds=_BLOCK_SECONDS)

    def _compute_anew(self, rows: NDArray[np.int64]) -> None:
        """Computes rows, whether they are known or not."""
        features = self._encode(rows)
        with FileLock(str(self._folder / "lock")):
            self._refresh()
            new = self._places[rows] < 0
            if new.any():
                self._write(rows[new], features[new])

    def _encode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns features, in batches of half the size, for good, where memory runs out."""
        values, self._batch_size = in_batches_that_fit(
            lambda batch_size: self._forward(rows, batch_size), self._batch_size, max_length=self._examples.max_length
        )
        return values

    def _forward(self, rows: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        where = device()
        values = np.zeros((len(rows), self.size), np.float32)
        # In float32 on a GPU too: a head fitted on coarser features predicts otherwise elsewhere.
        with inference():
            for batch in batches_by_length(self._examples.lengths[rows], batch_size):
                tensors = {name: value.to(where) for name, value in self._examples.collate(rows[batch]).items()}
                values[batch] = self._embed(tensors).float().cpu().numpy()
        return values

    def _refresh(self) -> None:
        """Takes in what this or another process has written since."""
        rows, values = self._folder / "rows", self._folder / "values"
        if not rows.exists() or not values.exists():
            return
        known = len(self._values)
        num_rows = min(rows.stat().st_size // _ENTRY_BYTES, values.stat().st_size // (4 * self.size))
        at_once = max(1, _LOOK_BYTES // (4 * self.size))
        for start in range(known, num_rows, at_once):
            num = min(at_once, num_rows - start)
            entries = np.fromfile(rows, np.int64, 2 * num, offset=_ENTRY_BYTES * start).reshape(num, 2)
            # Read, and not through the map, whose pages would count as this process's memory.
            found = np.fromfile(values, np.float32, num * self.size, offset=4 * self.size * start)
            places = entries[:, 0]
            sound = (places >= 0) & (places < len(self._places))
            sound &= entries[:, 1] == _checksums(found.reshape(num, self.size), places)
            self._places[places[sound]] = np.flatnonzero(sound) + start
        if num_rows > known:
            self._values = np.memmap(values, np.float32, "r", shape=(num_rows, self.size))

    def _write(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
        # Through files and not through the map, where a full disk would end the process.
        entries = np.stack([rows, _checksums(features, rows)], axis=1)
        for name, array in (("values", features), ("rows", entries)):
            path = self._folder / name
            path.touch()
            with path.open("r+b") as file:
                file.seek(len(self._values) * array[0].nbytes)
                file.write(array.tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        self._refresh()


def _checksums(features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns a number a row that its place and its features' bits decide, shape (rows,); never that of zeros alone."""
    weights = 2 * np.arange(features.shape[1], dtype=np.uint64) + 1
    bits = np.ascontiguousarray(features).view(np.uint32)
    sums = np.einsum("ij,j->i", bits, weights) + 7919 * (rows.astype(np.uint64) + 1)
    return np.asarray(sums.astype(np.int64))
