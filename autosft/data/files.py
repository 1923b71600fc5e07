"""One table from one file: its format, its compression, its place on the disk.

What lives here: formats by suffix, Parquet and Arrow. Delimited text, CoNLL and JSON have their own files; folders too.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from autosft.data.conll import looks_like_conll, read_conll
from autosft.data.delimited import read_delimited
from autosft.data.encoding import to_utf8
from autosft.data.fasttext import looks_like_fasttext, read_fasttext
from autosft.data.json_files import read_json
from autosft.data.untrained import refuse_media
from autosft.errors import DataError, explain, nearest

_DELIMITED = frozenset({".csv", ".tsv", ".txt"})
_CONLL = frozenset({".conll", ".iob", ".iob2", ".bio", ".bioes"})
_JSON = frozenset({".json", ".jsonl", ".ndjson"})
_PARQUET = frozenset({".parquet", ".pq"})
_ARROW = frozenset({".arrow", ".feather", ".ipc"})
SUFFIXES = _DELIMITED | _CONLL | _JSON | _PARQUET | _ARROW


def data_suffix(path: Path) -> str | None:
    """Returns the suffix that tells the format (".csv" for "x.csv.gz"), or None where it is not one of SUFFIXES."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    suffix = inner.suffix.lower()
    return suffix if suffix in SUFFIXES else None


def read_file(
    path: Path, *, expected: Sequence[str] = (), keep_text: Collection[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads one file of any known format; one without a known suffix is read by its content.

    Args:
        path: A file.
        expected: Columns it should have, to recognise or name the columns of delimited text.
        keep_text: Columns of delimited text that stay strings even when every cell is a number.

    Returns:
        The table as it is, with Arrow's own types, and notes on what the reader decided.

    Raises:
        DataError: It does not exist, cannot be opened, is damaged, or has another format.
    """
    place = path.name
    refuse_media(path)
    _refuse_conllu(path)
    raw = _load(path)
    suffix = data_suffix(path) or _suffix_by_content(raw)
    if suffix in _PARQUET:
        return _read_parquet(raw, place=place), ()
    if suffix in _ARROW:
        return _read_arrow(raw, place=place), ()
    text, notes = to_utf8(raw, place=place)
    if suffix in _JSON:
        table, more = read_json(text, place=place)
        return table, (*notes, *more)
    if suffix in _CONLL or (suffix != ".csv" and looks_like_conll(text)):
        table, more = read_conll(text, place=place)
        return table, (*notes, *more)
    if suffix == ".txt" and looks_like_fasttext(text):
        table, more = read_fasttext(text, place=place)
        return table, (*notes, *more)
    table, more = read_delimited(text, place=place, suffix=suffix, expected=expected, keep_text=keep_text)
    return table, (*notes, *more)


def _refuse_conllu(path: Path) -> None:
    if (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower() == ".conllu":
        raise DataError(
            explain(
                wrong=f"{path} is CoNLL-U, whose ten columns hold several layers of annotation, and none of entities",
                expected="a CoNLL file of two columns, the word and its tag, with a blank line between sentences",
                fix="keep the column FORM and the one to predict, and name the file .conll",
            )
        )


def no_such_path(path: Path, *, also: str = "") -> DataError:
    """Returns the error for a path that does not exist, with the nearest name in its folder."""
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    match = nearest(path.name, [entry.name for entry in folder.iterdir()]) if folder == path.parent else None
    wrong = f"there is no file or folder {path}" + (f", and {also}" if also else "")
    if folder != path.parent:
        fix = f"check the path: it exists up to {folder.absolute()}"
    else:
        fix = f"did you mean '{folder / match}'?" if match else f"check the name; it was sought in {folder.absolute()}"
    return DataError(explain(wrong=wrong, expected="an existing file or folder", fix=fix))


def _load(path: Path) -> pa.Buffer:
    if not path.exists():
        raise no_such_path(path)
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as stream:
                return pa.py_buffer(stream.read())
        if path.stat().st_size == 0:
            return pa.py_buffer(b"")
        with pa.memory_map(str(path)) as mapped:
            return mapped.read_buffer()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            explain(
                wrong=f"{path} cannot be read ({error})",
                expected="a complete file that you may read, gzipped if its name ends in .gz",
                fix="check its permissions (ls -l), and that it was copied to the end",
            )
        ) from error


def _suffix_by_content(raw: pa.Buffer) -> str:
    start = bytes(memoryview(raw)[:64])
    if start.startswith(b"PAR1"):
        return ".parquet"
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return ".arrow"
    return ".json" if start.lstrip().startswith((b"{", b"[{")) else ".txt"


def _read_parquet(raw: pa.Buffer, *, place: str) -> pa.Table:
    try:
        return pyarrow.parquet.ParquetFile(pa.BufferReader(raw)).read()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(place, "Parquet", raw, error) from error


def _read_arrow(raw: pa.Buffer, *, place: str) -> pa.Table:
    try:
        if bytes(memoryview(raw)[:6]) == b"ARROW1":
            return pa.ipc.open_file(pa.BufferReader(raw)).read_all()
        return pa.ipc.open_stream(pa.BufferReader(raw)).read_all()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(place, "Arrow", raw, error) from error


def _damaged(place: str, format_name: str, raw: pa.Buffer, error: Exception) -> DataError:
    reason = str(error).splitlines()[0][:120]
    return DataError(
        explain(
            wrong=f"{place} ({raw.size} bytes) is not a complete {format_name} file ({reason})",
            expected=f"a whole {format_name} file",
            fix="copy or export it again; if it has another format, give it that format's suffix",
        )
    )
