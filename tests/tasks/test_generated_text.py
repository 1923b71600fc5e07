"""The kinds that write text: what is read and learned, how it is scored, and what the audit says of such rows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest

from autosft.data.audit import audit
from autosft.data.source import Source
from autosft.errors import DataError, TaskError
from autosft.task import Metric, Task
from autosft.tasks import kind

PROMPTS = kind("causal-lm")
CHAT = kind("chat")
NUMBER = r"answer: (\d+)"


def prompt_task(answer=None, metric=None):
    return Task(
        "causal-lm", "", ("instruction", "input"), "output", metric or Metric("bits_per_byte", False), answer=answer
    )


def chat_task(column="messages"):
    return Task("chat", "", (column,), column, Metric("bits_per_byte", False))


def rows(outputs, instructions=None, inputs=None):
    size = len(outputs)
    return pa.table(
        {
            "instruction": instructions or [f"do {at}" for at in range(size)],
            "input": pa.array(inputs or [""] * size, pa.string()),
            "output": pa.array(outputs, pa.string()),
        }
    )


def outputs(nats, texts=None):
    texts = texts or [None] * len(nats)
    arrays = [pa.array(nats, pa.float64()), pa.array(texts, pa.string())]
    return pa.StructArray.from_arrays(arrays, names=["nats", "text"])


def says(*turns):
    """Turns of the user and the assistant in turns, or (role, content)."""
    roles = ("user", "assistant")
    return [
        {"role": roles[at % 2], "content": turn} if isinstance(turn, str) else {"role": turn[0], "content": turn[1]}
        for at, turn in enumerate(turns)
    ]


def conversations(*talks):
    return pa.table({"messages": pa.array(list(talks))})


def found(findings, check):
    return next((finding for finding in findings if finding.check == check), None)


def test_a_list_of_texts_is_read_and_not_written():
    table = pa.table({"instruction": [["Add.", "Twice."]], "input": [[]], "output": [["one", "other"]]})
    assert PROMPTS.encode_inputs(prompt_task(), table)["text"].to_pylist() == ["Add. Twice."]
    with pytest.raises(DataError, match=r"'output' of type list.* cannot be read as text"):
        PROMPTS.encode_targets(prompt_task(), table)


def test_a_nested_target_is_said_to_be_one_and_how_to_flatten_it():
    table = pa.table({"instruction": ["Add."], "input": [""], "output": [{"text": "one", "place": 3}]})
    message = r"(?s)in every row of the target.*flatten it first: .*{text: string, place: int64} in 'output'.*target="
    with pytest.raises(DataError, match=message):
        PROMPTS.encode_targets(prompt_task(), table)


def test_columns_that_are_not_blank_are_joined_by_a_blank_line():
    table = rows(["x"] * 4, ["add", "add", None, " "], ["1 2", None, "3", ""])
    assert PROMPTS.encode_inputs(prompt_task(), table)["text"].to_pylist() == ["add\n\n1 2", "add", "3", ""]


def test_a_row_without_completion_is_an_error_or_null():
    table = rows(["x", " ", None])
    with pytest.raises(DataError, match="row 1 of column 'output', and 1 more rows,"):
        PROMPTS.encode_targets(prompt_task(), table)
    assert PROMPTS.encode_targets(prompt_task(), table, strict=False).to_pylist() == ["x", None, None]


def test_guessing_every_byte_takes_eight_bits_and_other_metrics_have_no_such_scale():
    assert PROMPTS.guessing(prompt_task()) == 8.0
    assert PROMPTS.guessing(prompt_task(metric=Metric("exact_match"))) is None


def test_bits_per_byte_are_counted_over_utf8():
    targets = pa.array(["ab", "é"])
    nats = [2 * math.log(2), 6 * math.log(2)]
    assert PROMPTS.score(prompt_task(), targets, outputs(nats)) == pytest.approx(2.0)
    assert PROMPTS.loss(prompt_task(), targets, outputs(nats)) == pytest.approx(2.0)
    resampled = PROMPTS.scorer(prompt_task(), targets, outputs(nats))(np.array([[0, 0], [1, 1], [0, 1]]))
    assert resampled == pytest.approx([1.0, 3.0, 2.0])


@pytest.mark.parametrize(
    ("answer", "generated", "share"),
    [
        (NUMBER, ["so answer: 4", "answer: 1, no, answer: 5 "], 1.0),
        (NUMBER, ["4", "answer: 6"], 0.0),
        (r"\d+", ["first 3 then 4", "5"], 1.0),
        (lambda text: text[-1:], ["is 4", "is 6"], 0.5),
        (None, ["the answer: 4 ", "answer: 5!"], 0.5),
    ],
)
def test_exact_match_reads_the_answer_out_of_both_texts(answer, generated, share):
    task = prompt_task(answer, Metric("exact_match"))
    targets = pa.array(["the answer: 4", "the answer: 5"])
    assert PROMPTS.score(task, targets, outputs([1.0, 1.0], generated)) == share
    assert PROMPTS.scores(task, targets, outputs([1.0, 1.0], generated))["exact_match"] == share


def test_a_target_without_an_answer_is_never_matched():
    task = prompt_task(NUMBER, Metric("exact_match"))
    assert PROMPTS.score(task, pa.array(["nothing"]), outputs([1.0], ["nothing"])) == 0.0


def test_a_pattern_that_cannot_be_read_is_explained():
    with pytest.raises(TaskError, match="not a regular expression"):
        PROMPTS.score(prompt_task("(", Metric("exact_match")), pa.array(["a"]), outputs([1.0], ["a"]))


def test_a_metric_of_the_users_own_is_given_texts():
    def share_of_lengths(targets, generated):
        return sum(len(text) for text in generated) / sum(len(text) for text in targets)

    task = prompt_task(metric=Metric("share_of_lengths", True, function=share_of_lengths))
    assert PROMPTS.score(task, pa.array(["ab", "cd"]), outputs([1.0, 1.0], ["a", None])) == 0.25


def test_predictions_are_the_generated_texts_without_a_score():
    decoded = PROMPTS.decode(prompt_task(), rows(["x"]), outputs([None], ["blue"]))
    assert {name: column.to_pylist() for name, column in decoded.items()} == {"prediction": ["blue"]}


TALK = [("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "see you")]


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": role, "content": content, "tool_calls": None} for role, content in TALK],
        [{"from": role.replace("user", "human").replace("assistant", "gpt"), "value": text} for role, text in TALK],
        [{"role": role, "content": [{"type": "text", "text": content}]} for role, content in TALK],
    ],
    ids=["openai", "sharegpt", "parts"],
)
def test_every_layout_reads_as_the_same_messages(turns):
    table = pa.table({"talk": [turns]})
    expected = [{"role": role, "content": content} for role, content in TALK]
    task = chat_task("talk")
    assert CHAT.encode_inputs(task, table)["messages"].to_pylist() == [expected]
    assert CHAT.encode_targets(task, table).to_pylist() == ["hello\nsee you"]
    assert CHAT.identities(task, table).to_pylist() == ["be kind hi bye"]


def test_the_system_of_a_dialogue_is_the_one_that_answers():
    turns = [
        {"speaker": "USER", "utterance": "hi", "frames": [1]},
        {"speaker": "SYSTEM", "utterance": "hello", "frames": []},
    ]
    table = pa.table({"turns": [turns]})
    assert CHAT.encode_inputs(chat_task("turns"), table)["messages"].to_pylist() == [says("hi", "hello")]


def test_a_slice_of_a_column_and_a_null_row_keep_their_places():
    table = conversations(says("a", "b"), None, says("c", "d", "e", "f")).slice(1)
    assert CHAT.encode_targets(chat_task(), table, strict=False).to_pylist() == [None, "d\nf"]


def test_a_plain_text_is_a_turn_of_the_user():
    table = pa.table({"messages": ["hi", None]})
    assert CHAT.encode_inputs(chat_task(), table)["messages"].to_pylist() == [says("hi"), []]


def test_a_column_without_conversations_is_refused():
    with pytest.raises(DataError, match="holds no conversations"):
        CHAT.encode_inputs(chat_task(), pa.table({"messages": [[1, 2]]}))


def test_empty_completions_are_dropped_and_several_answers_reported():
    table = rows(["a", "b", "", "c", "d"], ["x", "x", "y", "z", "z z"])
    cleaned, _, findings = audit(PROMPTS, prompt_task(), Source({"train": table}, "here"))
    assert cleaned.train["output"].to_pylist() == ["a", "b", "c", "d"]
    assert found(findings, "missing-labels").fixed
    several = found(findings, "several-answers")
    assert (several.count, several.examples, several.fixed) == (1, ("rows 0, 1: x |",), False)


def test_prompts_of_the_test_are_dropped_from_training():
    train, test = rows(["a", "b"], ["one thing", "another"]), rows(["z"], ["One thing"])
    cleaned, _, findings = audit(PROMPTS, prompt_task(), Source({"train": train, "test": test}, "here"))
    assert cleaned.train["output"].to_pylist() == ["b"]
    assert found(findings, "duplicates-across-splits").count == 1


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


@pytest.mark.parametrize(
    "turns",
    [
        [turn("user", "hi"), turn("assistant", None, [CALL]), turn("tool", "42"), turn("assistant", "hello", [])],
        [
            turn("user", "hi"),
            turn("assistant", "I look.", [CALL, CALL]),
            *[turn("tool", "42")] * 2,
            turn("assistant", "hello"),
        ],
        [
            {"role": "user", "content": "hi", "function_call": None},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "content": "42", "function_call": {"name": None, "arguments": None}},
            {"role": "assistant", "content": "hello", "function_call": {"name": None, "arguments": None}},
        ],
        [
            {"from": "human", "value": "hi"},
            {"from": "function_call", "value": "{}"},
            {"from": "observation", "value": "42"},
            {"from": "gpt", "value": "hello"},
        ],
    ],
    ids=["call", "parallel calls beside words", "functions", "sharegpt"],
)
def test_calls_of_tools_and_what_they_gave_back_are_left_out_and_told(turns):
    plain = [turns[0], turns[-1]]
    table = pa.table({"messages": pa.array([plain, turns, turns])})
    expected = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert CHAT.encode_inputs(chat_task(), table)["messages"].to_pylist() == [expected] * 3
    _, _, findings = audit(CHAT, chat_task(), Source({"train": table}, "here"), off="exact-duplicates")
    calls = found(findings, "tool-calls")
    assert (calls.count, calls.examples) == (2, ("row 1", "row 2"))
    assert found(findings, "broken-conversations") is None


def test_where_every_conversation_is_broken_one_of_them_is_named():
    train = conversations(says("a", ("tool", "b"), ("assistant", "c")), says("a", ("tool", "b"), ("assistant", "c")))
    with pytest.raises(DataError, match="dropped 2 rows, such as row 0: unknown role 'tool'"):
        audit(CHAT, chat_task(), Source({"train": train}, "here"))


BROKEN = says("elsewhere", ("user", "and"), ("assistant", "here"))


@pytest.mark.parametrize(
    ("talk", "remark"),
    [
        (says("a", ("user", "b"), ("assistant", "c")), "two turns of the user in a row"),
        (says("a", ("tool", "b"), ("assistant", "c")), "unknown role 'tool'"),
        (says("a", "b", ("system", "c")), "a system message at turn 3, which is not the first"),
        (says("a", " ", "b", "c"), "turn 2 says nothing"),
        (says(("assistant", "a"), ("user", "b")), "the assistant speaks before the user"),
    ],
)
def test_broken_conversations_are_dropped_with_their_place(talk, remark):
    train = conversations(says("q", "a"), talk, says("other", "answer"))
    cleaned, _, findings = audit(CHAT, chat_task(), Source({"train": train, "test": conversations(BROKEN)}, "here"))
    assert cleaned.train["messages"].to_pylist() == [says("q", "a"), says("other", "answer")]
    assert cleaned.splits["test"].num_rows == 1
    broken = found(findings, "broken-conversations")
    assert broken.fixed and f"row 1: {remark}" in broken.examples[0]
    mended = CHAT.encode_inputs(chat_task(), conversations(talk))["messages"].to_pylist()[0]
    roles = [turn["role"] for turn in mended]
    assert all(a != b for a, b in itertools.pairwise(roles)) and set(roles) <= {"user", "assistant"}


def test_a_conversation_without_an_answer_is_dropped():
    train = conversations(says("q", "a"), says("only a question"))
    cleaned, _, findings = audit(CHAT, chat_task(), Source({"train": train}, "here"))
    assert cleaned.train.num_rows == 1
    assert found(findings, "broken-conversations").examples == ("row 1: no turn of the assistant",)
