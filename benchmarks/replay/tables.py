"""The recorded learning curves as arrays, and how far apart two configurations are in the space they come from."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from autosft.search.race import RUNGS
from autosft.search.sampler import ArmSpace
from autosft.search.space import SearchSpace
from autosft.search.space_file import find_space
from autosft.task import Input, Output
from autosft.trainers.with_transformers import TransformersConfig

ARM = "arm"
#: What a configuration may be promoted by; all of them as "the greater, the better".
METRICS = ("validation", "loss", "calibrated")
#: Positions of the untuned default, and of the default with other learning rates.
DEFAULT, RATES = 0, (1, 2)
#: Heads that the default starts from, and that stand for its other start.
FITTED, FRESH = "mean-from-probe", "mean"

Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Table:
    """One set.

    Attributes:
        configs: Every configuration that was trained at every rung.
        annealed: By metric, a row a configuration and a column a rung: scores of whole runs of that length.
        cut_off: Likewise, of the full-length run on its way.
        full: Of each configuration, the validation accuracy at full length, by seed.
        test: Its test accuracy at full length, mean of the seeds.
        seed_sd: Standard deviation of that test accuracy between seeds, pooled; NaN where no configuration has two.
    """

    name: str
    configs: tuple[dict[str, Any], ...]
    annealed: Curves
    cut_off: Curves
    full: tuple[NDArray[np.float64], ...]
    test: NDArray[np.float64]
    seed_sd: float

    def __len__(self) -> int:
        return len(self.configs)

    def opening(self, *, rates: bool, fresh: Collection[float]) -> list[int]:
        """Returns the positions of what a search begins with, the default first; what was not recorded is left out.

        Args:
            rates: Whether the default's other learning rates follow.
            fresh: Factors on the default's rate at which it follows with a fresh head.
        """
        found = [DEFAULT, *(position for position in RATES if rates and position < len(self))]
        default = self.configs[DEFAULT]
        for factor in fresh if default["head"] == FITTED else ():
            wanted = default | {"head": FRESH, "learning_rate": default["learning_rate"] * factor}
            found += [self.configs.index(wanted)] if wanted in self.configs else []
        return found


def load(folder: Path) -> list[Table]:
    """Reads the sets of a folder that were recorded."""
    return [read(path) for path in sorted(folder.glob("*.parquet"))]


def read(path: Path, config_class: type[Any] = TransformersConfig) -> Table:
    """Reads a recorded table."""
    return make(path.stem, pq.read_table(path).to_pylist(), config_class)


def make(name: str, rows: list[dict[str, Any]], config_class: type[Any] = TransformersConfig) -> Table:
    """Puts the rows of a recorded table in order.

    Args:
        config_class: The Config of the trainer that was recorded.
    """
    found: dict[tuple[int, int, float, float], dict[str, Any]] = {}
    for row in rows:
        found[row["config_id"], row["seed"], row["run_fidelity"], row["fidelity"]] = row
    # The first three ids are those of `DEFAULT` and `RATES`, because they are recorded first.
    ids = sorted({row["config_id"] for row in rows if (row["config_id"], 0, 1.0, 1.0) in found})
    seeds = {i: [seed for seed in range(99) if (i, seed, 1.0, 1.0) in found] for i in ids}
    tests = [np.array([found[i, seed, 1.0, 1.0]["test"] for seed in seeds[i]]) for i in ids]
    several = [test for test in tests if len(test) > 1]
    freedom = sum(len(test) - 1 for test in several)
    squares = sum(float(np.sum((test - test.mean()) ** 2)) for test in several)

    def curves(*, annealed: bool) -> Curves:
        curve = {metric: np.full((len(ids), len(RUNGS)), np.nan) for metric in METRICS}
        for position, i in enumerate(ids):
            for column, rung in enumerate(RUNGS):
                row = found.get((i, 0, rung if annealed else 1.0, rung))
                for metric in METRICS if row else ():
                    value = row[metric]
                    if value is not None and math.isfinite(value):
                        curve[metric][position, column] = value if metric == "validation" else -value
        return curve

    return Table(
        name,
        tuple(asdict(config_class(**json.loads(found[i, 0, 1.0, 1.0]["config"]))) for i in ids),
        curves(annealed=True),
        curves(annealed=False),
        tuple(np.array([found[i, seed, 1.0, 1.0]["validation"] for seed in seeds[i]]) for i in ids),
        np.array([test.mean() for test in tests]),
        math.sqrt(squares / freedom) if freedom else math.nan,
    )


class Neighbours:
    """Which recorded configuration is nearest to another one.

    The distance is Euclidean over the searched parameters: numbers as their place in the range, on a logarithm where
    the space draws that; a different choice counts as the whole range. With a few recorded configurations in many
    dimensions, those in the middle are nearest to almost every draw and those in the corners to hardly any, so each
    gets a handicap, found by semi-discrete optimal transport, with which uniform draws fall to all of them alike.
    """

    def __init__(self, configs: tuple[dict[str, Any], ...]) -> None:
        space = find_space("transformers", Input.TEXT, Output.LABEL)
        assert isinstance(space, SearchSpace)
        self.arm = ArmSpace(space, configs[DEFAULT], {})
        self._default = configs[DEFAULT]
        self._parameters = space.restrict({}).parameters
        self._places = np.array([self._place(config) for config in configs])
        self._handicaps = self._balanced(np.random.default_rng(0))

    def nearest(self, config: Mapping[str, Any], used: NDArray[np.bool_]) -> int:
        """Returns the position of the nearest configuration that was not used; of a recorded one, its own."""
        distances = ((self._places - np.array(self._place(config))) ** 2).sum(axis=1)
        same = int(np.argmin(distances))
        if distances[same] < 1e-12 and not used[same]:
            return same
        return int(np.argmin(np.where(used, np.inf, distances + self._handicaps)))

    def _balanced(self, rng: np.random.Generator, *, draws: int = 2000, rounds: int = 400) -> NDArray[np.float64]:
        columns: list[NDArray[np.float64]] = []
        for parameter in self._parameters:
            if parameter.type == "choice":
                chosen = rng.integers(len(parameter.values), size=draws)
                columns += [math.sqrt(0.5) * (chosen == value) for value in range(len(parameter.values))]
            else:
                columns.append(rng.random(draws))
        drawn = np.stack(columns, axis=1)
        distances = ((drawn[:, None, :] - self._places[None]) ** 2).sum(axis=2)
        handicaps = np.zeros(len(self._places))
        for step in range(rounds):
            nearest = np.argmin(distances + handicaps, axis=1)
            shares = np.bincount(nearest, minlength=len(handicaps)) / draws * len(handicaps)
            handicaps += 0.1 / math.sqrt(1 + step / 10) * (shares - 1).clip(-1, 3)
        return handicaps

    def _place(self, config: Mapping[str, Any]) -> list[float]:
        place = []
        for parameter in self._parameters:
            value = config[parameter.name]
            if parameter.type == "choice":
                # Half the squared distance in each of two coordinates makes a mismatch count as one.
                place += [math.sqrt(0.5) * (value == choice) for choice in parameter.values]
                continue
            assert parameter.low is not None and parameter.high is not None
            unit = self._default[parameter.name] if parameter.scale else 1.0
            low, high = parameter.low * unit, parameter.high * unit
            if parameter.log:
                value, low, high = math.log(value), math.log(low), math.log(high)
            place.append((value - low) / (high - low))
        return place
