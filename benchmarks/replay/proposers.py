"""Where a replayed search gets its configurations from: the shipped sampler, stock Optuna, or a random order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import optuna
from tables import ARM, DEFAULT, Neighbours, Table

from autosft.search.sampler import Proposal, Sampler


class RandomOrder:
    """Proposes every recorded configuration once: first those of an opening, then the rest at random."""

    def __init__(self, table: Table, rng: np.random.Generator, *, first: Sequence[int]) -> None:
        rest = [position for position in range(len(table)) if position not in first]
        self._left = [*first, *(int(position) for position in rng.permutation(rest))][::-1]
        self._configs = table.configs

    def ask(self, arms: Collection[str] | None = None) -> Proposal | None:
        if not self._left:
            return None
        position = self._left.pop()
        return Proposal(position, ARM, self._configs[position], position == DEFAULT)

    def position(self, number: int) -> int:
        return number

    def tell(self, number: int, *, score: float, fidelity: float, state: str) -> None:
        """Learns nothing."""


class SnappedSampler(Sampler):
    """The shipped sampler with a given opening, each draw of which becomes the nearest recorded one not yet proposed.

    It does so before the sampler takes note of the draw, so that what it learns from is what was trained.
    """

    def __init__(
        self,
        table: Table,
        neighbours: Neighbours,
        *,
        sampler: str,
        seed: int,
        random_share: float,
        first: Sequence[int],
    ) -> None:
        self._neighbours, self._used = neighbours, np.zeros(len(table), bool)
        self._recorded, self._positions = table.configs, dict[int, int]()
        super().__init__(
            {ARM: neighbours.arm}, sampler=sampler, seed=seed, greater_is_better=True, journal=None,
            random_share=random_share,
        )  # fmt: skip
        self._openings_left = {ARM: [dict(self._recorded[position]) for position in first if position != DEFAULT]}

    def position(self, number: int) -> int:
        return self._positions[number]

    def _ask_new(self, arm: str) -> Proposal | None:
        return None if self._used.all() else super()._ask_new(arm)

    def _propose(self, arm: str, config: dict[str, Any], drawn: Any, *, is_default: bool) -> Proposal:
        position = self._neighbours.nearest(config, self._used)
        self._used[position] = True
        snapped = dict(self._recorded[position])
        proposal = super()._propose(arm, snapped, self._drawn(arm, snapped), is_default=is_default)
        self._positions[proposal.number] = position
        return proposal


class SnappedOptuna:
    """Optuna's TPE as Ray's OptunaSearch asks and tells it, snapped likewise.

    Args:
        default_first: Whether it is handed the default as its first point; of itself it knows of none.
    """

    def __init__(self, table: Table, neighbours: Neighbours, *, seed: int, default_first: bool) -> None:
        self._neighbours, self._used = neighbours, np.zeros(len(table), bool)
        self._default_first = default_first
        self._configs = table.configs
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))

    def ask(self) -> tuple[int, optuna.Trial] | None:
        if self._used.all():
            return None
        position = DEFAULT
        if self._used.any() or not self._default_first:
            drawn = self._study.ask()
            position = self._neighbours.nearest(self._draw(drawn), self._used)
            # TPE does not count failed trials, so only the configuration that is trained is left.
            self._study.tell(drawn, state=optuna.trial.TrialState.FAIL)
        self._used[position] = True
        self._study.enqueue_trial({f"{ARM}.{name}": value for name, value in self._configs[position].items()})
        trial = self._study.ask()
        self._draw(trial)
        return position, trial

    def tell(self, trial: optuna.Trial, score: float) -> None:
        """Says how a trial ended; one that was stopped counts as complete with its last score."""
        self._study.tell(trial, score)

    def _draw(self, trial: optuna.Trial) -> dict[str, Any]:
        arm = self._neighbours.arm
        return {**arm.defaults, **arm.space.suggest(trial, prefix=ARM, defaults=arm.defaults, facts=arm.facts)}
