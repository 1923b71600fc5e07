"""What a report is about: a run that came to its end, as `finish` knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.planning.plan import Plan
from autosft.proof import Proof
from autosft.search.trial import Trial


@dataclass(frozen=True)
class Ended:
    """A run that came to its end.

    Attributes:
        plan: Every decision that was made before the search.
        trials: Every trial, in the order in which they ended.
        winner: The trial whose configuration is shipped.
        default: The best untuned default.
        proof: What the models are worth, with the rows that show it.
        summary: The content of `result.json`.
        folder: The run's folder.
    """

    plan: Plan
    trials: Sequence[Trial]
    winner: Trial
    default: Trial
    proof: Proof
    summary: Mapping[str, Any]
    folder: Path
