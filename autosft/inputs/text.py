"""Text as an encoder needs it: tokenised once into a memory-mapped cache, batched by length, padded.

Works on the canonical columns "text" and "text_pair". What a trainer does with the batches is its own affair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import from_matrix, one_array, to_matrix
from autosft.cache import cached_file
from autosft.data.data import Rows
from autosft.inputs.base import Examples, Reader
from autosft.inputs.overlap import overlaps

if TYPE_CHECKING:
    import torch

#: What a model's folder says about reading, beside the tokenizer's own files.
READER_FILE = "autosft_reader.json"

#: Rows are cut here unless the user says otherwise, also where a model's context is longer: attention grows with the
#: square of the length, and labels of a text are mostly decided early.
MAX_TOKENS = 512

#: A text of more characters than so many for each token that is kept, or would be by default, is not tokenised whole.
#: Its beginning must hold some tokens beyond those, as the cut may change its last word, of up to 100 characters.
_LONG_CHARACTERS, _SPARE_TOKENS = 50, 128

#: Characters of a beginning for each of its tokens, where it is tried first.
_TRIED_CHARACTERS = 8

#: Rows that are tokenised at once: more are no quicker, and of long texts take hundreds of megabytes.
_AT_ONCE = 256


class Tokens(Examples):
    """Token ids of many rows.

    Args:
        table: Columns "input_ids", "full_length" and, for models that tell two texts apart by it, "token_type_ids";
            the schema's metadata hold "max_length" and "share_unknown".
        tokenizer: That of the model.

    Attributes:
        pad_token_id: What fills up short rows.
        punctuation: Tokens that are a mark of punctuation each.
    """

    def __init__(self, table: pa.Table, tokenizer: Any) -> None:
        self.pad_token_id = pad_token_id(tokenizer)
        self.punctuation = _punctuation(tokenizer)
        columns = [name for name in ("input_ids", "token_type_ids") if name in table.column_names]
        lists = {name: one_array(table.column(name)) for name in columns}
        self._offsets = lists["input_ids"].offsets.to_numpy(zero_copy_only=True)
        self._values = {name: column.values.to_numpy(zero_copy_only=True) for name, column in lists.items()}
        self._pad = {"input_ids": self.pad_token_id, "token_type_ids": 0}
        self.max_length = int(table.schema.metadata[b"max_length"])
        self.share_unknown = float(table.schema.metadata.get(b"share_unknown", b"0"))
        self.lengths = np.diff(self._offsets)
        self.cut = np.flatnonzero(table.column("full_length").to_numpy() > self.max_length)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self._values["input_ids"][self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns "input_ids", "attention_mask" and where needed "token_type_ids", int64, shape (rows, longest)."""
        import torch

        longest = int(self.lengths[examples].max(initial=1))
        batch = {name: np.full((len(examples), longest), self._pad[name], np.int64) for name in self._values}
        mask = np.zeros((len(examples), longest), np.int64)
        for at, row in enumerate(examples):
            start, end = self._offsets[row], self._offsets[row + 1]
            mask[at, : end - start] = 1
            for name, values in self._values.items():
                batch[name][at, : end - start] = values[start:end]
        return {name: torch.from_numpy(values) for name, values in {**batch, "attention_mask": mask}.items()}


