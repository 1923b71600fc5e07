"""Where a worker's seconds went: train, evaluate, features, load, compile, checkpoint.

Trainers mark their phases; whoever runs them reads the ledger. Nested phases count once, for the inner one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PHASES = ("train", "evaluate", "features", "load", "compile", "checkpoint")


class Ledger:
    """Seconds by phase since it was opened."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._open: list[tuple[str, float]] = []

    def enter(self, name: str) -> None:
        if name not in self.seconds:
            raise KeyError(f"no phase is called {name!r}; use one of {PHASES}")
        now = time.perf_counter()
        if self._open:
            outer, since = self._open[-1]
            self.seconds[outer] += now - since
        self._open.append((name, now))

    def leave(self) -> None:
        now = time.perf_counter()
        name, since = self._open.pop()
        self.seconds[name] += now - since
        if self._open:
            self._open[-1] = (self._open[-1][0], now)


_ledger: ContextVar[Ledger | None] = ContextVar("autosft_ledger", default=None)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Counts the seconds of the enclosed work under `name`; does nothing where no ledger is open.

    Raises:
        KeyError: `name` is not one of PHASES.
    """
    ledger = _ledger.get()
    if ledger is None:
        yield
        return
    ledger.enter(name)
    try:
        yield
    finally:
        ledger.leave()


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Opens a ledger that every `phase` in this thread writes to."""
    ledger = Ledger()
    token = _ledger.set(ledger)
    try:
        yield ledger
    finally:
        _ledger.reset(token)
