"""Curves over lengths: what each configuration scored after which share of a full training, and how lengths rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosft.counting import counted
from autosft.report.blocks import Block, Column, Figure, Listing, Said, Table
from autosft.report.ended import Ended
from autosft.report.figures import MARKERS, SERIES, axis, hover, legend_below, numbers, plain
from autosft.report.leaderboard import changed_settings
from autosft.search.trial import Trial

#: Configurations that are drawn; the best ones, as more make a figure a blot.
_MOST_DRAWN = 120

#: Lengths that have a tick of their own, and columns of the table.
_MOST_LENGTHS = 8

#: Lengths whose ends are so many times apart are drawn by their logarithm.
_LOG_RATIO = 4


@dataclass(frozen=True)
class _Curve:
    """A configuration, as one of its trials holds it, and its scores by share of a full training; one at least."""

    trial: Trial
    scores: Mapping[float, float]

    @property
    def last(self) -> float:
        return self.scores[max(self.scores)]


def lengths(ended: Ended) -> list[Block]:
    """Returns the scores of configurations over the share of a full training that they were given."""
    curves = _curves(ended.trials)
    ends = sorted({length for curve in curves for length in curve.scores})
    if len(ends) < 2:
        only = f" ({ends[0]:.0%} of a full run)" if ends else ""
        return [Said(f"Every training had the same length{only}, so there are no curves over lengths.", "muted")]
    metric = ended.plan.task.metric
    sign = -1 if metric.greater_is_better else 1
    best = sorted(curves, key=lambda curve: sign * curve.last)[:_MOST_DRAWN]
    told = (
        "A line is a configuration. Where lines cross between two lengths, the shorter one ranks them wrongly; "
        f"{counted(len(curves), 'configuration')}, the winner in bold."
    )
    y_axis = axis(plain(metric.name))
    drawn = [score for curve in best for score in curve.scores.values()]
    if (window := _window(drawn, sign)) is not None:
        y_axis["range"] = list(window)
        hidden = sum(not window[0] <= score <= window[1] for score in drawn)
        told += f" {counted(hidden, 'score')} far worse than the others lie outside of the figure, and stand below."
    data = (*_lines(ended, best), *_winners_line(ended, curves))
    layout = {"xaxis": _length_axis(ends), "yaxis": y_axis, "legend": legend_below()}
    table = _table(ended, best, ends, left_out=len(curves) - len(best))
    return [Figure("lengths", "Scores over the length of training", told, data, layout, table), *_ranks(ended)]


def _curves(trials: Sequence[Trial]) -> list[_Curve]:
    """Returns the configurations with a score, in the order in which they first had one."""
    scores: dict[str, dict[float, float]] = {}
    first: dict[str, Trial] = {}
    for trial in trials:
        if trial.stage != "search":
            continue
        for length, score in _points(trial):
            if math.isfinite(score):
                scores.setdefault(trial.identity, {})[round(length, 4)] = score
                first.setdefault(trial.identity, trial)
    return [_Curve(first[key], found) for key, found in scores.items()]


def _points(trial: Trial) -> Iterator[tuple[float, float]]:
    """Yields lengths with the scores that a trial had there."""
    yield from trial.curve
    if trial.fate == "complete" and trial.score is not None:
        yield trial.fidelity, trial.score


def _lines(ended: Ended, curves: Sequence[_Curve]) -> Iterator[dict[str, Any]]:
    """Yields a trace for each arm: the lines of its configurations, with gaps between them."""
    for at, arm in enumerate(ended.plan.arms):
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for curve in curves:
            if curve.trial.arm != arm.name:
                continue
            points = sorted(curve.scores.items())
            x += [*(100 * length for length, _ in points), None]
            y += [*(score for _, score in points), None]
            texts += [hover(changed_settings(ended, curve.trial))] * (len(points) + 1)
        if x:
            colour, marker = SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]
            yield {
                "type": "scatter", "mode": "lines+markers", "name": hover(arm.name), "x": x, "y": y, "text": texts,
                "line": {"width": 1.2, "color": colour}, "marker": {"size": 6, "symbol": marker, "color": colour},
                "opacity": 0.75, "hovertemplate": "%{y:.4f} at %{x:.3g} %<br>%{text}<extra></extra>",
            }  # fmt: skip


def _winners_line(ended: Ended, curves: Sequence[_Curve]) -> Iterator[dict[str, Any]]:
    """Yields the winner's line, where it has one, on top of the others."""
    winner = ended.winner.identity
    for curve in curves:
        if curve.trial.identity == winner:
            points = sorted(curve.scores.items())
            yield {
                "type": "scatter", "mode": "lines+markers", "name": "the winner", "x": [100 * at for at, _ in points],
                "y": [score for _, score in points], "line": {"width": 3, "color": "$ink"},
                "marker": {"size": 9, "color": "$ink"}, "hovertemplate": "%{y:.4f} at %{x:.3g} %<extra>winner</extra>",
            }  # fmt: skip


def _length_axis(ends: Sequence[float]) -> dict[str, Any]:
    is_wide = ends[-1] / max(ends[0], 1e-6) >= _LOG_RATIO
    found = axis("length of training (% of a full run)", type="log" if is_wide else "linear")
    if len(ends) <= _MOST_LENGTHS:
        ticks = [100 * length for length in ends]
        found |= {"tickvals": numbers(ticks), "ticktext": [f"{tick:.3g}" for tick in ticks]}
    return found


def _table(ended: Ended, curves: Sequence[_Curve], ends: Sequence[float], *, left_out: int) -> Table:
    """Returns what the figure draws in numbers, at a few of the lengths where there are many."""
    last = _MOST_LENGTHS - 1
    listed = ends
    if len(ends) > _MOST_LENGTHS:
        listed = [ends[round(at * (len(ends) - 1) / last)] for at in range(_MOST_LENGTHS)]
    columns = (Column("arm"), Column("settings"), *(Column(f"at {100 * one:.3g} %", "number") for one in listed))
    rows = tuple(
        (curve.trial.arm, changed_settings(ended, curve.trial), *(curve.scores.get(length) for length in listed))
        for curve in curves
    )
    caption = f"{ended.plan.task.metric.name} by length of training"
    return Table("lengths-numbers", caption, columns, rows, left_out=left_out)


def _window(scores: Sequence[float], sign: int) -> tuple[float, float] | None:
    """Returns the scores to draw between where a few far worse ones would press the others together; else None."""
    ranked = sorted(scores, key=lambda score: sign * score)
    best, middle, worst = ranked[0], ranked[len(ranked) // 2], ranked[-1]
    spread = abs(middle - best)
    if not spread or abs(worst - best) < 6 * spread:
        return None
    ends = best - sign * 0.3 * spread, best + sign * 3.5 * spread
    return min(ends), max(ends)


def _ranks(ended: Ended) -> list[Block]:
    """Returns how alike neighbouring lengths rank the configurations that ran both."""
    found = [row for row in ended.summary.get("rungs", ()) if row["rank_correlation"] is not None]
    if not found:
        return []
    items = tuple(
        f"Between {row['from']:.0%} and {row['to']:.0%} of the length the rank correlation of scores is "
        f"{row['rank_correlation']:.2f}, over {row['num_configs']} configurations that ran both."
        for row in found
    )
    return [Listing(items)]
