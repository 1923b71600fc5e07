"""How the search went: what a review says of it, scores over lengths, configurations in parallel, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autosft.counting import counted
from autosft.report.blocks import Block, Listing, Said, Section
from autosft.report.ended import Ended
from autosft.report.importance import importance
from autosft.report.lengths import lengths
from autosft.report.parallel import parallel
from autosft.reviewing.claims import claims_of
from autosft.reviewing.sweep import Sweep
from autosft.search.trial import Trial

#: Arms with figures of their own.
_MOST_ARMS = 4


def claims_section(sweep: Sweep) -> Section:
    """Returns what a review of the search says."""
    claims = claims_of(sweep)
    topics = list(dict.fromkeys(claim.topic for claim in claims))
    blocks = tuple(
        Listing(tuple(claim.sentence for claim in claims if claim.topic == topic), title=topic.capitalize())
        for topic in topics
    )
    return Section("search-tells", "What the search tells", blocks)


def course(ended: Ended, sweep: Sweep) -> Section:
    """Returns figures of the search.

    Args:
        ended: The run.
        sweep: The same run as a review sees it.
    """
    blocks: list[Block] = [*lengths(ended)]
    tried = _longest(ended.trials)
    arms = sorted(ended.plan.arms, key=lambda arm: -sum(trial.arm == arm.name for trial in tried))
    for at, arm in enumerate(arms[:_MOST_ARMS]):
        own = [trial for trial in tried if trial.arm == arm.name]
        shares = {row.field: row.share for row in sweep.importances.get(arm.name, ())}
        blocks += [*parallel(ended, arm, own, shares, at), *importance(arm, sweep, at)]
    hidden = len(arms) - _MOST_ARMS
    if hidden > 0:
        blocks.append(Said(f"{counted(hidden, 'more arm')} with fewer trials are left out here.", "muted"))
    return Section("search", "How the search went", tuple(blocks))


def _longest(trials: Sequence[Trial]) -> list[Trial]:
    """Returns each configuration's longest training that has a score."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.stage == "search" and trial.score is not None and math.isfinite(trial.score):
            known = found.get(trial.identity)
            if known is None or trial.fidelity >= known.fidelity:
                found[trial.identity] = trial
    return list(found.values())
