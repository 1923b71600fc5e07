"""Tracking with W&B's own SDK: offline files read back record by record, and a server on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wandb_files import WandbFile, read
from wandb_server import WandbServer

import autosft
from autosft import cli
from autosft.errors import RunFolderError, TrackerError
from autosft.search.trial import TrialLog
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.wandb_mirror import listener
from autosft.tracking.wandb_mirror.listener import WandbTracker
from autosft.tracking.wandb_mirror.target import Target

pytest.importorskip("wandb")
KEY = "k" * 40
NUM_TRIALS = 3


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return tiny_texts(120)[0]


@pytest.fixture(scope="module")
def tracked(ray_session: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """The folder of one real search that was tracked without a key, by a program that uses W&B for itself."""
    rows = [{"text": text, "label": LABELS[at % 3]} for at, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("runs") / "spam"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        for name in ("WANDB_RUN_ID", "WANDB_RUN_GROUP", "WANDB_SWEEP_ID", "WANDB_NAME", "WANDB_TAGS"):
            patch.setenv(name, "theirs")
        autosft.fit(
            "sort messages by topic", rows, models=str(tiny_model), trainer="frozen_head", scheduler="none",
            budget=autosft.Budget(num_trials=NUM_TRIALS, refit=False), tracker="wandb:team/spam", folder=folder,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def files(tracked: Path) -> dict[int, WandbFile]:
    found = [read(path) for path in (tracked / "wandb").glob("offline-run-*/run-*.wandb")]
    return {file.config["trial"]: file for file in found}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = WandbServer()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def folder(tracked: Path, tmp_path: Path) -> Path:
    """A copy, to be sent from."""
    copy = shutil.copytree(tracked, tmp_path / "spam", symlinks=True)
    return Path(copy)


def test_offline_every_trial_is_a_run_with_its_config_scores_cost_and_fate(
    tracked: Path, files: dict[int, WandbFile]
) -> None:
    trials = {trial.number: trial for trial in TrialLog(tracked / "trials.jsonl").trials()}
    assert sorted(files) == sorted(trials) == list(range(NUM_TRIALS))
    for number, trial in trials.items():
        file = files[number]
        assert {key: file.config[key] for key in trial.config} == dict(trial.config)
        assert file.config["trainer"] == "frozen_head" and file.config["seed"] == trial.seed
        assert file.history[-1]["score"] == file.summary["score"] == trial.score
        assert file.history[-1]["fidelity"] == file.summary["fidelity"] == trial.fidelity
        assert file.summary["seconds"] == pytest.approx(trial.seconds["total"])
        assert file.summary["fate"] == trial.fate == "complete"
        assert file.exit_code == 0


def test_offline_runs_are_one_group_with_a_curve_of_scores_by_length(files: dict[int, WandbFile]) -> None:
    assert len({file.run.run_group for file in files.values()}) == 1
    assert len({file.run.run_id for file in files.values()}) == NUM_TRIALS
    for file in files.values():
        assert file.run.run_group.startswith("spam-") and (file.run.entity, file.run.project) == ("team", "spam")
        assert file.run.display_name == f"trial {file.config['trial']}" and file.run.job_type == "search"
        assert file.metrics["score"] == "fidelity"
        assert not file.run.sweep_id, "the server alone can make a sweep"
    assert sum("won" in file.tags for file in files.values()) == 1


def test_no_text_of_the_data_and_nothing_of_the_machine_is_in_what_is_kept_for_wandb(
    tracked: Path, texts: list[str], tiny_model: Path
) -> None:
    import socket

    kept = [path for path in (tracked / "wandb").rglob("*.wandb") if path.is_file()]
    content = b"".join(path.read_bytes() for path in kept)
    assert len(kept) == NUM_TRIALS and b"frozen_head" in content
    # A text's number alone may stand in the digits of a score.
    assert not [text for text in texts if " ".join(text.split()[-2:]).encode() in content]
    for private in (str(tiny_model), str(tracked), socket.gethostname()):
        assert len(private) < 3 or private.encode() not in content


def test_sync_sends_sweep_runs_and_report_and_nothing_twice(folder: Path, server: WandbServer) -> None:
    told = autosft.sync(folder)
    trials = TrialLog(folder / "trials.jsonl").trials()
    summary = json.loads((folder / "result.json").read_text())
    [(sweep_id, sweep)] = server.sweeps.items()
    assert sweep["state"] == "FINISHED" and sweep["config"]["method"] == "custom"
    assert sweep["config"]["metric"] == {"name": "score", "goal": "maximize"}
    assert len(server.runs) == NUM_TRIALS
    for run, trial in zip(sorted(server.runs.values(), key=lambda run: run.id), trials, strict=True):
        assert run.sweep == sweep_id
        assert run.config.keys() >= sweep["config"]["parameters"].keys()
        assert [row["score"] for row in run.history.values()] == [trial.score] and run.summary["score"] == trial.score
        assert run.variables["groupName"].startswith("spam-") and run.exit_code == 0
    [report] = server.reports.values()
    text = json.dumps(report["spec"])
    assert f"trial {summary['best']['trial']}" in text and f"{summary['test']['score']:.4f}" in text
    for panel in ("Parallel Coordinates Plot", "Parameter Importance", "Run History Line Plot", "Run Comparer"):
        assert f'"viewType": "{panel}"' in text
    for finding in json.loads((folder / "plan.json").read_text())["findings"]:
        assert finding["check"] in text
    assert f"{NUM_TRIALS} trials" in told and server.url in told

    num_requests = len(server.requests)
    assert autosft.sync(folder) == told
    assert set(server.requests[num_requests:]) <= {"viewer"}
    assert not [body for body in server.bodies if KEY.encode() in body]
    kept = b"".join(path.read_bytes() for path in (folder / "wandb").rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_rows_go_only_where_somebody_asks_and_then_once(folder: Path, server: WandbServer, texts: list[str]) -> None:
    # The tiny texts are plain words, so that the page has them as they are.
    page = (folder / "report.html").read_bytes()
    quoted = next(text.encode() for text in texts if text.encode() in page)
    autosft.sync(folder)
    assert not [body for body in server.bodies if quoted in body]
    assert "report.html with the rows" in autosft.sync(folder, rows=True)
    assert [body for body in server.bodies if quoted in body] == [page]
    run = next(run for run in server.runs.values() if run.id.endswith("-page"))
    assert run.sweep is None and run.exit_code == 0
    assert [row["report.html"]["_type"] for row in run.history.values()] == ["html-file"]
    autosft.sync(folder, rows=True)
    autosft.sync(folder)
    assert [body for body in server.bodies if quoted in body] == [page]


@pytest.mark.faults  # The SDK tries again for some seconds.
def test_a_page_that_did_not_arrive_is_an_error_and_is_sent_later(folder: Path, server: WandbServer) -> None:
    autosft.sync(folder)
    server.trouble = "upload"
    with pytest.raises(TrackerError, match=r"did not take .*report\.html"):
        autosft.sync(folder, rows=True)
    server.trouble = None
    autosft.sync(folder, rows=True)
    assert (folder / "report.html").read_bytes() in server.bodies


@pytest.mark.parametrize("longest", [1.0, 1 / 3])
def test_what_mattered_is_drawn_from_the_longest_trainings_and_the_curves_from_all(
    folder: Path, server: WandbServer, longest: float
) -> None:
    log = TrialLog(folder / "trials.jsonl")
    for trial in log.trials():
        # A race, whose first trials were short ones; one of the whole length was stopped on its way.
        for number, rung, fate in ((0, longest, "complete"), (10, 1 / 9, "complete"), (20, longest, "stopped")):
            raced = replace(trial, number=trial.number + number, rung=rung, fidelity=rung, fate=fate)
            log.append("ended", trial=raced.to_json(), spent_seconds=100.0)
    autosft.sync(folder)
    [report] = server.reports.values()
    grids = [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    shown = {
        panel["viewType"]: {run.config["trial"] for run in server.runs.values() if matches(run, runset["filters"])}
        for grid in grids
        for panel in grid["panelBankSectionConfig"]["panels"]
        for runset in grid["runSets"]
    }
    numbers = set(range(NUM_TRIALS))
    assert shown["Parallel Coordinates Plot"] == shown["Parameter Importance"] == numbers
    assert shown["Run History Line Plot"] == {first + at for first in (0, 10, 20) for at in numbers}


def matches(run: Any, filters: dict[str, Any]) -> bool:
    """Whether W&B would show a run under the filters of a report's runset."""
    of = {"group": [run.variables["groupName"]], "tags": run.variables["tags"]}
    known = {"=": lambda given, value: value in given, "IN": lambda given, value: bool({*given} & {*value})}
    return all(known[one["op"]](of[one["key"]["name"]], one["value"]) for one in filters["filters"])


