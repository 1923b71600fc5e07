"""Prompts and conversations as a decoder needs them: token ids, and which of them are learned.

A row is rendered piece by piece, what is read and what is learned by turns, and every piece is tokenised by itself: so
the tokens before an answer are the same in training and when it is generated, whatever the tokenizer merges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import one_array
from autosft.data.data import Rows
from autosft.errors import TrialFailed, explain
from autosft.inputs.base import Examples, Reader
from autosft.inputs.text import READER_FILE, cached_table, load_tokenizer, pad_token_id

if TYPE_CHECKING:
    import torch

#: Rows are cut here unless the user says otherwise, also where a model's context is longer; TRL's own default.
MAX_TOKENS = 1024
#: What labels say of a token that is not learned, in PyTorch's convention.
NOT_LEARNED = -100
# For tokenizers without a template of their own. Its markers are plain text, so that every tokenizer has them; an
# answer ends with the tokenizer's own end of a sequence, at which every model stops.
_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Two turns each, since some templates write earlier answers otherwise than the last one.
_PROBE = [
    {"role": "user", "content": "2041"},
    {"role": "assistant", "content": "2042"},
    {"role": "user", "content": "2043"},
    {"role": "assistant", "content": "2044"},
]

Turn = dict[str, str]
#: A part of a row, and whether it is learned.
Piece = tuple[str, bool]


class PromptTokens(Examples):
    """Token ids of many rows.

    Args:
        table: Columns "input_ids" and "learned", lists, and "full_length" and "full_learned", counts of tokens before
            anything was cut; the schema's metadata hold "max_length".
        pad_token_id: What fills up short rows.

    Attributes:
        num_learned: Learned tokens of each row, shape (rows,).
        full_learned: The same before anything was cut.
    """

    def __init__(self, table: pa.Table, pad_token_id: int) -> None:
        ids, learned = one_array(table.column("input_ids")), one_array(table.column("learned"))
        self._offsets = ids.offsets.to_numpy(zero_copy_only=True)
        self._ids = ids.values.to_numpy(zero_copy_only=True)
        self._learned = learned.values.to_numpy(zero_copy_only=True).astype(bool)
        self._pad = pad_token_id
        self.max_length = int(table.schema.metadata[b"max_length"])
        self.lengths = np.diff(self._offsets)
        self.num_learned = np.array([int(self.learned(row).sum()) for row in range(len(self.lengths))], np.int64)
        self.full_learned = table.column("full_learned").to_numpy()
        self.share_cut = float((table.column("full_length").to_numpy() > self.max_length).mean()) if len(table) else 0.0

    def ids(self, row: int) -> NDArray[np.int32]:
        """Returns a row's tokens."""
        return self._ids[self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]

    def learned(self, row: int) -> NDArray[np.bool_]:
        """Returns which of a row's tokens are learned."""
        return self._learned[self._offsets[row] : self._offsets[row + 1]]  # type: ignore[no-any-return]

    def labels(self, row: int) -> NDArray[np.int64]:
        """Returns a row's tokens, NOT_LEARNED where they are only read."""
        return np.where(self.learned(row), self.ids(row), NOT_LEARNED).astype(np.int64)

    def answer_lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many tokens each answer in these rows has; a conversation has several."""
        found = []
        for row in rows:
            edges = np.flatnonzero(np.diff(np.concatenate([[False], self.learned(int(row)), [False]]).astype(np.int8)))
            found.append(edges[1::2] - edges[::2])
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Returns "input_ids", "attention_mask" and "labels", int64, shape (rows, longest), padded on the right."""
        import torch

        longest = int(self.lengths[examples].max(initial=1))
        ids = np.full((len(examples), longest), self._pad, np.int64)
        labels = np.full((len(examples), longest), NOT_LEARNED, np.int64)
        mask = np.zeros((len(examples), longest), np.int64)
        for at, row in enumerate(examples.tolist()):
            length = int(self.lengths[row])
            ids[at, :length], labels[at, :length], mask[at, :length] = self.ids(row), self.labels(row), 1
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class PromptReader(Reader):
    """Reads a prompt in the column "text" and its completion in "target".

    Where the tokenizer has a chat template a row is one exchange in it, else the prompt, a line break, the completion
    and the end of a sequence.

    Attributes:
        tokenizer: The tokenizer, with the template that rows are rendered with.
        max_length: Tokens a row is cut at; None until it is chosen.
        context_tokens: The most the model takes.
        stop_ids: Tokens that end an answer.
    """

    needs_template: ClassVar[bool] = False

    def __init__(self, tokenizer: Any, max_length: int | None, context_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.context_tokens = context_tokens
        if tokenizer.eos_token_id is None:
            raise TrialFailed(
                explain(
                    wrong="the base model's tokenizer has no token that ends a sequence, so no answer could end",
                    expected="a tokenizer with an eos_token",
                    fix="name another base model with models=",
                )
            )
        self._begins = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        if tokenizer("")["input_ids"][:1] != self._begins:
            self._begins = []
        self._templated = tokenizer.chat_template is not None
        special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._marks = tuple(tokenizer.added_tokens_decoder[at].content for at in special)
        #: What the template puts before an answer's own words, such as the empty thinking of a model that can think.
        self._opening = ""
        last = tokenizer.eos_token_id
        if self._templated:
            answer = _learned(self._pieces(_PROBE[:2]))
            opening = answer.partition(_PROBE[1]["content"])[0]
            # White space alone is no opening: many tokenizers make one token of it and the word that follows.
            self._opening = opening if opening.strip() else ""
            last = self._ids([answer])[0][-1]
        #: Whether an answer ends with a token that means just that.
        self._closes = last in {*special, tokenizer.eos_token_id}
        self.stop_ids = sorted({tokenizer.eos_token_id, last} if self._closes else {tokenizer.eos_token_id})

    @classmethod
    def of_base(cls, folder: Path, *, max_length: int | None, context_tokens: int) -> Self:
        """Returns the reader of a base model's folder.

        Raises:
            TrialFailed: The tokenizer's template writes earlier turns otherwise once a later one follows.
        """
        tokenizer = load_tokenizer(folder)
        if tokenizer.chat_template is None and cls.needs_template:
            adds_begin = tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [
                tokenizer.bos_token_id
            ]
            tokenizer.chat_template = ("{{ bos_token }}" if adds_begin else "") + _TEMPLATE
        elif tokenizer.chat_template is not None:
            tokenizer.chat_template = _stable_template(tokenizer)
        return cls(tokenizer, max_length, context_tokens)

    @classmethod
    def load(cls, folder: Path) -> Self:
        row = json.loads((folder / READER_FILE).read_text(encoding="utf-8"))
        return cls(load_tokenizer(folder), int(row["max_length"]), int(row["context_tokens"]))

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        row = {"max_length": self.max_length, "context_tokens": self.context_tokens}
        (folder / READER_FILE).write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")

    def cut_at(self, max_length: int) -> Self:
        return type(self)(self.tokenizer, max_length, self.context_tokens)

    def examples(self, table: pa.Table) -> PromptTokens:
        """Returns rows with their answers; one whose answer is null has none to learn."""
        return PromptTokens(self._encode(table), pad_token_id(self.tokenizer))

    def cached(self, rows: Rows, key: str, cache: Path) -> PromptTokens:
        template = self.tokenizer.chat_template
        name = f"{key}|{self.max_length}|{self.context_tokens}|{type(self).__name__}|{template}"
        path = cache / "prompts" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.arrow"
        return PromptTokens(cached_table(path, lambda: self._encode(rows.table())), pad_token_id(self.tokenizer))

    def prompts(self, table: pa.Table, *, max_new_tokens: int) -> list[list[int]]:
        """Returns the tokens that each row's next answer is generated after, cut from the left to leave room for it.

        An answer that stands at a row's end already is what would be learned, so it is left out.
        """
        pieces = [self._pieces(self._asked(turns), ask=True) for turns in self._conversations(table, answered=False)]
        rows, _ = self._tokens(pieces, open_end=True)
        return [self._kept(ids, max_new_tokens) for ids in rows]

    def answer_prompts(self, table: pa.Table, *, max_new_tokens: int) -> tuple[list[list[int]], list[int]]:
        """Returns the tokens before each answer in the rows, earlier answers among them, and each one's row."""
        rows, masks = self._tokens([self._pieces(turns) for turns in self._conversations(table, answered=True)])
        prompts, owners = [], []
        for row, (ids, mask) in enumerate(zip(rows, masks, strict=True)):
            starts = [at for at, learned in enumerate(mask) if learned and not (at and mask[at - 1])]
            prompts += [self._kept(ids[:start], max_new_tokens) for start in starts]
            owners += [row] * len(starts)
        return prompts, owners

    def text_of(self, ids: Sequence[int]) -> str:
        """Returns a generated answer as text, without the tokens that end it."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _conversations(self, table: pa.Table, *, answered: bool) -> list[list[Turn]]:
        """Returns each row's turns."""
        turns = [[{"role": "user", "content": text}] for text in table.column("text").to_pylist()]
        if answered:
            for asked, answer in zip(turns, table.column("target").to_pylist(), strict=True):
                asked += [] if answer is None else [{"role": "assistant", "content": answer}]
        return turns

    def _asked(self, turns: list[Turn]) -> list[Turn]:
        """Returns the turns before the next answer."""
        while turns and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        return turns or [{"role": "user", "content": ""}]

    def _pieces(self, turns: list[Turn], *, ask: bool = False) -> list[Piece]:
        """Returns a row in pieces; with `ask` it ends where the next answer begins, else with its last answer."""
        if not self._templated:
            texts = [turn["content"] for turn in turns]
            return [(f"{texts[0]}\n" if texts[0] else "", False), *((text, True) for text in texts[1:])]
        pieces: list[Piece] = []
        written, rest = 0, ""
        for at, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before, after = self._render(turns[:at], ask=True), self._render(turns[: at + 1], ask=False)
            if not after.startswith(before) or not before[written:].startswith(rest):
                raise TrialFailed(_unstable())
            opening = self._opening if after.startswith(before + self._opening) else ""
            before += opening
            answer = after[len(before) :]
            # A line break after the token that ends a turn is the template's, no model is asked for it.
            body = answer.rstrip() if answer.rstrip().endswith(self._marks) else answer
            pieces += [(before[written:], False), (body, True)]
            written, rest = len(before) + len(body), answer[len(body) :]
        if ask:
            pieces.append((self._render(turns, ask=True)[written:] + self._opening, False))
        # A row without an answer, as held-out rows may be, is read to its end.
        return pieces or [(self._render(turns, ask=True), False)]

    def _render(self, turns: list[Turn], *, ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
        except TemplateError as error:
            raise TrialFailed(
                explain(
                    wrong=f"the base model's chat template refuses a conversation ({error})",
                    expected="a template for system messages, and for the user and the assistant in turns",
                    fix="name another base model with models=, or leave system messages out of the data",
                )
            ) from error

    def _ids(self, texts: Iterable[str]) -> list[list[int]]:
        texts = list(texts)
        found: list[list[int]] = []
        for start in range(0, len(texts), 1000):
            batch = self.tokenizer(texts[start : start + 1000], add_special_tokens=False, verbose=False)
            found += batch["input_ids"]
        return found

    def _tokens(self, rows: list[list[Piece]], *, open_end: bool = False) -> tuple[list[list[int]], list[list[bool]]]:
        """Returns each row's tokens and which are learned; answers without an end of their own are given one."""
        tokens = iter(self._ids(text for pieces in rows for text, _ in pieces))
        ids: list[list[int]] = []
        masks: list[list[bool]] = []
        for pieces in rows:
            # A template writes the beginning itself, where there is one.
            row = [] if self._templated else list(self._begins)
            mask = [False] * len(row)
            for _, learned in pieces:
                found = next(tokens)
                row += found
                mask += [learned] * len(found)
            if not (self._templated and self._closes) and not open_end and pieces[-1][1]:
                row.append(self.tokenizer.eos_token_id)
                mask.append(True)
            ids.append(row)
            masks.append(mask)
        return ids, masks

    def _encode(self, table: pa.Table) -> pa.Table:
        rows, masks = self._tokens([self._pieces(turns) for turns in self._conversations(table, answered=True)])
        full = np.fromiter(map(len, rows), np.int32, len(rows))
        full_learned = np.fromiter(map(sum, masks), np.int32, len(masks))
        longest = -(-int(full.max(initial=1)) // 8) * 8
        length = min(self.max_length or min(longest, MAX_TOKENS), self.context_tokens)
        for at in np.flatnonzero(full > length).tolist():
            rows[at], masks[at] = self._cut(rows[at], masks[at], length)
        columns = {
            "input_ids": pa.array(rows, pa.list_(pa.int32())),
            "learned": pa.array([np.asarray(mask, np.int8) for mask in masks], pa.list_(pa.int8())),
            "full_length": pa.array(full, pa.int32()),
            "full_learned": pa.array(full_learned, pa.int32()),
        }
        return pa.table(columns).replace_schema_metadata({"max_length": str(length)})

    def _cut(self, ids: list[int], mask: list[bool], length: int) -> tuple[list[int], list[bool]]:
        """Cuts from the left as far as the last answer, and only then from its end."""
        head = int(ids[0] == self.tokenizer.bos_token_id)
        last = next((at for at in range(len(ids) - 1, 0, -1) if mask[at] and not mask[at - 1]), len(ids))
        # One token stays before the answer: its first token is learned from it.
        left = head + max(0, min(len(ids) - length, last - 1))
        return (ids[:head] + ids[left:])[:length], (mask[:head] + mask[left:])[:length]

    def _kept(self, ids: list[int], max_new_tokens: int) -> list[int]:
        """Cuts a prompt from the left; one that has no token at all becomes an end, after which models begin anew."""
        room = max(1, self.context_tokens - max_new_tokens)
        if len(ids) > room:
            head = int(room > 1 and ids[0] == self.tokenizer.bos_token_id)
            ids = ids[:head] + ids[len(ids) - room + head :]
        return ids or [self.tokenizer.eos_token_id]


class MessagesReader(PromptReader):
    """Reads conversations in the column "messages"; all that the assistant says in them is learned."""

    needs_template: ClassVar[bool] = True

    def _conversations(self, table: pa.Table, *, answered: bool) -> list[list[Turn]]:
        rows: list[list[Turn]] = table.column("messages").to_pylist()
        return rows


def _learned(pieces: list[Piece]) -> str:
    return next(text for text, learned in pieces if learned)


def _stable_template(tokenizer: Any) -> str:
    """Returns the tokenizer's chat template, or TRL's version of it where it writes earlier turns anew.

    Qwen3's, for one, leaves an answer's thinking out once another turn follows, so a model would learn to answer after
    a text that it never sees.
    """
    own = str(tokenizer.chat_template)
    if _is_stable(tokenizer, own):
        return own
    try:
        from trl.chat_template_utils import get_training_chat_template

        patched = get_training_chat_template(tokenizer)
    except (ImportError, ValueError):
        patched = None
    if patched is None or not _is_stable(tokenizer, patched):
        raise TrialFailed(_unstable())
    return str(patched)


def _is_stable(tokenizer: Any, template: str) -> bool:
    written = ""
    for at in range(1, len(_PROBE) + 1):
        ask = at % 2 == 1
        text = tokenizer.apply_chat_template(
            _PROBE[:at], tokenize=False, add_generation_prompt=ask, chat_template=template
        )
        if not text.startswith(written):
            return False
        written = text
    return True


def _unstable() -> str:
    return explain(
        wrong="the base model's chat template writes earlier turns otherwise once another one follows",
        expected="a template to which each turn only adds, so that what is learned is what will be asked for",
        fix="name another base model with models=",
    )
