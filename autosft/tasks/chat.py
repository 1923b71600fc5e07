"""Conversations: an assistant's turns are learned, in every layout that data sets of dialogues come in.

Layouts: OpenAI's {"role", "content"}, ShareGPT's {"from", "value"}, {"speaker", "utterance"} as task-oriented dialogues
have it, and for predictions a plain text, which is one turn of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.checks.subject import NUM_EXAMPLES, Check, Outcome, Subject, left_out
from autosft.data.finding import Severity
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
#: Fields and roles of a turn that calls a tool, and roles of those that say what it gave back.
_CALL_FIELDS = ("tool_calls", "function_call")
_CALL_ROLES = frozenset({"function_call", "tool_call"})
_RESULT_ROLES = frozenset({"tool", "function", "observation", "tool_response"})


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


def tool_calls(subject: Subject) -> Outcome | None:
    """Finds conversations with calls of tools, which `read_turns` leaves out with what the tools gave back."""
    column = subject.task.input_columns[0]
    rows = {name: _rows_with_calls(user_column(table, column)) for name, table in subject.source.splits.items()}
    rows = {name: found for name, found in rows.items() if found}
    if not rows:
        return None
    where = ", ".join(f"{len(found):,} in {name}" for name, found in rows.items())
    return Outcome(
        Severity.WARNING,
        f"Conversations with calls of tools: {where}. The calls, and what the tools gave back, are left out.",
        sum(map(len, rows.values())),
        examples=tuple(subject.place(name, row) for name, found in rows.items() for row in found)[:NUM_EXAMPLES],
        advice="answers that rest on what a tool gave back are learned without it; where the model is to read it, "
        "write it into the user's turn",
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
        {"tool-calls": tool_calls, "broken-conversations": broken_conversations, "several-answers": several_answers}
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

    Turns that call a tool are left out, and so is what it gave back.

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
        calls = _calls(flat)
        at = 0
        for length in chunk.value_lengths().to_pylist():
            end = at + (length or 0)
            turns.append(_without_tools(read[at:end], calls[at:end]))
            at = end
    return turns


def _without_tools(turns: list[Turn], calls: NDArray[np.bool_]) -> list[Turn]:
    """Returns the turns without those that call a tool and those that answer such a call."""
    if not calls.any():
        return turns
    kept: list[Turn] = []
    called = False
    for turn, calls_tool in zip(turns, calls.tolist(), strict=True):
        called = calls_tool or (called and turn["role"] in _RESULT_ROLES)
        if not called:
            kept.append(turn)
    return kept


def _rows_with_calls(column: pa.ChunkedArray) -> list[int]:
    """Returns the rows in which a tool is called."""
    found: list[int] = []
    at = 0
    for chunk in column.chunks if _layout(column.type) else ():
        lengths = np.asarray(pc.fill_null(chunk.value_lengths(), 0).to_numpy(zero_copy_only=False), np.int64)
        rows = np.repeat(np.arange(at, at + len(lengths)), lengths)
        found += np.unique(rows[_calls(chunk.flatten())]).tolist()
        at += len(lengths)
    return found


def _calls(turns: pa.StructArray) -> NDArray[np.bool_]:
    """Tells of each turn whether it calls a tool, shape (turns,)."""
    names = {turns.type.field(at).name for at in range(turns.type.num_fields)}
    who = next(who for who, what in _LAYOUTS if {who, what} <= names)
    roles = pc.is_in(pc.utf8_lower(turns.field(who).cast(pa.string())), value_set=pa.array(sorted(_CALL_ROLES)))
    found = np.asarray(roles.to_numpy(zero_copy_only=False), np.bool_)
    for name in names & set(_CALL_FIELDS):
        found = found | _is_filled(turns.field(name))
    return found


def _is_filled(values: pa.Array) -> NDArray[np.bool_]:
    """Tells values that say something; a list without entries and an object of nulls, as Parquet has it, do not."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        filled = pc.greater(pc.fill_null(pc.list_value_length(values), 0), 0)
    elif pa.types.is_struct(values.type):
        found = np.zeros(len(values), np.bool_)
        for field in values.flatten():
            found |= _is_filled(field)
        return found
    else:
        filled = values.is_valid()
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)


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
