"""The study that a run leaves behind, as optuna-dashboard serves it. Skipped where that is not installed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autosft
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

pytest.importorskip("optuna_dashboard")

STATES = {"complete": "Complete", "stopped": "Pruned", "failed": "Fail"}


@pytest.fixture(scope="module")
def result(ray_session: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> autosft.Result:
    texts, targets = tiny_texts(150)
    return autosft.fit(
        "Route each message to its intent",
        [{"message": text, "intent": LABELS[at]} for text, at in zip(texts, targets, strict=True)],
        models=str(tiny_model),
        budget="4 trials",
        folder=tmp_path_factory.mktemp("dashboard") / "run",
        tracker=Tracker(),
    )


@pytest.fixture(scope="module")
def address(result: autosft.Result, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where optuna-dashboard serves the study, until the tests are through."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = tmp_path_factory.mktemp("said") / "dashboard.log"
    command = ["from optuna_dashboard._cli import main; main()", str(result.folder / "study.log")]
    with said.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", *command, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                get(f"http://127.0.0.1:{port}/api/meta")
                break
            except urllib.error.URLError:
                assert server.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def get(url: str) -> Any:
    # Without any proxy that the environment names: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return json.load(answer)


def test_the_dashboard_shows_every_trial_with_its_value_and_its_parameters(
    result: autosft.Result, address: str
) -> None:
    before = (result.folder / "study.log").read_bytes()
    [study] = get(f"{address}/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("autosft", ["maximize"])
    shown = {trial["number"]: trial for trial in get(f"{address}/api/studies/{study['study_id']}")["trials"]}
    assert shown.keys() == {trial.number for trial in result.trials}
    for trial in result.trials:
        row = shown[trial.number]
        assert row["state"] == STATES[trial.fate]
        assert row["values"] == [pytest.approx(trial.score)]
        assert [item["step"] for item in row["intermediate_values"]] == [round(1000 * at) for at, _ in trial.reports]
        parameters = {item["name"]: item["param_external_value"] for item in row["params"]}
        assert parameters.pop("arm") == trial.arm
        assert parameters, "what was varied"
        assert parameters == {name: str(trial.config[name.removeprefix(f"{trial.arm}.")]) for name in parameters}
        attributes = {item["key"]: item["value"] for item in row["user_attrs"]}
        assert json.loads(attributes["config"]) == dict(trial.config), "what was fixed, too"
    assert (result.folder / "study.log").read_bytes() == before, "looking changes nothing"
