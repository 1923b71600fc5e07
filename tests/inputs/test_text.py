"""Texts as tokens: read block by block, cut where all rows together say, in little more memory than the tokens take."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from autosft.inputs import text as text_module
from autosft.inputs.text import TextReader
from autosft.inputs.words import WordReader
from autosft.testing.tiny_models import write_tiny_encoder

WORDS = ["red", "green", "blue", "card"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("text") / "base", words=WORDS)


def reader_of(folder, reader=TextReader, *, max_length=None, context_tokens=512):
    return reader.of_base(folder, max_length=max_length, context_tokens=context_tokens)


def words(length):
    return " ".join(WORDS[at % len(WORDS)] for at in range(length))


LENGTHS = [3, 0, 40, 7, 1, 12, 5, 90, 2, 4]
TABLES = {
    "text": (TextReader, pa.table({"text": [words(length) for length in LENGTHS]})),
    "pair": (
        TextReader,
        pa.table({"text": [words(3)] * len(LENGTHS), "text_pair": [words(length) for length in LENGTHS]}),
    ),
    "words": (WordReader, pa.table({"tokens": pa.array([words(n).split() for n in LENGTHS], pa.list_(pa.string()))})),
}


@pytest.mark.parametrize("max_length", [None, 9, 64, 300])
@pytest.mark.parametrize("context_tokens", [16, 32, 512])
@pytest.mark.parametrize(("kind", "table"), TABLES.values(), ids=TABLES.keys())
def test_blocks_give_what_one_pass_gives(folder, monkeypatch, kind, table, max_length, context_tokens):
    reader = reader_of(folder, kind, max_length=max_length, context_tokens=context_tokens)
    whole = reader._encode(table)
    monkeypatch.setattr("autosft.inputs.text._AT_ONCE", 3)
    blocks = reader._encode(table)
    assert blocks.equals(whole, check_metadata=True)
    assert {column.num_chunks for column in blocks.columns} == {1}, "mapped from a file, not copied together"
    fresh = reader.examples(table)
    assert fresh.lengths.max() <= fresh.max_length <= min(max_length or 512, context_tokens)
    assert len(reader.examples(table.slice(0, 0))) == 0


def test_the_length_goes_by_all_rows(folder, monkeypatch):
    monkeypatch.setattr("autosft.inputs.text._AT_ONCE", 2)
    texts = [words(3), words(2), words(1), words(15), words(2)]
    found = reader_of(folder).examples(pa.table({"text": texts}))
    assert (found.max_length, len(found.cut)) == (24, 0), "17 with both special tokens, in eights"
    cut = reader_of(folder, max_length=10).examples(pa.table({"text": texts}))
    assert (cut.max_length, cut.cut.tolist(), cut.lengths.tolist()) == (10, [3], [5, 4, 3, 10, 4])
    assert cut[3][-1] == reader_of(folder).tokenizer.sep_token_id


def test_of_a_pair_the_longer_text_is_cut(folder):
    reader = reader_of(folder, max_length=16)
    found = reader.examples(pa.table({"text": ["red red", words(80)], "text_pair": [words(80), "blue blue"]}))
    red, blue = reader.tokenizer.convert_tokens_to_ids(["red", "blue"])
    assert found[0][1:3].tolist() == [red, red] and len(found[0]) == 16
    assert found[1][-3:-1].tolist() == [blue, blue] and len(found[1]) == 16


def test_words_that_the_vocabulary_lacks_are_counted_over_all_blocks(folder, monkeypatch):
    monkeypatch.setattr("autosft.inputs.text._AT_ONCE", 1)
    reader = reader_of(folder)
    found = reader.examples(pa.table({"text": ["red", "\u2603"]}))
    unknown = reader.tokenizer.unk_token_id
    ids = np.concatenate([found[0], found[1]])
    assert found.share_unknown == pytest.approx(np.mean(ids == unknown)) and found.share_unknown > 0


@pytest.mark.parametrize("kind", ["text", "words"])
def test_tokens_of_many_rows_are_not_held_as_pythons_numbers(folder, kind):
    num_rows, length = 2000, 200
    columns = {"text": [words(length)] * num_rows} if kind == "text" else {"tokens": [words(length).split()] * num_rows}
    reader, table = reader_of(folder, TABLES[kind][0], max_length=64), pa.table(columns)
    reader._encode(table.slice(0, 300))
    tracemalloc.start()
    try:
        reader._encode(table)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / (num_rows * length) < (20 if kind == "text" else 60)


VERY_LONG = words(6000)
LONG = {
    "words": VERY_LONG,
    "spaces first": " " * 50_000 + words(3000),
    "words far apart": (" " * 500).join(WORDS * 300),
    "one word": "x" * 30_000,
    "unknown words": " ".join(["y" * 120] * 2000),
    "no spaces": "\u96ea" * 30_000,
}


@pytest.mark.parametrize("other", [None, "red card", VERY_LONG])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_of_a_very_long_text_a_part_gives_the_tokens_of_the_whole(folder, monkeypatch, text, other):
    table = pa.table({"text": [words(3), text]} | ({"text_pair": [other, other]} if other else {}))
    readers = [
        reader_of(folder, max_length=max_length) for max_length in ((None,) if other == VERY_LONG else (None, 32))
    ]
    found = [reader.examples(table) for reader in readers]
    monkeypatch.setattr("autosft.inputs.text._LONG_CHARACTERS", 1_000_000)
    for reader, short in zip(readers, found, strict=True):
        whole = reader.examples(table)
        assert len(short[1]) == len(whole[1])
        if other != VERY_LONG:  # Of two very long texts either may be given the last token.
            assert [short[row].tolist() for row in range(2)] == [whole[row].tolist() for row in range(2)]
        assert (short.max_length, len(short.cut)) == (whole.max_length, len(whole.cut))


def test_of_a_very_long_text_little_is_tokenised(folder, monkeypatch):
    reader, sizes = reader_of(folder), []
    tokenised = text_module._tokenised

    def noted(tokenizer, texts, *rest):
        sizes.extend(len(text) for column in texts for text in column)
        return tokenised(tokenizer, texts, *rest)

    monkeypatch.setattr(text_module, "_tokenised", noted)
    reader.examples(pa.table({"text": [words(1_000_000), words(5)]}))
    assert 512 < max(sizes) < 10_000
