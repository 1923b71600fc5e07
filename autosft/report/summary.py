"""What is said first: three sentences and a row of numbers."""

from __future__ import annotations

import math
from pathlib import Path

from autosft.base_models import NO_MODEL
from autosft.budget import format_seconds
from autosft.counting import counted
from autosft.data.finding import Severity
from autosft.intervals import Interval
from autosft.report.blocks import Tile
from autosft.report.cells import number
from autosft.report.ended import Ended
from autosft.search.choice import were_tuned
from autosft.search.finals import SAME_LENGTH
from autosft.tasks import kind as task_kind


def sentences(ended: Ended) -> tuple[str, ...]:
    """Returns three sentences: what ships and how good it is, what tuning added to that, and what it cost."""
    return _worth(ended), _gain(ended), _effort(ended)


def tiles(ended: Ended) -> tuple[Tile, ...]:
    """Returns the numbers that are looked for first."""
    proof, summary = ended.proof, ended.summary
    score = proof.shipped
    metric = ended.plan.task.metric
    gain = "–" if _default_won(ended) or not ended.default.is_default else f"{proof.gain:+.4f}"  # noqa: RUF001
    return (
        Tile(metric.name, number(score.score), f"{interval(score.interval)}, {direction(ended)}"),
        Tile("gain over the default", gain, _verdict(ended)),
        Tile("rows that prove it", f"{score.num_rows:,}", _which_rows(ended)),
        Tile("warnings", f"{_num_warnings(ended):,}", "of the audit of the data"),
        Tile("trials", f"{len(ended.trials):,}", _fates(ended)),
        Tile("time", format_seconds(summary["seconds"]["wall"]), f"{summary['seconds']['workers']:.3g} at once"),
    )


def interval(found: Interval) -> str:
    """Words an interval."""
    if not math.isfinite(found.low) or not math.isfinite(found.high):
        return "without an interval"
    return f"95 % interval {number(found.low)} to {number(found.high)}"


def direction(ended: Ended) -> str:
    """Says which way the metric goes."""
    return f"{'greater' if ended.plan.task.metric.greater_is_better else 'smaller'} is better"


def _gain(ended: Ended) -> str:
    """Says what tuning added, and how sure that is."""
    proof, name = ended.proof, ended.plan.task.metric.name
    if _default_won(ended):
        if not were_tuned(ended.trials):
            return "The best untuned default won: only untuned defaults were trained."
        return "The best untuned default won: tuning found nothing that is better than it by more than luck."
    if not ended.default.is_default:
        return "What tuning added is not known: no untuned default was trained to its end."
    verdict = (
        "so it is better beyond the noise"
        if proof.is_proven
        else "so it is worse beyond the noise"
        if proof.is_worse
        else "so it cannot be told from no gain at all"
    )
    default = ended.default.arm
    if ended.default.fidelity < SAME_LENGTH * ended.winner.fidelity:
        default += f", trained for {ended.default.fidelity:.0%} of the full length only"
    gained = (
        f"gained {proof.gain:+.4f} in {name} ({interval(proof.gain_interval)}; above zero is better) on the same rows, "
        f"{verdict}."
    )
    if ended.winner.is_default:
        below = " and scored below it" if proof.gain < 0 else ""
        against = f"against another untuned default, the best on validation rows ({default})"
        return f"What won is an untuned default itself{below}: {against}, it {gained}"
    return f"Against the best untuned default ({default}), tuning {gained}"


def _worth(ended: Ended) -> str:
    proof, metric, arm = ended.proof, ended.plan.task.metric, ended.plan.arm(ended.winner.arm)
    # Of a model in a folder the name alone: its path tells a reader nothing.
    base = Path(arm.base_model.id).name if Path(arm.base_model.id).is_absolute() else arm.base_model.id
    what = f"{arm.trainer}, without a base model" if arm.base_model == NO_MODEL else f"{arm.trainer} on {base}"
    score = proof.shipped
    text = (
        f"The shipped model is {what}: {metric.name} {number(score.score)} "
        f"({interval(score.interval)}) on {_rows(ended)}"
    )
    text += f"; it was {ended.winner.trained}" if ended.winner.trained else ""
    if proof.constant is None:
        return f"{text}."
    sign = 1 if metric.greater_is_better else -1
    bound = score.interval.low if sign > 0 else score.interval.high
    beats = sign * bound > sign * proof.constant
    scale = f"{task_kind(ended.plan.task.kind).knowing_nothing} would score {number(proof.constant)}"
    return f"{text}; {scale}." if beats else f"{text}; {scale}, which it does not beat beyond the noise."


def _effort(ended: Ended) -> str:
    fates = [trial.fate for trial in ended.trials]
    searched = [trial for trial in ended.trials if trial.stage == "search"]
    num_configs = len({trial.identity for trial in searched})
    text = (
        f"The search ran {counted(len(fates), 'trial')} of {counted(num_configs, 'configuration')} over "
        f"{counted(len(ended.plan.arms), 'pair')} of trainer and base model in "
        f"{format_seconds(ended.summary['seconds']['wall'])}"
    )
    failed = fates.count("failed")
    text += f"; {counted(failed, 'trial')} failed" if failed else ", and none failed"
    if ended.summary["interrupted"]:
        text += "; it was interrupted"
    return f"{text}."


def _rows(ended: Ended) -> str:
    proof = ended.proof
    count = counted(proof.shipped.num_rows, {"test": "test row", "proof": "proof row"}.get(proof.rows, "row"))
    if proof.shipped.num_rows < proof.num_rows_given:
        count += f" (a random sample of {proof.num_rows_given:,}: there was no time for more)"
    if proof.selected_on:
        before = ", of the winner alone" if ended.summary.get("ensemble", {}).get("done") else ""
        before += ", before it was trained on them too" if ended.summary["refit"]["done"] else ""
        return f"{count} that the search also chose by{before}, so expect worse on new ones"
    return f"{count} that the search never read"


def _num_warnings(ended: Ended) -> int:
    return sum(finding.severity is not Severity.INFO for finding in ended.plan.findings)


def _which_rows(ended: Ended) -> str:
    return {
        "test": "your test rows, never read by the search",
        "proof": "set aside before the search",
        "folds": "validation rows: the search chose by them",
    }.get(ended.proof.rows, ended.proof.rows)


def _default_won(ended: Ended) -> bool:
    return ended.winner.is_default and ended.winner.number == ended.default.number


def _verdict(ended: Ended) -> str:
    if _default_won(ended):
        return "the untuned default won"
    if not ended.default.is_default:
        return "not known"
    over = "over another untuned default, " if ended.winner.is_default else ""
    proven = "proven" if ended.proof.is_proven else "worse" if ended.proof.is_worse else "not proven"
    return f"{over}{interval(ended.proof.gain_interval)}; {proven}"


def _fates(ended: Ended) -> str:
    fates = [trial.fate for trial in ended.trials]
    return ", ".join(f"{fates.count(fate):,} {fate}" for fate in ("complete", "stopped", "failed") if fate in fates)
