"""Which fields of the configurations mattered to the score, how sure that is, and which look no better than noise.

fANOVA (Hutter et al., ICML 2014), as Optuna has it, set against shuffled copies of the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosft.intervals import STANDARD_ERRORS
from autosft.reviewing.columns import MOST_CHOICES, Column, columns

#: Below so many scored trials nothing is said.
FEWEST_TRIALS = 8

#: Bootstrap samples, those beside shuffled copies, trees of each one's forest, and trials in one at most.
_NUM_SAMPLES, _NUM_SHUFFLED, _NUM_TREES, _MOST_TRIALS = 12, 3, 10, 100

#: Of the trees: deeper ones learn single trials by heart, which takes longer and explains nothing.
_MOST_DEPTH = 5

#: Of more trials, so many that are drawn at random are looked at.
_MOST_LOOKED_AT = 1000

#: Orders of the scores that a field's effect is compared with, and how rarely chance alone may look like one.
_NUM_ORDERS, _CHANCE = 999, 0.05

#: Fields that are looked at together; of more, those that go with the score most.
_MOST_FIELDS = 12

#: Groups that trials are put in by one field at most: choices, or quarters and no value.
_MOST_GROUPS = MOST_CHOICES


@dataclass(frozen=True)
class Importance:
    """How much one field mattered.

    Attributes:
        field: Its name in the configuration.
        share: Of the variance of the trials' ranks, what the field explains alone, beyond what a shuffled copy of it
            does; 0 at least.
        low: Lower end of its 95 % interval; 0 where the field cannot be told from noise.
        high: Upper end.
        num_trials: Trials that it was judged by: at most a thousand, drawn at random.
    """

    field: str
    share: float
    low: float
    high: float
    num_trials: int


def importances(configs: Sequence[Mapping[str, Any]], scores: Sequence[float], *, seed: int = 0) -> list[Importance]:
    """Returns how much each field that varies mattered, the largest share first.

    fANOVA rather than PED-ANOVA: the latter looks at the best tenth alone, which is a handful of trials. The trials'
    ranks take the place of their scores, so that one that diverged does not decide. A forest finds some share in pure
    noise: what shuffled copies of the fields get beside them is taken off. The interval is two standard errors of a
    bootstrap over trials; it begins at 0 unless the field's effect is larger than under 999 orders of the scores,
    Holm's correction for the number of fields included.

    Args:
        configs: A configuration a trial; values may be absent, nested or of mixed type.
        scores: Of the same trials; those that are not finite are left out.

    Returns:
        An empty list where fewer than eight trials have a score, or nothing varies.
    """
    random = np.random.default_rng(seed)
    kept = [at for at, score in enumerate(scores) if score is not None and math.isfinite(score)]
    if len(kept) > _MOST_LOOKED_AT:
        kept = sorted(random.choice(kept, size=_MOST_LOOKED_AT, replace=False).tolist())
    found = columns([configs[at] for at in kept]) if len(kept) >= FEWEST_TRIALS else []
    ranks = _ranks(np.array([scores[at] for at in kept], dtype=np.float64))
    if not found or np.ptp(ranks) == 0:
        return []
    orders = np.array([ranks, *(random.permutation(ranks) for _ in range(_NUM_ORDERS))])
    chances = {column.field: _chance(column, orders) for column in found}
    found = sorted(found, key=lambda column: chances[column.field])[:_MOST_FIELDS]
    is_real = _holm([chances[column.field] for column in found], len(chances))
    size = min(len(kept), _MOST_TRIALS)
    plain = np.array([_shares(found, ranks, size, random)[0] for _ in range(_NUM_SAMPLES)])
    noise = np.mean([_shares(found, ranks, size, random, shuffled=True)[1] for _ in range(_NUM_SHUFFLED)], axis=0)
    middle, spread = plain.mean(axis=0) - noise, STANDARD_ERRORS * plain.std(axis=0, ddof=1)
    rows = []
    for i, column in enumerate(found):
        share, low, high = np.clip([middle[i], middle[i] - spread[i], middle[i] + spread[i]], 0.0, 1.0).tolist()
        low = low if is_real[i] else 0.0
        rows.append(Importance(column.field, round(share, 4), round(low, 4), round(high, 4), len(kept)))
    return sorted(rows, key=lambda row: (-row.share, row.field))


def _shares(
    found: Sequence[Column],
    ranks: NDArray[np.float64],
    size: int,
    random: np.random.Generator,
    *,
    shuffled: bool = False,
) -> NDArray[np.float64]:
    """Returns each field's share over one bootstrap sample of trials, and below them those of shuffled copies."""
    # Shuffled before trials are drawn: one that is drawn twice must look the same twice in the copies as well.
    orders = [random.permutation(len(ranks)) for _ in found]
    drawn = random.integers(len(ranks), size=size)
    fields = {f"{i}": (column, [column.values[at] for at in drawn]) for i, column in enumerate(found)}
    if shuffled:
        fields |= {
            f"{i} shuffled": (found[i], [found[i].values[order[at]] for at in drawn]) for i, order in enumerate(orders)
        }
    shares = _fanova(fields, ranks[drawn], seed=int(random.integers(2**31)))
    return np.array([shares[name] for name in fields]).reshape(-1, len(found))


