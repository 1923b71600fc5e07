"""Runs that are killed, stopped or short of time: what is left of them, and that `resume` finishes what was begun."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder

pytestmark = pytest.mark.faults

QUICK = ("--trainer", "frozen_head", "--budget", "4 trials")


class Shell:
    """`python -m autosft` in processes of their own, on one data set and one tiny model."""

    def __init__(self, folder: Path, *, num_rows: int = 240, hidden_size: int = 16) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.data = folder / "rows.csv"
        self.model = write_tiny_encoder(folder / "tiny", words=WORDS, hidden_size=hidden_size)
        self.mark = uuid.uuid4().hex
        texts, targets = tiny_texts(num_rows)
        with self.data.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "AUTOSFT_CACHE": str(self.folder / "cache"), "AUTOSFT_TEST_MARK": self.mark}
        return subprocess.Popen(
            [sys.executable, "-m", "autosft", *arguments], env=environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def fit(self, *options: str) -> subprocess.Popen[str]:
        task = ("--task", "sort messages by topic", "--models", str(self.model), "--folder", str(self.run))
        return self.start("fit", str(self.data), *task, *options)

    def resume(self, *options: str) -> subprocess.CompletedProcess[str]:
        process = self.start("resume", str(self.run), *options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess([], process.returncode, out, err)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run / "trials.jsonl").read_text().split("\n")[:-1]]

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


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


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


@pytest.mark.parametrize("words", ["trial 1:", "Training the winner", "Scoring winner"])
def test_a_killed_run_is_finished_by_resume_without_repeating_a_trial(shell: Shell, words: str) -> None:
    process = shell.fit(*QUICK)
    wait_for_line(process, words)
    process.kill()
    process.communicate()
    assert not shell.left_behind(), "a killed driver must take its Ray with it"
    assert not (shell.run / "result.json").exists()
    plan, before = (shell.run / "plan.json").read_text(), shell.events()

    resumed = shell.resume("--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["num_trials"] == 4
    after = shell.events()
    assert after[: len(before)] == before
    assert len(set(numbers(after, "ended"))) == len(numbers(after, "ended")) == 4
    assert (shell.run / "plan.json").read_text() == plan
    assert sum(event["event"] == "ended" and event["trial"]["is_default"] for event in after) == 1


def test_resume_reads_the_data_again_where_the_cache_is_gone(shell: Shell) -> None:
    process = shell.fit(*QUICK)
    wait_for_line(process, "trial 0")
    process.kill()
    process.communicate()
    for file in (shell.folder / "cache").rglob("*.arrow"):
        file.unlink()
    resumed = shell.resume()
    assert resumed.returncode == 0, resumed.stderr
    assert (shell.run / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "number"),
    [("trial 0:", signal.SIGINT), ("trial 0:", signal.SIGTERM), ("Training the winner", signal.SIGINT)],
)
def test_a_signal_ends_with_the_best_model_so_far(shell: Shell, words: str, number: signal.Signals) -> None:
    process = shell.fit("--trainer", "frozen_head", "--budget", "3m" if words == "trial 0:" else "2 trials")
    wait_for_line(process, words)
    # A terminal sends Ctrl-C to every process, a supervisor its SIGTERM to the one it started.
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert time.monotonic() - started < 30
    summary = json.loads((shell.run / "result.json").read_text())
    assert summary["interrupted"] is True
    assert (shell.run / "model" / "autosft.json").exists()
    assert not shell.left_behind()


@pytest.mark.parametrize(
    ("send", "code", "seconds"),
    [
        (lambda pid: os.killpg(pid, signal.SIGINT), 130, 15.0),  # Before there is any model.
        (lambda pid: (os.killpg(pid, signal.SIGINT), time.sleep(0.3), os.killpg(pid, signal.SIGINT)), 130, 15.0),
        (lambda pid: os.kill(pid, signal.SIGTERM), 130, 15.0),
    ],
    ids=["once", "twice", "terminate"],
)
def test_stopped_before_there_is_a_model_it_ends_at_once_and_can_be_resumed(
    shell: Shell, send: Callable[[int], object], code: int, seconds: float
) -> None:
    process = shell.fit(*QUICK)
    wait_for_line(process, "Searching")
    send(process.pid)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < seconds
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert not shell.left_behind()
    assert not (shell.run / "result.json").exists()
    assert shell.resume().returncode == 0


@pytest.mark.parametrize(
    ("trainer", "budget", "longest"),
    [("transformers", 45, 65), ("frozen_head,transformers", 45, 65)],
)
def test_a_budget_is_kept_on_a_busy_machine_where_a_full_training_would_not_fit(
    tmp_path: Path, trainer: str, budget: int, longest: float
) -> None:
    shell = Shell(tmp_path, num_rows=6000, hidden_size=128)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        started = time.monotonic()
        process = shell.fit("--trainer", trainer, "--budget", f"{budget}s", "--json")
        out, err = process.communicate(timeout=4 * longest)
        took = time.monotonic() - started
    finally:
        busy.kill()
        busy.wait()
    assert process.returncode == 0, err
    assert json.loads(out)["num_trials"] >= 1
    assert took <= longest, err
    assert not shell.left_behind()
