"""Tables of texts from folders with one sub-folder a class and one .txt file a text, as folders of images are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from autosft.counting import counted
from autosft.data.encoding import to_utf8
from autosft.data.files import data_suffix
from autosft.data.split_names import canonical_split, split_in_name

#: Folders beside those of the classes, whose texts have none.
_UNLABELLED = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled"})
#: What a cloned repository of a dataset has beside its data.
_ABOUT = "dataset_infos.json"


def tables_from_texts(folder: Path) -> tuple[dict[str, pa.Table], tuple[str, ...]] | None:
    """Reads a folder of texts: <class>/*.txt, or train/<class>/*.txt and test/<class>/*.txt.

    Returns:
        Tables with the columns "text" and "label" by split, and notes on what was left aside; None where the folder is
        none of texts: it has fewer than two classes, or holds data files.

    Raises:
        DataError: A file is no text.
    """
    if any(_is_data(path) for path in _files(folder)):
        return None
    children = _folders(folder)
    if len(children) == 1 and not canonical_split(children[0].name):
        # An archive often wraps everything once more.
        return tables_from_texts(children[0])
    places = {child.name: child for child in children if canonical_split(child.name) and _classes(child)}
    if not any(canonical_split(name) == "train" for name in places):
        places = {"train": folder}
    parts = {name: _classes(place) for name, place in places.items()}
    if any(len(classes) < 2 for name, classes in parts.items() if canonical_split(name) == "train"):
        return None
    tables, odd = {}, 0
    for name, classes in parts.items():
        texts, recoded = _texts([path for paths in classes.values() for path in paths])
        labels = [label for label, paths in classes.items() for _ in paths]
        tables[name] = pa.table({"text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string())})
        odd += recoded
    beside = {child for place in (folder, *places.values()) for child in _folders(place)}
    left = sorted(child.name for child in beside if child.name.casefold() in _UNLABELLED)
    notes = [f"{folder.name}: texts without a class left aside: {', '.join(left)}."] if left else []
    notes += [f"{folder.name}: {counted(odd, 'file')} not valid UTF-8, read as cp1252 or UTF-16."] if odd else []
    return tables, tuple(notes)


def inner_folder(folder: Path) -> Path | None:
    """Returns the one sub-folder that holds data files where there are none beside it, as in a dataset's repository."""
    if any(_is_data(path) for path in _files(folder)):
        return None
    found = [child for child in _folders(folder) if any(_is_data(path) for path in _files(child))]
    return found[0] if len(found) == 1 else None


def _is_data(path: Path) -> bool:
    """Tells files of rows; of text files those that are called as a split is."""
    if path.suffix.lower() == ".txt":
        return split_in_name(path.stem) is not None
    return data_suffix(path) is not None and path.name != _ABOUT


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Returns the texts of each class; none where a folder that would be one holds data."""
    found: dict[str, list[Path]] = {}
    for child in _folders(folder):
        if canonical_split(child.name) or child.name.casefold() in _UNLABELLED:
            continue
        files = _files(child)
        if any(canonical_split(path.stem) or (_is_data(path) and path.suffix.lower() != ".txt") for path in files):
            return {}
        texts = [path for path in files if path.suffix.lower() == ".txt"]
        found |= {child.name: texts} if texts else {}
    return found


def _texts(paths: list[Path]) -> tuple[list[str], int]:
    """Returns the text of each file, and how many were not in UTF-8."""
    texts, recoded = [], 0
    for path in paths:
        text, notes = to_utf8(pa.py_buffer(path.read_bytes()), place=f"{path.parent.name}/{path.name}")
        texts.append(bytes(text).decode("utf-8"))
        recoded += bool(notes)
    return texts, recoded


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "__MACOSX"
    )
