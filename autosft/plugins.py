"""Finding a plugin by name: in one of the package's own tables, or through an entry point of a package outside.

A package outside cannot take the place of what has its name here.
"""

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
    return {**own, **{name: value for name, value in _points(group).items() if name not in own}}


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
        error: What to raise, with the nearest match, where none has this name; and where it cannot be imported.
    """
    table = {**_outside(group, tuple(sys.path)), **own}
    if name not in table:
        # It may have been installed since.
        table = registered(own, group)
    if name not in table:
        wrong = f"no {what} is called '{name}'"
        raise error(explain(wrong=wrong, expected=f"a registered {what}", fix=did_you_mean(name, table)))
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as failure:
        if name in own:
            raise
        wrong = f"the {what} '{name}' ({table[name]}) cannot be imported ({type(failure).__name__}: {failure})"
        fix = "mend or uninstall the package that names it"
        raise error(explain(wrong=wrong, expected="an importable class", fix=fix)) from failure
