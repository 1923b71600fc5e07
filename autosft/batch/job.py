"""A job of a batch: a name, arguments of `fit`, a priority. What can be checked before anything starts is checked here.

Each check gives one sentence a problem, so that a user sees all of them at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autosft.argument_types import FORMS, SENTENCE
from autosft.budget import Budget
from autosft.data.audit import ALL, CHECKS
from autosft.data.files import data_suffix
from autosft.errors import AutosftError, PlanError, did_you_mean, explain, nearest
from autosft.search.sampler import check_sampler
from autosft.search.settings import check_scheduler
from autosft.task import Metric, Task
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

#: What may change without making another job of it.
_NOT_DEFINING = ("budget",)

_NAME = re.compile(r"\w[\w.-]{0,79}")
#: A file's name holds 255, and those of a job's own files are longer than its name.
_MOST_BYTES = 200
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_TAKEN = ("logs", "batch.json", "batch.jsonl", "batch.parquet", "batch.html")
_LISTS = ("inputs", "models", "trainer", "fixes_off")
_PLACES = ("data", "test", "space")

#: What arguments may be, of those that have a form; a job is no Plan.
_JOB_FORMS = {key: form for key, form in {**FORMS, "task": SENTENCE}.items() if key in ARGUMENTS}
#: The same in words, of those for which `fit` takes what no file can hold.
_JOB_WORDS = {
    "task": "a sentence", "metric": "the name of a metric", "answer": "a regular expression as text",
    "space": "a path of YAML", "budget": "a time such as '20m'",
}  # fmt: skip
_IN_QUOTES = " (in YAML, put it in quotes)"


@dataclass(frozen=True)
class Job:
    """A question for `fit`, with a name.

    Attributes:
        name: The job's, and its folder's.
        arguments: Arguments of `fit`, as JSON can hold them; paths are absolute.
        priority: Weight of its share of the machine; a larger one also starts earlier.
        line: Where it stands in its file, None where it came from elsewhere.
    """

    name: str
    arguments: Mapping[str, Any]
    priority: float = 1.0
    line: int | None = None
    budget: Budget = field(default=Budget(seconds=1200.0), compare=False)

    @property
    def definition(self) -> dict[str, Any]:
        """What makes it this job and no other."""
        return {key: value for key, value in self.arguments.items() if key not in _NOT_DEFINING}

    @property
    def digest(self) -> str:
        """A short word for its definition."""
        return hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def most_trials(self) -> int | None:
        """Trials at once that it asks for at most."""
        return self.arguments.get("max_concurrent")

    @property
    def gpus_per_trial(self) -> float | None:
        """GPUs that it asks for each of its trials; None for the usual."""
        return self.arguments.get("gpus_per_trial")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "priority": self.priority, "digest": self.digest, "arguments": dict(self.arguments)}


def checked(rows: Sequence[tuple[Mapping[str, Any], int | None]], *, base: Path, place: str) -> list[Job]:
    """Returns jobs that can be begun.

    Args:
        rows: Each job's keys, and the line it stands on.
        base: Folder that relative paths start from.
        place: Where the jobs came from, for messages.

    Raises:
        PlanError: Something is wrong; says all of it.
    """
    problems: list[str] = []
    jobs: list[Job] = []
    seen: dict[str, str] = {}
    for number, (given, line) in enumerate(rows, start=1):
        row = {key: _plain(value) for key, value in given.items()}
        named = isinstance(row.get("name"), str) and row["name"]
        where = (f"line {line}, " if line else "") + (f"job '{row['name']}'" if named else f"job {number}")
        found = list(_problems(row, base))
        if named and (folded := row["name"].casefold()) in seen:
            found.append(f"its name is taken by {seen[folded]}; names differ by more than case")
        elif named:
            seen[folded] = where
        problems += [f"{where}: {problem}" for problem in found]
        if not found:
            jobs.append(_job(row, line, base))
    if not rows:
        problems.append("there are no jobs")
    if problems:
        raise PlanError(_all_of(problems, place))
    return jobs


def named_places(row: Mapping[str, Any], base: Path) -> Iterator[str]:
    """Yields the files and folders that are there and that a job names by a path relative to `base`."""
    for key in (*_PLACES, "models"):
        if _is_names(row.get(key)):
            for name in _listed(row[key]):
                if name and not name.startswith(("/", "~")) and os.path.exists(base / name):
                    yield name


def as_given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a job's arguments with Task and Metric in the place of their JSON.

    Raises:
        TaskError: A function of theirs can no longer be imported.
    """
    found = dict(arguments)
    if isinstance(found.get("task"), Mapping):
        found["task"] = Task.from_json(found["task"])
    if isinstance(found.get("metric"), Mapping):
        found["metric"] = Metric.from_json(found["metric"])
    return found


