"""A driver that is killed, wherever it is: `resume` finishes the run, and nothing that was finished is done twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from harm import fault
from prepared import Head
from shell import QUICK, Shell, ended, numbers, wait_for_line

from autosft.planning.plan import Plan

pytestmark = pytest.mark.faults

#: Where the driver is killed, one after the other, in a run that a race, finals, refit and calibration belong to.
PLACES = (
    fault("autosft.search.search:Search._record", "SIGKILL", nth=3),  # A trial ended, and its line is not yet written.
    fault("autosft.search.finals:Finals.tell", "SIGKILL", nth=1),
    fault("autosft.refit:retrain", "SIGKILL", when="after"),  # It is trained, and nobody has looked at it.
    fault("autosft.calibration:calibrate", "SIGKILL"),  # The refit is done, and nothing more.
    fault("autosft.proof:prove", "SIGKILL"),
    fault("autosft.predictor:describe_model", "SIGKILL"),  # Of the model, half is copied.
    fault("autosft.finish:_write_trials", "SIGKILL", when="after"),
    fault("autosft.run_folder:RunFolder.write", "SIGKILL", nth=2, when="after"),  # Findings are there, no result.
)


def trainings(events: list[dict[str, Any]], kind: str) -> list[tuple[Any, ...]]:
    """What tells trainings apart."""
    trials = [event["trial"] for event in events if event["event"] == kind]
    keys = ("arm", "rung", "fold", "seed")
    return [(json.dumps(trial["config"], sort_keys=True), *(trial[key] for key in keys)) for trial in trials]


def test_killed_in_every_phase_of_its_work_a_run_is_finished_with_no_trial_run_again(
    shell: Shell, head: Head, race: Plan, tmp_path: Path
) -> None:
    shell.run = tmp_path / "run"
    race.save(tmp_path / "plan.json")
    process = shell.start(
        "fit", str(tmp_path / "plan.json"), "--folder", str(shell.run), "--cluster", head.address, faults=PLACES[:1]
    )
    done, before = ended(process), 0
    assert done.returncode == -signal.SIGKILL, done.stderr
    for place in PLACES[1:]:
        assert not (shell.run / "result.json").exists()
        assert len(shell.events()) >= before, "what is in the log stays there"
        before = len(shell.events())
        done = shell.resume("--cluster", head.address, faults=(place,))
        assert done.returncode == -signal.SIGKILL, f"{place}: {done.stderr}"
    search = [event["trial"] for event in shell.events() if event["event"] == "ended"]

    done = shell.resume("--cluster", head.address, "--json")
    assert done.returncode == 0, done.stderr
    summary = shell.summary()
    assert json.loads(done.stdout) == summary
    finished = trainings(shell.events(), "ended")
    assert len(set(finished)) == len(finished) == summary["num_trials"]
    stages = {trial["stage"] for trial in search}
    assert stages == {"search", "finals"} and {trial["rung"] for trial in search} == {1 / 9, 1 / 3, 1.0}
    assert summary["refit"]["done"] and summary["best"]["trial"] in [trial["number"] for trial in search]
    leftovers = [path.name for path in shell.run.rglob("*") if "unfinished" in path.name or path.suffix == ".stop"]
    assert leftovers == []
    assert not (shell.run / "trials" / "refit").exists()
    assert ended(shell.start("predict", str(shell.run), str(shell.data), "--out", "predicted.csv")).returncode == 0


def test_killed_before_there_is_a_plan_the_same_command_works_again(shell: Shell, head: Head, tmp_path: Path) -> None:
    shell.run = tmp_path / "run"
    for place in (
        fault("autosft.prepare:check", "SIGKILL"),
        fault("autosft.prepare:check", "SIGKILL", when="after"),
        fault("autosft.run_folder:RunFolder.write", "SIGKILL"),  # The plan is made and not yet written.
    ):
        done = ended(shell.fit(*QUICK, "--cluster", head.address, faults=(place,)))
        assert done.returncode == -signal.SIGKILL, f"{place}: {done.stderr}"
        assert not (shell.run / "plan.json").exists()
    again = fault("autosft.sitting:Sitting._search", "SIGKILL")
    done = ended(shell.fit(*QUICK, "--cluster", head.address, faults=(again,)))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (shell.run / "plan.json").exists(), "the folder was taken for a new run's"


def test_a_killed_driver_takes_its_ray_with_it_and_resume_needs_neither_data_nor_cache_as_they_were(
    tmp_path: Path,
) -> None:
    shell = Shell(tmp_path)
    process = shell.fit(*QUICK)
    wait_for_line(process, "trial 1:")
    process.kill()
    process.communicate()
    assert not shell.left_behind(), "a killed driver must take its Ray with it"
    plan, before = (shell.run / "plan.json").read_text(), shell.events()
    for file in (shell.folder / "cache").rglob("*.arrow"):
        file.unlink()

    resumed = shell.resume("--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["num_trials"] == 4
    after = shell.events()
    assert after[: len(before)] == before
    assert len(set(numbers(after, "ended"))) == len(numbers(after, "ended")) == 4
    assert (shell.run / "plan.json").read_text() == plan
    assert sum(event["event"] == "ended" and event["trial"]["is_default"] for event in after) == 1
