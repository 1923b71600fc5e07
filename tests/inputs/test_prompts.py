"""Which tokens of prompts and conversations are read, which are learned, and what is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autosft.errors import TrialFailed
from autosft.inputs.prompts import NOT_LEARNED, MessagesReader, PromptReader
from autosft.testing.tiny_models import write_tiny_decoder

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Leaves the thinking of earlier answers out, as Qwen3 does.
UNSTABLE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}"
    "{{ message['content'] }}</s>{% endfor %}"
)
TALK = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "a cat "},
    {"role": "user", "content": "and"},
    {"role": "assistant", "content": "a dog"},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_decoder(tmp_path_factory.mktemp("decoder"), words=["cat", "dog"])


def with_template(base, folder, template):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def read(reader_class, folder, max_length=None, context_tokens=512):
    return reader_class.of_base(Path(folder), max_length=max_length, context_tokens=context_tokens)


def parts(reader, examples, row=0):
    """The row's text, and the text of every stretch of it that is learned."""
    ids, learned = examples.ids(row), examples.learned(row)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], learned.astype(int), [0]])))
    stretches = [reader.tokenizer.decode(ids[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return reader.tokenizer.decode(ids), stretches


def prompts_table(text="what", target="a cat"):
    return pa.table({"text": [text], "target": pa.array([target], pa.string())})


def test_a_completion_and_its_end_are_learned_token_by_token(base):
    reader = read(PromptReader, base)
    examples = reader.examples(prompts_table())
    tokens = reader.tokenizer.convert_ids_to_tokens(examples.ids(0))
    assert tokens == ["<s>", *"what", "Ċ", "a", "Ġ", "cat", "</s>"]
    assert examples.learned(0).tolist() == [False] * 6 + [True] * 4
    batch = examples.collate(np.array([0]))
    assert batch["labels"][0].tolist() == [NOT_LEARNED] * 6 + examples.ids(0)[6:].tolist()
    assert reader.stop_ids == [reader.tokenizer.eos_token_id]


def test_only_the_assistant_is_learned_in_a_template_of_our_own(base):
    reader = read(MessagesReader, base)
    examples = reader.examples(pa.table({"messages": [TALK]}))
    text, learned = parts(reader, examples)
    assert text == (
        "<s><|system|>\nbe kind\n<|user|>\nhi\n<|assistant|>\na cat </s>\n<|user|>\nand\n<|assistant|>\na dog</s>"
    )
    assert learned == ["a cat </s>", "a dog</s>"]
    assert examples.answer_lengths(np.array([0])).tolist() == [5, 4]


def test_the_tokenizers_own_template_is_used_and_its_end_of_turn_learned(base, tmp_path):
    folder = with_template(base, tmp_path, CHATML)
    reader = read(MessagesReader, folder)
    text, learned = parts(reader, reader.examples(pa.table({"messages": [TALK]})))
    assert text == reader.tokenizer.apply_chat_template(TALK, tokenize=False).rstrip("\n")
    assert learned == ["a cat <|im_end|>", "a dog<|im_end|>"]
    assert reader.tokenizer.convert_tokens_to_ids("<|im_end|>") in reader.stop_ids
    one_exchange = read(PromptReader, folder)
    assert parts(one_exchange, one_exchange.examples(prompts_table()))[0] == (
        "<|im_start|>user\nwhat<|im_end|>\n<|im_start|>assistant\na cat<|im_end|>"
    )


def test_a_template_that_writes_earlier_turns_anew_is_refused(base, tmp_path):
    with pytest.raises(TrialFailed, match="earlier turns otherwise"):
        read(MessagesReader, with_template(base, tmp_path, UNSTABLE))


def test_the_template_of_qwen3_is_replaced_by_one_that_keeps_earlier_turns(base, tmp_path):
    import trl

    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    reader = read(MessagesReader, with_template(base, tmp_path / "base", template))
    table = pa.table({"messages": [TALK]})
    _, learned = parts(reader, reader.examples(table))
    # The empty thinking is given, so that no answer is spent on it.
    assert learned == ["a cat <|im_end|>", "a dog<|im_end|>"]
    asked = reader.prompts(table, max_new_tokens=8)[0]
    assert reader.tokenizer.decode(asked).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert reader.examples(table).ids(0).tolist()[: len(asked)] == asked
    reader.cut_at(200).save(tmp_path)
    assert MessagesReader.load(tmp_path).examples(table).ids(0).tolist() == reader.examples(table).ids(0).tolist()


def test_a_template_that_refuses_a_conversation_fails_one_trial_only(base, tmp_path):
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    reader = read(MessagesReader, with_template(base, tmp_path, template))
    with pytest.raises(TrialFailed, match="no system"):
        reader.examples(pa.table({"messages": [TALK]}))


@pytest.mark.parametrize("template", [None, CHATML])
def test_answers_are_asked_for_after_the_tokens_they_were_learned_after(base, tmp_path, template):
    folder = base if template is None else with_template(base, tmp_path, template)
    reader = read(MessagesReader, folder)
    table = pa.table({"messages": [TALK]})
    ids = reader.examples(table).ids(0).tolist()
    found, owners = reader.answer_prompts(table, max_new_tokens=8)
    assert owners == [0, 0]
    assert all(ids[: len(prompt)] == prompt for prompt in found)
    # A last turn of the assistant is what would be learned, so it is not given away.
    assert reader.prompts(table, max_new_tokens=8) == found[1:]
    assert reader.prompts(pa.table({"messages": [TALK[:4]]}), max_new_tokens=8) == found[1:]


def test_long_prompts_are_cut_from_the_left_and_completions_stay(base):
    reader = read(PromptReader, base, max_length=16)
    examples = reader.examples(pa.concat_tables([prompts_table("0123456789" * 3), prompts_table()]))
    assert parts(reader, examples) == (
        "<s>1234567890123456789"[:3] + "01234567890123456789"[-10:] + "\na cat</s>",
        ["a cat</s>"],
    )
    assert examples.lengths.tolist() == [16, 10]
    assert examples.share_cut == 0.5
    assert examples.max_length == 16


def test_completions_longer_than_the_context_are_cut_at_the_end(base):
    reader = read(PromptReader, base, context_tokens=8)
    examples = reader.examples(prompts_table("abc", "0123456789"))
    assert parts(reader, examples) == ("<s>0123456", ["0123456"])
    assert (examples.num_learned[0], examples.full_learned[0]) == (7, 11)


def test_prompts_leave_room_for_what_is_generated(base):
    reader = read(PromptReader, base, context_tokens=16)
    found = reader.prompts(prompts_table("0123456789" * 3), max_new_tokens=10)
    assert reader.tokenizer.decode(found[0]) == "<s>6789\n"


def test_a_row_without_an_answer_is_read_but_not_learned(base):
    for reader, table in (
        (read(PromptReader, base), prompts_table(target=None)),
        (read(MessagesReader, base), pa.table({"messages": [TALK[:2]]})),
    ):
        examples = reader.examples(table)
        assert examples.num_learned.tolist() == [0] and examples.lengths[0] > 1


def test_a_saved_reader_reads_the_same(base, tmp_path):
    table = pa.table({"messages": [TALK]})
    reader = read(MessagesReader, base).cut_at(40)
    reader.save(tmp_path)
    loaded = MessagesReader.load(tmp_path)
    assert loaded.examples(table).ids(0).tolist() == reader.examples(table).ids(0).tolist()
    assert loaded.prompts(table, max_new_tokens=4) == reader.prompts(table, max_new_tokens=4)
