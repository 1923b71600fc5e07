"""Runs that ended as a test wants them to, without any training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autosft.accounting import PHASES
from autosft.intervals import Interval
from autosft.planning.plan import Arm, Plan
from autosft.proof import Proof, Score
from autosft.report.ended import Ended
from autosft.search.rung_ranks import rung_ranks
from autosft.search.trial import Trial


def ended(plan: Plan, trials: Sequence[Trial]) -> Ended:
    """A run with these trials, of which the best one that was trained longest won; no rows prove it."""
    sign = 1 if plan.task.metric.greater_is_better else -1
    scored = [trial for trial in trials if trial.fate == "complete" and trial.score is not None]
    winner = max(scored, key=lambda trial: (trial.rung, sign * (trial.score or 0.0)))
    default = next((trial for trial in scored if trial.is_default), winner)
    score = winner.score or 0.0
    proven, nothing = Score(score, Interval(score, score), 30), Interval(0.0, 0.0)
    proof = Proof("proof", False, proven, proven, 0.0, nothing, {}, None, 30)
    return Ended(plan, trials, winner, default, proof, _summary(winner, default, trials), Path("runs/made"))


def _summary(winner: Trial, default: Trial, trials: Sequence[Trial]) -> dict[str, Any]:
    """What `result.json` holds of such a run, as far as a report and a review read it."""
    interval = [winner.score, winner.score]
    return {
        "validation": {"score": winner.score, "interval": interval, "num_rows": 40},
        "test": {"score": winner.score, "interval": interval, "num_rows": 30, "rows": "proof", "selected_on": False},
        "default": {"trial": default.number},
        "gain_over_default": {"score": 0.0, "interval": [0.0, 0.0], "proven": False},
        "best": {"trial": winner.number, "is_default": winner.is_default},
        "refit": {"reason": "no time"},
        "rungs": rung_ranks(list(trials)),
        "interrupted": False,
        "seconds": dict.fromkeys(("wall", "workers", "driver", *PHASES, "start_up", "idle"), 1.0),
        "versions": {"python": "3"},
    }


def trial(number: int, arm: Arm, changed: Mapping[str, Any], score: float | None, **given: Any) -> Trial:
    """A trial of an arm's default with some settings changed, complete unless `given` says otherwise."""
    made = Trial(number, arm.name, {**arm.default, **changed}, 1.0, 0, 0, not changed, "complete", score)
    return replace(made, **{"rung": given.get("fidelity", 1.0), **given})


def raced(arm: Arm, number: int = 30, *, first: int = 0, seed: int = 0) -> list[Trial]:
    """A race over two lengths in which the learning rate decides; the best third goes on to the whole length."""
    random = np.random.default_rng(seed)
    drawn = [
        {"learning_rate": float(10 ** random.uniform(-5, -2)), "dropout": float(random.uniform(0, 0.3))}
        for _ in range(number)
    ]
    worth = [0.9 - 0.05 * (math.log10(row["learning_rate"]) + 3) ** 2 + float(random.normal()) * 0.004 for row in drawn]
    best = sorted(range(number), key=lambda at: -worth[at])[: number // 3]
    short = [trial(first + at, arm, drawn[at], worth[at] - 0.1, fidelity=1 / 3) for at in range(number)]
    return [*short, *(trial(first + number + place, arm, drawn[at], worth[at]) for place, at in enumerate(best))]
