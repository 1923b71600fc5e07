"""The process that mirrors a run's folder to W&B, as those see it who start it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from autosft.tracking.wandb_mirror.ledger import Ledger
from autosft.tracking.wandb_mirror.target import Target


class Mirror:
    """The process that mirrors a folder.

    Attributes:
        folder: The run's folder.
        offline: Whether it writes offline runs.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], *, offline: bool) -> None:
        self.folder = folder
        self.offline = offline
        self._process = process

    @staticmethod
    def start(folder: Path, target: Target, *, offline: bool, last_seconds: float, rows: bool = False) -> Mirror:
        """Starts the process; it stands outside of the terminal's signals, since only the driver knows when to end.

        Args:
            rows: Whether the report's page goes too, which quotes rows of the data.
            last_seconds: What it may take once it was told to end.
        """
        command = [
            sys.executable,
            "-m",
            "autosft.tracking.wandb_mirror.follow",
            str(folder),
            "--project",
            target.project,
        ]
        command += ["--last-seconds", str(last_seconds)]
        command += ["--entity", target.entity] if target.entity else []
        command += [flag for flag, is_set in (("--offline", offline), ("--rows", rows)) if is_set]
        package = str(Path(__file__).parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        (folder / "wandb").mkdir(exist_ok=True)
        with (folder / "wandb" / "mirror.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
        return Mirror(folder, process, offline=offline)

    def end(self, *, within_seconds: float | None) -> bool:
        """Says that the folder is complete; returns whether the process came to an end in time."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=within_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def error(self) -> str | None:
        """Returns why not everything is where it belongs, None where it is."""
        if self._process.returncode == 0:
            return None
        log = self.folder / "wandb" / "mirror.log"
        return Ledger(self.folder).error or f"its process ended with {self._process.returncode}, see {log}"

    def url(self) -> str | None:
        """Returns where the search can be seen."""
        return Ledger(self.folder).url

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()
