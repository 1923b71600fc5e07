"""Ray that is not there, or that dies under a run: said in words, within a minute, and `resume` goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harm import fault
from shell import Shell, numbers, wait_for_line

pytestmark = pytest.mark.faults


def server(shell: Shell, name: str) -> int:
    """Returns the process id of a run's own Ray server."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            program = (place / "cmdline").read_bytes().split(b"\0")[0].decode()
            if program.endswith(f"/{name}") and shell.mark.encode() in (place / "environ").read_bytes():
                return int(place.name)
        except OSError:
            continue
    raise AssertionError(f"no {name}")


@pytest.mark.parametrize("name", ["raylet", pytest.param("gcs_server", marks=pytest.mark.slow)])
def test_a_ray_that_dies_ends_the_run_and_resume_finishes_it(tmp_path: Path, name: str) -> None:
    shell = Shell(tmp_path)
    # The fourth training waits for a Ray that is gone: without it, a fast machine is done before that is noticed.
    hang = fault("autosft.search.work:train", "hang", nth=4)
    process = shell.fit("--trainer", "frozen_head", "--budget", "6 trials", faults=(hang,))
    wait_for_line(process, "trial 1:")
    os.kill(server(shell, name), signal.SIGKILL)
    started = time.monotonic()
    _, err = process.communicate(timeout=100)
    assert time.monotonic() - started < 55
    assert process.returncode == 1, err
    assert "Ray ended" in err and "autosft resume" in err and "Traceback" not in err
    assert not any(event["trial"]["fate"] == "failed" for event in shell.events() if event["event"] == "ended")
    assert not shell.left_behind()
    before = numbers(shell.events(), "ended")

    resumed = shell.resume("--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["num_trials"] == 6
    assert numbers(shell.events(), "ended")[: len(before)] == before


def test_a_cluster_that_cannot_be_reached_is_said_at_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    started = time.monotonic()
    process = shell.fit("--trainer", "frozen_head", "--cluster", "127.0.0.1:1")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    assert "127.0.0.1:1" in err and "Expected:" in err and "To fix:" in err and "Traceback" not in err
    assert time.monotonic() - started < 45
    assert not shell.run.exists()


WORKER_DIES = """
import os, sys, time
from pathlib import Path
from autosft.search.runner import Runner
from autosft.search.settings import Machine

def die(report):
    os._exit(1)

if __name__ == "__main__":
    with Runner(scratch=Path(sys.argv[1]), machine=Machine(1)) as runner:
        print(runner.run("dies:die", {}).fate)
        time.sleep(5)  # Ray's word on it comes later than the news.
"""


def test_a_worker_that_dies_leaves_rays_words_off_the_screen(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text(WORKER_DIES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, tmp_path / "dies.py", tmp_path / "ray"], env=environment, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    assert done.stdout == "failed\n"
    assert "worker" not in done.stderr
