"""CoNLL files, already in UTF-8: one word a line with its tag in the last column, a blank line between sentences."""

from __future__ import annotations

import re

import pyarrow as pa

from autosft.errors import DataError, explain

_SAMPLE_BYTES = 1 << 19
#: Share of the lines of a file without a telling suffix that must look like a word with its tag.
_ALIKE = 0.9
_TAG = re.compile(r"O|[BIESLUMW]-\S+")
_BLANKS = re.compile(r"[ \t]+")
_DOCUMENT = "-DOCSTART-"
_COMMENT = ("# ", "#\t")
#: What stands in a column that says nothing.
_NOTHING = "_"


def looks_like_conll(text: pa.Buffer) -> bool:
    """Whether a text is lines of words with tags ("O", "B-X"), all with as many columns, with blank lines between."""
    head = bytes(memoryview(text)[:_SAMPLE_BYTES])
    lines = head.decode("utf-8", errors="ignore").split("\n")
    if text.size > _SAMPLE_BYTES:
        lines = lines[:-1]
    filled = [line for line in lines if line.strip() and not line.startswith((_DOCUMENT, *_COMMENT))]
    while lines and not lines[-1].strip():
        lines.pop()
    if not filled or all(line.strip() for line in lines):
        return False
    tabs = _has_tabs(filled)
    rows = [_cells(line, tabs=tabs) for line in filled]
    width = len(rows[0])
    good = sum(len(row) == width and " " not in row[0].strip() and _ends_in_tag(row) for row in rows)
    return width > 1 and good >= _ALIKE * len(rows)


def read_conll(text: pa.Buffer, *, place: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads sentences as the columns "tokens" and "tags", lists of strings.

    Columns are separated by tabs where the lines have any, else by blanks; the first holds the words, the last the
    tags, as they stand there. Where the first counts the words of each sentence from 1, the second holds the words, and
    the first that looks like tags holds those. Columns of "_" alone hold no tags. Lines of "-DOCSTART-", and comments,
    which start with "# ", are left out. A file of one column is words without tags, as to predict on.

    Args:
        text: The file in UTF-8.
        place: The file's name, for messages.

    Returns:
        The table, and a note on columns that were not read.

    Raises:
        DataError: It is empty, or a line has other columns than the first; says which line.
    """
    lines = bytes(text).decode("utf-8").split("\n")
    filled = [line for line in lines if line.strip() and not line.startswith((_DOCUMENT, *_COMMENT))]
    if not filled:
        raise DataError(
            explain(
                wrong=f"{place} holds no words",
                expected="one word a line with its tag, and a blank line between sentences",
                fix="check that the export finished, or point to another file",
            )
        )
    tabs = _has_tabs(filled)
    # The commonest of the first lines: the very first may be the broken one.
    widths = [len(_cells(line, tabs=tabs)) for line in filled[:1000]]
    width = max(set(widths), key=widths.count)
    sentences: list[list[list[str]]] = [[]]
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(_DOCUMENT):
            sentences.append([])
            continue
        cells = _cells(line, tabs=tabs)
        if _is_comment(line, cells, width):
            continue
        if len(cells) != width or not cells[0] or not cells[-1]:
            raise _broken(place, number, line, cells, width)
        sentences[-1].append(cells)
    kept = [sentence for sentence in sentences if sentence]
    words = 1 if _counts_words(kept, width) else 0
    tags = _place_of_tags(kept, width, words=words)
    columns = {"tokens": [[cells[words] for cells in sentence] for sentence in kept]}
    if tags is not None:
        columns["tags"] = [[cells[tags] for cells in sentence] for sentence in kept]
    table = pa.table({name: pa.array(values, pa.list_(pa.string())) for name, values in columns.items()})
    read_as = "no column as their tags" if tags is None else f"column {tags + 1} as their tags"
    note = f"{place}: of {width} columns, column {words + 1} was read as words and {read_as}."
    return table, (note,) if width > 2 else ()


def _counts_words(sentences: list[list[list[str]]], width: int) -> bool:
    """Tells whether the first column counts the words of each sentence, as in GermEval's files."""
    if width < 2 or max(map(len, sentences)) < 2 or (width == 2 and _are_tags(sentences, 1)):
        return False
    return all(cells[0] == str(at) for sentence in sentences for at, cells in enumerate(sentence, start=1))


def _place_of_tags(sentences: list[list[list[str]]], width: int, *, words: int) -> int | None:
    places = [at for at in range(words + 1, width) if any(cells[at] != _NOTHING for row in sentences for cells in row)]
    # Beside words that are counted, further columns hold what is nested in the tags; else they come before the tags.
    first = [at for at in places if _are_tags(sentences, at)] if words else []
    return first[0] if first else places[-1] if places else None


def _are_tags(sentences: list[list[list[str]]], at: int) -> bool:
    cells = [row[at] for sentence in sentences for row in sentence]
    return sum(bool(_TAG.fullmatch(cell)) for cell in cells) >= _ALIKE * len(cells)


def _ends_in_tag(cells: list[str]) -> bool:
    """Whether the last cell that says anything is a tag."""
    return bool(_TAG.fullmatch(next((cell for cell in reversed(cells) if cell != _NOTHING), "")))


def _has_tabs(lines: list[str]) -> bool:
    return 2 * sum("\t" in line for line in lines) > len(lines)


def _cells(line: str, *, tabs: bool) -> list[str]:
    line = line.rstrip("\r")
    # Words may hold other white space, such as no-break spaces, so only blanks and tabs divide.
    return [cell.strip(" ") for cell in line.split("\t")] if tabs else _BLANKS.split(line.strip(" \t"))


def _is_comment(line: str, cells: list[str], width: int) -> bool:
    """A comment starts with "#" and a blank or tab; so does the word "#" itself, but a tag follows it."""
    return line.startswith(_COMMENT) and not (len(cells) == width and _TAG.fullmatch(cells[-1]))


def _broken(place: str, number: int, line: str, cells: list[str], width: int) -> DataError:
    what = "no tag" if len(cells) < width or not cells[-1] else "no word" if not cells[0] else f"{len(cells)} columns"
    return DataError(
        explain(
            wrong=f"{place}, line {number}: {what} in {line.strip()[:80]!r}, where other lines have {width} columns",
            expected="a word and its tag in every line, and a blank line between sentences",
            fix="repair that line",
        )
    )
