"""How many trials this process may run at once, where something above it shares a machine among several runs.

A batch writes the number into a file, and may change it at any time; the file's place is in the environment.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from autosft.planning.machine import resources_on
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
    """Returns resources with no more trials at once than are allowed now, and none larger than a slot.

    A larger one, as a small `max_concurrent` makes it elsewhere, would keep the runs beside this one from theirs.
    """
    allowed = slots_allowed()
    if allowed is None:
        return resources
    slot = resources_on(resources.machine, gpus_per_trial=resources.gpus_per_trial, max_concurrent=None)
    return replace(
        resources,
        cpus_per_trial=min(resources.cpus_per_trial, slot.cpus_per_trial),
        max_concurrent=min(resources.max_concurrent, allowed),
    )
