"""What is wrong with a job, before anything starts: one sentence a problem, so that a user sees all of them at once."""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autosft.argument_types import FORMS, SENTENCE
from autosft.budget import Budget
from autosft.data.audit import ALL, CHECKS
from autosft.data.files import data_suffix
from autosft.errors import AutosftError, did_you_mean, nearest
from autosft.search.sampler import check_sampler
from autosft.search.settings import check_scheduler
from autosft.task import Task
from autosft.tasks import KINDS, kind
from autosft.trainers import trainer_names

#: Arguments of `fit` that a job may give. Cluster, folder and tracker belong to the batch.
ARGUMENTS = (
    "task", "data", "target", "inputs", "test", "models", "trainer", "space", "metric", "positive", "group", "time",
    "kind", "answer", "budget", "sampler", "scheduler", "max_concurrent", "gpus_per_trial", "fixes_off", "seed",
)  # fmt: skip
_OWN = ("name", "priority")
_OF_THE_BATCH = ("cluster", "folder", "tracker", "verbose")
_REQUIRED = ("task", "data")

_NAME = re.compile(r"\w[\w.-]{0,79}")
#: A file's name holds 255, and those of a job's own files are longer than its name.
_MOST_BYTES = 200
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_TAKEN = ("logs", "batch.json", "batch.jsonl", "batch.parquet", "batch.html")
PLACES = ("data", "test", "space")

#: What arguments may be, of those that have a form; a job is no Plan.
_JOB_FORMS = {key: form for key, form in {**FORMS, "task": SENTENCE}.items() if key in ARGUMENTS}
#: The same in words, of those for which `fit` takes what no file can hold.
_JOB_WORDS = {
    "task": "a sentence", "metric": "the name of a metric", "answer": "a regular expression as text",
    "space": "a path of YAML", "budget": "a time such as '20m'",
}  # fmt: skip
_IN_QUOTES = " (in YAML, put it in quotes)"


def problems_of(row: Mapping[str, Any], base: Path) -> Iterator[str]:
    """Yields what is wrong with a job, a sentence each."""
    for key in row:
        if key in _OF_THE_BATCH:
            yield f"'{key}' belongs to the whole batch, not to one job"
        elif key not in (*ARGUMENTS, *_OWN):
            match = nearest(str(key), (*_OWN, *ARGUMENTS))
            yield f"there is no key '{key}'" + (f"; did you mean '{match}'?" if match else f"; {_keys()}")
    yield from _name_problems(row.get("name"))
    for key in _REQUIRED:
        if row.get(key) is None or row.get(key) == "":
            yield f"'{key}' is missing"
    yield from _form_problems(row)
    yield from _number_problems(row)
    yield from _choice_problems(row)
    yield from _path_problems(row, base)


def _name_problems(name: Any) -> Iterator[str]:
    if name is None or name == "":
        yield "'name' is missing"
    elif not isinstance(name, str):
        yield f"its name is {shown(name)}, not a word{_IN_QUOTES}"
    elif (
        not _NAME.fullmatch(name)
        or len(name.encode()) > _MOST_BYTES
        or name.endswith(".")
        or _WINDOWS.fullmatch(name)
        or name.casefold() in _TAKEN
    ):
        yield (
            f"'{name}' cannot be its folder's name: letters, digits, '_', '-' and '.' can, beginning with a letter, a "
            f"digit or '_', at most 80 of them and {_MOST_BYTES} bytes, and none of {', '.join(_TAKEN)} or what "
            "Windows reserves"
        )


def _fits(key: str, value: Any) -> bool:
    return value is not None and _JOB_FORMS[key].fits(value)


