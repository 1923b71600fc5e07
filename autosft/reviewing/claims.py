"""A review: every topic's claims about a sweep, what decides most first."""

from __future__ import annotations

from autosft.reviewing.claim import Claim, Review
from autosft.reviewing.edges import edges
from autosft.reviewing.fields import fields
from autosft.reviewing.further import further
from autosft.reviewing.luck import luck
from autosft.reviewing.next_space import next_claim, next_spaces
from autosft.reviewing.overview import overview
from autosft.reviewing.rungs import rungs
from autosft.reviewing.sweep import Sweep
from autosft.reviewing.waste import waste
from autosft.reviewing.winner import winner


def review(sweep: Sweep) -> Review:
    """Returns what can be said about a sweep, and what it should search next."""
    try:
        spaces = next_spaces(sweep)
        about = next_claim(sweep, spaces)
    except (ArithmeticError, TypeError, ValueError) as error:
        # Logs hold anything, such as numbers at the end of what a float holds. That must not cost the other claims.
        spaces, about = {}, [Claim("next", f"No next space: it could not be written ({error}).", level="unknown")]
    return Review(sweep.name, (*claims_of(sweep), *about), next(iter(spaces.values()), None), spaces)


def claims_of(sweep: Sweep) -> tuple[Claim, ...]:
    """Returns the claims about a sweep without those about what should be searched next."""
    topics = (overview, winner, luck, fields, edges, waste, rungs, further)
    return tuple(claim for topic in topics for claim in topic(sweep))
