"""Which tokens of prompts and conversations are read, which are learned, and what is cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autosft.errors import TrialFailed
from autosft.inputs.prompt_tokens import NOT_LEARNED
from autosft.inputs.prompts import MessagesReader, PromptReader
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
    assert len(examples.cut) == len(examples) / 2
    assert examples.max_length == 16


def test_a_long_completion_leaves_its_prompt_half_of_the_length_and_loses_its_end(base):
    reader = read(PromptReader, base, context_tokens=8)
    table = pa.concat_tables([prompts_table("0123456", "abcdefghij"), prompts_table("0", "abcdefghij")])
    examples = reader.examples(table)
    assert parts(reader, examples) == ("<s>56\nabcd", ["abcd"])
    assert (examples.num_learned[0], examples.full_learned[0]) == (4, 11)
    # A prompt that is shorter than half stays whole, and leaves the rest to the completion.
    assert parts(reader, examples, 1) == ("<s>0\nabcde", ["abcde"])


LONG = "0123456789" * 6


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "be kind"}]], ids=["alone", "system"])
@pytest.mark.parametrize("template", [None, CHATML])
def test_a_long_question_loses_its_beginning_but_not_the_system_message_or_its_header(base, tmp_path, template, system):
    folder = base if template is None else with_template(base, tmp_path, template)
    reader = read(MessagesReader, folder, max_length=80)
    turns = [*system, {"role": "user", "content": LONG}, {"role": "assistant", "content": "a cat"}]
    table = pa.table({"messages": [turns]})
    ids = reader.examples(table).ids(0).tolist()
    assert len(ids) == 80
    whole = read(MessagesReader, folder).examples(table)
    header = reader.tokenizer.decode(whole.ids(0)).partition(LONG)[0]
    text = reader.tokenizer.decode(ids)
    assert text.startswith(header)
    kept, _, answer = text.removeprefix(header).partition("9" + ("\n<" if template is None else "<"))
    assert LONG.endswith(kept + "9") and 10 < len(kept) < 59
    assert answer.endswith("assistant|>\na cat</s>" if template is None else "assistant\na cat<|im_end|>")
    # What is generated after is cut as what was learned from: an answer of four tokens, its end among them.
    expected = [ids[:-4]]
    assert reader.prompts(table, max_new_tokens=4) == expected
    assert reader.answer_prompts(table, max_new_tokens=4) == (expected, [0])


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_long_conversation_loses_its_oldest_exchanges_whole(base, tmp_path, template):
    folder = base if template is None else with_template(base, tmp_path, template)
    talk = [TALK[0]]
    for at in range(6):
        talk += [{"role": "user", "content": f"question {at}"}, {"role": "assistant", "content": f"reply {at}"}]
    table = pa.table({"messages": [talk]})
    reader = read(MessagesReader, folder, max_length=150)
    ids = reader.examples(table).ids(0).tolist()
    text = reader.tokenizer.decode(ids)
    first = int(text.partition("question ")[2][0])
    assert 2 <= first <= 5
    kept = pa.table({"messages": [[TALK[0], *talk[1 + 2 * first :]]]})
    assert ids == reader.examples(kept).ids(0).tolist()
    assert reader.examples(table).num_learned[0] == reader.examples(kept).num_learned[0]
    assert reader.examples(table).full_learned[0] > reader.examples(kept).full_learned[0]
    answers = reader.examples(table).answer_lengths(np.array([0]))
    assert reader.prompts(table, max_new_tokens=int(answers[-1])) == [ids[: -answers[-1]]]


def test_a_system_message_that_is_too_long_leaves_room_for_the_question(base):
    reader = read(MessagesReader, base, max_length=60)
    turns = [{"role": "system", "content": LONG * 2}, {"role": "user", "content": "what"}]
    text = reader.tokenizer.decode(reader.prompts(pa.table({"messages": [turns]}), max_new_tokens=4)[0])
    assert text.startswith("<s><|system|>\n0123") and text.endswith("<|user|>\nwhat\n<|assistant|>\n")


def test_prompts_that_training_saw_whole_are_not_cut(base):
    reader = read(PromptReader, base)
    table = pa.concat_tables([prompts_table("0123456789", "a cat"), prompts_table("a", "0123456789" * 2)])
    reader = reader.cut_at(reader.examples(table).max_length)
    found = reader.prompts(table, max_new_tokens=28)
    assert reader.tokenizer.decode(found[0]) == "<s>0123456789\n"


@pytest.mark.parametrize(
    ("num_long", "context_tokens", "expected"), [(0, 4096, 1024), (1, 4096, 1024), (10, 4096, 2048), (10, 1500, 1500)]
)
def test_rows_are_cut_later_where_many_are_long(base, num_long, context_tokens, expected):
    rows = [prompts_table("x" * 1300)] * num_long + [prompts_table("x" * 30)] * (50 - num_long)
    examples = read(PromptReader, base, context_tokens=context_tokens).examples(pa.concat_tables(rows))
    assert examples.max_length == expected
    assert len(examples.cut) == (num_long if expected < 1300 else 0)


def test_many_rows_are_read_in_blocks_and_keep_their_order(base):
    import tracemalloc

    rows = [(f"{at} " + "x" * (400 if at in (5, 1500, 9999) else 80), f"y{at}") for at in range(10_000)]
    table = pa.table({"text": [text for text, _ in rows], "target": [target for _, target in rows]})
    reader = read(PromptReader, base, max_length=128)
    tracemalloc.start()
    examples = reader.examples(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [parts(reader, examples, at)[1] for at in (0, 5, 1500, 9999)] == [
        [f"y{at}</s>"] for at in (0, 5, 1500, 9999)
    ]
    assert examples.lengths[[5, 1500, 9999]].tolist() == [128] * 3 and len(examples.cut) == 3
    assert examples.full_learned[:3].tolist() == examples.num_learned[:3].tolist() == [3, 3, 3]
    assert peak < 8 * examples.lengths.sum(), (
        "a list of a row's tokens takes eight bytes a token, and there are several"
    )


def without_begin(base, folder):
    """The same tokenizer without a token that begins a sequence, as Qwen's and GPT-2's are."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    row = json.loads(path.read_text())
    row.pop("bos_token")
    path.write_text(json.dumps(row))
    return folder


