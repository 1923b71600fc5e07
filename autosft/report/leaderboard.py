"""The leaderboard: every trial with its interval, best first."""

from __future__ import annotations

import json
from typing import Any

from autosft.counting import counted
from autosft.report.blocks import Column, Said, Section, Table
from autosft.report.cells import setting, shown
from autosft.report.ended import Ended
from autosft.search.choice import in_order
from autosft.search.trial import Trial

#: Beyond these a page turns slow; `trials.parquet` holds them all.
MOST_TRIALS = 500


def leaderboard(ended: Ended) -> Section:
    """Returns the trials, the winner marked."""
    metric = ended.plan.task.metric
    every = in_order(ended.trials, metric.greater_is_better)
    listed = every[:MOST_TRIALS]
    if ended.winner not in listed:
        listed = [*listed[:-1], ended.winner]
    told = (
        f"Scores are {metric.name} on the validation rows, which the search chose by: the best of many is flattered by "
        "that, and what the shipped model is worth stands in the summary. Among trials that overlap, the score does "
        "not tell them apart."
    )
    columns = (
        Column("place", "count", "best first; those that could not win stand below"),
        Column(metric.name, "interval", "on the validation rows, with its 95 % interval"),
        Column("arm", "text", "trainer and base model"),
        Column("settings", "text", "what differs from the arm's untuned default"),
        Column("length", "share", "of a full training"),
        Column("seconds", "short", "of a worker"),
        Column("fate"),
        Column("stage"),
        Column("trial", "count", "in the order in which they began"),
    )
    rows = tuple(_row(ended, place, trial) for place, trial in enumerate(listed, start=1))
    table = Table(
        "leaderboard-table",
        counted(len(rows), "trial"),
        columns,
        rows,
        filters=("arm", "fate", "stage"),
        left_out=len(every) - len(listed),
        marked=listed.index(ended.winner),
    )
    return Section("leaderboard", "Leaderboard", (Said(told, "muted"), table))


def changed_settings(ended: Ended, trial: Trial) -> str:
    """Returns what a trial's configuration has other than its arm's untuned default, in one line."""
    default = ended.plan.arm(trial.arm).default
    changed = {name: value for name, value in trial.config.items() if default.get(name) != value}
    if trial.is_default or not changed:
        return "untuned default"
    return ", ".join(f"{name} {setting(_plain(value))}" for name, value in changed.items())


def _row(ended: Ended, place: int, trial: Trial) -> tuple[Any, ...]:
    low, high = trial.interval or (None, None)
    score = None if trial.score is None else (trial.score, low, high)
    what = changed_settings(ended, trial)
    if trial.message:
        what = f"{shown(trial.message)} — {what}"
    seconds = trial.seconds.get("total", 0.0)
    return (
        place, score, trial.arm, what, trial.reached, seconds, trial.fate, trial.stage, trial.number
    )  # fmt: skip


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | tuple | dict) else value