def test_sync_finds_the_runs_again_where_it_forgot_that_it_sent_them(folder: Path, server: WandbServer) -> None:
    autosft.sync(folder)
    (folder / "wandb" / "sent.json").unlink()
    autosft.sync(folder, tracker="wandb:team/spam")
    assert len(server.runs) == NUM_TRIALS
    assert [run.num_rows_received for run in server.runs.values()] == [1] * NUM_TRIALS


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("unauthorized", "invalid key"),
        ("garbage", "'<'"),
        pytest.param("history", "history", marks=pytest.mark.faults),  # The SDK tries again for some seconds.
    ],
)
def test_a_server_that_does_not_take_it_is_an_error_and_all_is_sent_later(
    folder: Path, server: WandbServer, trouble: str, said: str
) -> None:
    server.trouble = trouble
    with pytest.raises(TrackerError, match=said) as error:
        autosft.sync(folder)
    assert KEY not in str(error.value) + (folder / "wandb" / "mirror.log").read_text()
    server.trouble = None
    autosft.sync(folder)
    assert [len(run.history) for run in server.runs.values()] == [1] * NUM_TRIALS
    assert len(server.sweeps) == len(server.reports) == 1


def test_sync_says_what_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrackerError, match="WANDB_API_KEY"):
        autosft.sync(folder)
    (folder / "report.html").unlink()
    with pytest.raises(RunFolderError, match=r"no report\.html"):
        autosft.sync(folder, rows=True)
    (folder / "trials.jsonl").unlink()
    with pytest.raises(RunFolderError, match="no trial has ended"):
        autosft.sync(folder)
    with pytest.raises(RunFolderError, match="does not exist"):
        autosft.sync(tmp_path / "elsewhere")


