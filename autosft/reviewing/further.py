"""What a further hour would likely bring: more search, or more labels."""

from __future__ import annotations

import itertools
import math

import numpy as np

from autosft.counting import counted
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.columns import number as as_number
from autosft.reviewing.noise import distinct, noise
from autosft.reviewing.sweep import Sweep, SweepTrial

_HOUR = 3600.0

#: Configurations at their arm's longest length below which no tail can be seen, and bootstrap samples of it.
_FEWEST, _NUM_SAMPLES = 6, 500

#: The best scores that the tail is read from: this share, and so many at least.
_TAIL, _FEWEST_IN_TAIL = 0.2, 4

#: Names under which people log how many rows a trial trained on.
_ROWS = (
    "num_train_rows",
    "train_rows",
    "num_rows",
    "train_size",
    "num_train_samples",
    "train_samples",
    "n_train",
    "rows",
)

#: Metrics that end at one.
_ENDS_AT_ONE = 1.0


def further(sweep: Sweep) -> list[Claim]:
    """Returns what an hour more of search, and more labels, would likely bring."""
    if not sweep.ranked:
        return []
    return [*_rise(sweep), _more_search(sweep), _more_labels(sweep)]


def _rise(sweep: Sweep) -> list[Claim]:
    """Says when the best score last rose."""
    scored = [trial for trial in sweep.searched if trial.is_scored]
    if len(scored) < _FEWEST:
        return []
    best = sweep.ranked[0]
    # In the order in which they ended, so far as that is known: a long training may have begun early.
    if all(trial.ended is not None for trial in scored):
        scored = sorted(scored, key=lambda trial: trial.ended or 0.0)
    place = next(at for at, trial in enumerate(scored) if trial is best) + 1
    way = words.share(place / len(scored))
    sentence = f"The best score came with scored trial {place} of {len(scored)} ({way} of the way)."
    return [Claim("further", sentence, {"place": place, "of": len(scored)})]


def _more_search(sweep: Sweep) -> Claim:
    compared = distinct(sweep.ranked)
    configs = len({trial.identity for trial in sweep.searched if trial.is_scored})
    seconds = _search_seconds(sweep)
    if len(compared) < _FEWEST or seconds is None:
        why = (
            f"only {counted(len(compared), 'configuration')} {'was' if len(compared) == 1 else 'were'} trained at "
            f"{sweep.length_of(compared)}"
            if len(compared) < _FEWEST
            else "how long the search took is not known"
        )
        told = f"What a further hour of search would bring cannot be told: {why}."
        return Claim("further", told, {"compared": len(compared)}, "unknown")
    more = configs * _HOUR / seconds
    # No tail can be followed further than as much again as was seen of it.
    looked = min(more, float(configs))
    scores = np.array([sweep.sign * (trial.score or 0.0) for trial in compared])
    tail = min(len(scores) - 1, max(_FEWEST_IN_TAIL, math.ceil(_TAIL * configs)))
    # Only the top is used, which a race trains at full length whatever became of the others.
    top = np.sort(scores)[::-1][: tail + 1]
    random = np.random.default_rng(0)
    is_share = sweep.greater_is_better and scores.min() >= 0 and top[0] <= _ENDS_AT_ONE
    cap = _ENDS_AT_ONE - float(top[0]) if is_share else math.inf
    gain = min(_gain(top, configs, looked), cap)
    resampled = np.sort(random.choice(top, size=(_NUM_SAMPLES, len(top))), axis=1)
    gains = (resampled[:, 1:] - resampled[:, :1]).mean(axis=1) * math.log1p(looked / configs)
    low, high = (min(float(value), cap) for value in np.quantile(gains, (0.025, 0.975)))
    chance = looked / (configs + looked)
    found = noise(sweep)
    numbers = {
        "configurations": configs, "seconds": seconds, "in_an_hour": more, "looked_at": looked, "chance": chance,
        "gain": gain, "low": low, "high": high, "standard_error": found.error if found else None,
    }  # fmt: skip
    what = f"{counted(configs, 'configuration')} took {words.seconds(seconds)}"
    if any(trial.began is None for trial in sweep.searched) and not sweep.phases:
        what += " one after another"
    who = "They" if looked == more else f"The first {looked:,.0f} of them"
    sentence = (
        f"{what}, so a further hour holds about {more:,.0f} more. {who}, drawn as these were, hold a better score with "
        f"a probability of {words.share(chance)}; the best would rise by {words.score(gain)} on average "
        f"({words.score(low)} to {words.score(high)}), if the tail of the best {len(top)} scores goes on as it is, "
        "luck on these rows included."
    )
    if looked < more:
        sentence += " What comes after them cannot be told from so few."
    if found is None:
        return Claim("further", sentence, numbers)
    if gain < found.error:
        verdict = f" That is less than a standard error ({words.score(found.error)}): these rows could hardly show it."
        return Claim("further", sentence + verdict, numbers)
    return Claim("further", f"{sentence} That is more than a standard error ({words.score(found.error)}).", numbers)


