"""Which folders of images are splits and which are classes, told by their names and by whether folders lie in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autosft.data.split_names import canonical_split, is_for_predictions, split_in_name
from autosft.errors import DataError, explain

_LAYOUT = "one sub-folder a class, or train/<class> and test/<class>"


def split_folders(top: Path, children: Mapping[Path, Sequence[str]]) -> dict[str, Path]:
    """Finds the splits among folders of images: "train" and "test", "training_set" and "test_set", "seg_train".

    A name that is a split exactly goes before one that only holds it, which is a split only where folders of classes
    lie in that for training, and no folder beside it is called otherwise: "test tube" may be a class.

    Args:
        top: The folder that they lie in, for messages.
        children: The folders that hold images, with the names of the folders of images inside each.

    Returns:
        Folders by "train", "validation" and "test"; nothing where they are classes.

    Raises:
        DataError: They are called like splits but cannot be used as such, or lie beside classes.
    """
    exact = [child for child in children if canonical_split(child.name)]
    splits: dict[str, list[Path]] = {}
    for split in ("train", "validation", "test"):
        chosen = [child for child in exact if canonical_split(child.name) == split]
        chosen = chosen or [child for child in children if split_in_name(child.name) == split]
        if chosen:
            splits[split] = chosen
    others = [child for child in children if not split_in_name(child.name) and not is_for_predictions(child.name)]
    for train in splits.get("train", ())[:1]:
        if len(exact) == len(children) or (children[train] and (train in exact or not others)):
            return {split: _only(top, split, chosen) for split, chosen in splits.items()}
    if len(splits) > 1 and ("train" in splits or exact):
        raise _unusable(top, [child for chosen in splits.values() for child in chosen])
    # "valid" alone may be what is not "invalid".
    alone = [child for child in children if _is_named_alone(child.name)]
    if alone and len(children) > 1:
        raise _beside_classes(top, alone[0], [child for child in children if child != alone[0]])
    return {}


def _is_named_alone(name: str) -> bool:
    exactly = canonical_split(name) or (is_for_predictions(name) and name.isalpha())
    return bool(exactly) and name.casefold() != "valid"


def _only(top: Path, split: str, chosen: Sequence[Path]) -> Path:
    if len(chosen) == 1:
        return chosen[0]
    raise DataError(
        explain(
            wrong=f"{top} has {len(chosen)} folders for {split}: {_names(chosen)}",
            expected=f"one folder of images named {split}",
            fix="move or rename all but one",
        )
    )


def _unusable(top: Path, folders: Sequence[Path]) -> DataError:
    return DataError(
        explain(
            wrong=f"the folders {_names(folders)} in {top} are called like splits, and there is no folder for training "
            "with one sub-folder a class",
            expected=_LAYOUT,
            fix="put the images of each class into a folder called as the class; where a table names the classes, pass "
            "that; where these folders are the classes, rename them",
        )
    )


def _beside_classes(top: Path, folder: Path, others: Sequence[Path]) -> DataError:
    return DataError(
        explain(
            wrong=f"the folder '{folder.name}' in {top} is called like a split, and lies beside folders of other "
            f"names: {_names(others)}",
            expected=_LAYOUT,
            fix=f"where these are the classes, move them into {top / 'train'}, or move '{folder.name}' elsewhere; "
            f"where '{folder.name}' is a class too, rename it",
        )
    )


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(folder.name for folder in folders[:10]) + (" ..." if len(folders) > 10 else "")
