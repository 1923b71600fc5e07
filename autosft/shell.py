"""How autosft speaks in a shell: answers on standard output, the rest on standard error, one message and a code.

Exit 0: done. Exit 2: the user must change something. Exit 1: a search without a model, or a fault of ours. Exit 130:
interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import typer

from autosft.counting import counted
from autosft.disk import disk_error, is_disk_error, is_place_error, place_error
from autosft.errors import AutosftError, SearchFailed, explain

# Some typers bring a click of their own, so that its exceptions are only reached through theirs.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_ARGUMENTS = (
    "task|target|inputs|test|models|trainer|space|metric|positive|group|time|kind|answer|budget|sampler|scheduler|refit|finals|soup|ensemble"
    "|max_concurrent|gpus_per_trial|fixes_off|tracker|cluster|folder|seed"
)


#: Seconds between two lines that say how far something has come.
_QUIET_SECONDS = 10.0


class Interrupted(Exception):
    """Ctrl-C in a verb; its message says what goes on, if anything does."""


def exit_code(command: Callable[[], Any]) -> int:
    """Runs a verb; words on standard error what ended it, and returns the code to leave with."""
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        _tell(_explain_usage(error))
        return 2
    except typer.Abort:
        return 130
    except (Interrupted, KeyboardInterrupt) as error:
        _tell(f"autosft: interrupted{error}")
        return 130
    except SearchFailed as error:
        _tell(f"autosft: {error}")
        return 1
    except AutosftError as error:
        _tell(f"autosft: {_in_shell_words(str(error))}")
        return 2
    except OSError as error:
        # Where no place could be named, the disk is still the user's to free.
        if is_disk_error(error):
            _tell(f"autosft: {disk_error(error, 'a file')}")
            return 2
        if is_place_error(error):
            _tell(f"autosft: {place_error(error)}")
            return 2
        _tell(f"autosft: {_fault()}")
        return 1
    except Exception:  # A fault of ours: its traceback goes to a log, never to the shell.
        _tell(f"autosft: {_fault()}")
        return 1


def _tell(message: str) -> None:
    """Writes to standard error, where somebody may be there to read it."""
    with contextlib.suppress(OSError):
        typer.echo(message, err=True)


def _explain_usage(error: Any) -> str:
    """Words what is wrong with a mistyped command like every other error; a bare `autosft` gets the help alone."""
    name = error.ctx.command_path if error.ctx else "autosft"
    message = error.format_message()
    if "Usage:" in message or not message.strip():
        return str(message)
    wrong = message[:1].lower() + message[1:]
    return "autosft: " + explain(wrong=wrong, expected=f"what `{name} --help` describes", fix=f"see `{name} --help`")


def _in_shell_words(message: str) -> str:
    """Names arguments as the shell knows them: "--target 'x'" for "target='x'", "--fixes-off" for "fixes_off=".

    An argument is known by what stands before its "=": nothing that belongs to a longer word or an option already.
    """
    message = re.sub(rf"(?<![\w-])({_ARGUMENTS})=\[('[^']*')\]", r"\1=\2", message)
    return re.sub(
        rf"(?<![\w-])({_ARGUMENTS})=('?)",
        lambda found: f"--{found[1].replace('_', '-')}" + (" '" if found[2] else ""),
        message,
    )


def _fault() -> str:
    """Writes the traceback to a log and words where it is; a disk that is full is no fault of ours, but leaves none."""
    import tempfile
    import traceback

    text = traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="autosft-", suffix=".log", delete=False, encoding="utf-8") as log:
            log.write(text)
        fix = f"see {log.name}, and report it with that file"
    except OSError as error:
        fix = f"free some disk space and run it again (its log could not be written: {error.strerror})"
    wrong = f"a fault of autosft's own ({text.strip().splitlines()[-1]})"
    return explain(wrong=wrong, expected="an answer", fix=fix)


class RowsDone:
    """Says on standard error every ten seconds how many of the rows are done."""

    def __init__(self) -> None:
        self._started = self._told = time.monotonic()

    def __call__(self, num_done: int, num_rows: int) -> None:
        now = time.monotonic()
        if num_done < num_rows and now - self._told > _QUIET_SECONDS:
            self._told = now
            _tell(f"[{now - self._started:6.1f}s] {num_done:,} of {counted(num_rows, 'row')}")


@contextlib.contextmanager
def libraries_unheard() -> Iterator[None]:
    """Sends to standard error what libraries print: standard output is for the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def open_streams() -> None:
    """Stands something in for standard output or error where it was closed, as a daemon's may be: nobody reads it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process


def show(text: str) -> None:
    """Prints an answer, and goes on where nobody reads it."""
    try:
        typer.echo(text)
    except OSError as error:
        # A terminal that was closed, or a pipe whose reader ended: what is written to files is there all the same.
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
