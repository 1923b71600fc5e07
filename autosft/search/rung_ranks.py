"""How well short trainings rank configurations: the rank correlation of scores at neighbouring lengths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from autosft.search.trial import Trial

#: Below so many configurations a correlation says nothing.
_FEWEST = 4


def rung_ranks(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Returns for each two neighbouring lengths Spearman's correlation over the configurations that ran both.

    Those are the promoted ones, the best of the shorter length, which are harder to rank than all would be. Arms count
    together where they have both lengths.

    Returns:
        Rows of "from" and "to" (shares of a full run), "num_configs", and "rank_correlation", None where fewer than
        four configurations ran both or all scored the same.
    """
    from scipy.stats import spearmanr

    scores: dict[float, dict[str, float]] = {}
    for trial in trials:
        defined = trial.score is not None and math.isfinite(trial.score)
        if trial.fate == "complete" and trial.stage == "search" and defined:
            scores.setdefault(trial.rung, {})[trial.identity] = trial.score or 0.0
    lengths = sorted(scores)
    rows = []
    for short, long in itertools.pairwise(lengths):
        both = sorted(scores[short].keys() & scores[long].keys())
        pairs = [(scores[short][one], scores[long][one]) for one in both]
        varies = all(len({pair[at] for pair in pairs}) > 1 for at in (0, 1))
        value = float(spearmanr(*zip(*pairs, strict=True)).statistic) if len(pairs) >= _FEWEST and varies else None
        rows.append({"from": short, "to": long, "num_configs": len(pairs), "rank_correlation": value})
    return rows
