"""A sweep as a review sees it, whoever ran it: its trials, what may vary, and what is known of the outcome."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosft.intervals import Interval
from autosft.reviewing.importance import Importance, importances
from autosft.search.finals import SAME_LENGTH
from autosft.search.space import SearchSpace

#: Fields that repeat a configuration rather than change it.
SEEDS = ("seed", "random_seed", "random_state", "data_seed", "fold")


@dataclass(frozen=True)
class SweepTrial:
    """One training.

    Attributes:
        name: As whoever ran it called it.
        config: What it was trained with; nested fields by dotted names.
        score: The deciding metric, None where there is none.
        fate: "complete", "stopped" (early), "failed" or "running".
        arm: What is only compared by its best: a trainer with a base model; "" where there is one sort alone.
        length: Share of a full training that was asked for.
        reached: Share of a full training that it ran for, where it came to its end.
        reports: (share of this training, score) pairs on the way, the end included.
        is_default: Whether the configuration is the untuned default.
        repeats: What tells it from others of the same configuration: seed and fold.
        is_final: Whether it repeats one of the best for the final choice, and so is no part of the search.
        interval: 95 % interval of the score over validation rows.
        seconds: What it took, None where that is not known.
        began: Seconds at which it began, from any origin; ended: likewise.
        message: Why it failed.
    """

    name: str
    config: Mapping[str, Any]
    score: float | None = None
    fate: str = "complete"
    arm: str = ""
    length: float = 1.0
    reached: float = 1.0
    reports: tuple[tuple[float, float], ...] = ()
    is_default: bool = False
    repeats: str = ""
    is_final: bool = False
    interval: Interval | None = None
    seconds: float | None = None
    began: float | None = None
    ended: float | None = None
    message: str = ""

    @functools.cached_property
    def identity(self) -> str:
        """Tells its configuration from others."""
        return json.dumps([self.arm, dict(self.config)], sort_keys=True, default=str)

    @property
    def is_scored(self) -> bool:
        """Whether it ran to the end that was asked for and has a score that can be compared."""
        return self.fate == "complete" and self.score is not None and math.isfinite(self.score)

    @property
    def is_whole(self) -> bool:
        """Whether it ran for a full training, as good as."""
        return self.reached >= SAME_LENGTH


@dataclass(frozen=True)
class Bounds:
    """The declared range of a field: from low to high, in the field's own unit."""

    low: float
    high: float
    is_log: bool = False


@dataclass(frozen=True)
class ArmSpace:
    """What may vary in an arm, as autosft's search spaces say it, and the default that relative ranges refer to."""

    space: SearchSpace
    default: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a finished run of autosft came to.

    Attributes:
        winner: Name of the winning trial.
        validation: Its score on the rows that the search chose by.
        validation_interval: Of that score.
        test: Score of the shipped model on rows that the search did not choose by; None where there are none.
        test_interval: Of that score.
        num_test_rows: How many rows those are.
        gain: Winner minus default on the same rows, positive when better; None where there is no default.
        gain_interval: Paired.
        is_default: Whether the default that the winner is compared with won itself.
        on_fresh_rows: Whether the gain was measured on rows that the search did not choose by.
        num_gain_rows: Rows that it was measured on.
        default_length: Share of the winner's training that the default was trained for.
    """

    winner: str
    validation: float | None
    validation_interval: Interval | None
    test: float | None
    test_interval: Interval | None
    num_test_rows: int
    gain: float | None
    gain_interval: Interval | None
    is_default: bool
    on_fresh_rows: bool
    num_gain_rows: int
    default_length: float = 1.0


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        name: Folder, file or W&B path.
        source: "autosft", "wandb" or "table".
        metric: What decides; None where no score was found.
        greater_is_better: Its direction.
        trials: In the order in which they began, as far as that is known.
        notes: What the reader had to assume, a sentence each.
        bounds: Declared ranges by arm and field.
        spaces: autosft's search spaces by arm.
        outcome: Where a run of autosft finished.
        phases: Worker seconds by phase, with "wall" and "workers".
        rungs: See `autosft.search.rung_ranks`.
        num_rows: Validation rows, None where that is not known.
    """

    name: str
    source: str
    metric: str | None
    greater_is_better: bool
    trials: tuple[SweepTrial, ...]
    notes: tuple[str, ...] = ()
    bounds: Mapping[str, Mapping[str, Bounds]] = field(default_factory=dict)
    spaces: Mapping[str, ArmSpace] = field(default_factory=dict)
    outcome: Outcome | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    rungs: Sequence[Mapping[str, Any]] = ()
    num_rows: int | None = None

    @property
    def sign(self) -> int:
        """1 where greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    @functools.cached_property
    def searched(self) -> tuple[SweepTrial, ...]:
        """All trials but the repetitions for a final choice."""
        return tuple(trial for trial in self.trials if not trial.is_final)

    @functools.cached_property
    def ranked(self) -> tuple[SweepTrial, ...]:
        """The trials that can be compared, best first: of each arm those of its longest length."""
        longest: dict[str, float] = {}
        for trial in self.searched:
            if trial.is_scored:
                longest[trial.arm] = max(trial.length, longest.get(trial.arm, 0.0))
        full = [trial for trial in self.searched if trial.is_scored and trial.length == longest[trial.arm]]
        return tuple(sorted(full, key=lambda trial: (-self.sign * (trial.score or 0.0), not trial.is_default)))

    def length_of(self, ranked: Sequence[SweepTrial]) -> str:
        """Words how long trials that can be compared were trained: wholly only where none was cut short."""
        if all(trial.is_whole for trial in ranked):
            return "full length"
        return "their arm's longest length" if len(self.arms) > 1 else "the longest length"

    @functools.cached_property
    def arms(self) -> tuple[str, ...]:
        """The arms with a score, that of the best trial first."""
        return tuple({trial.arm: None for trial in self.ranked})

    @functools.cached_property
    def importances(self) -> dict[str, list[Importance]]:
        """By arm, how much each field mattered to where its configurations came in."""
        found = {}
        for arm in self.arms:
            standings = self.standings(arm)
            places: list[float] = []
            for at, row in enumerate(standings):
                same = at > 0 and (row.length, row.score) == (standings[at - 1].length, standings[at - 1].score)
                places.append(places[-1] if same else -float(at))
            found[arm] = importances([row.config for row in standings], places)
        return found

    def standings(self, arm: str) -> list[Standing]:
        """Returns each configuration of an arm once, best first: by its longest training, then by its score there.

        Only the best go on to longer trainings, so one that did stands above all that did not. The score of a
        configuration that was trained more than once at that length is the mean.
        """
        found: dict[str, list[SweepTrial]] = {}
        for trial in self.searched:
            if trial.arm == arm and trial.is_scored:
                found.setdefault(trial.identity, []).append(trial)
        rows = []
        for trials in found.values():
            length = max(trial.length for trial in trials)
            scores = [trial.score for trial in trials if trial.length == length and trial.score is not None]
            rows.append(Standing(trials[0].config, length, sum(scores) / len(scores), trials[0].is_default))
        return sorted(rows, key=lambda row: (-row.length, -self.sign * row.score))


@dataclass(frozen=True)
class Standing:
    """Where a configuration came in: the longest length it was trained for, and its score there."""

    config: Mapping[str, Any]
    length: float
    score: float
    is_default: bool


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested fields by dotted names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def standard_error(interval: Interval | None) -> float | None:
    """Returns the standard error that a 95 % interval stands for; None where it is not known or of no width."""
    error = math.nan if interval is None else interval.standard_error
    return error if math.isfinite(error) and error > 0 else None
