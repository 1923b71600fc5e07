"""The end of a run: the model's folder with its card, tables of trials and proof, the report, `result.json` last."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosft.accounting import PHASES
from autosft.calibration import Calibration
from autosft.card.sections import Shipped, model_card
from autosft.disk import writing
from autosft.ensemble import Ensemble
from autosft.planning.plan import Plan, Resources
from autosft.predictor import copy_model, describe_model
from autosft.proof import Evidence, Proof, Score
from autosft.refit import Refit
from autosft.report.ended import Ended
from autosft.report.writing import write_report
from autosft.run_folder import FORMAT, RunFolder, as_json
from autosft.search.rung_ranks import rung_ranks
from autosft.search.trial import Trial, TrialLog
from autosft.task import Output, Task
from autosft.tasks import kind as task_kind
from autosft.tracking.base import Tracker

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
    ensemble: Ensemble,
    calibration: Calibration,
    proof: Proof,
    model: Path,
    seconds: Mapping[str, float],
    interrupted: bool,
    tracker: Tracker | None = None,
) -> dict[str, Any]:
    """Writes everything a finished run leaves behind; returns the content of `result.json`.

    Of its scratch, what the best trials left stays, so that the run can be resumed with more budget.

    Args:
        task: What the shipped model predicts, thresholds included.
        model: Folder of the model that is shipped.
        seconds: See `account`.
        tracker: Is told where the report could not be made.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    versions = package_versions()
    found = _summary(plan, trials, winner, default, refit, ensemble, calibration, proof, seconds, interrupted)
    summary: dict[str, Any] = as_json(found | {"versions": versions})
    card = model_card(
        Shipped(
            plan, task, trials, winner, default, refit, ensemble, calibration, proof, model, versions, seconds["wall"]
        )
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
    _report(Ended(plan, trials, winner, default, proof, summary, run.path), run, tracker or Tracker())
    run.write(run.result, summary)
    return summary


def _report(ended: Ended, run: RunFolder, tracker: Tracker) -> None:
    """Writes the report, and how each scored row went; what cannot be shown must not cost the result."""
    log = run.path / "report.log"
    try:
        log.unlink(missing_ok=True)
        if ended.proof.evidence is not None:
            _write_proof(run.path / "data" / "proof.parquet", ended.proof.evidence)
        write_report(ended, run.report)
    except Exception:
        # A full disk takes no log either; what an earlier sitting left there is of another result.
        with contextlib.suppress(OSError):
            run.report.unlink(missing_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
        tracker.note(f"the report could not be made; everything else is there, and {log} says what went wrong")


def account(
    cpu_seconds: Mapping[str, float],
    resources: Resources,
    *,
    wall_seconds: float,
    driver_seconds: float,
    earlier: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Divides `wall x workers` among what workers did; what nobody accounts for is idle.

    Args:
        cpu_seconds: Seconds times CPUs of all jobs by phase, with "start_up" and "total".
        wall_seconds: Of this sitting. driver_seconds: CPU seconds of the driver's own process.
        earlier: What the sittings before came to, see `seconds_before`; the answer is then of all.
    """
    workers = resources.max_concurrent
    by_phase = {name: cpu_seconds[name] / resources.cpus_per_trial for name in (*PHASES, "start_up")}
    # What a job does outside its marked phases is reading data and collecting garbage.
    by_phase["load"] += (
        max(0.0, cpu_seconds["total"] - sum(cpu_seconds[name] for name in PHASES)) / resources.cpus_per_trial
    )
    idle = wall_seconds * workers - sum(by_phase.values())
    numbers = {"wall": wall_seconds, "workers": workers, "driver": driver_seconds, **by_phase, "idle": max(0.0, idle)}
    if earlier:
        wall = earlier["wall"] + wall_seconds
        mean = (earlier["wall"] * earlier["workers"] + wall_seconds * workers) / wall if wall else workers
        numbers = {name: earlier.get(name, 0.0) + value for name, value in numbers.items()} | {"workers": mean}
    return {name: value if name == "workers" else round(value, 3) for name, value in numbers.items()}


def seconds_before(run: RunFolder, *, workers: int) -> dict[str, float]:
    """Returns what the sittings of a run so far came to, as `account` does; empty where there was none.

    A sitting that was killed left the log of its trials alone: what it worked beside them counts as idle.

    Args:
        workers: Trials at once in the last sitting.
    """
    log = TrialLog(run.trials)
    spent = log.spent_seconds()
    known: dict[str, float] = run.read(run.result).get("seconds", {}) if run.result.exists() else {}
    # Where a run was resumed by an earlier version, its result is of the last sitting alone.
    if not spent or known.get("wall", 0.0) >= spent:
        return known
    trials = log.trials()
    by_phase = {name: sum(trial.seconds.get(name, 0.0) for trial in trials) for name in (*PHASES, "start_up")}
    by_phase["load"] += sum(
        max(0.0, trial.seconds.get("total", 0.0) - sum(trial.seconds.get(name, 0.0) for name in PHASES))
        for trial in trials
    )
    idle = max(0.0, spent * workers - sum(by_phase.values()))
    return {"wall": spent, "workers": workers, "driver": known.get("driver", 0.0), **by_phase, "idle": idle}


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
    ensemble: Ensemble,
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
            "num_trainings": refit.num_trainings if refit.model is not None else 0,
        },
        "ensemble": ensemble.to_json(),
        "calibration": calibration.to_json(),
        "num_trials": len(trials),
        "rungs": rung_ranks(trials),
        "interrupted": interrupted,
        "seconds": dict(seconds),
        "seed": plan.seed,
    }


def _score(score: Score) -> dict[str, Any]:
    return {"score": score.score, "interval": [score.interval.low, score.interval.high], "num_rows": score.num_rows}


def _write_proof(path: Path, evidence: Evidence) -> None:
    """Writes a row for each row that was scored: where it came from and how it went, without any text of it."""
    import pyarrow.parquet as pq

    kind = task_kind(evidence.task.kind)
    shipped = kind.verdicts(evidence.task, evidence.targets, evidence.shipped)
    default = kind.verdicts(evidence.default_task, evidence.targets, evidence.default)
    table = shipped.add_column(0, "row", [evidence.rows.numbers("row")])
    for name in ("prediction", "score", "right", "loss"):
        table = table.append_column(f"default_{name}", default.column(name))
    if kind.output is Output.TEXT:
        table = table.drop_columns(["target", "prediction", "default_prediction"])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_trials(path: Path, trials: list[Trial]) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {**trial.to_json(), "config": json.dumps(dict(trial.config)), "seconds": json.dumps(dict(trial.seconds))}
        for trial in trials
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