def _fanova(
    fields: Mapping[str, tuple[Column, Sequence[float | str | None]]], ranks: NDArray[np.float64], *, seed: int
) -> dict[str, float]:
    """Returns Optuna's fANOVA of a study with these trials."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import create_trial

    distributions: dict[str, BaseDistribution] = {}
    filled: dict[str, list[Any]] = {}
    for name, (column, values) in fields.items():
        if column.is_number:
            # By the logarithm here, since fANOVA weighs regions by how wide they are and Optuna's takes no logarithm.
            whole = [column.placed(value) for value in column.values if isinstance(value, float)]
            distributions[name] = FloatDistribution(min(whole), max(whole))
            # Optuna leaves out trials that lack a field; where a choice closes it, its middle tells nothing of it.
            middle = float(np.median(whole))
            filled[name] = [column.placed(value) if isinstance(value, float) else middle for value in values]
        else:
            distributions[name] = CategoricalDistribution(sorted({str(value) for value in column.values}))
            filled[name] = [str(value) for value in values]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            create_trial(
                params={name: values[at] for name, values in filled.items()},
                distributions=distributions,
                value=float(rank),
            )
            for at, rank in enumerate(ranks)
        )
        return FanovaImportanceEvaluator(n_trees=_NUM_TREES, max_depth=_MOST_DEPTH, seed=seed).evaluate(study)
    except RuntimeError:  # Every tree drew trials of one rank alone, so that there is nothing to explain.
        return dict.fromkeys(fields, 0.0)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _chance(column: Column, orders: NDArray[np.float64]) -> float:
    """Returns how often chance sets the column's groups as far apart as the first order, which is the real one."""
    groups = np.eye(_MOST_GROUPS)[_groups(column)]
    sizes = groups.sum(axis=0)
    means = (orders - orders[0].mean()) @ groups[:, sizes > 0] / sizes[sizes > 0]
    between = (sizes[sizes > 0] * means**2).sum(axis=1)
    return float((between >= between[0] - 1e-12).mean())


def _groups(column: Column) -> NDArray[np.intp]:
    """Returns the group of each trial: the quarter of a number, or the choice; those without a value are one more."""
    if not column.is_number:
        return np.unique(np.array([str(value) for value in column.values]), return_inverse=True)[1]
    values = np.array([np.nan if value is None else value for value in column.values], dtype=np.float64)
    groups = np.searchsorted(np.unique(np.nanquantile(values, (0.25, 0.5, 0.75))), values)
    return np.where(np.isnan(values), 4, groups)


def _holm(chances: Sequence[float], num_fields: int) -> list[bool]:
    """Returns which of the smallest chances, ascending, stand after Holm's correction for so many fields."""
    stands, found = True, []
    for at, chance in enumerate(chances):
        stands = stands and chance <= _CHANCE / (num_fields - at)
        found.append(stands)
    return found


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns each score's rank from 0 to 1, equal ones sharing theirs."""
    from scipy.stats import rankdata

    return rankdata(scores) / max(1, len(scores))  # type: ignore[no-any-return]
