"""From the bytes of a text file to UTF-8, without a byte order mark.

What lives here: telling encodings apart, and text from binary. What the text means is read elsewhere.
"""

from __future__ import annotations

import codecs
import string

import pyarrow as pa

from autosft.errors import DataError, explain

_CHUNK_BYTES = 1 << 22
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1a\x1b"))
_ACCENTED = bytes(range(0xC0, 0x100))
_PLAIN = string.ascii_letters.encode()
_CONTROL_SHARE = 0.01


def to_utf8(raw: pa.Buffer, *, place: str) -> tuple[pa.Buffer, tuple[str, ...]]:
    """Returns the text as UTF-8 (the same memory where it is UTF-8 already), and a note when it was anything else.

    Tried in order: a byte order mark (UTF-8, UTF-16), UTF-8, then cp1252, the usual encoding of spreadsheets saved on
    Windows.

    Raises:
        DataError: The bytes are no text in any of these, or would be mostly accents in cp1252.
    """
    start = bytes(memoryview(raw)[:4])
    if start.startswith(codecs.BOM_UTF8):
        raw = raw.slice(len(codecs.BOM_UTF8))
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = _recode(raw, "utf-16", place=place)
        return text, (f"{place}: read as UTF-16.",)
    _refuse_binary(raw, place=place)
    bad_byte = _first_bad_byte(raw)
    if bad_byte is None:
        return raw, ()
    if _is_mostly_accented(raw):
        raise _other_encoding(place, bad_byte)
    note = f"{place}: not valid UTF-8 (byte {bad_byte}), read as cp1252; save it as UTF-8 if letters look wrong."
    return _recode(raw, "cp1252", place=place), (note,)


def not_text(place: str, reason: str) -> DataError:
    """Returns the error for bytes that cannot be read as text."""
    return DataError(
        explain(
            wrong=f"{place} does not look like text: {reason}",
            expected="a text file in UTF-8, UTF-16 with a byte order mark, or cp1252; or Parquet or Arrow, so named",
            fix="check that the file is complete and its suffix right; save spreadsheets as CSV, unpack archives first",
        )
    )


def _other_encoding(place: str, bad_byte: int) -> DataError:
    return DataError(
        explain(
            wrong=f"{place} is not valid UTF-8 (byte {bad_byte}), and in cp1252 most of its letters would be accented",
            expected="a text file in UTF-8, UTF-16 with a byte order mark, or cp1252",
            fix="save it as UTF-8; where it is in cp1251, for example: iconv -f CP1251 -t UTF-8 OLD > NEW",
        )
    )


def _recode(raw: pa.Buffer, encoding: str, *, place: str) -> pa.Buffer:
    try:
        text = bytes(raw).decode(encoding)
    except UnicodeDecodeError as error:
        raise not_text(place, f"byte {error.start} is neither UTF-8 nor {encoding}") from error
    if "\0" in text:
        raise not_text(place, "it holds NUL characters")
    return pa.py_buffer(text.encode("utf-8"))


def _refuse_binary(raw: pa.Buffer, *, place: str) -> None:
    view = memoryview(raw)
    for begin in range(0, raw.size, _CHUNK_BYTES):
        chunk = bytes(view[begin : begin + _CHUNK_BYTES])
        if (at := chunk.find(b"\0")) >= 0:
            raise not_text(place, f"there is a NUL at byte {begin + at}")
        num_control = len(chunk) - len(chunk.translate(None, _CONTROL))
        if num_control > _CONTROL_SHARE * len(chunk):
            raise not_text(place, f"it holds {num_control} control characters")


def _is_mostly_accented(raw: pa.Buffer) -> bool:
    """Whether cp1252 would have more accented letters than plain ones, which no language has that is written in it."""
    view, accented, plain = memoryview(raw), 0, 0
    for begin in range(0, raw.size, _CHUNK_BYTES):
        chunk = bytes(view[begin : begin + _CHUNK_BYTES])
        accented += len(chunk) - len(chunk.translate(None, _ACCENTED))
        plain += len(chunk) - len(chunk.translate(None, _PLAIN))
    return accented > plain


def _first_bad_byte(raw: pa.Buffer) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(raw)
    for begin in range(0, raw.size, _CHUNK_BYTES):
        num_pending = len(decoder.getstate()[0])
        try:
            decoder.decode(bytes(view[begin : begin + _CHUNK_BYTES]), begin + _CHUNK_BYTES >= raw.size)
        except UnicodeDecodeError as error:
            return begin - num_pending + error.start
    return None
