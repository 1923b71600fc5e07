"""A review: every topic's claims about a sweep, what decides most first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autosft.planning.plan import Plan
from autosft.reviewing.claim import Claim, Review
from autosft.reviewing.edges import edges
from autosft.reviewing.fields import fields
from autosft.reviewing.from_run import from_memory
from autosft.reviewing.further import further
from autosft.reviewing.luck import luck
from autosft.reviewing.next_space import next_claim, next_spaces
from autosft.reviewing.overview import overview
from autosft.reviewing.rungs import rungs
from autosft.reviewing.sweep import Sweep
from autosft.reviewing.waste import waste
from autosft.reviewing.winner import winner
from autosft.search.trial import Trial


def review(sweep: Sweep) -> Review:
    """Returns what can be said about a sweep, and what it should search next."""
    spaces = next_spaces(sweep)
    claims = (*_all_claims(sweep), *next_claim(sweep, spaces))
    return Review(sweep.name, claims, next(iter(spaces.values()), None), spaces)


def claims_of_run(plan: Plan, trials: Sequence[Trial], summary: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Returns the claims about a run that is about to be finished.

    Args:
        summary: The content of its `result.json`.
    """
    return _all_claims(from_memory(plan, trials, summary))


def _all_claims(sweep: Sweep) -> tuple[Claim, ...]:
    topics = (overview, winner, luck, fields, edges, waste, rungs, further)
    return tuple(claim for topic in topics for claim in topic(sweep))
