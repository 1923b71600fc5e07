"""A process of its own that keeps W&B like a run's folder: `python -m autosft.tracking.wandb_mirror.follow DIR ...`.

It only reads the folder, so that a W&B that hangs, dies or answers rubbish cannot touch the search. It ends when its
standard input does, so that it does not outlive whoever started it by more than a last look.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from filelock import FileLock

from autosft.run_folder import RunFolder
from autosft.tracking.wandb_mirror.ledger import Ledger
from autosft.tracking.wandb_mirror.runs import read_search
from autosft.tracking.wandb_mirror.send import send, settle_environment, write_offline
from autosft.tracking.wandb_mirror.target import Target

#: How often the folder is looked at while the search runs.
_LOOK_SECONDS = 5.0
#: After a failure W&B is left alone for so long, and twice as long after each further one.
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 600.0
_NICENESS = 10


def mirror(folder: Path, target: Target, *, offline: bool, rows: bool = False) -> bool:
    """Brings W&B, or the offline runs, up to what the folder says; returns whether that worked.

    Why it did not is in the ledger, and with its place in the log that standard error goes to.

    Args:
        rows: Whether the report's page goes too, which quotes rows of the data.
    """
    (folder / "wandb").mkdir(exist_ok=True)
    # Two at once would both create what is missing.
    with FileLock(folder / "wandb" / ".lock"):
        ledger = Ledger(folder)
        try:
            search = read_search(folder, group=ledger.group)
            if search is None:
                return True
            ledger.group, ledger.target = search.name, (target.entity, target.project)
            if offline:
                write_offline(search, target, ledger, folder)
            else:
                send(search, target, ledger, folder, page=RunFolder(folder).report if rows else None)
            ledger.error = None
        # Here a process ends: whatever W&B throws, the search has nothing to do with it.
        except Exception as error:
            traceback.print_exc()
            ledger.error = f"{type(error).__name__}: {error}".splitlines()[0].strip()
        ledger.save()
        return ledger.error is None


def follow(folder: Path, target: Target, *, offline: bool, rows: bool, over: threading.Event) -> bool:
    """Mirrors the folder whenever trials have ended, until the search is over and a last time then."""
    seen, pause, not_before = 0, _PAUSE_SECONDS, 0.0
    # Offline there is nobody to look on, so all is written in one go.
    while not over.wait(None if offline else _LOOK_SECONDS):
        size = _size(folder / "trials.jsonl")
        if size == seen or time.monotonic() < not_before:
            continue
        if mirror(folder, target, offline=offline):
            seen, pause = size, _PAUSE_SECONDS
        else:
            not_before, pause = time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return mirror(folder, target, offline=offline, rows=rows)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wait_for_the_end(over: threading.Event, last_seconds: float) -> None:
    """Notices that whoever started this process is done, or gone; ends it where W&B then takes too long."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    over.set()
    time.sleep(last_seconds)
    print(f"W&B did not take everything within {last_seconds:.0f} s", file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    """Follows the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entity")
    parser.add_argument("--project", required=True)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--rows", action="store_true", help="send the report's page, which quotes rows of the data")
    parser.add_argument("--last-seconds", type=float, required=True, help="for what is left once the search is over")
    arguments = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    settle_environment(offline=arguments.offline)
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(over, arguments.last_seconds), daemon=True).start()
    target = Target(arguments.entity, arguments.project)
    worked = follow(arguments.folder, target, offline=arguments.offline, rows=arguments.rows, over=over)
    # Not by way of the SDK's own end, which may wait for a server.
    sys.stderr.flush()
    os._exit(0 if worked else 1)


if __name__ == "__main__":
    main()
