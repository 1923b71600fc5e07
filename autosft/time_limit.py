"""How long one call of a user's own function may go without an answer.

In the main thread a timer of the system ends the call where it stands. In a worker the job's watch looks at `overdue`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from autosft.errors import FunctionTimeout, explain

#: A metric is called some eighty times for a result's intervals, and an answer is read of every row: what takes so long
#: even once could not be used for half a day.
LIMIT_SECONDS = 600.0

#: The call is told again as often, should the function have caught what was to end it.
_AGAIN_SECONDS = 1.0

#: Calls that are under way outside of the main thread, and since when, by thread.
_under_way: dict[int, tuple[str, float]] = {}


class _TimeIsUp(BaseException):
    """No Exception, since a user's function may well catch all of those."""


@contextmanager
def time_limit(what: str) -> Iterator[None]:
    """Ends the enclosed call of a user's function that gives no answer within `LIMIT_SECONDS`.

    Only the main thread hears signals; and where an alarm is set already, as a test's own time limit, it stays and
    there is no other. What neither runs Python nor hears signals is not ended, as Ctrl-C does not end it.

    Args:
        what: The call, as an error is to name it.

    Raises:
        FunctionTimeout: It took too long.
    """
    if threading.current_thread() is not threading.main_thread():
        thread = threading.get_ident()
        _under_way[thread] = (what, time.monotonic())
        try:
            yield
        finally:
            _under_way.pop(thread, None)
        return
    before = signal.getsignal(signal.SIGALRM)
    if before is None or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def stop() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)

    started = time.monotonic()
    signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS, _AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            stop()
    except _TimeIsUp:
        stop()
        raise _timeout(what, time.monotonic() - started) from None


def overdue(limit_seconds: float | None = None) -> FunctionTimeout | None:
    """Returns what to say of a call outside of the main thread that has taken so long, None where there is none.

    Args:
        limit_seconds: How long is too long; None for `LIMIT_SECONDS`.
    """
    limit = LIMIT_SECONDS if limit_seconds is None else limit_seconds
    for what, since in [*_under_way.values()]:
        if (waited := time.monotonic() - since) >= limit:
            return _timeout(what, waited)
    return None


def _raise(number: int, frame: FrameType | None) -> Any:
    raise _TimeIsUp


def _timeout(what: str, seconds: float) -> FunctionTimeout:
    return FunctionTimeout(
        explain(
            wrong=f"{what} gave no answer within {seconds:.0f} s",
            expected=f"an answer within {LIMIT_SECONDS:.0f} s",
            fix="correct the function; a run that it stopped goes on with `autosft resume`",
        )
    )
