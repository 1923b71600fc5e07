"""The end of a run: the model's folder with its card, the trials as a table, and `result.json`, written last."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosft.accounting import PHASES
from autosft.calibration import Calibration
from autosft.card.sections import Shipped, model_card
from autosft.disk import writing
from autosft.planning.plan import Plan, Resources
from autosft.predictor import copy_model, describe_model
from autosft.proof import Proof, Score
from autosft.refit import Refit
from autosft.run_folder import FORMAT, RunFolder, as_json
from autosft.search.rung_ranks import rung_ranks
from autosft.search.trial import Trial
from autosft.task import Task

_PACKAGES = ("autosft", "torch", "transformers", "ray", "optuna", "scikit-learn", "pyarrow")


def finish(
    run: RunFolder,
    plan: Plan,
    task: Task,
    trials: list[Trial],
    *,
    winner: Trial,
    default: Trial,
    refit: Refit,
    calibration: Calibration,
    proof: Proof,
    model: Path,
    seconds: Mapping[str, float],
    interrupted: bool,
) -> dict[str, Any]:
    """Writes everything a finished run leaves behind; returns the content of `result.json`.

    Of its scratch, what the best trials left stays, so that the run can be resumed with more budget.

    Args:
        task: What the shipped model predicts, thresholds included.
        model: Folder of the model that is shipped.
        seconds: See `account`.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    versions = package_versions()
    found = _summary(plan, trials, winner, default, refit, calibration, proof, seconds, interrupted)
    summary: dict[str, Any] = as_json(found | {"versions": versions})
    card = model_card(
        Shipped(plan, task, trials, winner, default, refit, calibration, proof, model, versions, seconds["wall"])
    )
    with writing(run.path):
        trainer = plan.arm(winner.arm).trainer
        copy_model(
            model, run.model, then=lambda folder: describe_model(folder, task, trainer, card=card, versions=versions)
        )
        _write_trials(run.path / "trials.parquet", trials)
        for done_with in ("refit", "calibrated", "folds"):
            shutil.rmtree(run.path / "trials" / done_with, ignore_errors=True)
    findings = [finding.to_json() for finding in plan.findings]
    run.write(run.path / "data" / "findings.json", {"fingerprint": plan.data.fingerprint, "findings": findings})
    run.write(run.result, summary)
    return summary


def account(
    cpu_seconds: Mapping[str, float], resources: Resources, *, wall_seconds: float, driver_seconds: float
) -> dict[str, float]:
    """Divides `wall x workers` among what workers did; what nobody accounts for is idle.

    Args:
        cpu_seconds: Seconds times CPUs of all jobs by phase, with "start_up" and "total".
        driver_seconds: CPU seconds of the driver's own process.
    """
    workers = resources.max_concurrent
    by_phase = {name: cpu_seconds[name] / resources.cpus_per_trial for name in (*PHASES, "start_up")}
    # What a job does outside its marked phases is reading data and collecting garbage.
    by_phase["load"] += (
        max(0.0, cpu_seconds["total"] - sum(cpu_seconds[name] for name in PHASES)) / resources.cpus_per_trial
    )
    idle = wall_seconds * workers - sum(by_phase.values())
    numbers = {"wall": wall_seconds, "workers": workers, "driver": driver_seconds, **by_phase, "idle": max(0.0, idle)}
    return {name: round(value, 3) for name, value in numbers.items()}


def package_versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _summary(
    plan: Plan,
    trials: list[Trial],
    winner: Trial,
    default: Trial,
    refit: Refit,
    calibration: Calibration,
    proof: Proof,
    seconds: Mapping[str, float],
    interrupted: bool,
) -> dict[str, Any]:
    arm, default_arm = plan.arm(winner.arm), plan.arm(default.arm)
    validation = plan.data.training(0)[1]
    changed = {key: value for key, value in winner.config.items() if arm.default.get(key) != value}
    return {
        "format": FORMAT,
        "kind": plan.task.kind,
        "metric": plan.task.metric.name,
        "greater_is_better": plan.task.metric.greater_is_better,
        "validation": {
            "score": winner.score,
            "interval": list(winner.interval or (winner.score, winner.score)),
            "num_rows": len(validation) if validation is not None else 0,
            "selected_on": True,
        },
        "test": {
            **_score(proof.shipped),
            "rows": proof.rows,
            "selected_on": proof.selected_on,
            "scores": dict(proof.scores),
            "num_rows_given": proof.num_rows_given,
            "constant": proof.constant,
        },
        "default": {
            "trainer": default_arm.trainer,
            "model": default_arm.base_model.id,
            # None where no default was trained to an end, so that the winner stands in.
            "trial": default.number if default.is_default else None,
            "fidelity": default.fidelity,
            **_score(proof.default),
        },
        "gain_over_default": {
            "score": proof.gain,
            "interval": [proof.gain_interval.low, proof.gain_interval.high],
            "proven": proof.is_proven,
        },
        "best": {
            "trainer": arm.trainer,
            "model": arm.base_model.id,
            "config": dict(winner.config),
            "changed": changed,
            "is_default": winner.is_default,
            "trial": winner.number,
            "fidelity": winner.fidelity,
        },
        "refit": {
            "done": refit.model is not None,
            "reason": refit.reason,
            "reload_difference": refit.reload_difference,
        },
        "calibration": calibration.to_json(),
        "num_trials": len(trials),
        "rungs": rung_ranks(trials),
        "interrupted": interrupted,
        "seconds": dict(seconds),
        "seed": plan.seed,
    }


def _score(score: Score) -> dict[str, Any]:
    return {"score": score.score, "interval": [score.interval.low, score.interval.high], "num_rows": score.num_rows}


def _write_trials(path: Path, trials: list[Trial]) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {**trial.to_json(), "config": json.dumps(dict(trial.config)), "seconds": json.dumps(dict(trial.seconds))}
        for trial in trials
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
