"""Writing to disk so that a failure is an error a person can act on."""

from __future__ import annotations

import contextlib
import errno
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autosft.errors import AutosftError, RunFolderError, explain

#: What a disk says that takes nothing more: full, over a quota, over the largest size of a file, or read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

#: What is said of a place that is forbidden, or can be none.
_PLACE_ERRORS = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)

#: So much of a path is shown: what is no path at all may be a sentence.
_LONGEST_SHOWN = 120

#: Libraries written in other languages raise errors of their own, which hold the number in their words alone.
_IN_WORDS = re.compile(rf"(?:os error|code:) (?:{'|'.join(str(number) for number in DISK_ERRORS)})\b")


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that a disk takes nothing more."""
    if isinstance(error, AutosftError):
        return False
    return (isinstance(error, OSError) and error.errno in DISK_ERRORS) or bool(_IN_WORDS.search(str(error)))


def disk_error(error: BaseException, place: str) -> RunFolderError:
    """Words an error for which `is_disk_error` holds.

    Args:
        place: What was being written, where the error itself does not name a file.
    """
    named = getattr(error, "filename", None) or place
    wrong = f"{named} cannot be written ({getattr(error, 'strerror', None) or error})"
    fix = "free some disk space, then `autosft resume FOLDER`; or point --folder, AUTOSFT_CACHE and TMPDIR elsewhere"
    return RunFolderError(explain(wrong=wrong, expected="a writable disk with room", fix=fix))


def is_place_error(error: OSError) -> bool:
    """Whether an error says that a place cannot be one, or is not open to the user."""
    return error.errno in _PLACE_ERRORS and error.filename is not None


def place_error(error: OSError) -> RunFolderError:
    """Words an error for which `is_place_error` holds."""
    named = str(error.filename)
    shown = named if len(named) <= _LONGEST_SHOWN else f"{named[:_LONGEST_SHOWN]}..."
    expected = "a file or folder that can be read, by you"
    fix = "check the path; where it is somebody else's, ask for permission"
    return RunFolderError(explain(wrong=f"{shown} cannot be used ({error.strerror})", expected=expected, fix=fix))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write into an error a person can act on.

    Raises:
        RunFolderError: The disk is full, or the place is read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, RunFolderError):
            raise
        wrong = f"{path} cannot be written ({error.strerror or error})"
        fix = "free some disk space, or name a folder you may write to"
        raise RunFolderError(explain(wrong=wrong, expected="a writable place with room", fix=fix)) from error


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes a folder of temporary files, which goes at the end.

    Raises:
        RunFolderError: The disk is full, or nothing may be written there.
    """
    with writing(Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(prefix="autosft-", ignore_cleanup_errors=True)
    with made as folder:
        yield Path(folder)
