"""CoNLL files: sentences become rows, broken lines are named, and tables are not taken for them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from autosft.data.read import read, read_table
from autosft.errors import DataError

SENTENCES = [
    {"tokens": ["#", "Angela", "lives"], "tags": ["O", "B-PER", "O"]},
    {"tokens": ["Paris", "!"], "tags": ["B-LOC", "O"]},
]


def lines(separator: str, *, blank: str = "", extra: str = "") -> str:
    middle = separator + extra if extra else ""
    rows = [
        "\n".join(f"{token}{middle}{separator}{tag}" for token, tag in zip(row["tokens"], row["tags"], strict=True))
        for row in SENTENCES
    ]
    return f"\n{blank}\n".join(rows) + "\n"


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.bio", "a.txt", "a.tsv", "a.conll.txt", "a.annotated"])
@pytest.mark.parametrize(
    "text",
    [
        lines("\t"),
        lines(" "),
        lines("  "),
        lines("\t", blank="\t"),
        lines("\t").replace("\n", "\r\n"),
        "\ufeff" + lines("\t"),
        "-DOCSTART- O\n\n# id 17 of many\n" + lines(" ") + "\n\n",
        "# a comment\n" + lines("\t").replace("\n\n", "\n\n# another\n\n"),
    ],
)
def test_sentences_become_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    source = read(tmp_path / name)
    assert source.train.to_pylist() == SENTENCES
    assert source.notes == ()


def test_the_first_and_last_of_several_columns_count(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(lines(" ", extra="NNP x").encode()))
    source = read(path)
    assert source.train.to_pylist() == SENTENCES
    assert "4 columns" in source.notes[0]


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv"])
@pytest.mark.parametrize("more", ["\tO", "\t_", "\tB-LOC", "\t_\t_"])
def test_a_column_that_counts_the_words_is_not_taken_for_them(tmp_path: Path, name: str, more: str) -> None:
    parts = [
        "\n".join(
            f"{at}\t{token}\t{tag}{more}" for at, (token, tag) in enumerate(zip(*row.values(), strict=True), start=1)
        )
        for row in SENTENCES
    ]
    (tmp_path / name).write_text("#\thttp://example.org [2010-01-10]\n" + "\n\n# sent_id = 1\n".join(parts) + "\n")
    source = read(tmp_path / name)
    assert source.train.to_pylist() == SENTENCES
    assert "column 2 was read as words and column 3 as their tags" in source.notes[0]


def test_words_that_are_numbers_stay_words(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("1\tCD\tO\n2\tCD\tO\n\n3\tCD\tO\n")
    assert read(tmp_path / "a.conll").train["tokens"].to_pylist() == [["1", "2"], ["3"]]


def test_a_column_of_nothing_holds_no_tags(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Anna NNP B-PER _\nleft VBD O _\n")
    assert read(tmp_path / "a.conll").train["tags"].to_pylist() == [["B-PER", "O"]]
    (tmp_path / "a.conll").write_text("1\tAnna\t_\n2\tleft\t_\n")
    assert read(tmp_path / "a.conll").train.to_pylist() == [{"tokens": ["Anna", "left"]}]


def test_conllu_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text("1\tAnna\tAnna\tPROPN\t_\t_\t0\troot\t_\t_\n")
    with pytest.raises(DataError, match="CoNLL-U"):
        read(tmp_path / "a.conllu")


def test_words_may_hold_other_white_space(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a\u00a0b O\nc O\n\nd\u0085 O\n", encoding="utf-8")
    assert read(tmp_path / "a.conll").train["tokens"].to_pylist() == [["a\u00a0b", "c"], ["d\u0085"]]


def test_words_without_tags_can_be_predicted_on(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a\nb\n\nc\n")
    assert read_table(tmp_path / "a.conll", columns=["tokens"]).to_pylist() == [
        {"tokens": ["a", "b"]},
        {"tokens": ["c"]},
    ]


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize(("broken", "what"), [("Merkel", "no tag"), ("Merkel{0}x{0}O", "3 columns")])
def test_a_broken_line_is_named(tmp_path: Path, separator: str, broken: str, what: str) -> None:
    text = lines(separator).replace("Paris", broken.format(separator) + "\nParis")
    (tmp_path / "a.conll").write_text(text)
    with pytest.raises(DataError, match=rf"a\.conll, line 5: {what} in 'Merkel"):
        read(tmp_path / "a.conll")


def test_an_empty_tag_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a\tO\nb\t\nc\tO\n")
    with pytest.raises(DataError, match="line 2: no tag"):
        read(tmp_path / "a.conll")
    (tmp_path / "a.conll").write_text("a\tO\n\tO\nc\tO\n")
    with pytest.raises(DataError, match="line 2: no word"):
        read(tmp_path / "a.conll")
    (tmp_path / "a.conll").write_text("\n\n-DOCSTART- O\n")
    with pytest.raises(DataError, match="no words"):
        read(tmp_path / "a.conll")


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a"])
@pytest.mark.parametrize(
    "text",
    [
        "ham\tOk lar... Joking wif u oni...\nspam\tFree entry\nham\tU dun say\n",
        "text\tlabel\na b\tO\nc d\tB-x\n\ne f\tO\n",
        "word\tlabel\nfine\tgood\nbad\tbad\n\nwell\tgood\n",
        "some words\nother words\n\nfurther words\n",
    ],
)
def test_a_table_is_not_taken_for_conll(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert "tokens" not in read(tmp_path / name).train.column_names


def test_a_folder_splits_by_name(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.conll").write_text(lines("\t"))
    source = read(tmp_path)
    assert sorted(source.splits) == ["test", "train", "validation"]
    assert source.splits["test"].to_pylist() == SENTENCES
