"""What a sweep spent on nothing: failed, repeated, beaten and over-long trials, and workers that waited."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from autosft.counting import counted
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.columns import columns
from autosft.reviewing.importance import importances
from autosft.reviewing.rungs import halfway
from autosft.reviewing.sweep import Sweep, SweepTrial

#: What is shorter than this share of all trial time is not worth a word; failures always are.
_WORTH_SAYING = 0.01

#: Phases of a worker's time that make models better, or tell how good they are.
_USEFUL = ("train", "evaluate", "features")

#: A trial is over-long where its score last rose before this share of it, and it reported so often.
_LATE, _FEWEST_REPORTS = 0.75, 4

#: So many must have failed, and not, before it is asked what they have in common.
_FEWEST_FAILED = 5

#: Trials at the end that show, in hindsight, what half-way scores still lead to the top.
_TOP = 3


def waste(sweep: Sweep) -> list[Claim]:
    """Returns what was wasted, in trials, seconds and shares of all trial time."""
    total = sum(trial.seconds or 0.0 for trial in sweep.trials)
    found = [
        _failed(sweep, total),
        _where_failed(sweep),
        _repeated(sweep, total),
        _repeated_without_seed(sweep),
        _beaten(sweep, total),
        _over_long(sweep, total),
    ]
    claims = [claim for claim in found if claim is not None]
    if not total:
        claims.append(
            Claim("waste", "How long trials took is not known, so what that cost cannot be told.", level="unknown")
        )
    return [*claims, *_waiting(sweep)]


def _cost(seconds: float, total: float) -> str:
    return f", {words.seconds(seconds)} or {words.share(seconds / total)} of all trial time" if seconds else ""


def _numbers(trials: int, seconds: float, total: float) -> dict[str, float | None]:
    return {"trials": trials, "seconds": seconds, "share": seconds / total if total else None}


def _failed(sweep: Sweep, total: float) -> Claim | None:
    failed = [trial for trial in sweep.trials if trial.fate == "failed"]
    if not failed:
        return None
    seconds = sum(trial.seconds or 0.0 for trial in failed)
    reasons = Counter((trial.message.strip().partition("\n")[0] or "no reason logged")[:80] for trial in failed)
    told = words.listed([f"{reason} ({number})" for reason, number in reasons.most_common()], most=3)
    share = len(failed) / len(sweep.trials)
    sentence = (
        f"{len(failed)} of {counted(len(sweep.trials), 'trial')} failed ({words.share(share)}"
        f"{_cost(seconds, total)}): {told}."
    )
    return Claim("waste", sentence, _numbers(len(failed), seconds, total) | {"reasons": dict(reasons)}, "bad")


def _where_failed(sweep: Sweep) -> Claim | None:
    """Says which field the failures go with, where that is more than chance."""
    ended = [trial for trial in sweep.trials if trial.fate in ("failed", "complete")]
    failed = [trial.fate == "failed" for trial in ended]
    if min(sum(failed), len(failed) - sum(failed)) < _FEWEST_FAILED:
        return None
    # The arm is a field here: a trainer may fail whatever it is given.
    configs = [{**trial.config, **({"arm": trial.arm} if trial.arm else {})} for trial in ended]
    real = [row for row in importances(configs, [float(has) for has in failed]) if row.low > 0]
    if not real:
        return None
    field = real[0].field
    column = next(column for column in columns(configs) if column.field == field)
    if column.is_number:
        told = "; ".join(
            f"{'failed' if has else 'others'} {words.value(min(values))} to {words.value(max(values))}, half of them "
            f"from {words.value(statistics.median(values))}"
            for has in (True, False)
            if (
                values := [
                    value
                    for value, one in zip(column.values, failed, strict=True)
                    if one == has and isinstance(value, float)
                ]
            )
        )
    else:
        tried = Counter(column.values)
        of_failed = Counter(value for value, has in zip(column.values, failed, strict=True) if has)
        told = words.listed([f"{number} of {tried[name]} with {name}" for name, number in of_failed.most_common()])
    numbers = {"field": field, "share": real[0].share, "low": real[0].low, "high": real[0].high}
    return Claim(
        "waste",
        f"Failures go with {field} ({words.share(real[0].share)} of whether one fails): {told}.",
        numbers,
        "bad",
    )


def _again(sweep: Sweep) -> list[SweepTrial]:
    """Returns the trials whose configuration had run before, as long and with the same seed or none."""
    groups: dict[tuple[str, float, str], list[SweepTrial]] = defaultdict(list)
    for trial in sweep.searched:
        if trial.is_scored:
            groups[trial.identity, trial.length, trial.repeats].append(trial)
    return [trial for group in groups.values() for trial in group[1:]]


def _repeated(sweep: Sweep, total: float) -> Claim | None:
    again = [trial for trial in _again(sweep) if trial.repeats]
    if not again:
        return None
    seconds = sum(trial.seconds or 0.0 for trial in again)
    sentence = (
        f"{counted(len(again), 'trial')} repeated a configuration with the same seed{_cost(seconds, total)}: "
        f"{words.listed([trial.name for trial in again])}."
    )
    return Claim("waste", sentence, _numbers(len(again), seconds, total), "bad")


def _repeated_without_seed(sweep: Sweep) -> Claim | None:
    again = [trial for trial in _again(sweep) if not trial.repeats]
    if not again:
        return None
    sentence = (
        f"{counted(len(again), 'trial')} repeated a configuration, and no seed was logged, so that may be on purpose: "
        f"{words.listed([trial.name for trial in again])}. A column named seed would tell."
    )
    return Claim("waste", sentence, {"trials": len(again)}, "unknown")


def _beaten(sweep: Sweep, total: float) -> Claim | None:
    if any(trial.length < 1 for trial in sweep.searched):
        return _needless_promotions(sweep, total)
    return _trailing(sweep, total)


def _needless_promotions(sweep: Sweep, total: float) -> Claim | None:
    """Finds longer trainings of configurations that were beaten beyond the noise before, and after it as well."""
    by_length: dict[tuple[str, float], dict[str, SweepTrial]] = defaultdict(dict)
    for trial in sweep.searched:
        if trial.is_scored and trial.interval is not None:
            by_length[trial.arm, trial.length][trial.identity] = trial
    promoted, needless = 0, []
    for (arm, length), trials in by_length.items():
        shorter = max((other for name, other in by_length if name == arm and other < length), default=None)
        if shorter is None:
            continue
        before = by_length[arm, shorter]
        surely_before = max(_ends(trial, sweep.sign)[0] for trial in before.values())
        surely_after = max(_ends(trial, sweep.sign)[0] for trial in (*before.values(), *trials.values()))
        for identity, trial in trials.items():
            # A default is always trained whole, so that the winner can be compared with it.
            if identity in before and not trial.is_default:
                promoted += 1
                was_beaten = _ends(before[identity], sweep.sign)[1] < surely_before
                needless += [trial] if was_beaten and _ends(trial, sweep.sign)[1] < surely_after else []
    if not promoted:
        return None
    seconds = sum(trial.seconds or 0.0 for trial in needless)
    numbers = _numbers(len(needless), seconds, total) | {"promotions": promoted}
    sentence = (
        f"{len(needless)} of {counted(promoted, 'promotion')} to a longer training went to configurations that "
        f"another one beat beyond the noise before it and after it{_cost(seconds, total) if needless else ''}."
    )
    return Claim("waste", sentence, numbers, "bad" if total and seconds / total > 0.1 else "fact")


def _ends(trial: SweepTrial, sign: int) -> tuple[float, float]:
    assert trial.interval is not None
    low, high = sorted((sign * trial.interval.low, sign * trial.interval.high))
    return low, high


def _trailing(sweep: Sweep, total: float) -> Claim | None:
    """Finds trials that stood, half-way, behind all that ended on top: what a race would have stopped, in hindsight."""
    known = [(trial, half) for trial in sweep.ranked if (half := halfway(trial)) is not None]
    if len(known) < 2 * _TOP:
        return None
    worst_of_top = min(sweep.sign * half for _, half in known[:_TOP])
    behind = [trial for trial, half in known[_TOP:] if sweep.sign * half < worst_of_top]
    seconds = sum((trial.seconds or 0.0) / 2 for trial in behind)
    sentence = (
        f"{len(behind)} of {len(known)} trials stood half-way behind each of the final top {_TOP}; in hindsight their "
        f"second halves were spent on nothing{_cost(seconds, total)}."
    )
    level = "bad" if total and seconds / total > 0.1 else "fact"
    return Claim("waste", sentence, _numbers(len(behind), seconds, total), level) if behind else None


def _over_long(sweep: Sweep, total: float) -> Claim | None:
    late = [(trial, at) for trial in sweep.ranked if (at := _last_rise(trial, sweep.sign)) is not None and at < _LATE]
    seconds = sum((1 - at) * (trial.seconds or 0.0) for trial, at in late)
    if not late or (total and seconds / total < _WORTH_SAYING):
        return None
    middle = sorted(at for _, at in late)[len(late) // 2]
    sentence = (
        f"{counted(len(late), 'trial')} had their best score before {_LATE:.0%} of their length (half of them by "
        f"{middle:.0%}) and gained nothing after it{_cost(seconds, total)}. Where a schedule anneals to the end, only "
        "a shorter training tells whether less is enough."
    )
    return Claim("waste", sentence, _numbers(len(late), seconds, total))


def _last_rise(trial: SweepTrial, sign: int) -> float | None:
    scores = [(share, sign * score) for share, score in trial.reports if math.isfinite(score)]
    if len(scores) < _FEWEST_REPORTS:
        return None
    best = max(score for _, score in scores)
    return next(share for share, score in scores if score == best)


def _waiting(sweep: Sweep) -> list[Claim]:
    if sweep.phases:
        return [_by_phases(sweep)]
    found = _overlap(sweep.trials)
    if found is None:
        return []
    workers, idle, span = found
    if idle < _WORTH_SAYING:
        return []
    sentence = (
        f"At most {counted(workers, 'trial')} ran at once over {words.seconds(span)}; had that many workers been "
        f"there throughout, they were idle {words.share(idle)} of the time (from when trials began and ended)."
    )
    return [
        Claim("waste", sentence, {"workers": workers, "idle": idle, "seconds": span}, "bad" if idle > 0.3 else "fact")
    ]


def _by_phases(sweep: Sweep) -> Claim:
    phases = sweep.phases
    whole = phases["wall"] * phases["workers"]
    shares = {
        name: phases[name] / whole if whole else 0.0
        for name in (*_USEFUL, "load", "start_up", "compile", "checkpoint", "idle")
        if name in phases
    }
    useful = sum(shares.get(name, 0.0) for name in _USEFUL)
    rest = sorted(((part, name) for name, part in shares.items() if name not in _USEFUL), reverse=True)
    told = ", ".join(f"{words.share(part)} {name.replace('_', ' ')}" for part, name in rest if part >= _WORTH_SAYING)
    # Sittings of one run may have had different numbers of them.
    workers = f"{phases['workers']:.3g} worker{'' if phases['workers'] == 1 else 's'}"
    sentence = (
        f"Of {words.seconds(phases['wall'])} with {workers}, {words.share(useful)} went into training and evaluating"
        + (f"; the rest: {told}." if told else ".")
    )
    return Claim("waste", sentence, {"useful": useful, **shares}, "bad" if useful < 0.5 else "good")


def _overlap(trials: Sequence[SweepTrial]) -> tuple[int, float, float] | None:
    """Returns the most trials at once, the share of that many workers' time without a trial, and the seconds in all."""
    times = [(trial.began, trial.ended) for trial in trials if trial.began is not None and trial.ended is not None]
    spans = [(began, ended) for began, ended in times if ended > began]
    if len(spans) < 2:
        return None
    # What ends when another begins makes room for it.
    changes = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    whole = max(ended for _, ended in spans) - min(began for began, _ in spans)
    busy = sum(ended - began for began, ended in spans)
    return most, max(0.0, 1 - busy / (most * whole)), whole
