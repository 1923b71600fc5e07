"""Delimited text as people have it: encodings, missing headers, stray quotes, types of cells."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from autosft.data.read import read
from autosft.data.source import Source
from autosft.errors import DataError


def _read(tmp_path: Path, content: str | bytes, name: str = "x.csv") -> Source:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read(path)


@pytest.mark.parametrize(
    ("encoding", "note"), [("utf-8-sig", None), ("utf-16", "UTF-16"), ("utf-16-be", "UTF-16"), ("cp1252", "cp1252")]
)
def test_encodings(tmp_path: Path, encoding: str, note: str | None) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    source = _read(tmp_path, (mark + "text,label\ncafé “au lait”,x\n").encode(encoding))
    assert source.train.to_pylist() == [{"text": "café “au lait”", "label": "x"}]
    assert [note in text for text in source.notes] == ([True] if note else [])


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1251", "чайник сломался через две недели"), ("gbk", "这个水壶两周后就坏了没有人回信")]
)
def test_other_encodings_are_refused_and_not_read_as_accents(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(DataError, match="most of its letters would be accented"):
        _read(tmp_path, ("text,label\n" + f"{text},a\n" * 30).encode(encoding))


def test_signs_beside_numbers_are_no_other_encoding(tmp_path: Path) -> None:
    assert _read(tmp_path, ("id,price\n" + "1,£5\n" * 30).encode("cp1252")).train["price"][0].as_py() == "£5"


def test_words_for_nothing_are_text_and_only_empty_cells_are_missing(tmp_path: Path) -> None:
    words = ["None", "NA", "null", "nan", "N/A", "hello"]
    source = _read(tmp_path, "text,label\n" + "".join(f"{word},x\n" for word in words) + ',x\n"",x\n')
    assert source.train["text"].to_pylist() == [*words, None, ""]


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        (["0", "1"], pa.int64()),
        (["1", "-2.5", "1e3"], pa.float64()),
        (["007", "012"], pa.string()),
        (["12345678901234567890", "1"], pa.string()),
        (["+1", "-1"], pa.string()),
        (["True", "False"], pa.string()),
        (["2020-01-01", "2020-01-02"], pa.string()),
        (["nan", "NA"], pa.string()),
        (["1", "None"], pa.string()),
    ],
)
def test_types_never_change_what_a_label_looks_like(tmp_path: Path, cells: list[str], type_: pa.DataType) -> None:
    column = _read(tmp_path, "text,label\n" + "".join(f"a b,{cell}\n" for cell in cells)).train["label"]
    assert column.type == type_
    if type_ == pa.string():
        assert column.to_pylist() == cells
    else:
        assert column.to_pylist() == [float(cell) for cell in cells]


def test_a_few_na_among_numbers_are_missing_and_noted(tmp_path: Path) -> None:
    source = _read(tmp_path, "text,score\n" + "a,1.5\n" * 30 + "a,NA\n")
    assert (source.train["score"].type, source.train["score"].null_count) == (pa.float64(), 1)
    assert "'score'" in source.notes[0] and "1 cell such as 'NA' was read as missing" in source.notes[0]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Text;Note\na b;1,5\nc d;3\ne f;2,25\ng h;-4,0\n", [1.5, 3.0, 2.25, -4.0]),
        ("Text\tNote\na b\t10,234\nc d\t3,1\n", [10.234, 3.1]),
        ("Text;Note\na b;3,99\nc d;4,95\n", [3.99, 4.95]),
        ('Text,Note\na b,"12,5"\nc d,"3,1"\n', [12.5, 3.1]),
        ("Text;Note\n" + "a b;2,1\n" * 30 + "c d;NA\n", [2.1] * 30 + [None]),
    ],
)
def test_decimal_commas_are_read_and_noted(tmp_path: Path, text: str, numbers: list[float | None]) -> None:
    source = _read(tmp_path, text)
    assert source.train["Note"].to_pylist() == numbers
    assert "'Note' holds numbers with a decimal comma" in source.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "Text;Note\na b;1,234\nc d;2,500\n",
        'Text,Note\na b,"1,234"\nc d,"2,500"\n',
        'Text,Note\na b,"3,1"\nc d,"2"\n',
        "Text;Note\na b;1,3\nc d;2\ne f;2,5\n",
        "Text;Note\na b;3,1\nc d;1,2,3\n",
        "Text;Note\na b;3,1\nc d;yes\n",
        "Text;Note\na b;3,1\nc d;NA\n",
        "Text;Note\na b;03,1\nc d;1,2\n",
    ],
    ids=[
        "thousands",
        "thousands in quotes",
        "a whole number",
        "labels",
        "three labels",
        "a word",
        "as many missing",
        "a leading zero",
    ],
)
def test_other_commas_stay_text(tmp_path: Path, text: str) -> None:
    source = _read(tmp_path, text)
    assert source.train["Note"].type == pa.string() and source.notes == ()
    assert source.train["Note"][0].as_py() in text


@pytest.mark.parametrize("first", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "\ufeffSEP=;\n"])
def test_a_line_that_names_the_delimiter_is_no_header(tmp_path: Path, first: str) -> None:
    source = _read(tmp_path, first + "text;label\na, b, c;x\nd, e, f;y\n")
    assert source.train.to_pylist() == [{"text": "a, b, c", "label": "x"}, {"text": "d, e, f", "label": "y"}]
    with pytest.raises(DataError, match="below its line 'sep=', line 3: 1 cell "):
        _read(tmp_path, first + "text;label\na;x\nb\n")


def test_quotes_behind_backslashes_are_quotes(tmp_path: Path) -> None:
    text = 'text,label\n"he said \\"no\\", then left",x\n"a \\"word\\" here",y\n"C:\\\\dir\\\\",y\n'
    source = _read(tmp_path, text)
    assert source.train["text"].to_pylist() == ['he said "no", then left', 'a "word" here', "C:\\dir\\"]
    assert "quotes inside cells" in source.notes[0]


def test_backslashes_before_closing_quotes_stay(tmp_path: Path) -> None:
    source = _read(tmp_path, 'text,label\n"C:\\dir\\",x\n"say \\""hi\\""",y\n')
    assert source.train["text"].to_pylist() == ["C:\\dir\\", 'say \\"hi\\"']
    assert source.notes == ()


