"""Where in a search space's file something stands, and errors that say so. Nothing here knows what a space is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from autosft.errors import PlanError, did_you_mean, explain

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a space was read from, so that an error can name the line.

    Attributes:
        origin: A path, or words for where a JSON object came from.
        lines: First line (from 1) of each key, by its path of keys.
    """

    origin: str
    lines: Mapping[Keys, int] = field(default_factory=dict)

    def at(self, *keys: str) -> str:
        """Returns the place of a key in words; of the nearest parent where the key itself is missing."""
        for end in range(len(keys), -1, -1):
            if keys[:end] in self.lines:
                return f"{self.origin}, line {self.lines[keys[:end]]}"
        return f"{self.origin}, {'.'.join(keys)}" if keys else self.origin


def refuse_field(place: str, name: str, *, trainer: str, fields: Sequence[str]) -> NoReturn:
    """Raises PlanError: a name that is no field of a trainer's Config, with the nearest one."""
    refuse(place, f"'{name}' is not something that {trainer} can vary", "a field of its Config", name, fields)


def refuse(place: str, wrong: str, expected: str, name: str, options: Iterable[Any]) -> NoReturn:
    """Raises PlanError at a place: a name that is none of the options, with the nearest one."""
    complain(place, wrong, expected, did_you_mean(name, options))


def complain(place: str, wrong: str, expected: str, fix: str) -> NoReturn:
    """Raises PlanError at a place."""
    raise PlanError(explain(wrong=f"{place}: {wrong}", expected=expected, fix=fix))
