"""Finding a plugin by name: in one of the package's own tables, or through an entry point of a package outside."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from autosft.errors import AutosftError, did_you_mean, explain


def registered(own: Mapping[str, str], group: str) -> dict[str, str]:
    """Returns every plugin's "module:Class" by name, ours first.

    Args:
        own: The package's own table.
        group: The entry point group that packages outside use.
    """
    return {**own, **_points(group)}


def _points(group: str) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=group)}


@cache
def _outside(group: str, path: tuple[str, ...]) -> dict[str, str]:
    """Keeps what was found on a `sys.path`: reading what every package there says of itself takes ten milliseconds."""
    return _points(group)


def load_plugin(name: str, own: Mapping[str, str], group: str, *, what: str, error: type[AutosftError]) -> Any:
    """Imports a plugin's class, only now.

    Args:
        what: What the plugin is, for the message ("trainer").
        error: What to raise, with the nearest match, where none has this name.
    """
    table = {**own, **_outside(group, tuple(sys.path))}
    if name not in table:
        # It may have been installed since.
        table = registered(own, group)
    if name not in table:
        wrong = f"no {what} is called '{name}'"
        raise error(explain(wrong=wrong, expected=f"a registered {what}", fix=did_you_mean(name, table)))
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
