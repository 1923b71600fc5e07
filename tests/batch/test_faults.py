"""Batches whose driver, Ray or jobs are killed: nothing that was done is lost, and nothing is left running."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harm import SABOTEUR

from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder

pytestmark = pytest.mark.faults

NAMES = ("one", "two")


class Night:
    """`python -m autosft batch` in processes of their own, on two tiny jobs, of which the second waits."""

    def __init__(self, place: Path, budget: str) -> None:
        self.place, self.folder, self.mark = place, place / "batch", uuid.uuid4().hex
        model = write_tiny_encoder(place / "tiny", words=WORDS)
        jobs = []
        for seed, name in enumerate(NAMES):
            texts, targets = tiny_texts(200, seed=seed)
            with (place / f"{name}.csv").open("w", newline="") as file:
                rows = zip(texts, (LABELS[at] for at in targets), strict=True)
                csv.writer(file).writerows([("text", "label"), *rows])
            jobs.append({"name": name, "data": f"{name}.csv"})
        defaults = {"task": "Sort by topic", "models": model.name, "trainer": "frozen_head", "budget": budget}
        (place / "jobs.json").write_text(json.dumps({"defaults": defaults, "jobs": jobs}))

    def start(self, *options: str, faults: Sequence[dict[str, Any]] = ()) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "AUTOSFT_CACHE": str(self.place / "cache"),
            "AUTOSFT_TEST_MARK": self.mark,
            "AUTOSFT_TEST_FAULTS": json.dumps(faults),
            "PYTHONPATH": os.pathsep.join([str(SABOTEUR), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        command = [sys.executable, "-m", "autosft", "batch", "jobs.json", "--folder", str(self.folder), *options]
        return subprocess.Popen(
            command, env=environment, cwd=self.place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def ended(self, name: str) -> list[str]:
        """The lines of a job's trials that ended."""
        path = self.folder / name / "trials.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [line for line in lines if json.loads(line)["event"] == "ended"]

    def finished(self) -> list[str]:
        return [name for name in NAMES if (self.folder / name / "result.json").exists()]

    def wait_for(self, process: subprocess.Popen[str], what: Callable[[], object]) -> None:
        until = time.monotonic() + 400
        while not what():
            assert process.poll() is None, f"it ended first: {process.communicate()}"
            assert time.monotonic() < until
            time.sleep(0.1)

    def processes(self, words: str = "") -> dict[int, str]:
        """Command lines of processes of ours that still run, by id."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (place / "environ").read_bytes():
                    line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    # Ray's own agents look for a node that was killed only now and then, and then go by themselves.
                    if line and "Agent" not in line and words in line:
                        found[int(place.name)] = line
            except OSError:  # It ended meanwhile, or is somebody else's.
                continue
        return found

    def left_behind(self) -> list[str]:
        until = time.monotonic() + 45
        while (found := self.processes()) and time.monotonic() < until:
            time.sleep(0.3)
        return list(found.values())


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path, "6 trials")
    yield made
    for pid in made.processes("autosft"):
        os.kill(pid, signal.SIGKILL)


def rows(out: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(out)["jobs"]}


def test_a_batch_that_is_killed_twice_is_finished_without_losing_or_repeating_a_trial(night: Night) -> None:
    kept: list[dict[str, list[str]]] = []
    for num_finished in (0, 1):
        process = night.start()
        night.wait_for(
            process,
            lambda least=num_finished: (
                len(night.finished()) >= least
                and any(len(night.ended(name)) >= 2 for name in NAMES if name not in night.finished())
            ),
        )
        process.kill()
        process.communicate()
        assert not night.left_behind(), "a killed batch takes its jobs and its Ray with it"
        kept.append({name: night.ended(name) for name in NAMES})
    results = {name: (night.folder / name / "result.json").read_bytes() for name in night.finished()}
    assert results
    assert len(results) < len(NAMES)

    process = night.start("--json")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert {row["state"] for row in rows(out).values()} == {"finished"}
    for name in NAMES:
        after = night.ended(name)
        for before in kept:
            assert after[: len(before[name])] == before[name]
        numbers = [json.loads(line)["trial"]["number"] for line in after]
        assert len(set(numbers)) == len(numbers) == 6
    for name, content in results.items():
        assert (night.folder / name / "result.json").read_bytes() == content
    assert not night.left_behind()


@pytest.mark.parametrize(
    "victims",
    [
        ("autosft.batch.child", "/raylet/raylet "),
        pytest.param(("autosft.batch.host",), marks=pytest.mark.slow),
        pytest.param(("/gcs_server ",), marks=pytest.mark.slow),
    ],
)
def test_a_job_whose_process_or_ray_is_killed_goes_on_in_the_same_batch(night: Night, victims: Sequence[str]) -> None:
    armed = night.place / "armed"
    hang = {"at": "autosft.search.work:train", "do": "hang", "nth": None, "armed": str(armed)}
    process = night.start("--json", faults=(hang,))
    kept: list[dict[str, list[str]]] = []
    for at, victim in enumerate(victims, start=1):
        night.wait_for(process, lambda least=2 * at: len(night.ended("one")) >= least)
        # A training that hangs: the job cannot be done before it is noticed that its Ray is gone.
        armed.touch()
        night.wait_for(process, lambda: not armed.exists())
        kept.append({name: night.ended(name) for name in NAMES})
        killed = night.processes(victim)
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert err.count("it will go on") == len(victims), err
    assert err.count("goes on") == len(victims), err
    for name in NAMES:
        for before in kept:
            assert night.ended(name)[: len(before[name])] == before[name]
        assert len(night.ended(name)) == 6
    assert {row["state"] for row in rows(out).values()} == {"finished"}
    assert not night.left_behind()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_the_models_so_far_and_a_table(tmp_path: Path, number: signal.Signals) -> None:
    night = Night(tmp_path, "3m")
    process = night.start("--json")
    night.wait_for(process, lambda: any(len(night.ended(name)) >= 1 for name in NAMES))
    # A terminal sends Ctrl-C to every process of its group, a supervisor its SIGTERM to the one it started.
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    began = time.monotonic()
    out, err = process.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert process.returncode == 1, err
    assert "Traceback" not in err
    found = rows(out)
    assert (found["one"]["state"], found["one"]["reason"]) == (
        "finished",
        "it was ended early, with the best model so far",
    )
    assert found["two"]["state"] == "not started"
    assert (night.folder / "batch.parquet").exists()
    assert not night.left_behind()


def test_two_signals_end_it_at_once(night: Night) -> None:
    process = night.start()
    night.wait_for(process, lambda: any(len(night.ended(name)) >= 1 for name in NAMES))
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - began < 25
    assert process.returncode == 130
    assert not night.left_behind()
    assert (night.folder / "batch.html").exists()
