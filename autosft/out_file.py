"""Files that a verb of the shell is asked to write: what may be there already, and whether it can be written at all.

What a command reads is never written over; anything else that is there only with `--force`, predictions excepted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from autosft.data.write import check_ending
from autosft.disk import writing
from autosft.errors import PlanError, RunFolderError, explain
from autosft.run_folder import RunFolder

_SPACE_ENDINGS = (".yaml", ".yml")


def check_table_file(out: str, *, read: Iterable[str | None]) -> None:
    """Checks where predictions are to be written; an earlier file of them may be there.

    Raises:
        DataError: No type of file has this ending.
        RunFolderError: It is a folder, is read by the same command, or cannot be written.
    """
    check_ending(Path(out))
    _refuse_folder(out, example=f"{Path(out) / 'predictions.csv'}")
    _refuse_read(Path(out), read)
    _check_writable(Path(out))


def check_plan_file(out: str, *, read: Iterable[str | None], force: bool) -> None:
    """Checks where a plan is to be written.

    Raises:
        PlanError: It has an ending that `fit` takes for data.
        RunFolderError: It is a folder, is read by the same command, exists without `force`, or cannot be written.
    """
    path = Path(out)
    _refuse_folder(out, example=f"{path / 'plan.json'}")
    _refuse_read(path, read)
    if path.suffix != ".json":
        wrong = f"{path} has the ending '{path.suffix}'" if path.suffix else f"{path} has no ending"
        expected = "a plan's file that ends in .json, which is how `autosft fit` knows one"
        raise PlanError(explain(wrong=wrong, expected=expected, fix=f"--out {path.with_suffix('.json')}"))
    _refuse_existing(path, force=force)
    _check_writable(path)


def space_place(out: str, *, read: Iterable[str | None], force: bool) -> Path:
    """Returns where the next search spaces are to be written: a file in YAML, or a folder.

    Raises:
        PlanError: It is neither by its name.
        RunFolderError: It is read by the same command, or holds something without `force`.
    """
    path = Path(out)
    _refuse_read(path, read)
    if path.suffix in _SPACE_ENDINGS:
        _refuse_folder(out, example=f"{path / 'next.yaml'}")
        _refuse_existing(path, force=force)
        return path
    if path.is_dir():
        found = sorted(file.name for file in path.iterdir() if file.suffix in _SPACE_ENDINGS)
        if found and not force:
            wrong = f"the folder {path} holds search spaces already ({', '.join(found[:3])})"
            fix = "name another folder, or add --force to write over files of the same name"
            raise RunFolderError(explain(wrong=wrong, expected="a folder without them", fix=fix))
    elif path.exists():
        wrong, expected = f"{path} is a file that is no YAML by its name", "a .yaml file, or a folder"
        raise PlanError(explain(wrong=wrong, expected=expected, fix="name another place"))
    elif path.suffix and not out.endswith(os.sep):
        expected = "a .yaml file, or a folder of one file a trainer"
        fix = f"name {path.with_suffix('.yaml')}, or {path}/ for a folder of that name"
        raise PlanError(explain(wrong=f"{path} has the ending '{path.suffix}'", expected=expected, fix=fix))
    return path


def _refuse_folder(out: str, *, example: str) -> None:
    if out.endswith(os.sep) or Path(out).is_dir():
        raise RunFolderError(
            explain(wrong=f"{out} is a folder", expected="a file", fix=f"name a file, such as {example}")
        )


def _refuse_existing(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        fix = "name another file, or add --force to write over it"
        raise RunFolderError(explain(wrong=f"{path} exists", expected="a file that is not there yet", fix=fix))


def _refuse_read(path: Path, read: Iterable[str | None]) -> None:
    """Raises RunFolderError where a file, under whichever name, is one that the command reads."""
    if not path.is_file():
        return
    for place in (place for given in read if given for place in _parts(Path(given))):
        same = place.exists() and os.path.samefile(place, path)
        if same or (place.is_dir() and path.resolve().is_relative_to(place.resolve())):
            wrong = f"{path} is what this command reads" + ("" if same else f", as part of {place}")
            raise RunFolderError(explain(wrong=wrong, expected="another file to write", fix="name another file"))


def _parts(given: Path) -> list[Path]:
    """Returns what is read of a place: of a run's folder its own files, so that others may be written into it."""
    run = RunFolder(given)
    if not run.plan.is_file():
        return [given]
    others = ("trials", "data", "trials.parquet", "study.log", "wandb")
    return [run.plan, run.trials, run.result, run.report, run.model, *(run.path / name for name in others)]


def _check_writable(path: Path) -> None:
    # Only a real file tells: permission bits say nothing about a file system that is mounted read-only.
    nearest = next(place for place in (*path.absolute().parents,) if place.exists())
    with writing(path), tempfile.TemporaryFile(dir=nearest):
        pass
