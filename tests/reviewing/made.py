"""Sweeps whose truth is known, for the tests of what a review says about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autosft.intervals import Interval
from autosft.reviewing.claim import Claim, Review
from autosft.reviewing.sweep import Sweep, SweepTrial

ERROR = 0.01


def sweep(trials: list[SweepTrial], **given: Any) -> Sweep:
    return Sweep(**{"name": "made", "source": "table", "metric": "accuracy", "greater_is_better": True, **given,
                    "trials": tuple(trials)})  # fmt: skip


def searched(number: int = 40, *, best_rate: float = 1e-3, seed: int = 0, **given: Any) -> list[SweepTrial]:
    """Draws learning rates from 1e-5 to 1e-2 of which one is best, and a dropout that does nothing."""
    random = np.random.default_rng(seed)
    trials = []
    for at in range(number):
        rate = float(10 ** random.uniform(-5, -2))
        score = 0.9 - 0.05 * (math.log10(rate) - math.log10(best_rate)) ** 2 + float(random.normal()) * 0.004
        config = {"learning_rate": rate, "dropout": float(random.uniform(0, 0.3))}
        interval = Interval(score - 1.96 * ERROR, score + 1.96 * ERROR)
        trials.append(SweepTrial(str(at), config, score, interval=interval, seconds=10.0, **given))
    return trials


def one(claims: list[Claim] | Review, topic: str) -> Claim:
    found = [claim for claim in (claims.claims if isinstance(claims, Review) else claims) if claim.topic == topic]
    assert len(found) == 1, [claim.sentence for claim in found]
    return found[0]
