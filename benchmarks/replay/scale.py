"""What the race and the sampler themselves take, at sizes that no recorded table has."""

from __future__ import annotations

import heapq
import math
import time
import tracemalloc
from collections.abc import Collection, Sequence
from dataclasses import asdict
from itertools import count
from typing import Any

import numpy as np
from tables import ARM, Neighbours

from autosft.search.race import RUNGS, Lane, Race
from autosft.search.sampler import Proposal, Sampler
from autosft.trainers.with_transformers import TransformersConfig

NUM_WORKERS = 1000

#: Seconds of a full run, and wall time that has room for more than ten thousand configurations.
FULL, DEADLINE = 3600.0, 2 * 3600.0


class Numbered:
    """Proposes so many configurations that are nothing but a number."""

    def __init__(self, most: int) -> None:
        self._numbers = iter(range(most))

    def ask(self, arms: Collection[str] | None = None) -> Proposal | None:
        number = next(self._numbers, None)
        return None if number is None else Proposal(number, ARM, {}, number == 0)


def measure() -> list[dict[str, Any]]:
    return [race(), *(memory(num) for num in (1_000, 10_000, 100_000)), sampler()]


def race(*, seed: int = 0) -> dict[str, Any]:
    """Races on a thousand workers until a deadline, and times the race's own answers.

    Scores are a normal quality and noise that halves with four times the length; the time that a configuration takes
    is 0.6 to 1.8 times the predicted one, mostly.
    """
    rng = np.random.default_rng(seed)
    policy = Race([Lane(ARM, RUNGS, FULL)], Numbered(1_000_000), workers=NUM_WORKERS, patience_runs=None)
    running: list[tuple[float, int, Any]] = []
    traits: dict[int, tuple[float, float]] = {}
    now, busy, late, order = 0.0, 0.0, 0.0, count()
    asks: list[float] = []
    tells: list[float] = []
    while True:
        while len(running) < NUM_WORKERS:
            started = time.perf_counter()
            heat = policy.ask(DEADLINE - now)
            asks.append(time.perf_counter() - started)
            if heat is None:
                break
            _, slow = traits.setdefault(heat.number, (rng.normal(), math.exp(rng.normal(0, 0.3))))
            seconds = FULL * heat.fidelity * slow
            busy += max(0.0, min(seconds, DEADLINE - now))
            late = max(late, now + seconds - DEADLINE)
            heapq.heappush(running, (now + seconds, next(order), (heat, seconds)))
        if not running:
            break
        now, _, (heat, seconds) = heapq.heappop(running)
        score = traits[heat.number][0] + rng.normal(0, 0.5 / math.sqrt(heat.fidelity))
        started = time.perf_counter()
        policy.tell(heat.number, heat.rung, score=score, seconds=seconds)
        tells.append(time.perf_counter() - started)
    return {
        "what": "race at scale",
        "workers": NUM_WORKERS,
        "tried": len(traits),
        "heats": len(tells),
        "utilisation": round(busy / (NUM_WORKERS * DEADLINE), 3),
        "latest_end": round(1 + late / DEADLINE, 3),
        "ask_ms": _quantiles(asks),
        "tell_ms": _quantiles(tells),
    }


def memory(num: int) -> dict[str, Any]:
    """Returns what the race keeps of a configuration, apart from the configuration itself, and how long it took."""
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    policy = Race([Lane(ARM, RUNGS, FULL)], Numbered(num), workers=1, patience_runs=None)
    heats = 0
    while heats < 1.4 * num and (heat := policy.ask()) is not None:
        policy.tell(heat.number, heat.rung, score=float(rng.random()), seconds=heat.seconds)
        heats += 1
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    seconds = round(time.perf_counter() - started, 2)
    return {"what": "memory", "tried": num, "heats": heats, "bytes_each": round(kept / num), "seconds": seconds}


def sampler(sizes: Sequence[int] = (100, 1000)) -> dict[str, Any]:
    """Times fifty of the shipped sampler's answers with so many configurations known, a third at full length.

    What fills it up to there is drawn at random, which is quicker. Time is the processor's: it does without threads.
    """
    arm = Neighbours((asdict(TransformersConfig(learning_rate=2e-4)),)).arm
    tried = Sampler({ARM: arm}, sampler="tpe", seed=0, greater_is_better=True, journal=None)
    rng = np.random.default_rng(0)
    asks: list[float] = []
    for number in range(max(sizes) + 50):
        tried._sampler = "tpe" if any(size <= number < size + 50 for size in sizes) else "random"
        started = time.process_time()
        proposal = tried.ask()
        asks.append(time.process_time() - started)
        assert proposal is not None
        score = float(rng.random())
        if number % 3 == 0:
            tried.tell(proposal.number, score=score, fidelity=1.0, state="complete")
        else:
            tried.tell(proposal.number, score=score, fidelity=1 / 9, state="waiting")
    times = {f"ask_ms_{size}": _quantiles(asks[size : size + 50]) for size in sizes}
    return {"what": "sampler at scale", **times}


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [", ".join(f"{key} {value}" for key, value in row.items()) for row in rows]


def _quantiles(seconds: Sequence[float]) -> list[float]:
    """Returns median, 99th percentile and greatest, in milliseconds."""
    times = 1000 * np.array(seconds)
    return [round(float(value), 4) for value in (*np.quantile(times, [0.5, 0.99]), times.max())]
