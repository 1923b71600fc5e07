"""Runs of `python -m autosft` in processes of their own, that can be harmed where and when a test says."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harm import SABOTEUR

from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder

#: A search of four trials that take a fraction of a second each.
QUICK = ("--trainer", "frozen_head", "--budget", "4 trials")


class Shell:
    """One data set, one tiny model, one run's folder, and processes that work on them."""

    def __init__(self, folder: Path, *, num_rows: int = 240, hidden_size: int = 16) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.data = folder / "rows.csv"
        self.model = write_tiny_encoder(folder / "tiny", words=WORDS, hidden_size=hidden_size)
        self.mark = uuid.uuid4().hex
        texts, targets = tiny_texts(num_rows)
        with self.data.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])

    def start(
        self,
        *arguments: str,
        faults: tuple[dict[str, Any], ...] = (),
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> subprocess.Popen[str]:
        """Starts the shell's command, in a session of its own.

        Args:
            terminal: What all it reads and writes goes through, as its controlling terminal; None for pipes.
        """
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if terminal is not None:
            streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
        places = [str(SABOTEUR), str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {
            "AUTOSFT_CACHE": str(self.folder / "cache"),
            "AUTOSFT_TEST_MARK": self.mark,
            "AUTOSFT_TEST_FAULTS": json.dumps(faults),
            "PYTHONPATH": os.pathsep.join(places),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "autosft", *arguments],
            env={**os.environ, **variables, **(environment or {})},
            cwd=self.folder,
            text=True,
            start_new_session=True,
            preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **streams,
        )

    def fit(self, *options: str, **how: Any) -> subprocess.Popen[str]:
        task = ("--task", "sort messages by topic", "--models", str(self.model), "--folder", str(self.run))
        return self.start("fit", str(self.data), *task, *options, **how)

    def resume(self, *options: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return ended(self.start("resume", str(self.run), *options, **how))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run / "trials.jsonl").read_text().split("\n")[:-1]]

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "result.json").read_text())
        return found

    def left_behind(self) -> list[str]:
        """Command lines of processes of ours that still run, given some time to end."""
        deadline = time.monotonic() + 45
        while (found := list(self._processes())) and time.monotonic() < deadline:
            time.sleep(0.3)
        return found

    def _processes(self) -> Iterator[str]:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (place / "environ").read_bytes():
                    line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    # Ray's own agents look for a node that was killed only now and then, and then go by themselves.
                    if "Agent" not in line:
                        yield line
            except OSError:  # It ended meanwhile, or is somebody else's.
                continue


def copied(shell: Shell, folder: Path) -> Shell:
    """Returns a copy of a run's folder that works on the same data, model and cache."""
    other = object.__new__(Shell)
    other.__dict__.update(shell.__dict__)
    other.run, other.mark = folder / "run", uuid.uuid4().hex
    shutil.copytree(shell.run, other.run)
    return other


def ended(process: subprocess.Popen[str], *, within_seconds: float = 240) -> subprocess.CompletedProcess[str]:
    """Waits for a process; one that takes longer is ended with all that it started."""
    try:
        out, err = process.communicate(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        raise AssertionError(f"it did not end within {within_seconds:.0f} s:\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for_line(process: subprocess.Popen[str], words: str) -> str:
    """Reads progress until a line holds these words; returns what was read."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if words in line:
            return read
    raise AssertionError(f"it ended before it said {words!r}:\n{read}")


def numbers(events: list[dict[str, Any]], kind: str) -> list[int]:
    return [event["trial"]["number"] for event in events if event["event"] == kind]


def assert_explained(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    """Asserts that a process ended with one message that says what to do."""
    assert done.returncode == code, f"{done.returncode}\n{done.stderr}"
    assert "Expected:" in done.stderr and "To fix:" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "fault of autosft" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
