"""A job of a batch: a name, arguments of `fit`, a priority. Rows of a file or of Python become jobs, or one error."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autosft.batch.job_problems import ARGUMENTS, PLACES, is_names, listed, problems_of, under
from autosft.budget import Budget
from autosft.data.audit import ALL
from autosft.errors import PlanError, explain
from autosft.task import Metric, Task

#: What may change without making another job of it.
_NOT_DEFINING = ("budget",)

_LISTS = ("inputs", "models", "trainer", "fixes_off")


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
        found = list(problems_of(row, base))
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
    for key in (*PLACES, "models"):
        if is_names(row.get(key)):
            for name in listed(row[key]):
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
    for key in PLACES:
        if key in arguments:
            arguments[key] = _absolute(arguments[key], base)
    for key in _LISTS:
        if key in arguments and (key, arguments[key]) != ("fixes_off", ALL):
            arguments[key] = listed(arguments[key])
    if "models" in arguments:
        arguments["models"] = [_absolute(name, base) for name in arguments["models"]]
    for key in ("task", "metric"):
        if isinstance(arguments.get(key), Task | Metric):
            arguments[key] = arguments[key].to_json()
    budget = Budget.parse(arguments.get("budget", "20m"))
    arguments["budget"] = budget.to_json()
    return Job(row["name"], arguments, float(row.get("priority") or 1), line, budget)


def _absolute(value: str, base: Path) -> str:
    """Returns a path that is there as an absolute one; anything else, such as a hub id, as it is."""
    place = under(value, base)
    return str(place.absolute()) if os.path.exists(place) else value
