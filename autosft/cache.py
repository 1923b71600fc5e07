"""Where checked rows, tokens and features are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from autosft.disk import writing


def cache_folder() -> Path:
    """Returns the cache's folder, made where it is missing: AUTOSFT_CACHE, else `autosft` in the user's cache folder.

    Raises:
        RunFolderError: It cannot be written.
    """
    given = os.environ.get("AUTOSFT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(given or f"{base}/autosft").expanduser()
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path.absolute()
