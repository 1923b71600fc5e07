"""`autosft submit`: what is sent, what is refused before anything is, and a job on a real dashboard."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import RealCluster, free_port, real_cluster, write_base_model

from autosft.cli import app
from autosft.cluster.submit import Submitted, _command, _uploaded, submit
from autosft.errors import PlanError
from autosft.testing.tiny_data import LABELS, tiny_texts

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "rows.csv", "--folder", "runs/one"], "goes with the job"),
        (["fit", "rows.csv", "--folder=runs/one"], "goes with the job"),
        (["fit", "rows.csv", "--folder", "~runs"], "goes with the job"),
        (["review", "/runs/one", "--next-space", "next.yaml"], "goes with the job"),
    ],
)
def test_what_would_be_lost_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=said):
        submit(arguments, address="http://127.0.0.1:1", working_folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["fit", "rows.csv"], "/home/of/head/autosft-runs/"),
        (["batch", "jobs.yaml"], "/home/of/head/autosft-runs/"),
        (["fit", "rows.csv", "--folder", "~/my runs"], "/home/of/head/my runs\n"),
        (["fit", "rows.csv", "--folder=~/my runs"], "--folder=/home/of/head/my runs\n"),
        (["fit", "rows.csv", "--task=a; b=~/c"], "--task=a; b=/home/of/head/c\n"),
    ],
)
def test_what_is_written_lies_where_it_stays(arguments: list[str], kept: str) -> None:
    # What follows the check of the head's Python, as a shell there reads it.
    words = _command(arguments).rpartition("exec python -m autosft ")[2]
    environment = {**os.environ, "HOME": "/home/of/head"}
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {words}"], env=environment, text=True, capture_output=True)
    assert kept in done.stdout


def test_only_what_lies_below_the_working_folder_is_sent(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "rows.csv").write_text("text,label\n")
    with pytest.raises(PlanError, match="does not lie below"):
        submit(["fit", "../rows.csv"], address="http://127.0.0.1:1", working_folder=tmp_path / "below")
    with pytest.raises(PlanError, match="there is no more"):
        submit(["fit", "rows.csv"], address="http://127.0.0.1:1", working_folder=tmp_path, also=["more.csv"])


def sent_with(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, ...]:
    """Returns what a command from this folder would upload."""
    found: list[tuple[str, ...]] = []

    def take(arguments: list[str], *, address: str, working_folder: Path, also: list[str]) -> tuple[Submitted, None]:
        with _uploaded(arguments, working_folder, also) as (_, names):
            found.append(names)
        return Submitted("job", "", names), None

    monkeypatch.setattr("autosft.cluster.submit.submit", take)
    monkeypatch.chdir(folder)
    app(["submit", "--address", "http://127.0.0.1:1", "--", *arguments], standalone_mode=False)
    return found[0]


def test_what_a_file_of_jobs_names_is_sent_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "tiny").mkdir()
    (tmp_path / "rows.csv").touch()
    (tmp_path / "secrets.env").touch()
    (tmp_path / "jobs" / "night.yaml").write_text(
        "defaults: {task: Sort these, models: tiny}\njobs:\n"
        "  - {name: one, data: ../rows.csv}\n  - {name: two, data: /on/the/cluster.csv}\n"
    )
    names = sent_with(tmp_path, monkeypatch, "batch", "--budget", "8h", "jobs/night.yaml")
    assert names == ("jobs/night.yaml", "rows.csv", "jobs/tiny")
    with pytest.raises(PlanError, match=r"../rows.csv does not lie below [^$]*--working-dir"):
        sent_with(tmp_path / "jobs", monkeypatch, "batch", "night.yaml")
    # A file on the cluster's own disk names what is there.
    assert sent_with(tmp_path, monkeypatch, "batch", "/on/the/cluster.yaml") == ()


@pytest.mark.parametrize(
    ("text", "said"), [("jobs: [", "is no YAML"), ("{}", "has no list of 'jobs'"), (None, "does not")]
)
def test_a_file_of_jobs_that_cannot_be_read_is_not_sent(
    text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(PlanError, match=f"jobs.yaml.* {said}"):
        sent_with(tmp_path, monkeypatch, "batch", "jobs.yaml")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1", "http://"])
def test_no_dashboard_is_said_within_seconds(address: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(PlanError, match="dashboard") as raised:
        submit(["models"], address=address, working_folder=tmp_path)
    assert "To fix:" in str(raised.value) and time.monotonic() - started < 15


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealCluster, str]]:
    """A head that asks for a token, on this machine's own address alone."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "home").mkdir()
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        # The job's `python` has to be the one that runs the tests.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with real_cluster(folder, **environment) as cluster:
        port, web = free_port(), free_port()
        cluster.start(
            "head", f"--port={port}", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={web}", f"--dashboard-agent-listen-port={free_port()}",
        )  # fmt: skip
        cluster.address = f"127.0.0.1:{port}"
        yield cluster, f"http://127.0.0.1:{web}"


