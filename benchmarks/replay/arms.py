"""Replays searches over several arms: is it worth choosing the next arm by what it promises for its cost?

    python benchmarks/replay/arms.py

Every search has two heads that cost next to nothing, MiniLM's first layer fine-tuned, and one arm more: the same curves
at three times the cost ("no better"), three layers at three times the cost ("three layers"), or the configurations with
fresh heads at the same cost ("fresh heads"). The race is the shipped one; what differs is how an arm is chosen. Appends
a JSON line a set, arm, way and budget to results/replay.jsonl. `strategies.py` says what a search sees and ships.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import ARMS, FIRST_ARM, table_of
from simulate import RESULTS, commit
from strategies import FULL
from tables import RATES, Table, read

from autosft.finish import package_versions
from autosft.search.race import RUNGS, Heat, Lane, Race
from autosft.search.rungs import Entry
from autosft.search.sampler import Proposal
from autosft.trainers import trainer_class
from autosft.trainers.with_transformers import TransformersTrainer

SETS = ("banking77", "goemotions", "sentence_polarity")
#: In full runs of the first layer.
BUDGETS = (9.0, 14.0, 20.0, 30.0, 50.0)
#: How the next arm is chosen. Draws: at random; the one that less was spent on; in proportion to the inverse of its
#: estimated cost for improvement. Then the last two for promotions as well.
WAYS = ("draws_even", "draws_equal_time", "draws_by_gain", "all_equal_time", "all_by_gain")

_SLACK = 1e-6


@dataclass
class Arm:
    """An arm of a simulated search.

    Attributes:
        full_cost: Of a full training, in 27ths of one of the first layer.
        rungs: Its lengths.
    """

    table: Table
    full_cost: float
    rungs: tuple[float, ...]

    @property
    def draw_cost(self) -> float:
        return self.full_cost * self.rungs[0]


@dataclass
class Progress:
    """What an arm cost and brought so far, as FLAML keeps it (Wang et al., arXiv 1911.04706)."""

    spent: float = 0.0
    best: float = -math.inf
    spent_at_best: float = 0.0
    gained: float = 0.0
    spent_before: float = 0.0

    def tell(self, cost: float, value: float | None) -> None:
        self.spent += cost
        if value is not None and value > self.best:
            self.gained = value - self.best if math.isfinite(self.best) else 0.0
            self.spent_before, self.spent_at_best, self.best = self.spent_at_best, self.spent, value

    def cost_of_gain(self, best: float, draw_cost: float) -> float:
        """Estimates what it takes until this arm is better than the best of all."""
        since = max(self.spent - self.spent_at_best, self.spent_at_best - self.spent_before, draw_cost)
        if self.best >= best or self.gained <= 0:
            return since
        return max(since, (best - self.best) * (self.spent - self.spent_before) / self.gained)


@dataclass
class Search:
    """One simulated search: proposes configurations, and chooses among arms.

    Attributes:
        left: By arm, positions of what was not proposed yet.
        position: By number of a proposal, its arm and position.
        shown: By arm, the validation accuracies that full runs will show: of one seed each.
        preferred: An arm that was chosen already, of which the next configuration is to be.
    """

    arms: Mapping[str, Arm]
    way: str
    seed: int
    left: dict[str, list[int]] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    position: dict[int, tuple[str, int]] = field(default_factory=dict)
    shown: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    preferred: str = ""

    def __post_init__(self) -> None:
        self._numbers, self._rng, self._opening = count(), np.random.default_rng([self.seed, 2]), dict[str, int]()
        for name, arm in self.arms.items():
            size, first = len(arm.table), [0, *(RATES if len(arm.rungs) > 1 else ())]
            rest = [position for position in range(size) if position not in first]
            self.left[name] = [*first, *(int(position) for position in self._rng.permutation(rest))]
            self.progress[name] = Progress()
            self.shown[name] = np.array([self._rng.choice(scores) for scores in arm.table.full])
        self._opening = {
            name: len(self.left[name]) - (3 if len(arm.rungs) > 1 else 1) for name, arm in self.arms.items()
        }

    @property
    def is_open(self) -> bool:
        """Whether every arm has begun its default and its other learning rates."""
        return all(len(self.left[name]) <= rest for name, rest in self._opening.items())

    def ask(self, arms: Collection[str]) -> Proposal | None:
        allowed = [name for name in self.arms if name in arms and self.left[name]]
        if not allowed:
            return None
        first = [name for name in allowed if len(self.left[name]) == len(self.arms[name].table)]
        rates = [name for name in allowed if len(self.left[name]) > self._opening[name]]
        preferred = [name for name in allowed if name == self.preferred]
        name = (first or rates or preferred or self.order(allowed, self.way.removeprefix("draws_")))[0]
        position, number = self.left[name].pop(0), next(self._numbers)
        self.position[number] = name, position
        return Proposal(number, name, self.arms[name].table.configs[position], position == 0)

    def order(self, names: Sequence[str], way: str) -> list[str]:
        """Returns arms in the order in which they are to be tried."""
        if way == "equal_time":
            return sorted(names, key=lambda name: self.progress[name].spent)
        shares = np.ones(len(names))
        if way == "by_gain":
            best = max(progress.best for progress in self.progress.values())
            shares = np.array([1 / self.progress[name].cost_of_gain(best, self.arms[name].draw_cost) for name in names])
        return [str(name) for name in self._rng.choice(names, len(names), replace=False, p=shares / shares.sum())]


class ArmRace(Race):
    """The race, but that an arm is chosen first, for promotions as well, in the ways that are called so."""

    searching: Search

    def _promotion(
        self, must: Sequence[Entry], seconds_left: float | None, heats_left: int | None, *, due: bool
    ) -> Heat | None:
        way = self.searching.way
        if not due or not way.startswith("all_") or not self.searching.is_open:
            return super()._promotion(must, seconds_left, heats_left, due=due)
        arms = self.searching.order(list(self.searching.arms), way.removeprefix("all_"))
        for arm in arms:
            for fidelity, rung in self._rungs.items():
                for group in rung.waiting_groups():
                    if group.waiting[0][2].arm == arm:
                        chosen = self._next_of(group, fidelity, must, seconds_left, heats_left, due=due)
                        if chosen is not None:
                            return self._begin(chosen, chosen.reached + 1)
            if self.searching.left[arm] and self._may_start(arm, self._reserved(must), seconds_left):
                self.searching.preferred = arm
                return None
        return None


def search(arms: Mapping[str, Arm], way: str, budget: float, seed: int) -> tuple[float, dict[str, float]]:
    """Returns the test accuracy of what a search ships, and what each arm cost, in full runs."""
    searching = Search(arms, way, seed)

    def group(proposal: Any) -> str:
        starts = TransformersTrainer.starts_from(proposal.config) if "head" in proposal.config else ""
        return f"{proposal.arm} {starts}"

    lanes = [Lane(name, arm.rungs, arm.full_cost) for name, arm in arms.items()]
    race = ArmRace(lanes, searching, workers=1, group=group)
    race.searching = searching
    left, full, shorter = FULL * budget + _SLACK, dict[tuple[str, int], float](), dict[tuple[str, int], float]()
    while (heat := race.ask(left)) is not None:
        name, position = searching.position[heat.number]
        arm, cost, column = arms[name], arms[name].full_cost * heat.fidelity, RUNGS.index(heat.fidelity)
        left -= cost
        loss = float(arm.table.annealed["loss"][position, column])
        is_full = heat.fidelity == 1
        score = float(
            searching.shown[name][position] if is_full else arm.table.annealed["validation"][position, column]
        )
        failed = not math.isfinite(loss) or not math.isfinite(score)
        race.tell(heat.number, heat.rung, score=None if failed else loss, seconds=cost, fidelity=heat.fidelity)
        searching.progress[name].tell(cost, None if failed else score)
        if not failed:
            (full if is_full else shorter)[name, position] = score
    name, position = max(full or shorter, key=(full or shorter).__getitem__)
    spent = {other: progress.spent / FULL for other, progress in searching.progress.items()}
    return float(arms[name].table.test[position]), spent


def worlds(folder: Path, set_name: str) -> dict[str, dict[str, Arm]]:
    """Returns the arms of a set's searches, by what the fourth of them is."""
    tables = {
        name: read(table_of(folder, set_name, name), trainer_class(arm.trainer).Config) for name, arm in ARMS.items()
    }
    heads = {name: Arm(tables[name], 1.0, (1.0,)) for name, arm in ARMS.items() if len(arm.rungs) == 1}
    first, opening = tables[FIRST_ARM], [0, *RATES]
    rest = range(len(opening), len(first))
    halves = [_part(first, [*opening, *rest[at::2]]) for at in (0, 1)]
    fresh = [at for at, config in enumerate(first.configs) if config["head"] != first.configs[0]["head"]]
    rungs = RUNGS[1:]
    return {
        "no better": heads | {FIRST_ARM: Arm(halves[0], FULL, rungs), "fourth": Arm(halves[1], 3 * FULL, rungs)},
        "three layers": heads
        | {FIRST_ARM: Arm(first, FULL, rungs), "fourth": Arm(tables["transformers-3"], 3 * FULL, rungs)},
        "fresh heads": heads
        | {FIRST_ARM: Arm(halves[0], FULL, rungs), "fourth": Arm(_part(first, fresh), FULL, rungs)},
    }