def test_the_shell_says_what_to_do_and_gives_an_address(
    folder: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autosft", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    code, out, err = run("fit", "no-such-file.csv", "--tracker", "wandbb")
    assert code == 2 and "did you mean 'wandb'" in err and not out
    code, out, err = run("sync", str(folder), "--tracker", "wandb:other")
    assert code == 0 and f"{server.url}/team/other/reports/" in out and not err
    monkeypatch.setenv("WANDB_MODE", "offline")
    code, out, err = run("sync", str(folder))
    assert code == 2 and "unset WANDB_MODE" in err and not out


def test_offline_is_said_once_and_names_the_command(folder: Path) -> None:
    heard: list[str] = []
    tracker = WandbTracker(Target(None, "spam"), say=heard.append)
    tracker.opened(folder)
    tracker.closed()
    tracker.closed()
    assert len(heard) == 1 and f"autosft sync {folder}" in heard[0]


def play(folder: Path, trials: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], float]:
    """Tracks a search whose trials end while it is tracked; returns what was said, and how long its end took."""
    heard: list[str] = []
    tracker = WandbTracker(Target("team", "spam"), say=heard.append)
    tracker.opened(folder)
    mirror = tracker._mirror
    assert mirror is not None
    shutil.copy(trials, folder / "trials.jsonl")
    started = time.monotonic()
    tracker.closed()
    seconds = time.monotonic() - started
    mirror.kill()
    return heard, seconds


@pytest.fixture
def live(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A folder in which nothing has ended yet, and what will."""
    shutil.rmtree(folder / "wandb")
    trials = shutil.move(folder / "trials.jsonl", tmp_path / "trials.jsonl")
    return folder, Path(trials)


def test_online_the_end_of_a_run_says_where_it_can_be_seen(
    live: tuple[Path, Path], server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_GRACE_SECONDS", 60.0)
    heard, _ = play(*live, monkeypatch)
    assert len(server.runs) == NUM_TRIALS and len(server.reports) == 1
    assert len(heard) == 1 and f"{server.url}/team/spam/reports/" in heard[0]


@pytest.mark.faults
@pytest.mark.parametrize("trouble", ["slow", "failing", "garbage", "down"])
def test_a_server_in_trouble_holds_up_the_end_for_some_seconds_and_is_told_of_once(
    live: tuple[Path, Path], server: WandbServer, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "down":
        server.close()
    server.trouble = trouble
    heard, seconds = play(*live, monkeypatch)
    assert seconds < listener._GRACE_SECONDS + 2
    assert len(heard) == 1 and f"autosft sync {live[0]}" in heard[0]
    assert "its process ended" not in heard[0], "the server is in trouble, the mirror is not"


@pytest.mark.faults
def test_what_a_killed_driver_tracked_is_kept_and_no_process_stays(folder: Path) -> None:
    shutil.rmtree(folder / "wandb")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from autosft.tracking.wandb_mirror.listener import WandbTracker\n"
        "from autosft.tracking.wandb_mirror.target import Target\n"
        "tracker = WandbTracker(Target(None, 'spam'), say=print)\ntracker.opened(Path(sys.argv[1]))\n"
        "print(tracker._mirror._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=os.environ)
    pid = int(done.stdout.split()[-1])
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path(f"/proc/{pid}").exists()
    assert len(list((folder / "wandb").glob("offline-run-*"))) == NUM_TRIALS