class TextReader(Reader):
    """Reads one text, or a pair of texts as one sequence, with a Transformers tokenizer.

    Attributes:
        tokenizer: The tokenizer.
        max_length: Tokens a row is cut at, special tokens included; None until it is chosen (see `choose_length`).
        context_tokens: The most the model takes.
    """

    def __init__(self, tokenizer: Any, max_length: int | None, context_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.context_tokens = context_tokens

    @classmethod
    def of_base(cls, folder: Path, *, max_length: int | None, context_tokens: int) -> Self:
        return cls(load_tokenizer(folder), max_length, context_tokens)

    @classmethod
    def load(cls, folder: Path) -> Self:
        length = int(json.loads((folder / READER_FILE).read_text(encoding="utf-8"))["max_length"])
        return cls(load_tokenizer(folder), length, length)

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        row = {"max_length": self.max_length}
        (folder / READER_FILE).write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")

    def cut_at(self, max_length: int) -> Self:
        return type(self)(self.tokenizer, max_length, self.context_tokens)

    def examples(self, table: pa.Table) -> Tokens:
        return Tokens(self._encode(table), self.tokenizer)

    def cached(self, rows: Rows, key: str, cache: Path, *, only: str | None = None) -> Tokens:
        """Does what every reader does.

        Args:
            only: The one column to read where there are two; the key must tell.
        """
        name = f"{key}|{self.max_length}|{self.context_tokens}|{type(self.tokenizer).__name__}"
        path = cache / "tokens" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.arrow"

        def encode() -> pa.Table:
            return self._encode(rows.table() if only is None else _only(rows.table(), only))

        return Tokens(cached_table(path, encode), self.tokenizer)

    @property
    def _most_tokens(self) -> int:
        """Where rows are cut if any is long enough: rows that are no longer than this stay whole at any length chosen.

        So a row is cut as soon as it is read, though the length goes by all of them.
        """
        return min(self.max_length or MAX_TOKENS, self.context_tokens)

    def _length(self, full_lengths: NDArray[np.integer[Any]]) -> int:
        return min(self.max_length or choose_length(full_lengths, self.context_tokens), self.context_tokens)

    def _encode(self, table: pa.Table) -> pa.Table:
        made = in_blocks(table, lambda start, rows: self._block(rows))
        ids = one_array(made.column("input_ids")).values.to_numpy(zero_copy_only=True)
        share = float((ids == self.tokenizer.unk_token_id).mean()) if len(ids) else 0.0
        length = self._length(made.column("full_length").to_numpy())
        return made.replace_schema_metadata({"max_length": str(length), "share_unknown": str(share)})

    def _block(self, table: pa.Table) -> pa.Table:
        """Tokenises some rows, and cuts those that are too long; the full length of very long ones is of a part."""
        columns = [table.column(name).to_pylist() for name in ("text", "text_pair") if name in table.column_names]
        texts = [[self._beginning(text) for text in column] for column in columns]
        typed = len(texts) == 2 and "token_type_ids" in self.tokenizer.model_input_names
        names = ("input_ids", "token_type_ids") if typed else ("input_ids",)
        whole = _tokenised(self.tokenizer, texts, names, None)
        full = np.fromiter(map(len, whole["input_ids"]), np.int32, len(texts[0]))
        too_long = np.flatnonzero(full > self._most_tokens).tolist()
        # Of a pair the longer text is cut, so that the shorter one, often the question, stays whole.
        long = [[column[row] for row in too_long] for column in texts]
        cut = _tokenised(self.tokenizer, long, names, self._most_tokens)
        for name in names:
            for row, ids in zip(too_long, cut[name], strict=True):
                whole[name][row] = ids
        lists = {name: pa.array(whole[name], pa.list_(pa.int32())) for name in names}
        return pa.table({**lists, "full_length": pa.array(full, pa.int32())})

    def _beginning(self, text: str) -> str:
        """Returns a text, or of a very long one a beginning that holds all tokens that are kept, and more."""
        if len(text) <= _LONG_CHARACTERS * max(self._most_tokens, MAX_TOKENS):
            return text
        tokens = self._most_tokens + _SPARE_TOKENS
        size = _TRIED_CHARACTERS * tokens
        # A token may stand for any number of characters: a word that is unknown as a whole, and the spaces before it.
        while size < len(text):
            beginning = text[:size]
            if len(_tokenised(self.tokenizer, [[beginning]], ("input_ids",), None)["input_ids"][0]) >= tokens:
                return beginning
            size *= 4
        return text


class TokenPairs(Examples):
    """Token ids of two texts a row, apart from each other, and how much of their letters they have in common."""

    def __init__(self, first: Tokens, second: Tokens, overlap: NDArray[np.float32]) -> None:
        self._sides = {"first": first, "second": second}
        self._overlap = overlap
        self.lengths = first.lengths + second.lengths
        self.max_length = max(first.max_length, second.max_length)
        self.cut = np.union1d(first.cut, second.cut)
        self.share_unknown = max(first.share_unknown, second.share_unknown)

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns what `Tokens` does of each text, the names after "first_" and "second_", and "overlap"."""
        import torch

        batches = {side: tokens.collate(examples) for side, tokens in self._sides.items()}
        tensors = {f"{side}_{name}": values for side, batch in batches.items() for name, values in batch.items()}
        return tensors | {"overlap": torch.from_numpy(self._overlap[examples])}


class ApartReader(Reader):
    """Reads the two texts of a pair apart, as an encoder does that compares them only afterwards.

    Args:
        reader: Reads either of them.
    """

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader

    @classmethod
    def of_base(cls, folder: Path, *, max_length: int | None, context_tokens: int) -> Self:
        return cls(TextReader.of_base(folder, max_length=max_length, context_tokens=context_tokens))

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(TextReader.load(folder))

    def save(self, folder: Path) -> None:
        self._reader.save(folder)

    def cut_at(self, max_length: int) -> Self:
        return type(self)(self._reader.cut_at(max_length))

    def examples(self, table: pa.Table) -> TokenPairs:
        first, second = (self._reader.examples(_only(table, name)) for name in ("text", "text_pair"))
        return TokenPairs(first, second, _overlaps(table))

    def cached(self, rows: Rows, key: str, cache: Path) -> TokenPairs:
        first = self._reader.cached(rows, f"{key}|text", cache, only="text")
        second = self._reader.cached(rows, f"{key}|text_pair", cache, only="text_pair")
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        table = cached_table(
            cache / "tokens" / f"{name}-overlap.arrow",
            lambda: pa.table({"overlap": from_matrix(_overlaps(rows.table()))}),
        )
        return TokenPairs(first, second, to_matrix(table.column("overlap")).astype(np.float32))


def _overlaps(table: pa.Table) -> NDArray[np.float32]:
    return overlaps(*(table.column(name).to_pylist() for name in ("text", "text_pair")))


def _only(table: pa.Table, name: str) -> pa.Table:
    """Returns a table where one of two texts is the only one."""
    return pa.table({"text": table.column(name)})


def load_tokenizer(folder: Path) -> Any:
    """Loads the tokenizer of a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class Counted(NamedTuple):
    """How many tokens a base model makes of each text, and which share of them it has no word for."""

    lengths: list[int]
    share_unknown: float


def count_tokens(folder: Path, texts: Sequence[str]) -> Counted | None:
    """Counts what a base model makes of texts; returns None where its folder holds no fast tokenizer.

    Transformers is not needed for it: to import that takes longer than all else of a plan that times nothing.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # The library raises nothing more precise, whether there is no file or one that it cannot read.
        return None
    # Many folders say how to cut and fill up, which would hide how long a text is.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # One by one: where threads were started to do several at once, processes forked afterwards are warned of them.
    found = [tokenizer.encode(text).ids for text in texts]
    unknown = getattr(tokenizer.model, "unk_token", None)
    of_unknown = None if unknown is None else tokenizer.token_to_id(unknown)
    num_unknown = sum(ids.count(of_unknown) for ids in found) if of_unknown is not None else 0
    lengths = [len(ids) for ids in found]
    return Counted(lengths, num_unknown / max(1, sum(lengths)))


def _punctuation(tokenizer: Any) -> tuple[int, ...]:
    ids = tokenizer.convert_tokens_to_ids([".", ";", "?", ":", "!", ","])
    return tuple(found for found in ids if found is not None and found != tokenizer.unk_token_id)


def pad_token_id(tokenizer: Any) -> int:
    """Returns the padding token's id; 0 where a tokenizer has none, which the attention mask hides."""
    return int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else 0


def cached_table(path: Path, make: Callable[[], pa.Table]) -> pa.Table:
    """Returns a table mapped from a file; see `cached_file`."""

    def write(unfinished: Path) -> None:
        table = make()
        with pa.ipc.new_file(str(unfinished), table.schema) as writer:
            writer.write_table(table)

    return pa.ipc.open_file(pa.memory_map(str(cached_file(path, write)))).read_all()


def in_blocks(table: pa.Table, make: Callable[[int, pa.Table], pa.Table]) -> pa.Table:
    """Returns what is made of a table block by block, in one piece.

    As Python's numbers the tokens of many rows take ten times the memory that they take in Arrow.

    Args:
        make: Called with the position of a block's first row, and the block.
    """
    starts = range(0, max(1, table.num_rows), _AT_ONCE)
    return pa.concat_tables([make(start, table.slice(start, _AT_ONCE)) for start in starts]).combine_chunks()


def _tokenised(
    tokenizer: Any, texts: list[list[str]], names: tuple[str, ...], max_length: int | None
) -> Mapping[str, list[list[int]]]:
    """Tokenises texts or pairs of them; with a length, cut there with their closing special token kept."""
    if not texts[0]:
        return {name: [] for name in names}
    cut: dict[str, Any] = {"truncation": True, "max_length": max_length} if max_length else {"truncation": False}
    found: Mapping[str, list[list[int]]] = tokenizer(*texts, return_attention_mask=False, verbose=False, **cut)
    return found


def choose_length(full_lengths: NDArray[np.integer[Any]], context_tokens: int) -> int:
    """Returns where to cut rows: at the longest one, but at most MAX_TOKENS and the model's context.

    Batches are made of rows of similar length, so a few long rows cost little and cutting them gains little.
    """
    longest = int(full_lengths.max(initial=1))
    return min(-(-longest // 8) * 8, MAX_TOKENS, context_tokens)