SMS = 'ham\tGo until jurong point, crazy..\nham\t"Ok lar... it\'s 5"\nspam\tFree entry in "2\nham\t"U dun say\n'
UCI = 'So no way, "for me  \t0\r\nGood\x85case  \t1\r\n"Great" phone.  \t1\r\n'


@pytest.mark.parametrize(
    ("content", "name", "first"),
    [
        (SMS, "Collection", ["ham", "Go until jurong point, crazy.."]),
        (UCI, "x.txt", ['So no way, "for me  ', 0]),
        ("nice day,positive\nbad day,negative\nnew day,positive\n", "x.csv", ["nice day", "positive"]),
    ],
)
def test_no_header_is_recognised(tmp_path: Path, content: str, name: str, first: list[object]) -> None:
    source = _read(tmp_path, content, name)
    assert source.train.column_names == ["column_1", "column_2"]
    assert source.train.num_rows == content.count("\n")
    assert list(source.train.to_pylist()[0].values()) == first
    assert any("no header" in note for note in source.notes)


@pytest.mark.parametrize(
    "header",
    [
        "text,label",
        "Customer message,Is it spam?",
        "utterance,intent_name",
        "text,How satisfied were you with us overall?",
    ],
)
def test_header_is_recognised(tmp_path: Path, header: str) -> None:
    source = _read(tmp_path, f"{header}\nhello there,1\nthe text here,2\nbye,1\n")
    assert ",".join(source.train.column_names) == header
    assert source.train.num_rows == 3


def test_unbalanced_quotes_in_tabs_lose_no_row(tmp_path: Path) -> None:
    source = _read(tmp_path, SMS, "x.tsv")
    assert source.train["column_2"].to_pylist()[3] == '"U dun say'
    assert any("quotes" in note for note in source.notes)


def test_ragged_tabs_name_the_line_in_spite_of_stray_quotes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 6: 1 cell "):
        _read(tmp_path, SMS + "ham\tfine\nham\n", "x.tsv")


def test_one_column_keeps_its_commas(tmp_path: Path) -> None:
    assert _read(tmp_path, "text\nhello, you\nbye\n").train["text"].to_pylist() == ["hello, you", "bye"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("text,label\n", "no rows"),
        ("text,text\na,b\n", "more than one column named 'text'"),
        ('text,label\n"a\nb",x\nc\nd,y\n', "line 4: 1 cell where the first line has 2"),
        ("text,label\na,x\nb,y,z\n", "line 3: 3 cells"),
        ('text,label\na,x\nb,"y\nc,z\nd,x\n', "opens at line 3 is never closed"),
        ('label,text\nx,a\ny,"b\nz,c\n', "opens at line 3 is never closed"),
        ('label,text\nx,5" pipe\ny,"b\nz,c\n', "opens at line 3 is never closed"),
        ('text,label\n"a,x\nb,y\nc,y\n', "opens at line 2 is never closed"),
        (b"text,label\n\x81\x8d,x\n", "neither UTF-8 nor cp1252"),
        (bytes(range(256)) * 20, "does not look like text"),
        (b"PK\x03\x04 not a csv \x00\x01", "does not look like text"),
    ],
)
def test_bad_text_says_what_and_where(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _read(tmp_path, content)
    assert "To fix:" in str(caught.value)


def test_rows_beyond_the_sample_are_read_and_checked(tmp_path: Path) -> None:
    row = "x" * 100 + ",1\n"
    source = _read(tmp_path, "text,label\n" + row * 20_000 + "last,1.5\n")
    assert source.train.num_rows == 20_001
    assert source.train["label"].type == pa.float64()
    with pytest.raises(DataError, match="line 20002: 1 cell "):
        _read(tmp_path, "text,label\n" + row * 20_000 + "last\n")
