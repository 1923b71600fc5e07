"""A run's folder, or a run that is about to be finished, as a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosft.counting import counted
from autosft.errors import RunFolderError, explain
from autosft.intervals import Interval
from autosft.planning.plan import Plan
from autosft.reviewing.sweep import ArmSpace, Bounds, Outcome, Sweep, SweepTrial
from autosft.run_folder import RunFolder, default_won
from autosft.search.rung_ranks import rung_ranks
from autosft.search.space import Parameter, SearchSpace
from autosft.search.trial import Trial, TrialLog


def from_run(folder: str | Path) -> Sweep:
    """Reads the folder of a run, finished or not.

    Raises:
        RunFolderError: It is not a run's folder, or is damaged.
    """
    path = Path(folder)
    runs = [] if (path / "plan.json").exists() else sorted(place.parent for place in path.glob("*/plan.json"))
    if runs:
        wrong = f"{path} holds {counted(len(runs), 'run')} and is none itself"
        named = ", ".join(str(run) for run in runs[:5]) + (" ..." if len(runs) > 5 else "")
        raise RunFolderError(
            explain(
                wrong=wrong, expected="the folder of one run", fix=f"name {'' if len(runs) == 1 else 'one of '}{named}"
            )
        )
    run = RunFolder.open(path)
    plan = Plan.from_json(run.read(run.plan), strict=False)
    log = _Log(run.trials)
    trials = _last_of_each(log.trials())
    summary = run.read(run.result) if run.result.exists() else None
    sweep = from_memory(plan, trials, summary, name=str(folder))
    if summary is None:
        begun = {trial.number for trial in log.begun()} - {trial.number for trial in trials}
        unended = f", and {counted(len(begun), 'trial')} began that did not end" if begun else ""
        sweep = replace(sweep, notes=(*sweep.notes, f"The run is not finished: it has no result.json{unended}."))
    began, ended = _times(log)
    timed = tuple(
        replace(trial, began=began.get(int(trial.name)), ended=ended.get(int(trial.name))) for trial in sweep.trials
    )
    return replace(sweep, trials=timed)


def from_memory(
    plan: Plan, trials: Sequence[Trial], summary: Mapping[str, Any] | None, *, name: str = "this run"
) -> Sweep:
    """Returns a run as a sweep, from its plan, its trials and the content of its `result.json`, if there is one."""
    spaces = {
        arm.name: ArmSpace(arm.space.restrict(plan.facts), arm.default)
        for arm in plan.arms
        if isinstance(arm.space, SearchSpace)
    }
    num_rows = _num_validation_rows(plan) if summary is None else summary["validation"]["num_rows"]
    return Sweep(
        name=name,
        source="autosft",
        metric=plan.task.metric.name,
        greater_is_better=plan.task.metric.greater_is_better,
        trials=tuple(_trial(trial) for trial in sorted(trials, key=lambda trial: trial.number)),
        bounds={arm: _bounds(found) for arm, found in spaces.items()},
        spaces=spaces,
        outcome=None if summary is None else _outcome(summary),
        phases={} if summary is None else summary.get("seconds", {}),
        rungs=rung_ranks(trials),
        num_rows=num_rows or None,
    )


def _num_validation_rows(plan: Plan) -> int | None:
    """Counts the validation rows; None where the cache lost them, or the run was made on another machine."""
    try:
        validation = plan.data.training(0)[1]
    except OSError:
        return None
    return None if validation is None else len(validation)


def _trial(trial: Trial) -> SweepTrial:
    seconds = trial.seconds.get("total")
    return SweepTrial(
        name=str(trial.number),
        config=trial.config,
        score=trial.score,
        fate=trial.fate,
        arm=trial.arm,
        length=trial.rung,
        reached=trial.fidelity if trial.fate == "complete" else trial.rung,
        # The log counts shares of a full run that went as far as was asked for, here they are of this training.
        reports=tuple((share / trial.rung, score) for share, score in trial.reports),
        is_default=trial.is_default,
        repeats=f"{trial.seed}/{trial.fold}",
        is_final=trial.stage != "search",
        interval=Interval(*trial.interval) if trial.interval else None,
        seconds=seconds,
        message=trial.message,
    )


def _bounds(found: ArmSpace) -> dict[str, Bounds]:
    bounds = {}
    for parameter in found.space.parameters:
        if parameter.low is not None and parameter.high is not None:
            unit = unit_of(parameter, found.default)
            bounds[parameter.name] = Bounds(parameter.low * unit, parameter.high * unit, parameter.log)
    return bounds


def unit_of(parameter: Parameter, default: Mapping[str, Any]) -> float:
    """Returns what the range of a parameter is a multiple of; 1 where it is none."""
    value = default.get(parameter.name)
    if parameter.scale is None or not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return 1.0
    return float(value)


def _outcome(summary: Mapping[str, Any]) -> Outcome:
    test, gain = summary["test"], summary["gain_over_default"]
    is_known = summary["default"].get("trial") is not None
    fresh = not test["selected_on"]
    return Outcome(
        winner=str(summary["best"]["trial"]),
        validation=summary["validation"]["score"],
        validation_interval=_interval(summary["validation"]["interval"]),
        test=test["score"] if fresh else None,
        test_interval=_interval(test["interval"]) if fresh else None,
        num_test_rows=test["num_rows"] if fresh else 0,
        gain=gain["score"] if is_known else None,
        gain_interval=_interval(gain["interval"]) if is_known else None,
        is_default=default_won(summary),
        on_fresh_rows=fresh,
        num_gain_rows=test["num_rows"],
        default_length=summary["default"].get("fidelity", 1.0) / max(summary["best"].get("fidelity", 1.0), 1e-9),
    )


def _interval(pair: Sequence[float | None]) -> Interval | None:
    low, high = pair
    return None if low is None or high is None else Interval(low, high)


def _last_of_each(trials: Sequence[Trial]) -> list[Trial]:
    """Returns each trial once: a run that was resumed may have ended one twice."""
    return list({trial.number: trial for trial in trials}.values())


def _times(log: TrialLog) -> tuple[dict[int, float], dict[int, float]]:
    """Returns when each trial began and ended, in seconds of the run."""
    began, ended = {}, {}
    for event in log.events():
        if event["event"] == "started":
            began[int(event["trial"]["number"])] = float(event["spent_seconds"])
        elif event["event"] == "ended":
            ended[event["trial"].number] = float(event["spent_seconds"])
    return began, ended


class _Log(TrialLog):
    """A log that is only read: the run may go on meanwhile, and its last line be half written."""

    def __init__(self, path: Path) -> None:
        self.path = path
