"""How many trials this process may run at once, where something above it shares a machine among several runs.

A batch writes the number into a file, and may change it at any time; the file's place is in the environment.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from autosft.planning.plan import Resources

#: The environment variable that names the file.
SLOTS_FILE = "AUTOSFT_SLOTS_FILE"


def slots_allowed() -> int | None:
    """Returns the number of trials that may run at once, or None where nobody limits them."""
    place = os.environ.get(SLOTS_FILE)
    if not place:
        return None
    try:
        return max(1, int(Path(place).read_text(encoding="ascii")))
    except (OSError, ValueError):  # Not written yet, or gone with the batch.
        return None


def within_slots(resources: Resources) -> Resources:
    """Returns resources with no more trials at once than are allowed now; each trial stays as large as it was."""
    allowed = slots_allowed()
    return resources if allowed is None else replace(resources, max_concurrent=min(resources.max_concurrent, allowed))