def test_an_answer_to_nothing_is_learned_and_asked_for_after_the_end_of_a_text(base, tmp_path):
    reader = read(PromptReader, without_begin(base, tmp_path))
    end = reader.tokenizer.eos_token_id
    assert reader.tokenizer("what")["input_ids"] == reader.tokenizer.convert_tokens_to_ids(list("what"))
    table = pa.concat_tables([prompts_table("", "a cat"), prompts_table("what", "a cat")])
    examples = reader.examples(table)
    assert reader.tokenizer.decode(examples.ids(0)) == "</s>a cat</s>"
    assert examples.learned(0).tolist() == [False] + [True] * 4
    assert reader.prompts(table, max_new_tokens=8)[0] == [end]
    assert reader.answer_prompts(table, max_new_tokens=8)[0][0] == [end]
    assert reader.tokenizer.decode(examples.ids(1)) == "what\na cat</s>"


@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("reader_class", [PromptReader, MessagesReader])
def test_special_tokens_that_are_written_in_a_text_are_text(base, tmp_path, template, reader_class):
    folder = with_template(base, tmp_path, template)
    reader = read(reader_class, folder)
    said, answer = "is </s> or <|im_end|> the end?", "use <|im_end|> to stop, not </s>"
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    plain = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    if reader_class is PromptReader:
        table, others = prompts_table(said, answer), prompts_table("x", "y")
    else:
        table, others = pa.table({"messages": [turns]}), pa.table({"messages": [plain]})
    special = set(reader.tokenizer.all_special_ids)
    found, other = ([at for at in reader.examples(rows).ids(0) if at in special] for rows in (table, others))
    assert found == other, "only those that the template writes"
    examples = reader.examples(table)
    learned = examples.ids(0)[examples.learned(0)].tolist()
    assert learned[-1] in reader.stop_ids and not set(learned[:-1]) & set(reader.stop_ids)
    assert reader.text_of(learned[:-1]) == answer
    assert said in reader.tokenizer.decode(examples.ids(0))
    prompt = reader.prompts(table, max_new_tokens=8)[0]
    assert examples.ids(0).tolist()[: len(prompt)] == prompt


def test_prompts_leave_room_for_what_is_generated(base):
    reader = read(PromptReader, base, context_tokens=16)
    found = reader.prompts(prompts_table("0123456789" * 3), max_new_tokens=10)
    assert reader.tokenizer.decode(found[0]) == "<s>6789\n"


def test_no_rows_are_no_examples(base):
    assert len(read(PromptReader, base).examples(prompts_table().slice(0, 0))) == 0
    assert read(PromptReader, base).examples(prompts_table()).table(np.array([], np.int64)).num_rows == 0


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
