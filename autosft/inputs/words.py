"""Words as an encoder needs them: tokenised together, cut into overlapping windows where a row is too long.

Works on the canonical column "tokens". Each word is read off where its first token stands, in one window only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import one_array
from autosft.data.data import Rows
from autosft.errors import BaseModelError, explain
from autosft.inputs.base import Examples
from autosft.inputs.text import TextReader, cached_table, in_blocks, pad_token_id

if TYPE_CHECKING:
    import torch

Numbers = NDArray[np.int64]

#: Share of a window that the next one repeats, so that words near its borders have context on both sides in one of the
#: two. A quarter costs a third more windows, for long rows only.
_OVERLAP = 0.25

#: What a window is kept as.
_TYPES = {
    "input_ids": pa.list_(pa.int32()),
    "row": pa.int32(),
    "words": pa.list_(pa.int32()),
    "places": pa.list_(pa.int32()),
    "num_words": pa.int32(),
}


class WordWindows(Examples):
    """Token ids of windows, and where the words' first tokens stand. Every row has at least one window.

    Args:
        table: One row a window, in the order of the data's rows: "input_ids"; "row", the row that it is cut from;
            "words", positions in that row of the words that are read off here; "places", where in the window each of
            these has its first token; "num_words", of the whole row. The schema's metadata hold
            "max_length" and "share_unknown".
        pad_token_id: What fills up short windows.
    """

    def __init__(self, table: pa.Table, pad_token_id: int) -> None:
        ids, words, places = (one_array(table.column(name)) for name in ("input_ids", "words", "places"))
        self._offsets = ids.offsets.to_numpy(zero_copy_only=True)
        self._ids = ids.values.to_numpy(zero_copy_only=True)
        self._word_offsets = words.offsets.to_numpy(zero_copy_only=True)
        self._words = words.values.to_numpy(zero_copy_only=True)
        self._places = places.values.to_numpy(zero_copy_only=True)
        self._pad_token_id = pad_token_id
        self.rows: NDArray[np.int32] = one_array(table.column("row")).to_numpy()
        num_rows = int(self.rows[-1]) + 1 if len(self.rows) else 0
        self._windows = np.searchsorted(self.rows, np.arange(num_rows + 1))
        self._num_words = one_array(table.column("num_words")).to_numpy()[self._windows[:-1]]
        self.max_length = int(table.schema.metadata[b"max_length"])
        self.share_unknown = float(table.schema.metadata[b"share_unknown"])
        self.lengths = np.diff(self._offsets)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        counts = self.num_windows(rows)
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(np.repeat(self._windows[rows], counts) + within, np.int64)

    def num_windows(self, rows: NDArray[np.int64]) -> Numbers:
        """Returns how many windows rows are cut into."""
        return np.asarray(self._windows[rows + 1] - self._windows[rows], np.int64)

    def num_words(self, rows: NDArray[np.int64]) -> Numbers:
        """Returns how many words rows have."""
        return np.asarray(self._num_words[rows], np.int64)

    def words(self, window: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Returns the words that are read off in a window: their positions in the row, and in the window."""
        here = slice(self._word_offsets[window], self._word_offsets[window + 1])
        return self._words[here], self._places[here]

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns "input_ids" and "attention_mask", int64, shape (windows, longest)."""
        import torch

        longest = int(self.lengths[examples].max(initial=1))
        ids = np.full((len(examples), longest), self._pad_token_id, np.int64)
        mask = np.zeros((len(examples), longest), np.int64)
        for at, window in enumerate(examples):
            start, end = self._offsets[window], self._offsets[window + 1]
            ids[at, : end - start] = self._ids[start:end]
            mask[at, : end - start] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class WordReader(TextReader):
    """Reads words with a Transformers tokenizer, joined by single spaces.

    Joined they are tokenised as the encoder met text when it was pretrained, also by tokenizers that take the space
    before a word for part of it and would have to be told so with `is_split_into_words`.
    """

    def examples(self, table: pa.Table) -> WordWindows:  # type: ignore[override]
        return WordWindows(self._encode(table), pad_token_id(self.tokenizer))

    def cached(self, rows: Rows, key: str, cache: Path) -> WordWindows:  # type: ignore[override]
        name = f"words|{key}|{self.max_length}|{self.context_tokens}|{type(self.tokenizer).__name__}"
        path = cache / "tokens" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.arrow"
        return WordWindows(cached_table(path, lambda: self._encode(rows.table())), pad_token_id(self.tokenizer))

    def _encode(self, table: pa.Table) -> pa.Table:
        full: list[Numbers] = []
        unknown: list[int] = []

        def block(start: int, some: pa.Table) -> pa.Table:
            rows: list[list[str]] = some.column("tokens").to_pylist()
            ids, firsts = _tokenised(self.tokenizer, rows)
            full.append(np.fromiter(map(len, ids), np.int64, len(ids)))
            unknown.append(sum(each.count(self.tokenizer.unk_token_id) for each in ids))
            return self._windows(start, rows, ids, firsts)

        made = in_blocks(table, block)
        lengths = np.concatenate(full)
        share = sum(unknown) / max(1, int(lengths.sum()))
        length = self._length(lengths + sum(map(len, _special_tokens(self.tokenizer))))
        return made.replace_schema_metadata({"max_length": str(length), "share_unknown": str(share)})

    def _windows(self, start: int, rows: list[list[str]], ids: list[list[int]], firsts: list[Numbers]) -> pa.Table:
        """Returns the windows of some rows, the first of which is `start`."""
        before, after = _special_tokens(self.tokenizer)
        room = max(1, self._most_tokens - len(before) - len(after))
        made: dict[str, list[Any]] = {name: [] for name in _TYPES}
        for row, (tokens, first) in enumerate(zip(ids, firsts, strict=True)):
            starts = _window_starts(len(tokens), room)
            words = np.flatnonzero(first >= 0)
            owner = _owners(first[words], starts, room, len(tokens))
            for at, begin in enumerate(starts.tolist()):
                mine = words[owner == at]
                if not len(mine) and len(starts) > 1 and (at or len(words)):
                    continue  # The middle of one endless word: nothing is read off here.
                made["input_ids"].append([*before, *tokens[begin : begin + room], *after])
                made["row"].append(start + row)
                made["words"].append(mine)
                made["places"].append(first[mine] - begin + len(before))
                made["num_words"].append(len(rows[row]))
        return pa.table({name: pa.array(values, _TYPES[name]) for name, values in made.items()})


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the ids that the tokenizer puts before and after a text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    inside = [at for at, flag in enumerate(special) if not flag]
    first, last = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
    return list(ids[:first]), list(ids[last:])


def _tokenised(tokenizer: Any, rows: list[list[str]]) -> tuple[list[list[int]], list[Numbers]]:
    """Returns each row's token ids, and where each word's first token stands among them, -1 where it has none."""
    if not tokenizer.is_fast:
        raise BaseModelError(
            explain(
                wrong=f"the tokenizer {type(tokenizer).__name__} does not tell which token belongs to which word",
                expected="a base model with a fast tokenizer (tokenizer.json)",
                fix="choose another base model with models=",
            )
        )
    if not rows:
        return [], []
    texts = [" ".join(words) for words in rows]
    batch = tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, truncation=False,
        verbose=False,
    )  # fmt: skip
    return batch["input_ids"], list(map(_first_tokens, rows, batch["offset_mapping"]))


def _first_tokens(words: list[str], spans: list[tuple[int, int]]) -> Numbers:
    """Returns where each word's first token stands, from where the tokens stand in the joined text."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    ends = np.cumsum(lengths + 1) - 1
    found = np.full(len(words), -1, np.int64)
    if not len(words) or not spans:
        return found
    places = np.asarray(spans, np.int64)
    # By a token's last character: its first may be the space before the word.
    real = places[:, 1] > places[:, 0]
    word = np.searchsorted(ends, places[:, 1] - 1, side="right")
    on_space = places[:, 1] - 1 == ends[np.minimum(word, len(words)) - 1]
    chosen = np.flatnonzero(real & ~(on_space & (word > 0)) & (word < len(words)))
    owners, at = np.unique(word[chosen], return_index=True)
    found[owners] = chosen[at]
    return found


def _window_starts(num_tokens: int, room: int) -> Numbers:
    """Returns where windows of `room` tokens start; the last one ends with the row."""
    if num_tokens <= room:
        return np.zeros(1, np.int64)
    step = max(1, room - int(_OVERLAP * room))
    starts = np.arange(0, num_tokens - room + step, step, dtype=np.int64)
    return np.minimum(starts, num_tokens - room)


def _owners(places: Numbers, starts: Numbers, room: int, num_tokens: int) -> Numbers:
    """Returns the window in which each token has most context on its poorer side, the first of equal ones.

    A side on which the window reaches the row's own end lacks nothing.
    """
    before = (places[:, None] - starts).astype(np.float64)
    after = room - 1 - before
    outside = (before < 0) | (after < 0)
    before[:, starts == 0] = np.inf
    after[:, starts + room >= num_tokens] = np.inf
    context = np.where(outside, -1.0, np.minimum(before, after))
    return np.asarray(context.argmax(axis=1), np.int64)
