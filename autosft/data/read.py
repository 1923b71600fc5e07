"""From whatever the user has to a Source: the one place that knows every form data may come in.

What lives here: `read`, `read_table`, and the choice of reader. No reader decides what is input and what is target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from autosft.data.align import align_splits, lacking_columns
from autosft.data.column_types import is_text, plain_types
from autosft.data.competition import with_known_answers
from autosft.data.files import data_suffix, no_such_path, read_file
from autosft.data.folders import files_by_split
from autosft.data.hub import (
    is_dataset,
    is_saved_dataset,
    may_be_hub_id,
    tables_from_datasets,
    tables_from_hub,
    tables_from_saved,
)
from autosft.data.image_paths import with_absolute_paths
from autosft.data.images import is_zip, refuse_unclassed, tables_from_images, unpacked
from autosft.data.nested import taken_apart
from autosft.data.objects import is_pandas, table_from_columns, table_from_pandas, table_from_rows
from autosft.data.prodigy import accepted
from autosft.data.source import Source
from autosft.data.split_names import canonical_split, name_splits, splits_in_column, unfollowed_splits
from autosft.data.tagged_words import as_lists, tagged_words
from autosft.data.text_folders import inner_folder, tables_from_texts
from autosft.data.untrained import refuse_boxes
from autosft.errors import DataError, explain


@dataclass(frozen=True)
class _Found:
    """Tables as one reader gave them: by split name, with no split promised."""

    splits: Mapping[str, pa.Table]
    origin: str
    notes: tuple[str, ...] = ()


def read(data: object, *, test: object | None = None, validation: object | None = None) -> Source:
    """Reads data in any form autosft knows.

    Args:
        data: A path (csv, tsv, txt, json, jsonl, parquet, arrow, feather, each also gzipped; a folder of such files
            named by split, or one table with a column that names the split of each row; a folder of
            `datasets.save_to_disk`; a folder of images with one sub-folder a class, also zipped, or of texts, a .txt
            file each), a list of dicts, a dict of columns or of splits, a pandas.DataFrame, a pyarrow.Table, a
            datasets.Dataset or DatasetDict, or the id of a dataset on the Hugging Face Hub ("owner/name",
            "owner/name:config").
        test: Test rows in any of these forms; they take the place of a test split in `data`.
        validation: Validation rows, likewise.

    Returns:
        Tables with the same columns by split name; text as string, integers as int64, floats as double, the rest as
        it came.

    Raises:
        DataError: The data cannot be read, or its splits do not fit together.
    """
    found = _find(data)
    if isinstance(data, str | Path) and (path := Path(data).expanduser()).exists():
        if path.is_dir():
            refuse_boxes(path, found.splits)
        if path.is_dir() or is_zip(path):
            refuse_unclassed(path, found.splits)
    tables, notes = found.splits, found.notes
    if len(tables) == 1 and (told := splits_in_column(next(iter(tables.values())))) is not None:
        column, tables = told
        counts = ", ".join(f"{rows.num_rows:,} {split}" for split, rows in tables.items())
        notes = (*notes, f"Column '{column}' says which split a row belongs to: {counts}.")
    splits, more = name_splits(tables, place=found.origin)
    notes = (*notes, *more, *unfollowed_splits(splits["train"]))
    for split, table in splits.items():
        splits[split], more = taken_apart(table)
        notes = (*notes, *more)
    train, places = plain_types(splits["train"], place=found.origin), {}
    if (tagged := tagged_words(train)) is not None:
        train, splits = as_lists(train, tagged), {split: as_lists(table, tagged) for split, table in splits.items()}
        notes = (
            *notes,
            f"Columns '{tagged[0]}' and '{tagged[1]}' were read as lists: of words, and of a tag for each.",
        )
    for split, given in (("validation", validation), ("test", test)):
        if given is None:
            continue
        if split in splits:
            notes = (*notes, f"The {split} split of {found.origin} is not used: {split}= was given.")
        table, places[split], more = _read_split(given, split, train.schema)
        splits[split] = table if tagged is None else as_lists(table, tagged)
        notes = (*notes, *more)
    plain = {
        name: plain_types(table, place=f"{places.get(name, found.origin)} ({name})") for name, table in splits.items()
    }
    plain["train"] = train
    aligned, more = align_splits(plain, place=found.origin, places=places)
    return accepted(Source(aligned, found.origin, (*notes, *more), lacking_columns(plain)))


def read_table(data: object, *, columns: Sequence[str] = ()) -> pa.Table:
    """Reads one table of rows to predict on, in any form that `read` takes; a list of strings is one column.

    Args:
        data: The rows.
        columns: The columns that will be read, in order. They tell a header from a row, name the columns of a file
            without one, and stay text in delimited files ("1.50" is not 1.5). The first names a list of strings.

    Returns:
        All columns, in the order of the data. Whether `columns` are among them is for the caller to check.

    Raises:
        DataError: The data cannot be read, or holds several splits.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(text, str) for text in data):
        return pa.table({columns[0] if columns else "text": pa.array(data, pa.string())})
    found = _find(data, expected=columns, keep_text=columns)
    if len(found.splits) > 1:
        raise DataError(
            explain(
                wrong=f"{found.origin} holds several splits ({', '.join(found.splits)})",
                expected="one table of rows to predict on",
                fix="pass the file or the split itself, for example data['test']",
            )
        )
    return plain_types(next(iter(found.splits.values())), place=found.origin)