def _gain(top: np.ndarray[tuple[int], np.dtype[np.float64]], number: int, more: float) -> float:
    """Returns by how much the expected best of `number` draws rises with `more` draws.

    Above the last of the top scores the tail is taken to fall off exponentially, of which the best of n grows with
    the logarithm of n. For a score that ends somewhere that is rather too much than too little.
    """
    return float((top[:-1] - top[-1]).mean()) * math.log1p(more / number)


def _search_seconds(sweep: Sweep) -> float | None:
    """Returns the wall time that the search took: from the first trial's begin to the last one's end, or the sum."""
    times = [
        (trial.began, trial.ended) for trial in sweep.searched if trial.began is not None and trial.ended is not None
    ]
    if times:
        whole = max(ended for _, ended in times) - min(began for began, _ in times)
        return whole if whole > 0 else None
    total = sum(trial.seconds or 0.0 for trial in sweep.searched)
    return total / max(1.0, sweep.phases.get("workers", 1.0)) if total > 0 else None


def _more_labels(sweep: Sweep) -> Claim:
    found = _by_rows(sweep)
    if found is None:
        # A head that is fitted at once leaves rows out where its time ends, but then its fit is cut short as well, and
        # validation rows may be left unread: such scores are no learning curve.
        lengths = (
            " Scores at shorter lengths do not tell it either: those trainings had fewer steps on the same rows, or "
            "left out, of rows and fitting alike, what there was no time for."
        )
        told = (
            "What more labels would bring cannot be told: no trial says how many rows it trained on, or all trained on "
            f"the same.{lengths if any(trial.length < 1 for trial in sweep.searched) else ''} To find out, train the "
            "winner's configuration on a random half of the rows and score it on the same test rows: doubling the rows "
            "you have brings at most about what halving them costs."
        )
        return Claim("further", told, level="unknown")
    field, best = found
    rows = sorted(best)
    slopes = [(best[more] - best[fewer]) / math.log2(more / fewer) for fewer, more in itertools.pairwise(rows)]
    told = ", ".join(f"{words.score(sweep.sign * best[number])} with {number:,.0f}" for number in rows[-4:])
    error = noise(sweep)
    spread = f"; a score is good to ±{words.score(error.error)}" if error else ""
    sentence = (
        f"Best score by {field}: {told}. The last step was worth {words.difference(slopes[-1])} a doubling, so "
        f"doubling the rows again would likely bring at most about that{spread}."
    )
    return Claim("further", sentence, {"per_doubling": slopes[-1], "rows": {str(row): best[row] for row in rows}})


def _by_rows(sweep: Sweep) -> tuple[str, dict[float, float]] | None:
    """Returns the best score, the greater the better, by number of training rows, where trials differ in it."""
    for field in _ROWS:
        best: dict[float, float] = {}
        trials: list[SweepTrial] = [trial for trial in sweep.ranked if field in trial.config]
        for trial in trials:
            rows = as_number(trial.config[field])
            if rows is not None and rows > 0:
                best[rows] = max(best.get(rows, -math.inf), sweep.sign * (trial.score or 0.0))
        if len(best) > 1:
            return field, best
    return None
