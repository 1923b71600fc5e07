"""What a test does to processes of its own at a call that it chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: On a process's PYTHONPATH, it reads AUTOSFT_TEST_FAULTS from its environment: a JSON list of what `fault` returns.
SABOTEUR = Path(__file__).with_name("saboteur")


def fault(at: str, do: str, **more: Any) -> dict[str, Any]:
    """What happens to a process at a call, see `saboteur/sitecustomize.py`."""
    return {"at": at, "do": do, **more}