def _read_split(given: object, split: str, train: pa.Schema) -> tuple[pa.Table, str, tuple[str, ...]]:
    """Reads what was given as one split; of several splits in it, the one of that name. Says where it came from too."""
    keep_text = [field.name for field in train if is_text(field.type)]
    found = _find(given, expected=train.names, keep_text=keep_text)
    parts, notes = found.splits, found.notes
    if len(parts) == 1 and (told := splits_in_column(next(iter(parts.values())))) is not None:
        column, parts = told
        notes = (*notes, f"Column '{column}' of {found.origin} says which rows are the {split} split.")
    tables = {canonical_split(name) or name: table for name, table in parts.items()}
    if len(tables) > 1 and split not in tables:
        raise DataError(
            explain(
                wrong=f"{found.origin}, given as {split}=, has splits {', '.join(parts)} but none named {split}",
                expected=f"one table, or splits of which one is named {split}",
                fix=f"pass that split itself, for example {split}=data['{next(iter(parts))}']",
            )
        )
    table, more = taken_apart(tables[split] if split in tables else next(iter(tables.values())))
    return plain_types(table, place=f"{found.origin} ({split})"), found.origin, (*notes, *more)


def _find(data: object, *, expected: Sequence[str] = (), keep_text: Sequence[str] = ()) -> _Found:
    if isinstance(data, str | Path):
        return _find_path(data, expected=expected, keep_text=keep_text)
    place = f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}".removeprefix("builtins.")
    if is_dataset(data):
        return _Found(tables_from_datasets(data, place=place), place)
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return _Found({"train": data}, place)
    if is_pandas(data):
        return _Found({"train": table_from_pandas(data, place="the DataFrame")}, place)
    if isinstance(data, Mapping):
        return _find_mapping(data, place=place)
    if isinstance(data, list | tuple):
        return _Found({"train": table_from_rows(data, place=f"the {place}")}, place)
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return _Found({"train": pa.table(data)}, place)
        except pa.ArrowException as error:
            raise _unreadable(place) from error
    raise _unreadable(place)


def _unreadable(place: str) -> DataError:
    return DataError(
        explain(
            wrong=f"data of type {place} cannot be read as a table",
            expected="a path, a list of dicts, a dict of columns, a pandas.DataFrame, a pyarrow.Table, "
            "a datasets.Dataset or DatasetDict, or a hub id",
            fix="convert it to one of these, for example to a list of dicts with one dict a row",
        )
    )


def _find_mapping(data: Mapping[object, object], *, place: str) -> _Found:
    """Tells a dict of splits from a dict of columns: the values of the former are tables or lists of dicts."""
    if data and all(canonical_split(str(name)) and _is_tabular(value) for name, value in data.items()):
        tables = {str(name): next(iter(_find(value).splits.values())) for name, value in data.items()}
        return _Found(tables, f"{place} of splits")
    return _Found({"train": table_from_columns(data, place=f"the {place}")}, place)


def _is_tabular(value: object) -> bool:
    rows = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    return rows or isinstance(value, pa.Table) or is_pandas(value) or is_dataset(value)


def _find_path(data: str | Path, *, expected: Sequence[str], keep_text: Sequence[str]) -> _Found:
    path = Path(data).expanduser()
    try:
        is_folder = path.is_dir() and bool(str(data))
        exists = path.exists() and bool(str(data))
    except OSError as error:
        raise _no_path(str(data), str(error.strerror)) from error
    if is_folder:
        return _find_folder(path, expected=expected, keep_text=keep_text)
    if exists and is_zip(path):
        return replace(_find_folder(unpacked(path), expected=expected, keep_text=keep_text), origin=str(data))
    if exists:
        table, notes = read_file(path, expected=expected, keep_text=keep_text)
        return _Found({"train": with_absolute_paths(table, path.parent)}, str(data), notes)
    if isinstance(data, str) and may_be_hub_id(data):
        return _Found(tables_from_hub(data), data)
    if not str(data):
        raise _no_path("", "it is empty")
    raise no_such_path(path)


def _no_path(text: str, reason: str) -> DataError:
    return DataError(
        explain(
            wrong=f"{text[:60]!r} cannot be a path here ({reason})",
            expected="a path that you may read, or the id of a dataset on the Hugging Face Hub",
            fix="check the path and its permissions; texts themselves go into a list: [{'text': '...'}]",
        )
    )


def _find_folder(folder: Path, *, expected: Sequence[str], keep_text: Sequence[str]) -> _Found:
    if is_saved_dataset(folder):
        return _Found(tables_from_saved(folder), str(folder))
    if (images := tables_from_images(folder)) is not None:
        return _Found(images[0], str(folder), images[1])
    if (texts := tables_from_texts(folder)) is not None:
        return _Found(texts[0], str(folder), texts[1])
    if (inner := inner_folder(folder)) is not None:
        return replace(_find_folder(inner, expected=expected, keep_text=keep_text), origin=str(folder))
    files, notes = files_by_split(folder)
    to_train = not expected
    splits: dict[str, pa.Table] = {}
    for split, paths in files.items():
        parts = []
        for path in paths:
            part, more = read_file(path, expected=expected, keep_text=keep_text)
            parts.append(with_absolute_paths(part, path.parent))
            notes = (*notes, *more)
            if data_suffix(path) and not expected:
                # The other files of a folder follow the training file: its header, its types.
                schema = plain_types(part, place=path.name).schema
                expected, keep_text = schema.names, [field.name for field in schema if is_text(field.type)]
        splits[split] = parts[0] if len(parts) == 1 else _concatenate(parts, place=f"{folder} ({split})")
    if to_train:
        splits, more = with_known_answers(folder, splits)
        notes = (*notes, *more)
    return _Found(splits, str(folder), notes)


def _concatenate(parts: Sequence[pa.Table], *, place: str) -> pa.Table:
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            explain(
                wrong=f"the shards of {place} do not fit together ({str(error).splitlines()[0]})",
                expected="the same columns with the same types in every shard",
                fix="export the shards again from one table",
            )
        ) from error
