"""Reading a file of jobs: YAML or JSON, strictly, with the line of whatever is wrong."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosft.batch.job import Job, checked, named_places
from autosft.batch.job_problems import ARGUMENTS, shown
from autosft.errors import PlanError, explain, nearest
from autosft.search.space_file import safe_loader

_KEYS = ("defaults", "jobs")
_EXPECTED = "'jobs', a list of jobs with a name, a task and data each, and perhaps 'defaults' for all of them"


def read_jobs(path: str | Path) -> list[Job]:
    """Reads a file of jobs; paths in it are relative to the file.

    Raises:
        PlanError: It cannot be read, or a job in it cannot be begun; says everything that is wrong.
    """
    path = Path(path)
    return checked(_rows(path), base=path.absolute().parent, place=str(path))


def places(path: str | Path) -> list[str]:
    """Returns the files and folders that are there and that a file of jobs names by paths relative to it.

    The jobs are not checked: they may be for another machine, with files and trainers of its own.

    Raises:
        PlanError: The file cannot be read.
    """
    path = Path(path)
    return list(dict.fromkeys(name for row, _ in _rows(path) for name in named_places(row, path.absolute().parent)))


def _rows(path: Path) -> list[tuple[Mapping[str, Any], int | None]]:
    """Returns the keys of each job, those of the defaults included, and the line that it stands on."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = (
            "is a folder" if path.is_dir() else "does not exist" if not path.exists() else f"cannot be read ({error})"
        )
        raise _refused(f"{path} {what}", "a file of jobs in YAML or JSON", "name the file") from error
    try:
        value, lines = _parsed(path, text)
    except RecursionError as error:
        wrong = f"{path} is nested too deeply, or holds itself"
        raise _refused(wrong, _EXPECTED, "see docs/batch.md for an example") from error
    if not isinstance(value, Mapping) or not isinstance(value.get("jobs"), list):
        raise _refused(f"{path} has no list of 'jobs'", _EXPECTED, "see docs/batch.md for an example")
    for key in value:
        if key not in _KEYS:
            match = nearest(str(key), _KEYS)
            fix = f"did you mean '{match}'?" if match else "an argument for every job stands under 'defaults'"
            raise _refused(f"{path} has a key '{key}' at its top", _EXPECTED, fix)
    defaults = value.get("defaults") or {}
    if not isinstance(defaults, Mapping):
        raise _refused(f"'defaults' in {path} is {shown(defaults)}", "keys and values, as in a job", "write key: value")
    allowed = ("priority", *(key for key in ARGUMENTS))
    for key in defaults:
        if key not in allowed:
            match = nearest(str(key), allowed)
            fix = f"did you mean '{match}'?" if match else f"use one of: {', '.join(allowed)}"
            raise _refused(f"'defaults' in {path} has an unknown key '{key}'", "arguments of fit, or priority", fix)
    rows: list[tuple[Mapping[str, Any], int | None]] = []
    for number, job in enumerate(value["jobs"]):
        line = lines[number] if number < len(lines) else None
        if not isinstance(job, Mapping):
            wrong = f"job {number + 1} in {path}" + (f", line {line}," if line else "") + f" is {shown(job)}"
            raise _refused(wrong, "keys and values: name, task, data", "write it as {name: ..., ...}")
        rows.append(({**defaults, **job}, line))
    return rows


def _parsed(path: Path, text: str) -> tuple[Any, list[int]]:
    """Returns the file's content, and the line on which each job begins."""
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=functools.partial(_each_key_once, path)), []
        except PlanError:  # A ValueError too.
            raise
        except ValueError as error:
            raise _refused(f"{path} is no JSON ({error})", "a JSON object", "correct it there") from error
    import yaml

    try:
        loader = safe_loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, []
            _refuse_repeated_keys(node, path)
            return loader.construct_document(node), _lines(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        wrong = f"{path}{where} is no YAML ({getattr(error, 'problem', None) or error})"
        raise _refused(wrong, _EXPECTED, "correct it there; words with ': ' or '#' in them stand in quotes") from error


def _lines(node: Any) -> list[int]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "jobs" and isinstance(value, yaml.SequenceNode):
                return [item.start_mark.line + 1 for item in value.value]
    return []


def _each_key_once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """JSON keeps the last of two equal keys without a word."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _refused(f"{path}: '{key}' is there twice in one object", "each key once", "remove one of them")
        found[key] = value
    return found


def _refuse_repeated_keys(node: Any, path: Path) -> None:
    """YAML keeps the last of two equal keys without a word."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    wrong = f"{path}, line {key.start_mark.line + 1}: '{key.value}' is there twice"
                    raise _refused(wrong, "each key once", "remove one of them")
                seen.add(key.value)
            _refuse_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)


def _refused(wrong: str, expected: str, fix: str) -> PlanError:
    return PlanError(explain(wrong=wrong, expected=expected, fix=fix))
