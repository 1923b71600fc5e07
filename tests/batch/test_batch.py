"""A real batch: jobs in processes of their own on one Ray, one of which fails; run again, it keeps what is finished."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import autosft
from autosft.batch.child import _run
from autosft.batch.jobs_file import read_jobs
from autosft.batch.many import BatchResult, run_batch
from autosft.cli import app
from autosft.errors import PlanError
from autosft.run_folder import RunFolder
from autosft.shell import exit_code
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker


@dataclass
class Night:
    """A batch that has run."""

    jobs: Path
    folder: Path
    result: BatchResult


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, ray_session: None) -> Iterator[Night]:
    place = tmp_path_factory.mktemp("night")
    texts, targets = tiny_texts(90)
    for name, labels in (("good", [LABELS[at] for at in targets]), ("bad", ["same"] * len(targets))):
        with (place / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    jobs = place / "jobs.yaml"
    jobs.write_text(
        f"defaults: {{task: Sort by topic, models: {tiny_model}, trainer: frozen_head, budget: 1 trial}}\n"
        "jobs:\n  - {name: <b>, data: bad.csv}\n  - {name: good, data: good.csv, priority: 2}\n".replace("<b>", "bad")
    )
    yield Night(jobs, place / "batch", run_batch(read_jobs(jobs), folder=place / "batch"))


def test_one_jobs_failure_leaves_the_others_alone(night: Night) -> None:
    bad, good = night.result
    assert (bad.name, bad.state, bad.result) == ("bad", "failed", None)
    assert bad.error is not None
    assert "one value only" in bad.error
    assert "To fix: " in bad.error
    assert (good.state, good.error) == ("finished", None)
    assert good.result is not None
    assert good.result.predict(["about my card"])[0] in LABELS
    assert night.result.failed == (bad,)
    assert night.result["good"] is good


def test_the_table_tells_scores_cost_and_why_a_job_failed(night: Night) -> None:
    table = pq.read_table(night.folder / "batch.parquet").to_pylist()
    bad, good = table
    summary = json.loads((night.folder / "good" / "result.json").read_text())
    assert good["score"] == summary["test"]["score"]
    assert [good["gain_low"], good["gain_high"]] == summary["gain_over_default"]["interval"]
    assert good["wall_seconds"] > 0
    assert good["worker_seconds"] > 0
    assert (bad["score"], bad["state"]) == (None, "failed")
    assert "one value only" in bad["reason"]
    page = (night.folder / "batch.html").read_text()
    assert "1 of 2 jobs finished, 1 failed" in page
    assert "one value only (&#39;same&#39;)" in page
    assert "http://" not in page and "https://" not in page


def test_priority_decides_who_starts_first(night: Night) -> None:
    events = [json.loads(line) for line in (night.folder / "batch.jsonl").read_text().splitlines()]
    assert [event["name"] for event in events if event["event"] == "started"] == ["good", "bad"]


def test_run_again_it_keeps_what_is_finished_and_ends_with_1(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    before = (night.folder / "good" / "result.json").stat().st_mtime_ns
    arguments = ["batch", str(night.jobs), "--folder", str(night.folder), "--json"]
    assert exit_code(lambda: app(arguments, prog_name="autosft", standalone_mode=False)) == 1
    out, err = capsys.readouterr()
    assert {row["name"]: row["state"] for row in json.loads(out)["jobs"]} == {"bad": "failed", "good": "finished"}
    assert "good: kept, it is finished" in err
    assert (night.folder / "good" / "result.json").stat().st_mtime_ns == before


def test_a_job_that_was_killed_and_gets_its_missing_time_keeps_its_limit_of_trials(
    night: Night, tmp_path: Path, ray_session: None
) -> None:
    run = RunFolder(tmp_path / "good")
    shutil.copytree(night.folder / "good", run.path)
    run.reopen()  # As a kill before the end leaves it.
    plan = run.read(run.plan)
    run.write(run.plan, plan | {"budget": {"seconds": 1.0, "num_trials": 1}})
    _run({"folder": str(run.path), "cluster": None, "more_seconds": 60.0, "is_extension": False}, Tracker())
    assert run.read(run.result)["num_trials"] == 1
    assert run.read(run.plan)["budget"]["num_trials"] == 1
    assert run.read(run.plan)["budget"]["seconds"] > 60


def test_a_wrong_file_ends_with_2_and_starts_nothing(
    night: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("jobs: [{name: one, task: Sort, data: gone.csv}]")
    arguments = ["batch", str(jobs), "--folder", str(tmp_path / "batch")]
    assert exit_code(lambda: app(arguments, prog_name="autosft", standalone_mode=False)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "data does not exist" in err
    assert not (tmp_path / "batch").exists()


def test_a_batchs_budget_must_be_a_time(tmp_path: Path) -> None:
    job = {"name": "one", "task": "Sort", "data": [{"text": "a", "label": "x"}]}
    with pytest.raises(PlanError, match="wall time"):
        autosft.fit_many([job], budget="3 trials", folder=tmp_path / "batch")
    with pytest.raises(PlanError, match="a function is given as metric of job 'one'"):
        autosft.fit_many([{**job, "metric": lambda targets, outputs: 0.0}], folder=tmp_path / "batch")
    assert not (tmp_path / "batch").exists()


def test_jobs_without_time_are_not_started_and_say_so(night: Night, tmp_path: Path) -> None:
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(*tiny_texts(30), strict=True)]
    job = {"name": "late", "task": "Sort by topic", "data": rows, "budget": "10m"}
    found = autosft.fit_many([job], budget="5s", folder=tmp_path / "batch")
    assert found["late"].state == "not started"
    assert "too little to be of use" in str(found["late"].error)


@pytest.mark.slow
def test_what_a_job_leaves_of_the_batchs_time_goes_to_the_one_that_could_use_more(
    night: Night, tmp_path: Path, tiny_model: Path
) -> None:
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(*tiny_texts(4000), strict=True)]
    question = {"task": "Sort by topic", "data": rows, "models": [str(tiny_model)]}
    jobs = [
        {"name": "early", "budget": "1 trial", "trainer": "frozen_head", **question},
        # Too few trainings to tell whether it still improves.
        {"name": "more", "budget": "20s", "trainer": "transformers", "scheduler": "none", **question},
    ]
    found = autosft.fit_many(jobs, budget="2m", folder=tmp_path / "batch")
    assert [job.state for job in found] == ["finished", "finished"]
    events = [json.loads(line) for line in (tmp_path / "batch" / "batch.jsonl").read_text().splitlines()]
    begun = [(event["name"], event["more_seconds"]) for event in events if event["event"] == "started"]
    assert begun[:3] == [("early", None), ("more", None), ("more", 20.0)], "no more at a time than it once asked for"
    assert {name for name, _ in begun[3:]} <= {"more"}
    run = RunFolder(tmp_path / "batch" / "more")
    assert run.read(run.plan)["budget"]["seconds"] > 20, "its run may spend what it got"
    assert run.read(run.result)["seconds"]["wall"] > 25, "and has spent some of it, on trainings or on a refit"
