"""Searches over a recorded table with a simulated clock: the race, and what it has to beat at equal compute.

Time is counted in 27ths of a full run, so that sums of the rungs' lengths are exact; budgets in full runs times
workers. A strategy sees validation scores alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
from proposers import RandomOrder, SnappedOptuna, SnappedSampler
from tables import ARM, DEFAULT, Neighbours, Table

from autosft.search.race import ETA, OPENING, PATIENCE_RUNS, RUNGS, Lane, Race
from autosft.trainers.with_transformers import TransformersTrainer

#: Time units of a full run, and of each rung.
FULL = 27.0
LENGTHS = tuple(round(FULL * rung) for rung in RUNGS)

#: Rows that an accuracy was measured on, and how much of two configurations' right answers go together: what makes a
#: row hard makes it hard for both. Paired predictions were not recorded, so the share is an assumption.
NUM_VALIDATION, CORRELATION = 300, 0.7

_SLACK = 1e-6


@dataclass
class Seen:
    """What one search saw until some moment.

    Attributes:
        spent: Full runs' worth of compute.
        full: Validation accuracies at full length.
        shorter: Of configurations without one: the longest length and its validation accuracy.
    """

    spent: float = 0.0
    full: dict[int, float] = field(default_factory=dict)
    shorter: dict[int, tuple[float, float]] = field(default_factory=dict)

    def best(self) -> int:
        """Returns what is shipped: the best at full length, by validation."""
        if self.full:
            return max(self.full, key=self.full.__getitem__)
        return max(self.shorter, key=self.shorter.__getitem__, default=DEFAULT)

    def guarded(self) -> int | None:
        """Returns the best if it beats the default by more than a standard error, else the default."""
        if DEFAULT not in self.full:
            return None
        best = self.best()
        share = (self.full[best] + self.full[DEFAULT]) / 2
        error = math.sqrt(2 * share * (1 - share) * (1 - CORRELATION) / NUM_VALIDATION)
        return best if self.full[best] > self.full[DEFAULT] + error else DEFAULT


@dataclass(frozen=True)
class Setting:
    """How a race is run.

    Attributes:
        sampler: "order" draws the table in a random order; "tpe", "random" and "half" are the shipped sampler.
        rates: Whether the default's other learning rates come second and third.
        fresh: Factors on the default's learning rate at which it comes next with a fresh head.
        promote: What decides about promotions below full length.
        curve: "annealed"; "cut-off" takes a rung's score from the full-length run on its way; "resumed" does that too
            and pays only for what a promotion adds.
        rungs: Positions in the recorded rungs. A plan leaves out those of fewer than six updates; a full run here has
            56, so the shortest is a ninth.
        grouped: Whether a rung's results are compared only among configurations with the same kind of head.
        opening: Configurations after which the best of each group goes on without company; None for never.
        finalists: So many of the best are trained at full length once more, with another seed, before one is shipped.
    """

    sampler: str = "order"
    rates: bool = True
    fresh: tuple[float, ...] = ()
    promote: str = "loss"
    curve: str = "annealed"
    rungs: tuple[int, ...] = (1, 2, 3)
    grouped: bool = True
    eta: int = ETA
    opening: int | None = OPENING
    patience_runs: float | None = PATIENCE_RUNS
    finalists: int = 0
    workers: int = 1


@dataclass(frozen=True)
class World:
    """One simulated search's view of a table.

    Attributes:
        shown: Of each configuration, the validation accuracy that a full run will show: that of one of its seeds.
        again: What one with another seed would show; the same where only one seed was recorded.
    """

    table: Table
    neighbours: Neighbours
    seed: int
    shown: np.ndarray[Any, Any]
    again: np.ndarray[Any, Any]

    @classmethod
    def draw(cls, table: Table, neighbours: Neighbours, seed: int) -> World:
        orders = [np.random.default_rng([seed, 1]).permutation(len(scores)) for scores in table.full]
        first = [float(scores[order[0]]) for scores, order in zip(table.full, orders, strict=True)]
        last = [float(scores[order[-1]]) for scores, order in zip(table.full, orders, strict=True)]
        return cls(table, neighbours, seed, np.array(first), np.array(last))

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 2])


Strategy = Callable[[World, Sequence[float]], dict[float, Seen]]


def race(setting: Setting) -> Strategy:
    """Returns the race. What it does depends on the time left, so every budget is a search of its own."""
    return lambda world, budgets: {budget: _race(world, setting, budget) for budget in budgets}


def _race(world: World, setting: Setting, budget: float) -> Seen:
    proposer = _proposer(world, setting)
    rungs = [RUNGS[position] for position in setting.rungs]
    curves = world.table.annealed if setting.curve == "annealed" else world.table.cut_off
    promote, accuracy = curves[setting.promote], curves["validation"]
    policy = Race(
        [Lane(ARM, tuple(rungs), FULL, most_configs=len(world.table))],
        proposer,
        workers=setting.workers,
        group=(lambda one: TransformersTrainer.starts_from(one.config)) if setting.grouped else None,
        eta=setting.eta,
        opening=setting.opening,
        patience_runs=setting.patience_runs,
    )
    seen = Seen()
    deadline = FULL * (budget - setting.finalists) / setting.workers + _SLACK
    running: list[tuple[float, int, float, Any]] = []
    now, order = 0.0, count()
    while True:
        while len(running) < setting.workers and (heat := policy.ask(deadline - now)) is not None:
            seconds = float(LENGTHS[setting.rungs[heat.rung]])
            if setting.curve == "resumed" and heat.rung:
                seconds -= LENGTHS[setting.rungs[heat.rung - 1]]
            heapq.heappush(running, (now + seconds, next(order), seconds, heat))
        if not running:
            break
        now, _, seconds, heat = heapq.heappop(running)
        seen.spent += seconds / FULL
        position, rung = proposer.position(heat.number), setting.rungs[heat.rung]
        is_full = rung == len(RUNGS) - 1
        score = float(world.shown[position] if is_full else accuracy[position, rung])
        told = None if math.isnan(score) else score
        by_loss = setting.promote != "validation"
        value = float(promote[position, rung]) if by_loss else score
        # Lengths are known exactly here, so the race is not to learn from what a resumed run saved.
        policy.tell(
            heat.number, heat.rung, score=None if told is None else value, seconds=seconds, fidelity=seconds / FULL
        )
        proposer.tell(heat.number, score=told, fidelity=heat.fidelity, state="complete" if is_full else "waiting")
        if told is not None and is_full:
            seen.full[position] = score
        elif told is not None:
            seen.shorter[position] = (heat.fidelity, float(accuracy[position, rung]))
    if setting.finalists:
        finalists = sorted(seen.full, key=seen.full.__getitem__, reverse=True)[: setting.finalists]
        seen.spent += len(finalists)
        means = {position: (seen.full[position] + float(world.again[position])) / 2 for position in finalists}
        # Without the default among them there is nothing else to guard by than what it showed once.
        seen.full = means | ({DEFAULT: seen.full[DEFAULT]} if DEFAULT in seen.full and DEFAULT not in means else {})
    return seen


def _proposer(world: World, setting: Setting) -> RandomOrder | SnappedSampler:
    first = world.table.opening(rates=setting.rates, fresh=setting.fresh)
    if setting.sampler == "order":
        return RandomOrder(world.table, world.rng(), first=first)
    return SnappedSampler(
        world.table,
        world.neighbours,
        sampler="random" if setting.sampler == "random" else "tpe",
        seed=world.seed,
        random_share=0.5 if setting.sampler == "half" else 0.0,
        first=first,
    )


def full_runs(world: World, budgets: Sequence[float]) -> dict[float, Seen]:
    """Trains the default and then random configurations at full length."""
    order = [DEFAULT, *(1 + world.rng().permutation(len(world.table) - 1))]
    return _at(budgets, ((1.0, int(position), 1.0, float(world.shown[position])) for position in order))


def asha(*, grace: int = 1, default_first: bool = False) -> Strategy:
    """Returns stock Ray: its asynchronous halving, which stops trials on their way, over OptunaSearch.

    Args:
        grace: 27ths of a full run before which no trial is stopped.
        default_first: Whether a user handed it the untuned default as the first point to evaluate.
    """
    return lambda world, budgets: _at(budgets, _asha(world, grace=grace, default_first=default_first))


def _asha(world: World, *, grace: int, default_first: bool) -> Iterator[tuple[float, int, float, float]]:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    scheduler: Any = AsyncHyperBandScheduler(
        time_attr="step", metric="score", mode="max", grace_period=grace, max_t=int(FULL), reduction_factor=3
    )
    searcher = SnappedOptuna(world.table, world.neighbours, seed=world.seed, default_first=default_first)
    while (asked := searcher.ask()) is not None:
        position, trial = asked
        stand_in = SimpleNamespace(trial_id=str(position))
        scheduler.on_trial_add(None, stand_in)
        before, score = 0, math.nan
        for column, length in enumerate(LENGTHS):
            if length < grace:
                continue
            is_full = column == len(LENGTHS) - 1
            score = float(world.shown[position] if is_full else world.table.cut_off["validation"][position, column])
            yield (length - before) / FULL, position, length / FULL, score
            before = length
            if scheduler.on_trial_result(None, stand_in, {"step": length, "score": score}) == scheduler.STOP:
                break
        searcher.tell(trial, score)


def halving(*, first: int = 0) -> Strategy:
    """Returns halving in step: as many as there is room for at the first rung, the best third of them at the next.

    Args:
        first: Position of the first rung.
    """
    return lambda world, budgets: {budget: _halving(world, budget, first) for budget in budgets}


def _halving(world: World, budget: float, first: int) -> Seen:
    rungs = range(first, len(LENGTHS))

    def sizes(num: int) -> list[int]:
        return [max(1, num // 3 ** (rung - first)) for rung in rungs]

    def cost(num: int) -> float:
        return sum(size * LENGTHS[rung] for size, rung in zip(sizes(num), rungs, strict=True))

    num = max((num for num in range(1, len(world.table) + 1) if cost(num) <= budget * FULL + _SLACK), default=1)
    left = [DEFAULT, *(int(position) for position in 1 + world.rng().permutation(len(world.table) - 1))]
    seen = Seen()
    accuracy = world.table.annealed["validation"]
    for rung, size in zip(rungs, sizes(num), strict=True):
        if rung == len(LENGTHS) - 1:
            # What the table is too small to use up trains the next best at full length.
            size += int(budget - cost(num) / FULL + _SLACK)
        left = left[:size]
        seen.spent += len(left) * LENGTHS[rung] / FULL
        for position in left:
            if rung == len(LENGTHS) - 1:
                seen.full[position] = float(world.shown[position])
            else:
                seen.shorter[position] = (RUNGS[rung], float(accuracy[position, rung]))
        left = sorted(left, key=lambda position: -accuracy[position, rung])
    return seen


def one_epoch(world: World, budgets: Sequence[float]) -> dict[float, Seen]:
    """Trains as many as there is room for during one of five epochs, and lets the best three go on to the end.

    The score after a fifth of the run is taken as the mean of those after a ninth and a third, which lie about as far
    from it on a logarithmic scale.
    """
    scores = world.table.cut_off["validation"][:, 1:3].mean(axis=1)
    order = [DEFAULT, *(int(position) for position in 1 + world.rng().permutation(len(world.table) - 1))]
    found = {}
    for budget in budgets:
        num = min(len(order), int((budget - 3 * 0.8) * 5 + _SLACK))
        if num < 3:
            continue
        best = sorted(order[:num], key=lambda position: -scores[position])[:3]
        found[budget] = Seen(num / 5 + 3 * 0.8, {position: float(world.shown[position]) for position in best})
    return found


def _at(budgets: Sequence[float], steps: Iterator[tuple[float, int, float, float]]) -> dict[float, Seen]:
    """Returns what was seen within each budget by a search that does not look ahead.

    Args:
        steps: (cost, configuration, length, score) of every report.
    """
    found: dict[float, Seen] = {}
    left = sorted(budgets)
    seen = Seen()
    for cost, position, length, score in steps:
        while left and seen.spent + cost > left[0] + _SLACK:
            found[left.pop(0)] = Seen(seen.spent, dict(seen.full), dict(seen.shorter))
        if not left:
            break
        seen.spent += cost
        if length == 1:
            seen.full[position] = score
        else:
            seen.shorter[position] = (length, score)
    return found | {budget: Seen(seen.spent, dict(seen.full), dict(seen.shorter)) for budget in left}
