"""A job of a batch: a name, arguments of `fit`, a priority. What can be checked before anything starts is checked here.

Each check gives one sentence a problem, so that a user sees all of them at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autosft.budget import Budget
from autosft.data.files import data_suffix
from autosft.errors import AutosftError, PlanError, did_you_mean, explain, nearest
from autosft.search.sampler import check_sampler
from autosft.search.settings import check_scheduler
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
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_TAKEN = ("logs", "batch.json", "batch.jsonl", "batch.parquet", "batch.html")
_WORDS = ("target", "group", "time", "kind", "sampler", "scheduler")
_LISTS = ("inputs", "models", "trainer", "fixes_off")
_PLACES = ("data", "test", "space")


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
    for number, (row, line) in enumerate(rows, start=1):
        named = isinstance(row.get("name"), str) and row["name"]
        where = (f"line {line}, " if line else "") + (f"job '{row['name']}'" if named else f"job {number}")
        found = list(_problems(row, base))
        folded = str(row.get("name", "")).casefold()
        if named and folded in seen:
            found.append(f"its name is taken by {seen[folded]}; names differ by more than case")
        seen.setdefault(folded, where)
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
                if name and not name.startswith(("/", "~")) and (base / name).exists():
                    yield name


def _all_of(problems: Sequence[str], place: str) -> str:
    count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
    listed = "\n".join(f"  - {problem}" for problem in problems)
    wrong = f"{count} wrong in {place}, and nothing was started:\n{listed}"
    expected = "a name, a task and data for each job; its other keys are arguments of fit"
    return explain(wrong=wrong, expected=expected, fix="correct what is listed and run it again")


def _job(row: Mapping[str, Any], line: int | None, base: Path) -> Job:
    arguments = {key: value for key, value in row.items() if key in ARGUMENTS and value is not None}
    for key in _PLACES:
        if isinstance(arguments.get(key), str | Path):
            arguments[key] = _absolute(str(arguments[key]), base)
    for key in _LISTS:
        if isinstance(arguments.get(key), str) and arguments[key] != "all":
            arguments[key] = [arguments[key]]
    if "models" in arguments:
        arguments["models"] = [_absolute(str(name), base) for name in arguments["models"]]
    arguments = {key: list(value) if isinstance(value, tuple | set) else value for key, value in arguments.items()}
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
    if row.get("task") is not None and not isinstance(row["task"], str | Mapping):
        yield f"task is {row['task']!r}, not a sentence"
    for key in _WORDS:
        if row.get(key) is not None and not isinstance(row[key], str):
            yield f"{key} is {row[key]!r}, not a word (in YAML, put it in quotes)"
    for key in _LISTS:
        if row.get(key) is not None and not _is_names(row[key]):
            yield f"{key} is {row[key]!r}, not a name or a list of names"
    yield from _number_problems(row)
    yield from _choice_problems(row)
    yield from _path_problems(row, base)


def _name_problems(name: Any) -> Iterator[str]:
    if name is None or name == "":
        yield "'name' is missing"
    elif not isinstance(name, str):
        yield f"its name is {name!r}, not a word (in YAML, put it in quotes)"
    elif not _NAME.fullmatch(name) or name.endswith(".") or _WINDOWS.fullmatch(name) or name.casefold() in _TAKEN:
        yield (
            f"'{name}' cannot be its folder's name: letters, digits, '_', '-' and '.' can, beginning with a letter or "
            f"digit, at most 80, and none of {', '.join(_TAKEN)} or what Windows reserves"
        )


def _number_problems(row: Mapping[str, Any]) -> Iterator[str]:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    if row.get("priority") is not None and not (is_number(row["priority"]) and row["priority"] > 0):
        yield f"priority is {row['priority']!r}, not a number above zero"
    if row.get("gpus_per_trial") is not None and not (is_number(row["gpus_per_trial"]) and row["gpus_per_trial"] >= 0):
        yield f"gpus_per_trial is {row['gpus_per_trial']!r}, not a number from zero"
    for key, least in (("max_concurrent", 1), ("seed", 0)):
        value = row.get(key)
        if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            yield f"{key} is {value!r}, not a whole number from {least}"
    if row.get("budget") is not None:
        if isinstance(row["budget"], bool) or not isinstance(row["budget"], str | int | float | Budget):
            yield f"budget is {row['budget']!r}, not a time such as '20m'"
        else:
            yield from _said(Budget.parse, row["budget"])


def _choice_problems(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields names of nothing: samplers, schedulers, trainers, kinds and metrics."""
    if isinstance(row.get("sampler"), str):
        yield from _said(check_sampler, row["sampler"])
    if isinstance(row.get("scheduler"), str):
        yield from _said(check_scheduler, row["scheduler"])
    if _is_names(row.get("trainer")):
        for name in _listed(row["trainer"]):
            if name not in trainer_names():
                yield f"no trainer is called '{name}'; {did_you_mean(name, trainer_names())}"
    kinds = [*KINDS]
    if isinstance(row.get("kind"), str):
        kinds = [row["kind"]]
        problems = list(_said(kind, row["kind"]))
        yield from problems
        if problems:
            return
    if isinstance(row.get("metric"), str):
        metrics = {metric for name in kinds for metric in kind(name).metrics}
        if row["metric"] not in metrics:
            yield f"no metric is called '{row['metric']}'; {did_you_mean(row['metric'], sorted(metrics))}"


def _path_problems(row: Mapping[str, Any], base: Path) -> Iterator[str]:
    for key in _PLACES:
        value = row.get(key)
        if value is None:
            continue
        if not isinstance(value, str | Path):
            yield f"{key} is {type(value).__name__}, not a path" + ("" if key == "space" else " or a hub id")
        elif (key == "space" or _looks_like_path(str(value))) and not (at := _under(str(value), base)).exists():
            yield f"{key} does not exist: {at}"
    if _is_names(row.get("models")):
        for name in _listed(row["models"]):
            at = _under(name, base)
            if name.startswith((".", "/", "~")) and not at.is_dir():
                yield f"the base model's folder does not exist: {at}"


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
    return base / Path(value).expanduser()


def _absolute(value: str, base: Path) -> str:
    """Returns a path that is there as an absolute one; anything else, such as a hub id, as it is."""
    place = _under(value, base)
    return str(place.absolute()) if place.exists() else value


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
    if isinstance(value, str | Path):
        return True
    return isinstance(value, list | tuple | set) and all(isinstance(name, str | Path) for name in value)


def _listed(value: Any) -> Iterable[str]:
    return [str(value)] if isinstance(value, str | Path) else [str(name) for name in value]


def _keys() -> str:
    return "there are: " + ", ".join((*_OWN, *ARGUMENTS))
