"""Hugging Face datasets: objects in memory, folders of `save_to_disk`, and ids on the hub.

What lives here: everything that touches the `datasets` library, whose names for classes become text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from autosft.data.files import data_suffix, no_such_path
from autosft.errors import DataError, explain

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.+-]+)?")


def is_dataset(data: object) -> bool:
    """Whether `data` is a class of the `datasets` library; it is not imported to find out."""
    if "datasets" not in sys.modules:
        return False
    import datasets

    return isinstance(
        data, datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict
    )


def tables_from_datasets(data: Any, *, place: str) -> dict[str, pa.Table]:
    """Returns Arrow tables by split name ("train" for a single Dataset); memory-mapped rows stay so.

    Columns of class labels become their names as text, null where the class is -1.

    Raises:
        DataError: The dataset is streamed, or has no split.
    """
    import datasets

    if isinstance(data, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise DataError(
            explain(
                wrong=f"{place} is streamed ({type(data).__name__}), and its rows cannot be counted or split",
                expected="a datasets.Dataset or datasets.DatasetDict",
                fix="load it without streaming=True, or take a part: datasets.Dataset.from_list(list(data.take(9999)))",
            )
        )
    if isinstance(data, datasets.DatasetDict):
        return {str(name): _table(split) for name, split in data.items()}
    return {"train": _table(data)}


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()


def tables_from_saved(folder: Path) -> dict[str, pa.Table]:
    """Reads a folder of `save_to_disk`.

    Raises:
        DataError: The folder is damaged or was written by an incompatible version.
    """
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(
            explain(
                wrong=f"{folder} is not a complete folder of datasets.save_to_disk ({_first_line(error)})",
                expected="all files that save_to_disk wrote",
                fix="save the dataset again, or copy the whole folder",
            )
        ) from error
    return tables_from_datasets(saved, place=folder.name)


def may_be_hub_id(text: str) -> bool:
    """Whether a string could be "name", "owner/name" or either with ":config", and not a data file."""
    return _HUB_ID.fullmatch(text) is not None and data_suffix(Path(text)) is None and not text.endswith(".gz")


def tables_from_hub(name: str) -> dict[str, pa.Table]:
    """Loads a dataset from the hub, or from its local cache; code that comes with a dataset is never run.

    Args:
        name: "owner/name", "name" or a local folder that `datasets.load_dataset` knows; ":config" may follow.

    Raises:
        DataError: It does not exist, needs a config or a login, or cannot be reached.
    """
    import datasets

    path, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(path, config or None)
    except ConnectionError as error:
        unreachable = f"the Hugging Face Hub, where it may be a dataset, cannot be reached ({_first_line(error)})"
        raise no_such_path(Path(name), also=unreachable) from error
    except FileNotFoundError as error:
        unknown = f"no dataset of that name on the Hugging Face Hub that you may read ({_first_line(error)})"
        raise no_such_path(Path(name), also=unknown) from error
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise DataError(
            explain(
                wrong=f"the dataset '{name}' cannot be loaded ({_first_line(error)})",
                expected="the id of a dataset that datasets.load_dataset reads without running code",
                fix=f"name a config as '{path}:CONFIG' if it has several, log in with `hf auth login` if it is gated, "
                "or download its files and pass their folder",
            )
        ) from error
    return tables_from_datasets(loaded, place=name)


def _table(dataset: Any) -> pa.Table:
    if len(dataset) == 0:
        return dataset.features.arrow_schema.empty_table()
    table = dataset.with_format("arrow")[:]
    features: Mapping[str, Any] = dataset.features
    for index, name in enumerate(table.column_names):
        named = _named_classes(table.column(index), features[name])
        if named is not None:
            table = table.set_column(index, name, named)
    return table


def _named_classes(column: pa.ChunkedArray, feature: Any) -> pa.ChunkedArray | None:
    """Returns the column with class numbers as names, or None where it has none; lists of classes included."""
    inner = getattr(feature, "feature", None)
    names = getattr(feature if inner is None else inner, "names", None)
    if not names:
        return None
    if inner is None:
        return _take(names, column)
    if not pa.types.is_list(column.type):
        return None
    chunks = [_named_list(names, chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.list_(pa.string()))


def _named_list(names: list[str], lists: pa.ListArray) -> pa.ListArray:
    # Offsets are counted anew, because Arrow takes no slice of offsets together with nulls.
    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(lists), 0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, _take(names, lists.flatten()), mask=lists.is_null())


def _take(names: list[str], numbers: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    known = pc.if_else(pc.less(numbers, 0), pa.scalar(None, numbers.type), numbers)
    return pc.take(pa.array(names, pa.string()), known)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