def _form_problems(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields values of another type than `fit` takes."""
    for key, form in _JOB_FORMS.items():
        value = row.get(key)
        if value is not None and not form.fits(value):
            is_bare_word = form.fits("word") and not isinstance(value, list | Mapping)
            yield f"{key} is {shown(value)}, not {_JOB_WORDS.get(key, form.words)}{_IN_QUOTES if is_bare_word else ''}"
    value = row.get("positive")
    if value is not None and not (isinstance(value, str | bool) or _is_number(value)):
        hint = "" if isinstance(value, list | Mapping) else _IN_QUOTES
        yield f"positive is {shown(value)}, not a text, a number, or true or false{hint}"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # It is larger than any float, so nothing could be done with it.
        return False


def _number_problems(row: Mapping[str, Any]) -> Iterator[str]:
    priority = row.get("priority")
    if priority is not None and not (_is_number(priority) and priority > 0):
        yield f"priority is {shown(priority)}, not a number above zero"
    for key, least, words in (
        ("gpus_per_trial", 0, "a number from zero"),
        ("max_concurrent", 1, "a whole number from 1"),
        ("seed", 0, "a whole number from 0"),
    ):
        value: Any = row.get(key)
        if _fits(key, value) and not (_is_number(value) and value >= least):
            yield f"{key} is {shown(value)}, not {words}"
    budget = row.get("budget")
    if isinstance(budget, str | Budget) or _is_number(budget):
        yield from _said(Budget.parse, budget)
    elif _fits("budget", budget):
        yield f"budget is {shown(budget)}, not {_JOB_WORDS['budget']}"


def _choice_problems(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields names of nothing: samplers, schedulers, trainers, kinds, metrics and checks; and what is no pattern."""
    if isinstance(row.get("sampler"), str):
        yield from _said(check_sampler, row["sampler"])
    if isinstance(row.get("scheduler"), str):
        yield from _said(check_scheduler, row["scheduler"])
    if _fits("trainer", row.get("trainer")):
        for name in listed(row["trainer"]):
            if name not in trainer_names():
                yield f"no trainer is called '{name}'; {did_you_mean(name, trainer_names())}"
    if isinstance(row.get("answer"), str):
        try:
            re.compile(row["answer"])
        except (re.error, OverflowError, RecursionError) as error:
            yield f"answer is {shown(row['answer'])}, not a regular expression ({error})"
    kinds = [*KINDS]
    named = row["task"].kind if isinstance(row.get("task"), Task) else row.get("kind")
    if isinstance(named, str):
        kinds = [named]
        unknown = list(_said(kind, named))
        yield from unknown
        if unknown:
            return
    if isinstance(row.get("metric"), str):
        metrics = {metric for name in kinds for metric in kind(name).metrics}
        if row["metric"] not in metrics:
            yield f"no metric is called '{row['metric']}'; {did_you_mean(row['metric'], sorted(metrics))}"
    if _fits("fixes_off", row.get("fixes_off")):
        checks = list(dict.fromkeys([*CHECKS, *(check for name in kinds for check in kind(name).checks), ALL]))
        for name in listed(row["fixes_off"]):
            if name not in checks:
                yield f"no check is called '{name}'; {did_you_mean(name, checks)}"


def _path_problems(row: Mapping[str, Any], base: Path) -> Iterator[str]:
    for key in PLACES:
        value = row.get(key)
        if isinstance(value, str):
            at = under(value, base)
            if (key == "space" or _looks_like_path(value)) and (why := _why_not(at)):
                yield f"{key} {why}: {at}"
        elif value is not None and key not in _JOB_FORMS:
            yield f"{key} is {type(value).__name__}, not a path or a hub id"
    if _fits("models", row.get("models")):
        for name in listed(row["models"]):
            at = under(name, base)
            if name.startswith((".", "/", "~")) and not os.path.isdir(at):
                yield f"the base model's folder does not exist: {at}"


def _why_not(place: Path) -> str:
    """Says why nothing can be read at a place; nothing where something is there."""
    try:
        return "" if place.exists() else "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _looks_like_path(value: str) -> bool:
    """Tells a path from a hub id ("owner/name", "owner/name:config")."""
    bare = Path(value.removesuffix(".zip"))
    return (
        value.startswith((".", "/", "~"))
        or value.count("/") != 1
        or value.endswith(".zip")
        or data_suffix(bare) is not None
    )


def under(value: str, base: Path) -> Path:
    """Returns a place that a job names, relative ones from `base` on; a home of nobody's stays as it is written."""
    return base / os.path.expanduser(value)


def shown(value: object) -> str:
    """Quotes a value that is wrong, shortened where it is long."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Of a number Python writes no more than 4,300 digits.
        return "too long to show"


def _said(check: Any, value: Any) -> Iterator[str]:
    """Yields what a check of the package has against a value, in one sentence."""
    try:
        check(value)
    except AutosftError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        fix = next((line.removeprefix("To fix: ") for line in lines if line.startswith("To fix: ")), "")
        # In a file of jobs an argument is written as a key.
        yield re.sub(r"\b([a-z_]+)='([^']*)'", r"\1: \2", f"{lines[0].rstrip('.')}; {fix}".rstrip(". ;"))


def is_names(value: Any) -> bool:
    """Whether a value is a name, or a list of names."""
    return isinstance(value, str) or (isinstance(value, list | set) and all(isinstance(name, str) for name in value))


def listed(value: Any) -> list[str]:
    """Returns names as a list, where one may stand alone."""
    return [value] if isinstance(value, str) else list(value)


def _keys() -> str:
    return "there are: " + ", ".join((*_OWN, *ARGUMENTS))
