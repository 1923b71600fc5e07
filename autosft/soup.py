"""The soup: the refit again with other seeds, as often as time is left for it, and the mean of the weights.

Trainings that start from the same weights and head end close enough for their mean to be a model, and mostly a better
one, that costs no more to run (Wortsman et al., arXiv 2203.05482). `benchmarks/soup.py` measures what that is worth.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from autosft.data.data import Rows
from autosft.planning.refits import MOST_TRAININGS, averaging_rows, averaging_seconds, can_be_averaged
from autosft.refit import Refit, retrain
from autosft.search.trial import Trial
from autosft.search.workbench import Workbench

#: Another training begins where there is so much of the time that the first one took: it anneals within what there is.
_LEAST_SHARE = 0.65

#: Between the seeds of the trainings, so that no fold's or trial's is among them.
_SEED_STEP = 100_003


def soup(bench: Workbench, winner: Trial, first: Refit, folder: Path, *, seconds_left: float | None) -> Refit:
    """Returns the refit, or the mean of it and of others like it where there was time for them.

    Args:
        winner: The trial that was retrained.
        first: What came of that.
        folder: Where further trainings and their mean are put.
        seconds_left: What they may take; where a run has no limit of time, it trains no more than it was asked to.

    Raises:
        AutosftError: A training met something that the caller can change, or what runs it failed.
    """
    arm = bench.plan.arm(winner.arm)
    is_wanted = bench.plan.budget.soup and can_be_averaged(arm.trainer, winner.config)
    if first.model is None or seconds_left is None or not is_wanted:
        return first
    ends, models, interrupt = time.monotonic() + seconds_left, [first.model], bench.interrupt
    while len(models) < MOST_TRAININGS and not interrupt.requested:
        left = ends - time.monotonic() - averaging_seconds(arm)
        # Two shorter ones are worth more than a whole one.
        num_more = min(MOST_TRAININGS - len(models), int(left / max(_LEAST_SHARE * first.seconds, 1e-9)))
        if num_more < 1:
            break
        another = replace(winner, seed=winner.seed + _SEED_STEP * len(models))
        place = folder / str(len(models))
        if retrain(bench, another, place, seconds_left=left / num_more).fate != "complete":
            break
        models.append(place / "model")
    if len(models) == 1 or interrupt.requested:
        return first
    return _averaged(bench, winner, first, models, folder / "mean", seconds_left=ends - time.monotonic())


def _averaged(
    bench: Workbench, winner: Trial, first: Refit, models: list[Path], folder: Path, *, seconds_left: float
) -> Refit:
    plan = bench.plan
    rows = plan.data.training(None)[0]
    some = np.random.default_rng(plan.seed).permutation(len(rows))[: averaging_rows(plan.arm(winner.arm))]
    trainer = plan.arm(winner.arm).trainer
    arguments = {
        "task": plan.task,
        "models": {str(at): (trainer, str(model)) for at, model in enumerate(models)},
        "rows": Rows(rows.path, np.sort(some)),
        "scratch": folder,
    }
    # Late is better than not at all, after all that was trained for it.
    kill_after = max(2 * averaging_seconds(plan.arm(winner.arm)), seconds_left)
    ended = bench.run("autosft.search.work:average", arguments, [winner], kill_after_seconds=kill_after)
    if ended.fate != "complete" or ended.value is None:
        return first
    reason = f"{first.reason}, as the average of {len(models)} trainings that differ by their seed"
    return replace(
        first, model=folder / "model", reason=reason, reload_difference=ended.value, num_trainings=len(models)
    )
