"""What a run's folder says, in W&B's words: a run for each trial. Pure: it reads the folder, and talks to nobody.

Nothing of the data's rows is taken along: neither findings' examples nor the messages of trials that failed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autosft.model_hub import is_hub_id
from autosft.run_folder import RunFolder, as_json
from autosft.search.trial import Trial, read_events
from autosft.tracking.wandb_mirror.parameters import sweep_parameters

WON, COMPARED, COMPLETE = "won", "best default", "complete"


@dataclass(frozen=True)
class TrackedRun:
    """One trial, as W&B keeps it.

    Attributes:
        id: Unique in any project; the same each time that the folder is read.
        name: For people.
        job_type: "search" or "finals".
        tags: Fate, length, and what the trial turned out to be.
        config: Flat: the whole configuration, and what else was decided before the trial began.
        history: Rows of `fidelity`, the share of a full run, and `score`.
        summary: Score, interval, cost and fate.
        has_failed: Whether it came to no end of its own.
    """

    id: str
    name: str
    job_type: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    history: tuple[Mapping[str, float], ...]
    summary: Mapping[str, Any]
    has_failed: bool

    @property
    def digest(self) -> str:
        """Tells whether anything has changed since it was sent."""
        return digest(asdict(self))


@dataclass(frozen=True)
class TrackedSearch:
    """A run's folder, as W&B keeps it.

    Attributes:
        id: Follows from the folder's content, so that a copy elsewhere is the same search.
        name: Of the folder, with the id: what W&B groups the trials by.
        metric: Its name. greater_is_better: its direction.
        sweep: Configuration of the sweep.
        runs: One a trial that ended, in the order in which they began.
        findings: Of the audit: check, severity, number of rows, and whether it was fixed.
        result: Content of `result.json`, None while the search runs.
    """

    id: str
    name: str
    metric: str
    greater_is_better: bool
    sweep: Mapping[str, Any]
    runs: tuple[TrackedRun, ...]
    findings: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any] | None


def digest(value: Any) -> str:
    """Returns a short text that differs where the value does."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def length_tag(rung: float) -> str:
    """Returns the tag of runs of which this length, a share of a full run, was asked."""
    return f"length {rung:.0%}"


def read_search(folder: Path, *, group: str | None = None) -> TrackedSearch | None:
    """Reads a run's folder, finished or not; returns None before the first trial has begun.

    Args:
        group: The name that the search was given before.

    Raises:
        RunFolderError: It is not a run's folder, or one of its files is damaged.
    """
    run = RunFolder.open(folder)
    events = list(read_events(run.trials))
    if not events:
        return None
    # The first event holds the time that was spent until then, to the nanosecond, and is never written again.
    search_id = digest(as_json(events[0]))[:8]
    plan = run.read(run.plan)
    metric = plan["task"]["metric"]
    result = run.read(run.result) if run.result.exists() else None
    arms = {arm["name"]: _Arm.of(arm) for arm in plan["arms"]}
    trials = _ended(events)
    won = {WON: _of(result, "best"), COMPARED: _of(result, "default")}
    runs = tuple(
        _run(search_id, trials[number], arms[trials[number].arm], won=won, metric=metric["name"])
        for number in sorted(trials)
    )
    # Filters of reports quote the name, so that it must hold no quotes.
    name = group or f"{re.sub(r'[^0-9A-Za-z_.-]+', '-', folder.absolute().name)[:80]}-{search_id}"
    return TrackedSearch(
        id=search_id,
        name=name,
        metric=metric["name"],
        greater_is_better=metric["greater_is_better"],
        sweep={
            "name": name,
            "method": "custom",
            "metric": {"name": "score", "goal": "maximize" if metric["greater_is_better"] else "minimize"},
            "parameters": sweep_parameters(
                [(arms[arm["name"]].shown, arm["space"], arm["default"]) for arm in plan["arms"]],
                seen=[run.config for run in runs],
            ),
        },
        runs=runs,
        findings=tuple({key: row[key] for key in ("check", "severity", "count", "fixed")} for row in plan["findings"]),
        result=result,
    )


@dataclass(frozen=True)
class _Arm:
    """An arm as others may know it: of a base model in a folder the name alone, as its path is nobody's business."""

    trainer: str
    base_model: str

    @staticmethod
    def of(row: Mapping[str, Any]) -> _Arm:
        model, folder = row["base_model"]["id"], row["folder"]
        known = not row["base_model"]["pretrained"] or is_hub_id(model, folder)
        return _Arm(row["trainer"], model if known else Path(model).name)

    @property
    def shown(self) -> str:
        return f"{self.trainer}/{self.base_model.rpartition('/')[2]}"


def _ended(events: list[dict[str, Any]]) -> dict[int, Trial]:
    """Returns the trials that came to an end of any kind, by number, as the last event tells of them."""
    found = {}
    for event in events:
        if event["event"] == "ended":
            found[event["trial"].number] = event["trial"]
        elif event["event"] in {"fatal", "interrupted"}:
            row = event["trial"] | {"fate": "interrupted" if event["event"] == "interrupted" else "failed"}
            found[row["number"]] = Trial.from_json(row)
    return found


def _of(result: Mapping[str, Any] | None, key: str) -> int | None:
    return None if result is None else result[key].get("trial")


def _run(search_id: str, trial: Trial, arm: _Arm, *, won: Mapping[str, int | None], metric: str) -> TrackedRun:
    tags = [trial.fate, length_tag(trial.rung), *(["default"] if trial.is_default else [])]
    tags += [tag for tag, number in won.items() if number == trial.number]
    decided = {
        "arm": arm.shown,
        "trainer": arm.trainer,
        "base_model": arm.base_model,
        "trial": trial.number,
        # The same for every length and repetition of a configuration.
        "configuration": digest([trial.arm, trial.config])[:8],
        "rung": trial.rung,
        "fold": trial.fold,
        "seed": trial.seed,
        "is_default": trial.is_default,
        "metric": metric,
    }
    return TrackedRun(
        id=f"{search_id}-{trial.number:04d}",
        name=f"trial {trial.number}",
        job_type=trial.stage,
        tags=tuple(tags),
        config=dict(_flat(trial.config)) | decided,
        history=tuple(_history(trial)),
        summary=_summary(trial),
        has_failed=trial.fate in {"failed", "interrupted"},
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _history(trial: Trial) -> Iterator[dict[str, float]]:
    """Yields what the trial reported, and what it came to where that is not the same."""
    pairs = [*trial.curve]
    if trial.fate == "complete" and trial.score is not None and (trial.fidelity, trial.score) not in pairs:
        pairs.append((trial.fidelity, trial.score))
    for fidelity, score in pairs:
        if score is not None and math.isfinite(score):
            yield {"fidelity": fidelity, "score": score}


def _summary(trial: Trial) -> dict[str, Any]:
    low, high = trial.interval or (None, None)
    found = {
        "score": trial.score,
        "score_low": low,
        "score_high": high,
        "loss": trial.loss,
        "fidelity": trial.reached,
        "fate": trial.fate,
        "seconds": trial.seconds.get("total"),
        **{f"seconds_{phase}": seconds for phase, seconds in trial.seconds.items() if phase != "total"},
    }
    return {key: value for key, value in as_json(found).items() if value is not None}
