"""What a process of a batch says to the one that started it, in lines of JSON; and that it never outlives that one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any, TextIO


class Lines:
    """Writes lines of JSON to a stream; threads may share it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    @staticmethod
    def taken_from_stdout() -> Lines:
        """Takes this process's standard output for itself; what else is printed goes to standard error."""
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return Lines(stream)

    def write(self, value: dict[str, Any]) -> None:
        """Writes one line; nothing happens where nobody reads any more."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps(value, ensure_ascii=True) + "\n")
            self._stream.flush()


def die_with_parent() -> None:
    """Ends this process at once when the other end of its standard input is closed, by whatever ended that process.

    On Linux the kernel does it too, should this process be too busy to look.
    """
    threading.Thread(target=_watch, name="autosft-parent", daemon=True).start()
    if sys.platform == "linux":
        parent = os.getppid()
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            _end()


def _watch() -> None:
    # Not through `sys.stdin`, whose lock would be held when the interpreter ends.
    while os.read(0, 4096):
        pass
    _end()


def _end() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def read_line() -> dict[str, Any]:
    """Reads the first line of standard input, byte by byte, so that nothing after it is taken."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    found: dict[str, Any] = json.loads(line)
    return found
