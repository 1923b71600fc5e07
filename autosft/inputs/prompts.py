"""Prompts and conversations as a decoder needs them: token ids, and which of them are learned.

A row is rendered piece by piece, what is read and what is learned by turns, and every piece is tokenised by itself: so
the tokens before an answer are the same in training and when it is generated, whatever the tokenizer merges, and
wherever they are cut. What looks like a special token in a user's text is text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.data.data import Rows
from autosft.errors import TrialFailed, explain
from autosft.inputs.base import Reader
from autosft.inputs.chat_templates import PROBE, TEMPLATE, stable_template, unstable
from autosft.inputs.prompt_tokens import PromptTokens, longest_answer, token_block
from autosft.inputs.text import READER_FILE, cached_table, load_tokenizer, pad_token_id

if TYPE_CHECKING:
    pass

#: Rows are cut here unless the user says otherwise, also where a model's context is longer: at TRL's own default, or at
#: twice that where more than this share of the rows would lose something.
MAX_TOKENS, MORE_TOKENS, _MANY_CUT = 1024, 2048, 0.05
#: Rows that are Python values at once, which take some ten times the memory of Arrow's.
_BLOCK_ROWS = 1000
#: Part of a cache file's name: to be raised where the same rows are read otherwise.
_FORMAT = 2
#: Stands inside of what would be taken for a special token, while a template is filled in. Unicode keeps this character
#: for programs, so no text has it.
_BREAK = "\ufdd0"
Turn = dict[str, str]
#: A part of a row, and whether it is learned.
Piece = tuple[str, bool]


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
        # Longest first, so that no mark is taken for a shorter one that it begins with.
        found = "|".join(re.escape(mark) for mark in sorted(self._marks, key=len, reverse=True) if len(mark) > 1)
        self._marks_in_text = re.compile(found) if found else None
        #: What the template puts before an answer's own words, such as the empty thinking of a model that can think.
        self._opening = ""
        last = tokenizer.eos_token_id
        if self._templated:
            answer = _learned(self._pieces(PROBE[:2]))
            opening = answer.partition(PROBE[1]["content"])[0]
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
            tokenizer.chat_template = ("{{ bos_token }}" if adds_begin else "") + TEMPLATE
        elif tokenizer.chat_template is not None:
            tokenizer.chat_template = stable_template(tokenizer)
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
        name = f"{_FORMAT}|{key}|{self.max_length}|{self.context_tokens}|{type(self).__name__}|{template}"
        path = cache / "prompts" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.arrow"
        return PromptTokens(cached_table(path, lambda: self._encode(rows.table())), pad_token_id(self.tokenizer))

    def prompts(self, table: pa.Table, *, max_new_tokens: int) -> list[list[int]]:
        """Returns the tokens that each row's next answer is generated after, cut as in training to leave room for it.

        An answer that stands at a row's end already is what would be learned, so it is left out.
        """
        asked = [self._asked(turns) for turns in self._conversations(table, answered=False)]
        rows, masks = self._tokens([self._pieces(turns, ask=True) for turns in asked], open_end=True)
        room = self._room(max_new_tokens)
        return [self._shortened(*row, room)[0] for row in zip(asked, rows, masks, strict=True)]

    def answer_prompts(self, table: pa.Table, *, max_new_tokens: int) -> tuple[list[list[int]], list[int]]:
        """Returns the tokens before each answer in the rows, earlier answers among them, and each one's row."""
        conversations = self._conversations(table, answered=True)
        rows, masks = self._tokens([self._pieces(turns) for turns in conversations])
        room = self._room(max_new_tokens)
        prompts, owners = [], []
        for row, (turns, ids, mask) in enumerate(zip(conversations, rows, masks, strict=True)):
            for at, (start, _) in zip(_answers(turns), _stretches(mask), strict=True):
                prompts.append(self._shortened(turns[:at], ids[:start], mask[:start], room)[0])
                owners.append(row)
        return prompts, owners

    def text_of(self, ids: Sequence[int]) -> str:
        """Returns a generated answer as text, without the tokens that end it."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _conversations(self, table: pa.Table, *, answered: bool) -> list[list[Turn]]:
        """Returns each row's turns, what looks like a special token in them broken up."""
        rows = self._rows(table, answered=answered)
        return [[{"role": turn["role"], "content": self._broken(turn["content"])} for turn in turns] for turns in rows]

    def _rows(self, table: pa.Table, *, answered: bool) -> list[list[Turn]]:
        turns = [[{"role": "user", "content": text}] for text in table.column("text").to_pylist()]
        if answered:
            for asked, answer in zip(turns, table.column("target").to_pylist(), strict=True):
                asked += [] if answer is None else [{"role": "assistant", "content": answer}]
        return turns

    def _broken(self, content: str) -> str:
        """Returns a text in which no special token is found: a tokenizer is given what stands beside a break apart."""
        while self._marks_in_text is not None and self._marks_in_text.search(content):
            content = self._marks_in_text.sub(lambda mark: f"{mark[0][0]}{_BREAK}{mark[0][1:]}", content)
        return content

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
                raise TrialFailed(unstable())
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
        parts = [text.split(_BREAK) for text in texts]
        flat = [part for row in parts for part in row]
        found: list[list[int]] = []
        for start in range(0, len(flat), 1000):
            batch = self.tokenizer(
                flat[start : start + 1000], add_special_tokens=False, verbose=False, return_attention_mask=False
            )
            found += batch["input_ids"]
        ids = iter(found)
        return [[token for _ in row for token in next(ids)] if len(row) > 1 else next(ids) for row in parts]

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
                if not row:
                    # The first token of an answer needs one to be learned from; after an end, models begin anew.
                    row, mask = [self.tokenizer.eos_token_id], [False]
            if not (self._templated and self._closes) and not open_end and pieces[-1][1]:
                row.append(self.tokenizer.eos_token_id)
                mask.append(True)
            ids.append(row)
            masks.append(mask)
        return ids, masks

    def _encode(self, table: pa.Table) -> pa.Table:
        blocks: list[pa.RecordBatch] = []
        full, full_learned, answers = [], [], []
        for start in range(0, len(table), _BLOCK_ROWS):
            turns = self._conversations(table.slice(start, _BLOCK_ROWS), answered=True)
            rows, masks = self._tokens([self._pieces(row) for row in turns])
            blocks.append(token_block(rows, masks))
            full += [len(ids) for ids in rows]
            full_learned += [sum(mask) for mask in masks]
            answers += [len(mask) - _last_start(mask) for mask in masks]
        # Only now is it known where to cut, and rows that are long are few.
        lengths = np.array(full, np.int64)
        wanted = self.max_length or _choose_length(lengths - answers, np.array(answers, np.int64))
        length = min(wanted, self.context_tokens)
        num_learned = full_learned.copy()
        for at, block in enumerate(blocks):
            start = at * _BLOCK_ROWS
            too_long = np.flatnonzero(lengths[start : start + _BLOCK_ROWS] > length)
            if len(too_long):
                turns = self._conversations(table.slice(start, _BLOCK_ROWS).take(pa.array(too_long)), answered=True)
                rows, masks = (block.column(name).to_pylist() for name in ("input_ids", "learned"))
                for row, talk in zip(too_long.tolist(), turns, strict=True):
                    rows[row], masks[row] = self._cut(talk, rows[row], masks[row], length)
                    num_learned[start + row] = sum(masks[row])
                blocks[at] = token_block(rows, masks)
        made = pa.Table.from_batches(blocks, token_block([], []).schema).combine_chunks()
        counts = {"num_learned": num_learned, "full_length": full, "full_learned": full_learned}
        for name, values in counts.items():
            made = made.append_column(name, pa.array(values, pa.int32()))
        return made.replace_schema_metadata({"max_length": str(length)})

    def _cut(self, turns: list[Turn], ids: list[int], mask: list[bool], length: int) -> tuple[list[int], list[bool]]:
        """Cuts what stands before a row's last answer, half of the length at the most, and then that answer's end."""
        start = _last_start(mask)
        asked = turns[: _answers(turns)[-1]] if start < len(mask) else self._asked(turns)
        room = max(1, length - (len(ids) - start), length // 2)
        before, learned = self._shortened(asked, ids[:start], mask[:start], room)
        return (before + ids[start:])[:length], (learned + mask[start:])[:length]

    def _room(self, max_new_tokens: int) -> int:
        """Returns the tokens that a prompt may have, by the same rule as in `_cut`, and within the context."""
        length = min(self.max_length or self.context_tokens, self.context_tokens)
        return max(1, min(max(length - max_new_tokens, length // 2), self.context_tokens - max_new_tokens))

    def _shortened(
        self, turns: list[Turn], ids: list[int], mask: list[bool], room: int
    ) -> tuple[list[int], list[bool]]:
        """Cuts the tokens before an answer: the oldest exchanges go whole, then the beginning of the question.

        What a template writes before the question stays, and so does the system message, unless it is itself so long
        that it takes more than half of the room.

        Args:
            turns: Those before the answer.
            ids: Their tokens.
            mask: Which of these are learned.
            room: How many may stay.
        """
        if len(ids) <= room:
            return ids, mask
        head = self._head(turns)
        recent = _recent(turns, mask, room - len(head))
        if len(recent) < len(turns):
            (ids,), (mask,) = self._tokens([self._pieces(recent, ask=True)], open_end=True)
            if len(ids) <= room:
                return ids, mask
            head = self._head(recent)
        head = head[: room // 2]
        rest = len(ids) - (room - len(head))
        return head + ids[rest:], [False] * len(head) + mask[rest:]

    def _head(self, turns: list[Turn]) -> list[int]:
        """Returns the tokens before a user's first words: the beginning, the system message and the turn's header."""
        if not self._templated:
            return list(self._begins)
        text = self._pieces(turns, ask=True)[0][0]
        said = next((turn["content"].strip() for turn in turns if turn["role"] == "user"), "")
        at = text.rfind(said) if said else -1
        begin = self.tokenizer.bos_token or ""
        return self._ids([text[:at] if at >= 0 else begin if text.startswith(begin) else ""])[0]


class MessagesReader(PromptReader):
    """Reads conversations in the column "messages"; all that the assistant says in them is learned."""

    needs_template: ClassVar[bool] = True

    def _rows(self, table: pa.Table, *, answered: bool) -> list[list[Turn]]:
        rows: list[list[Turn]] = table.column("messages").to_pylist()
        return rows


def _choose_length(prompts: NDArray[np.int64], answers: NDArray[np.int64]) -> int:
    """Returns where to cut rows, by the tokens before each row's last answer and those of that answer.

    A row needs room for its prompt and any answer, as it does in prediction, where the answer is not known.
    """
    many = len(prompts) and (prompts + longest_answer(answers) > MAX_TOKENS).mean() > _MANY_CUT
    return MORE_TOKENS if many else MAX_TOKENS


def _answers(turns: list[Turn]) -> list[int]:
    """Returns which turns are the assistant's."""
    return [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]


def _stretches(mask: list[bool]) -> list[tuple[int, int]]:
    """Returns where each learned stretch begins and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]]))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _last_start(mask: list[bool]) -> int:
    """Returns where the last learned stretch begins; the row's end where there is none."""
    stretches = _stretches(mask)
    return stretches[-1][0] if stretches else len(mask)


def _recent(turns: list[Turn], mask: list[bool], room: int) -> list[Turn]:
    """Returns the system message and as many of the last exchanges as there is room for, but at least the question."""
    system = turns[:1] if turns[0]["role"] == "system" else []
    for at, (_, end) in zip(_answers(turns), _stretches(mask), strict=False):
        if (at + 1 < len(turns) and len(mask) - end <= room) or at == _answers(turns)[-1]:
            return system + turns[at + 1 :]
    return turns


def _learned(pieces: list[Piece]) -> str:
    return next(text for text, learned in pieces if learned)