def shown(value: object) -> str:
    """Quotes a value that is wrong, shortened where it is long."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Of a number Python writes no more than 4,300 digits.
        return "too long to show"


def _all_of(problems: Sequence[str], place: str) -> str:
    count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
    listed = "\n".join(f"  - {problem}" for problem in problems)
    wrong = f"{count} wrong in {place}, and nothing was started:\n{listed}"
    expected = "a name, a task and data for each job; its other keys are arguments of fit"
    return explain(wrong=wrong, expected=expected, fix="correct what is listed and run it again")


def _plain(value: Any) -> Any:
    """Returns a value as JSON holds it, where it is only of another type: numbers of NumPy, paths, names in a set."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=str)  # Its own order is another one in every process.
    if isinstance(value, list | tuple):
        return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
    return value


def _job(row: Mapping[str, Any], line: int | None, base: Path) -> Job:
    arguments = {key: value for key, value in row.items() if key in ARGUMENTS and value is not None}
    for key in _PLACES:
        if key in arguments:
            arguments[key] = _absolute(arguments[key], base)
    for key in _LISTS:
        if key in arguments and (key, arguments[key]) != ("fixes_off", ALL):
            arguments[key] = _listed(arguments[key])
    if "models" in arguments:
        arguments["models"] = [_absolute(name, base) for name in arguments["models"]]
    for key in ("task", "metric"):
        if isinstance(arguments.get(key), Task | Metric):
            arguments[key] = arguments[key].to_json()
    budget = Budget.parse(arguments.get("budget", "20m"))
    arguments["budget"] = budget.to_json()
    return Job(row["name"], arguments, float(row.get("priority") or 1), line, budget)


def _problems(row: Mapping[str, Any], base: Path) -> Iterator[str]:
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
        for name in _listed(row["trainer"]):
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
        problems = list(_said(kind, named))
        yield from problems
        if problems:
            return
    if isinstance(row.get("metric"), str):
        metrics = {metric for name in kinds for metric in kind(name).metrics}
        if row["metric"] not in metrics:
            yield f"no metric is called '{row['metric']}'; {did_you_mean(row['metric'], sorted(metrics))}"
    if _fits("fixes_off", row.get("fixes_off")):
        checks = list(dict.fromkeys([*CHECKS, *(check for name in kinds for check in kind(name).checks), ALL]))
        for name in _listed(row["fixes_off"]):
            if name not in checks:
                yield f"no check is called '{name}'; {did_you_mean(name, checks)}"


def _path_problems(row: Mapping[str, Any], base: Path) -> Iterator[str]:
    for key in _PLACES:
        value = row.get(key)
        if isinstance(value, str):
            at = _under(value, base)
            if (key == "space" or _looks_like_path(value)) and (why := _why_not(at)):
                yield f"{key} {why}: {at}"
        elif value is not None and key not in _JOB_FORMS:
            yield f"{key} is {type(value).__name__}, not a path or a hub id"
    if _fits("models", row.get("models")):
        for name in _listed(row["models"]):
            at = _under(name, base)
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


def _under(value: str, base: Path) -> Path:
    # Unlike Path's own, this leaves the home of a user whom nobody knows as it is written.
    return base / os.path.expanduser(value)


def _absolute(value: str, base: Path) -> str:
    """Returns a path that is there as an absolute one; anything else, such as a hub id, as it is."""
    place = _under(value, base)
    return str(place.absolute()) if os.path.exists(place) else value


def _said(check: Any, value: Any) -> Iterator[str]:
    """Yields what a check of the package has against a value, in one sentence."""
    try:
        check(value)
    except AutosftError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        fix = next((line.removeprefix("To fix: ") for line in lines if line.startswith("To fix: ")), "")
        # In a file of jobs an argument is written as a key.
        yield re.sub(r"\b([a-z_]+)='([^']*)'", r"\1: \2", f"{lines[0].rstrip('.')}; {fix}".rstrip(". ;"))


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | set) and all(isinstance(name, str) for name in value))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _keys() -> str:
    return "there are: " + ", ".join((*_OWN, *ARGUMENTS))