def _part(table: Table, positions: Sequence[int]) -> Table:
    annealed = {metric: curve[list(positions)] for metric, curve in table.annealed.items()}
    return replace(
        table,
        configs=tuple(table.configs[at] for at in positions),
        annealed=annealed,
        full=tuple(table.full[at] for at in positions),
        test=table.test[list(positions)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=Path(__file__).parent, help="folder of the recorded tables")
    parser.add_argument("--searches", type=int, default=200, help="simulated searches a set, arm, way and budget")
    parser.add_argument("--dry", action="store_true", help="write no results")
    arguments = parser.parse_args()
    rows = []
    for set_name in SETS:
        for fourth, arms in worlds(arguments.tables, set_name).items():
            best = max(float(arm.table.test.max()) for arm in arms.values())
            for way in WAYS:
                for budget in BUDGETS:
                    found = [search(arms, way, budget, seed) for seed in range(arguments.searches)]
                    regrets = 100 * (best - np.array([test for test, _ in found]))
                    spent = {name: float(np.mean([one[name] for _, one in found])) for name in arms}
                    row = {"what": "arms", "set": set_name, "fourth": fourth, "strategy": way, "budget": budget}
                    row |= {"searches": len(found), "regret": round(float(regrets.mean()), 4)}
                    row |= {"regret_error": round(float(regrets.std(ddof=1) / math.sqrt(len(regrets))), 4)}
                    rows.append(row | {"mean_spent": {name: round(value, 2) for name, value in spent.items()}})
    how = {"command": "python benchmarks/replay/arms.py", "commit": commit(), "versions": package_versions()}
    if not arguments.dry:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row | how) + "\n" for row in rows)
    for fourth in dict.fromkeys(row["fourth"] for row in rows):
        print(f"regret in points, mean over the sets; the fourth arm: {fourth}; budgets {BUDGETS}")
        for way in WAYS:
            chosen = [row for row in rows if (row["fourth"], row["strategy"]) == (fourth, way)]
            print(f"  {way:18}" + "".join(f"{_mean(chosen, budget):>16}" for budget in BUDGETS))


def _mean(rows: Sequence[dict[str, Any]], budget: float) -> str:
    here = [row for row in rows if row["budget"] == budget]
    half = 1.96 * math.sqrt(sum(row["regret_error"] ** 2 for row in here)) / len(here)
    return f"{np.mean([row['regret'] for row in here]):.2f} ±{half:.2f}"


if __name__ == "__main__":
    sys.exit(main())
