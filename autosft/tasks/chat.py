"""Conversations: an assistant's turns are learned, in every layout that data sets of dialogues come in.

Layouts: OpenAI's {"role", "content"}, ShareGPT's {"from", "value"}, {"speaker", "utterance"} as task-oriented dialogues
have it, and for predictions a plain text, which is one turn of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa

from autosft.data.checks.subject import Check, Outcome, Subject, left_out
from autosft.data.texts import shortened, squeeze
from autosft.errors import DataError, explain
from autosft.task import Input, Task
from autosft.tasks.columns import user_column
from autosft.tasks.generated_text import GeneratedText, several_answers

Turn = dict[str, str]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

#: Fields that hold who speaks and what is said, by layout.
_LAYOUTS = (("role", "content"), ("from", "value"), ("speaker", "utterance"))
_ROLES = {
    "system": SYSTEM, "developer": SYSTEM,
    "user": USER, "human": USER, "customer": USER, "prompter": USER,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT, "chatgpt": ASSISTANT,
    "agent": ASSISTANT, "wizard": ASSISTANT,
}  # fmt: skip


def broken_conversations(subject: Subject) -> Outcome | None:
    """Finds conversations that no chat template is made for: roles out of order or unknown, or turns without words.

    Test rows stay: `Chat.encode_inputs` reads them as well as it can.
    """
    column = subject.task.input_columns[0]
    remarks = {
        name: {row: remark for row, turns in enumerate(read_turns(table, column)) if (remark := _trouble(turns))}
        for name, table in subject.source.splits.items()
    }
    return left_out(
        subject,
        "Conversations that are not in order",
        remarks,
        test="such test rows are mended and scored",
        advice="let the user and the assistant take turns, after at most one system message",
    )


class Chat(GeneratedText):
    """A conversation a row; every turn of the assistant is learned, and the next one predicted."""

    name = "chat"
    input = Input.MESSAGES
    convention: ClassVar[str] = (
        "the loss is of the assistant's turns alone, a conversation is a sequence of its own, and its template goes "
        "with the model: this is the same for every trial"
    )
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType(
        {"broken-conversations": broken_conversations, "several-answers": several_answers}
    )

    def encode_inputs(self, task: Task, table: pa.Table) -> pa.Table:
        """Returns the column "messages", with the roles system, user and assistant taking turns.

        What is out of order is mended, since held-out rows are never dropped: an unknown role speaks for the user,
        turns in a row are one, and those without words are left out.
        """
        return pa.table({"messages": pa.array(map(_mended, read_turns(table, task.input_columns[0])), MESSAGES)})

    def target_values(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns what the assistant says, its turns joined by a line break; null where it says nothing."""
        spoken = (
            "\n".join(turn["content"] for turn in _mended(turns) if turn["role"] == ASSISTANT)
            for turns in read_turns(table, task.target_column)
        )
        return pa.array((text if text.strip() else None for text in spoken), pa.string())

    def identities(self, task: Task, table: pa.Table) -> pa.Array:
        """Returns what everybody but the assistant says."""
        said = (
            "\n".join(turn["content"] for turn in turns if turn["role"] != ASSISTANT)
            for turns in read_turns(table, task.input_columns[0])
        )
        return squeeze(pa.array(said, pa.large_string()))


def read_turns(table: pa.Table, name: str) -> list[list[Turn]]:
    """Returns each row's turns as {"role", "content"}; a role that is not known stays as it is written.

    Raises:
        DataError: The column is missing, or in none of the layouts.
    """
    column = user_column(table, name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
        return [[{"role": USER, "content": text or ""}] for text in column.to_pylist()]
    fields = _layout(column.type)
    if fields is None:
        raise DataError(
            explain(
                wrong=f"column '{name}' of type {shortened(column.type)} holds no conversations",
                expected="a list of turns in every row, each with 'role' and 'content', 'from' and 'value', or "
                "'speaker' and 'utterance'",
                fix="name the column with the conversations with inputs=, or bring it into one of these layouts",
            )
        )
    who, what = fields
    # Turns often carry much else (tools, annotations), which would be slow to turn into Python values.
    turns: list[list[Turn]] = []
    for chunk in column.chunks:
        flat = chunk.flatten()
        speakers, contents = flat.field(who).to_pylist(), flat.field(what).to_pylist()
        # Where the other side is called the user, a dialogue's "system" is the one that answers.
        answers = fields == ("speaker", "utterance")
        read = [
            {"role": _role(role, system_answers=answers), "content": _text(content)}
            for role, content in zip(speakers, contents, strict=True)
        ]
        at = 0
        for length in chunk.value_lengths().to_pylist():
            turns.append(read[at : at + (length or 0)])
            at += length or 0
    return turns


def _layout(type: pa.DataType) -> tuple[str, str] | None:
    if not (pa.types.is_list(type) or pa.types.is_large_list(type)) or not pa.types.is_struct(type.value_type):
        return None
    names = {type.value_type.field(at).name for at in range(type.value_type.num_fields)}
    return next((fields for fields in _LAYOUTS if names.issuperset(fields)), None)


def _role(written: object, *, system_answers: bool) -> str:
    name = str(written or "").strip().lower()
    if system_answers and name == "system":
        return ASSISTANT
    return _ROLES.get(name, name)


def _text(content: Any) -> str:
    """Returns a turn's words; content in parts is joined, parts that are no text are left out."""
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "\n".join(str(part) for part in parts if part)
    return "" if content is None else str(content)


def _trouble(turns: list[Turn]) -> str | None:
    """Says what is out of order in a conversation to learn from, or returns None."""
    roles = [turn["role"] for turn in turns]
    unknown = next((role for role in roles if role not in (SYSTEM, USER, ASSISTANT)), None)
    if unknown is not None:
        return f"unknown role '{unknown}'"
    if SYSTEM in roles[1:]:
        return f"a system message at turn {roles.index(SYSTEM, 1) + 1}, which is not the first"
    for at in range(1, len(roles)):
        if roles[at] == roles[at - 1]:
            return f"two turns of the {roles[at]} in a row"
    blank = next((at for at, turn in enumerate(turns) if not turn["content"].strip()), None)
    if blank is not None:
        return f"turn {blank + 1} says nothing"
    if ASSISTANT not in roles:
        return "no turn of the assistant"
    if USER not in roles[: roles.index(ASSISTANT)]:
        return "the assistant speaks before the user"
    return None


def _mended(turns: list[Turn]) -> list[Turn]:
    made: list[Turn] = []
    for at, turn in enumerate(turns):
        role, content = turn["role"], turn["content"]
        if role not in (USER, ASSISTANT) and not (role == SYSTEM and at == 0):
            role = USER
        if not content.strip():
            continue
        if made and made[-1]["role"] == role:
            made[-1] = {"role": role, "content": f"{made[-1]['content']}\n{content}"}
        else:
            made.append({"role": role, "content": content})
    return made
