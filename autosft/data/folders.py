"""Tables from a folder: data files whose names are splits, in one piece or in numbered shards.

What lives here: which files of a folder belong to which split. Reading a file is the business of `files`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from autosft.data.files import SUFFIXES, data_suffix
from autosft.data.split_names import canonical_split, split_in_name
from autosft.data.untrained import refuse_media
from autosft.errors import DataError, explain

#: What stands beside data as a text file and holds none.
_ABOUT = {"license", "licence", "readme", "notice", "copying", "citation", "changelog"}

_SHARD = re.compile(r"(.+?)-\d{2,}-of-\d{2,}")


def _is_about(path: Path) -> bool:
    return path.suffix.casefold() == ".txt" and path.stem.casefold() in _ABOUT


def files_by_split(folder: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Finds the data files of a folder by split: "train.csv", "test-v1.json", "train-00000-of-00002.parquet".

    A name that is a split exactly goes before one that only holds it ("train.csv" before "train_small.csv"). A lone
    data file of any name is "train".

    Returns:
        Paths by "train", "validation" and "test", shards in order; and a note on data files left aside.

    Raises:
        DataError: No data file, none to train on, or several for one split.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    found = [path for path in files if data_suffix(path) and not _is_about(path)]
    others = [path for path in files if path not in found]
    # Without a known suffix a file may be anything, but one that is called a split was mostly meant to be one.
    meant = [path.name for path in others if split_in_name(_stem(path))]
    if len(found) == 1:
        return {"train": found}, _left_aside(folder, meant)
    splits: dict[str, list[Path]] = {}
    for split in ("train", "validation", "test"):
        exact = [path for path in found if canonical_split(_stem(path)) == split]
        chosen = exact or [path for path in found if split_in_name(_stem(path)) == split]
        if chosen:
            splits[split] = chosen
    if "train" not in splits:
        if not found:
            refuse_media(folder)
        raise _no_training_file(folder, found)
    for split, chosen in splits.items():
        if len(chosen) > 1 and not all(_SHARD.fullmatch(_bare(path)) for path in chosen):
            raise _several_files(folder, split, chosen)
    used = {path for chosen in splits.values() for path in chosen}
    unused = [path.name for path in found if path not in used]
    return splits, _left_aside(folder, unused + meant)


def _left_aside(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    return (f"{folder.name}: files left aside: {', '.join(names)}.",) if names else ()


def _bare(path: Path) -> str:
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


def _stem(path: Path) -> str:
    shard = _SHARD.fullmatch(_bare(path))
    return shard.group(1) if shard else _bare(path)


def _no_training_file(folder: Path, found: Sequence[Path]) -> DataError:
    there = found or sorted(folder.iterdir())
    listed = ", ".join(path.name for path in there[:10]) + (" ..." if len(there) > 10 else "") if there else "nothing"
    wrong = f"{folder} has no file to train on" if found else f"{folder} holds no data file"
    return DataError(
        explain(
            wrong=f"{wrong} (found: {listed})",
            expected=f"a file such as train.csv, perhaps also test.csv; suffixes: {', '.join(sorted(SUFFIXES))} (.gz)",
            fix="pass the path of the file to train on, or name it train.<suffix>",
        )
    )


def _several_files(folder: Path, split: str, chosen: Sequence[Path]) -> DataError:
    return DataError(
        explain(
            wrong=f"{folder} has {len(chosen)} files for {split}: {', '.join(path.name for path in chosen[:10])}",
            expected=f"one file named {split}, or shards named {split}-00000-of-00002 and so on",
            fix="pass the path of the one you mean, or rename it",
        )
    )