def send(cluster: RealCluster, folder: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **cluster.environment, **changed}
    return subprocess.run(
        [sys.executable, "-m", "autosft", "submit", *arguments], env=environment, cwd=folder, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_command_runs_on_the_cluster_with_the_files_that_it_names(
    dashboard: tuple[RealCluster, str], tmp_path: Path
) -> None:
    cluster, address = dashboard
    write_base_model(tmp_path / "tiny")
    (tmp_path / "secrets.env").write_text("stay here")
    texts, targets = tiny_texts(240)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    done = send(
        cluster, tmp_path, "--address", address, "--wait", "--", "fit", "rows.csv", "--task", "sort messages by topic",
        "--models", "tiny", "--trainer", "frozen_head", "--budget", "2 trials", "--json",
        RAY_AUTH_MODE="",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uploaded: rows.csv, tiny)" in done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert found["num_trials"] == 2
    (run,) = (Path(cluster.environment["HOME"]) / "autosft-runs").iterdir()
    assert (run / "model" / "autosft.json").exists()
    assert TOKEN not in done.stdout + done.stderr
    assert not [file for file in run.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


@pytest.mark.slow
def test_a_batch_runs_on_the_cluster_with_the_data_that_its_jobs_name(
    dashboard: tuple[RealCluster, str], tmp_path: Path
) -> None:
    cluster, address = dashboard
    write_base_model(tmp_path / "data" / "tiny")
    texts, targets = tiny_texts(240)
    with (tmp_path / "data" / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, (LABELS[at] for at in targets), strict=True)])
    job = {"name": "topics", "task": "sort messages by topic", "data": "rows.csv", "models": "tiny"}
    job |= {"trainer": "frozen_head", "budget": "2 trials"}
    (tmp_path / "data" / "jobs.json").write_text(json.dumps({"jobs": [job]}))
    done = send(cluster, tmp_path, "--address", address, "--wait", "--", "batch", "data/jobs.json", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uploaded: data/jobs.json, data/rows.csv, data/tiny)" in done.stderr


@pytest.mark.slow
def test_a_job_hands_on_its_exit_code_and_who_is_not_let_in_hears_why(
    dashboard: tuple[RealCluster, str], tmp_path: Path
) -> None:
    cluster, address = dashboard
    done = send(cluster, tmp_path, "--address", address, "--wait", "--", "fit", "nowhere.csv")
    assert done.returncode == 2
    assert "nowhere.csv" in done.stdout and "Traceback" not in done.stdout + done.stderr
    for token, said in (("", "there is none"), ("f" * 32, "refuses the token in the environment variable")):
        started = time.monotonic()
        done = send(
            cluster, tmp_path, "--address", address, "--", "models",
            RAY_AUTH_MODE="", RAY_AUTH_TOKEN=token, HOME=str(tmp_path),
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert said in done.stderr and "To fix:" in done.stderr and "Traceback" not in done.stderr
        assert time.monotonic() - started < 20
