"""What W&B has been told of a run's folder: `wandb/sent.json` in it, so that nothing is sent twice.

It is only a memory. Where it is lost, the same runs are found again by their ids, which follow from the folder.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autosft.run_folder import RunFolder

#: The place of runs that are kept as files in the run's folder.
OFFLINE = "offline"
_FORMAT = 1


@dataclass
class Place:
    """What one project on one server has, or what is kept offline.

    Attributes:
        digests: What each trial was sent as, by run id.
        num_rows: Rows of history that each has, by run id; these are never sent again.
        sweep: Id of its sweep.
        report: Id of its report.
        report_digest: What the report was sent as.
        page_digest: What `report.html` was sent as; None where nobody asked for it.
        url: Where a person looks: the report, or before there is one the sweep.
    """

    digests: dict[str, str] = field(default_factory=dict)
    num_rows: dict[str, int] = field(default_factory=dict)
    sweep: str | None = None
    report: str | None = None
    report_digest: str | None = None
    page_digest: str | None = None
    url: str | None = None


class Ledger:
    """What has been sent, by place; and what went wrong the last time.

    Attributes:
        path: Its file.
        places: By server, entity and project.
        group: Name under which W&B groups the trials; kept, so that a folder that is renamed stays one search.
        target: Entity and project that were asked for last.
        error: Why the last attempt failed, None where it did not.
        url: Where the last attempt that reached W&B was sent to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "wandb" / "sent.json"
        self.places: dict[str, Place] = {}
        self.group: str | None = None
        self.target: tuple[str | None, str] | None = None
        self.error: str | None = None
        self.url: str | None = None
        row = _read(self.path)
        # One that was edited into something else is no memory at all.
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            if row["format"] != _FORMAT:
                return
            self.places = {name: Place(**place) for name, place in row["places"].items()}
            self.group, self.error, self.url = row["group"], row["error"], row["url"]
            self.target = tuple(row["target"]) if row["target"] else None

    def place(self, name: str) -> Place:
        """Returns what is known of a place."""
        return self.places.setdefault(name, Place())

    def save(self) -> None:
        """Writes it, whole or not at all."""
        kept = {name: getattr(self, name) for name in ("group", "target", "error", "url")}
        row = {"format": _FORMAT, **kept, "places": {name: asdict(place) for name, place in self.places.items()}}
        RunFolder(self.path.parent).write(self.path, row)


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
