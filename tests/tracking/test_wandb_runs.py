"""A run's folder in W&B's words, without W&B: what becomes a run, under which id, and what is never taken along."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autosft.search.trial import Trial
from autosft.tracking.wandb_mirror.parameters import sweep_parameters
from autosft.tracking.wandb_mirror.runs import TrackedSearch, read_search

SECRET = "call me at 555 0199"


def parameter(name: str, kind: str = "float", **values: Any) -> dict[str, Any]:
    row = {"name": name, "type": kind, "log": False, "step": None, "scale": None, "when": {}, "only_if": None}
    return row | values


def arm(trainer: str, model: str, folder: str, *parameters: dict[str, Any], **default: Any) -> dict[str, Any]:
    base = {"id": model, "pretrained": True}
    space = {"parameters": list(parameters)}
    return {
        "name": f"{trainer}/{model}", "trainer": trainer, "base_model": base, "folder": folder, "space": space,
        "default": default,
    }  # fmt: skip


PLAN = {
    "format": 1,
    "task": {"metric": {"name": "log_loss", "greater_is_better": False}},
    "arms": [
        arm(
            "transformers", "/home/jane/models/mine", "/home/jane/models/mine",
            parameter("learning_rate", low=0.1, high=10.0, log=True, scale="default"),
            parameter("head", "choice", values=["mean", "architecture"]),
            parameter("layers", "int", low=1, high=4), learning_rate=1e-4,
        ),
        arm(
            "frozen_head", "org/model", "/cache/models--org--model/snapshots/1",
            parameter("learning_rate", low=1e-3, high=1e-1, log=True),
            parameter("head", "choice", values=["mean", "cls"]),
        ),
    ],
    "findings": [
        {"check": "exact-duplicates", "severity": "warning", "count": 3, "fixed": True, "message": SECRET,
         "examples": [SECRET], "action": SECRET},
    ],
}  # fmt: skip
FIRST = Trial(0, "transformers//home/jane/models/mine", {"learning_rate": 1e-4, "more": {"deep": 1}}, 1 / 3, 0, 7, True)
SHORT = dataclasses.replace(
    FIRST, fate="complete", score=0.5, interval=(0.4, 0.6), loss=0.5, rung=1 / 3, reports=((1 / 9, 0.9),),
    seconds={"total": 2.5, "train": 2.0},
)  # fmt: skip
LONG = dataclasses.replace(SHORT, number=1, fidelity=1.0, rung=1.0, score=0.3, reports=((1 / 3, 0.7), (1.0, 0.3)))
STOPPED = dataclasses.replace(LONG, number=2, arm="frozen_head/org/model", fate="stopped", reports=((1 / 9, 2.0),))
FAILED = dataclasses.replace(FIRST, number=3, fate="failed", message=f"ValueError: {SECRET}")
RESULT = {"format": 1, "best": {"trial": 1}, "default": {"trial": 0}}


def write(folder: Path, *trials: Trial, result: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(PLAN))
    events = [{"event": "started", "trial": FIRST.to_json(), "spent_seconds": 1.2345678}]
    events += [{"event": "ended", "trial": trial.to_json(), "spent_seconds": 9.0} for trial in trials]
    (folder / "trials.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if result:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def found(folder: Path) -> TrackedSearch:
    search = read_search(folder)
    assert search is not None
    return search


@pytest.fixture
def search(tmp_path: Path) -> TrackedSearch:
    return found(write(tmp_path / "it's a run", SHORT, LONG, STOPPED, FAILED, result=RESULT))


def test_a_trial_becomes_a_run_with_its_scores_against_the_share_of_a_full_run(search: TrackedSearch) -> None:
    short, long, stopped, failed = search.runs
    assert [*short.history] == [{"fidelity": 1 / 9, "score": 0.9}, {"fidelity": 1 / 3, "score": 0.5}]
    assert [*long.history] == [{"fidelity": 1 / 3, "score": 0.7}, {"fidelity": 1.0, "score": 0.3}]
    assert short.summary["score"] == 0.5 and short.summary["score_high"] == 0.6
    assert short.summary["seconds"] == 2.5 and short.summary["seconds_train"] == 2.0
    assert short.summary["fidelity"] == 1 / 3 and stopped.summary["fidelity"] == 1 / 9
    assert [run.summary["fate"] for run in search.runs] == ["complete", "complete", "stopped", "failed"]
    assert [run.has_failed for run in search.runs] == [False, False, False, True]
    assert failed.history == () and "score" not in failed.summary


def test_a_training_that_its_time_cut_short_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    [run] = found(write(tmp_path / "cut", dataclasses.replace(LONG, fidelity=0.3))).runs
    assert [row["score"] for row in run.history] == [0.7, 0.3]
    assert [row["fidelity"] for row in run.history] == [pytest.approx(0.1), 0.3] and run.summary["fidelity"] == 0.3


def test_tags_say_what_became_of_a_trial(search: TrackedSearch) -> None:
    assert search.runs[0].tags == ("complete", "length 33%", "default", "best default")
    assert search.runs[1].tags == ("complete", "length 100%", "default", "won")
    assert {run.job_type for run in search.runs} == {"search"}


def test_configs_are_flat_and_a_longer_training_of_the_same_has_the_same_configuration(search: TrackedSearch) -> None:
    short, long, stopped, _ = (run.config for run in search.runs)
    assert short["learning_rate"] == 1e-4 and short["more.deep"] == 1
    assert short["arm"] == "transformers/mine" and short["seed"] == 7 and short["is_default"] is True
    assert short["configuration"] == long["configuration"] != stopped["configuration"]
    assert (short["rung"], long["rung"]) == (1 / 3, 1.0)


def test_neither_rows_nor_paths_are_taken_along(search: TrackedSearch) -> None:
    told = json.dumps(dataclasses.asdict(search))
    assert SECRET not in told and "/home/jane" not in told
    assert search.findings == ({"check": "exact-duplicates", "severity": "warning", "count": 3, "fixed": True},)


def test_a_copied_folder_is_the_same_search_and_another_run_of_the_same_plan_is_not(
    search: TrackedSearch, tmp_path: Path
) -> None:
    copy = found(shutil.copytree(tmp_path / "it's a run", tmp_path / "copy"))
    assert [run.id for run in copy.runs] == [run.id for run in search.runs]
    other = write(tmp_path / "other", SHORT)
    log = other / "trials.jsonl"
    log.write_text(log.read_text().replace("1.2345678", "1.2345679"))
    assert found(other).id != search.id


def test_a_folder_that_is_being_written_to_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", SHORT)
    with (folder / "trials.jsonl").open("ab") as file:
        file.write('{"event": "ended", "trial": {"number": 1, "arm": "ä'.encode()[:-1])
    size = (folder / "trials.jsonl").stat().st_size
    assert len(found(folder).runs) == 1
    assert (folder / "trials.jsonl").stat().st_size == size, "only who writes a log may mend it"
    (folder / "trials.jsonl").unlink()
    assert read_search(folder) is None


def test_what_the_user_interrupted_and_what_broke_are_runs_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    with (folder / "trials.jsonl").open("a") as file:
        for event, number in (("interrupted", 0), ("fatal", 1)):
            trial = dataclasses.replace(FIRST, number=number).to_json()
            file.write(json.dumps({"event": event, "trial": trial, "message": SECRET}) + "\n")
    assert [(run.summary["fate"], run.has_failed) for run in found(folder).runs] == [
        ("interrupted", True), ("failed", True),
    ]  # fmt: skip


def test_the_sweep_has_what_all_arms_search_under_the_names_of_the_configs(search: TrackedSearch) -> None:
    assert search.sweep["method"] == "custom"
    assert search.sweep["metric"] == {"name": "score", "goal": "minimize"}
    assert search.sweep["parameters"] == {
        "arm": {"values": ["frozen_head/model", "transformers/mine"]},
        "learning_rate": {"distribution": "log_uniform_values", "min": pytest.approx(1e-5), "max": 1e-1},
        "head": {"values": ["mean", "architecture", "cls"]},
        "layers": {"distribution": "int_uniform", "min": 1, "max": 4},
    }
    assert "'" not in search.name, "the report's filters quote it"


def test_a_range_in_one_arm_and_values_in_another_are_one_parameter() -> None:
    numbers = [
        ("a", {"parameters": [parameter("size", low=0.5, high=2.0)]}, {}),
        ("b", {"parameters": [parameter("size", "choice", values=[4, 8])]}, {}),
    ]
    assert sweep_parameters(numbers, seen=[])["size"] == {"distribution": "uniform", "min": 0.5, "max": 8}
    words = [numbers[0], ("b", {"parameters": [parameter("size", "choice", values=["small", 1, True])]}, {})]
    assert sweep_parameters(words, seen=[])["size"] == {"values": ["small", 1, True, 0.5, 2.0]}


def test_of_a_users_own_function_the_trials_tell_what_varies() -> None:
    arms = [("a", {"function": "mine:space"}, {"learning_rate": 1e-3, "head": "mean", "seed": 1})]
    seen = [{"learning_rate": 1e-3, "head": "mean", "seed": 1}, {"learning_rate": 5e-3, "head": "cls", "seed": 1}]
    assert sweep_parameters(arms, seen=seen) == {
        "arm": {"values": ["a"]},
        "head": {"values": ["mean", "cls"]},
        "learning_rate": {"distribution": "uniform", "min": 1e-3, "max": 5e-3},
    }


def test_the_process_that_mirrors_a_run_starts_without_what_it_does_not_need() -> None:
    asks = "import sys, autosft.tracking.wandb_mirror.follow; print({'numpy', 'pyarrow', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
