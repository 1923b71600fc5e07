"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) while a run works.

The first asks it to end with what it has, the second ends it at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Whether the user asked the run to end. A context manager: outside of it signals do what they did before.

    Attributes:
        requested: Whether a signal came. Whoever waits looks at it at least once a second.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}
        self._unraisable: Callable[..., Any] = sys.unraisablehook

    def __enter__(self) -> Interrupt:
        # Python lets only the main thread handle signals; elsewhere they are somebody else's.
        if threading.current_thread() is threading.main_thread():
            # What is ignored stays so: `nohup` starts a process that outlives its terminal.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._hear) for number in heard}
            self._unraisable = _insist()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before:
            sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @staticmethod
    def end_at_once() -> None:
        """Lets SIGTERM and SIGHUP end this process as Ctrl-C does, cleaning up, where no run is there to hear them."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        _insist()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _insist() -> Callable[..., Any]:
    """Raises a KeyboardInterrupt again that came into a finalizer, where Python prints it and goes on.

    Returns:
        The hook that this takes the place of.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        heard = [number for number in _SIGNALS if callable(signal.getsignal(number))]
        if not issubclass(unraisable.exc_type, KeyboardInterrupt) or not heard:
            before(unraisable)
            return
        # A moment later, when the finalizer has ended. At the end of the process no thread starts, and none is needed.
        with suppress(RuntimeError):
            main = threading.main_thread().ident
            threading.Timer(0.01, signal.pthread_kill, (main, heard[0])).start()

    sys.unraisablehook = hook
    return before
