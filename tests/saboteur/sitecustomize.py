"""Harms its own process at a chosen call: Python imports this file at every start where its folder is on PYTHONPATH.

AUTOSFT_TEST_FAULTS holds a JSON list of {"at": "module:name", "do": ..., "when": "before" or "after", "nth": n,
"armed": file}: what happens at the n-th call of that function in a process, or with null at every one; with "armed"
only as long as that file is there, which the first process takes away. What "do" may be, `happen` says.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

FAULTS: list[dict[str, Any]] = json.loads(os.environ.get("AUTOSFT_TEST_FAULTS", "[]"))


def happen(fault: dict[str, Any]) -> None:
    """Does what a fault says, to this very process."""
    if "armed" in fault:
        try:
            os.unlink(fault["armed"])
        except FileNotFoundError:
            return
    what, _, which = fault["do"].partition(":")
    if what == "files":  # Files may grow no further than this, as on a disk that is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(which), resource.RLIM_INFINITY))
    elif what == "wait":  # Until another process takes that file away.
        while os.path.exists(which):
            time.sleep(0.05)
    elif what == "hang":
        time.sleep(3600)
    else:
        os.kill(os.getpid(), getattr(signal, what))
        if what == "SIGKILL":
            time.sleep(3600)


def harmed(function: Callable[..., Any], fault: dict[str, Any]) -> Callable[..., Any]:
    calls = 0

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        is_due = fault.get("nth", 1) in (None, calls)
        if is_due and fault.get("when", "before") == "before":
            happen(fault)
        found = function(*args, **named)
        if is_due and fault.get("when") == "after":
            happen(fault)
        return found

    return call


class Saboteur(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the modules that a fault names as anybody would, and then puts the harm in."""

    def __init__(self) -> None:
        self.loaders: dict[str, Any] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if not any(fault["at"].startswith(f"{name}:") for fault in FAULTS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            self.loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.loaders[module.__name__].exec_module(module)
        for fault in FAULTS:
            name, _, place = fault["at"].partition(":")
            if name == module.__name__:
                *owners, last = place.split(".")
                owner = functools.reduce(getattr, owners, module)
                setattr(owner, last, harmed(getattr(owner, last), fault))


if FAULTS:
    sys.meta_path.insert(0, Saboteur())
