"""Text as an encoder needs it: tokenised once into a memory-mapped cache, batched by length, padded.

Works on canonical "text" columns. What a trainer does with the batches is its own affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from autosft.data.data import Rows

#: Rows sorted by length together: wide enough to save most padding, narrow enough that batches still differ by epoch.
BATCHES_PER_CHUNK = 8

#: Rows are cut here unless the user says otherwise, also where a model's context is longer: attention grows with the
#: square of the length, and labels of a text are mostly decided early.
MAX_TOKENS = 512


class TokenCache:
    """Token ids of many rows, memory-mapped.

    Attributes:
        max_length: Tokens a row is cut at.
        lengths: Tokens per row after cutting, shape (rows,).
        share_cut: Share of the rows that were cut.
    """

    def __init__(self, path: Path) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        ids = table.column("input_ids").combine_chunks()
        self._values = ids.values.to_numpy(zero_copy_only=True)
        self._offsets = ids.offsets.to_numpy(zero_copy_only=True)
        self.max_length = int(table.schema.metadata[b"max_length"])
        self.lengths = np.diff(self._offsets)
        self.share_cut = float((table.column("full_length").to_numpy() > self.max_length).mean()) if len(table) else 0.0

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self._values[self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]


def tokenize(
    rows: Rows,
    fingerprint: str,
    tokenizer: Any,
    tokenizer_key: str,
    *,
    max_length: int | None,
    context_tokens: int,
    cache: Path,
) -> TokenCache:
    """Tokenises every row once, or opens what an earlier call wrote.

    Args:
        rows: Rows with a canonical "text" column.
        fingerprint: Content hash of `rows`, part of the cache's key.
        tokenizer: A Transformers tokenizer.
        tokenizer_key: What tells this tokenizer from others (its folder).
        max_length: Tokens a row is cut at, special tokens included; None chooses (see `choose_length`).
        context_tokens: The most the model takes.
        cache: Folder to keep it in.
    """
    name = f"{fingerprint}|{tokenizer_key}|{max_length}|{context_tokens}|{type(tokenizer).__name__}"
    path = cache / "tokens" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            table = _encode_all(rows.column("text"), tokenizer, max_length, context_tokens)
            unfinished = path.with_suffix(".unfinished")
            with pa.ipc.new_file(str(unfinished), table.schema) as writer:
                writer.write_table(table)
            unfinished.replace(path)
    return TokenCache(path)


def encode(texts: Sequence[str], tokenizer: Any, *, max_length: int) -> list[list[int]]:
    """Tokenises texts, cut at `max_length` with their closing special token kept."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), 1000):
        batch = list(texts[start : start + 1000])
        ids.extend(tokenizer(batch, truncation=True, max_length=max_length)["input_ids"])
    return ids


def choose_length(full_lengths: NDArray[np.integer[Any]], context_tokens: int) -> int:
    """Returns where to cut rows: at the longest one, but at most MAX_TOKENS and the model's context.

    Batches are made of rows of similar length, so a few long rows cost little and cutting them gains little.
    """
    longest = int(full_lengths.max(initial=1))
    return min(-(-longest // 8) * 8, MAX_TOKENS, context_tokens)


def _encode_all(texts: Sequence[str], tokenizer: Any, max_length: int | None, context_tokens: int) -> pa.Table:
    whole: list[list[int]] = []
    for start in range(0, len(texts), 1000):
        batch = list(texts[start : start + 1000])
        whole.extend(tokenizer(batch, truncation=False, verbose=False)["input_ids"])
    full = np.fromiter(map(len, whole), np.int32, len(whole))
    length = min(max_length or choose_length(full, context_tokens), context_tokens)
    too_long = np.flatnonzero(full > length).tolist()
    for row, ids in zip(too_long, encode([texts[row] for row in too_long], tokenizer, max_length=length), strict=True):
        whole[row] = ids
    table = pa.table({"input_ids": pa.array(whole, pa.list_(pa.int32())), "full_length": pa.array(full, pa.int32())})
    return table.replace_schema_metadata({"max_length": str(length)})


def batches_by_length(lengths: NDArray[np.integer[Any]], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yields row positions, longest first, so that prediction pads little and meets its memory peak at once."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def shuffled_by_length(
    lengths: NDArray[np.integer[Any]], batch_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Returns an epoch's order of rows: batches of similar length, in random order and of random make-up.

    Rows are shuffled, cut into chunks of a few batches, sorted by length inside a chunk, and the batches shuffled. On
    Banking77 with MiniLM on two CPU threads this takes 0.31 s a step where plain shuffling takes 0.63.
    """
    order = rng.permutation(len(lengths))
    chunk = batch_size * BATCHES_PER_CHUNK
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches.extend(rows[at : at + batch_size] for at in range(0, len(rows), batch_size))
    # A short batch in the middle would shift every later batch of the data loader, so it goes last.
    whole = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    rng.shuffle(whole)
    return np.concatenate(whole + rest) if batches else order


def pad(rows: Sequence[NDArray[np.int32]], pad_token_id: int) -> dict[str, Any]:
    """Pads token ids on the right; returns torch tensors "input_ids" and "attention_mask", shape (rows, longest)."""
    import torch

    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
