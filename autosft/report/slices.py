"""Scores by slice: bands of length, and values of columns that came with the rows and that no model reads."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.data import Data
from autosft.intervals import bootstrap, undefined_where_it_raises
from autosft.proof import Evidence
from autosft.report.blocks import Block, Column, Figure, Said, Section, Table
from autosft.report.cells import number, shown
from autosft.report.ended import Ended
from autosft.report.figures import axis, distinct, numbers, plain
from autosft.report.rows import has_images, lengths
from autosft.tasks import kind as task_kind
from autosft.tasks.base import Scorer

#: Bands of length, each with as many rows as the others, or nearly.
_NUM_BANDS = 4

#: Rows that a slice needs for its score to say anything, and groups of rows for what chance may do to it.
FEWEST_ROWS = 10

#: Images whose size is looked at; more files cost too much time to open.
_MOST_IMAGES = 3_000

#: Random draws of as many rows that a slice is compared with, resamples of its interval, and seconds that each gets.
_DRAWS, _RESAMPLES, _SECONDS = 300, 300, 0.08

#: Times that a slice takes the metric at least: for its score, the fewest resamples and the fewest draws.
_FEWEST_TIMES = 42

#: What all slices together may take: a metric of the user's may be slow.
_ALL_SECONDS = 2.0

_CHANCE = 0.05


@dataclass(frozen=True)
class Slice:
    """Some of the rows that were scored.

    Attributes:
        of: What divides the rows. value: Which part this is.
        num_rows: How many.
        score: Of the shipped model on them. low, high: Its 95 % interval.
        expected: What as many rows drawn at random score on average; None where not known.
        chance: How often such draws score as far from that, or farther; None where not known.
    """

    of: str
    value: str
    num_rows: int
    score: float
    low: float
    high: float
    expected: float | None
    chance: float | None


def slices(ended: Ended, evidence: Evidence) -> Section:
    """Returns the score of each slice, and which of them differ beyond the noise."""
    masks = _masks(ended.plan.data, evidence)
    groups = evidence.rows.groups()
    found, num_small = look(evidence, masks, seed=ended.plan.seed, groups=groups)
    if not found:
        told = f"Of {counted(len(evidence.targets), 'row')} no part of {FEWEST_ROWS} or more could be compared"
        told += "." if num_small == len(masks) else ": the metric is too slow for that, or not defined on parts."
        return Section("slices", "Scores by slice", (Said(told, "muted"),))
    metric = ended.plan.task.metric
    overall = ended.proof.shipped.score
    order = sorted(found, key=lambda one: (one.chance is None, one.chance))
    # Bonferroni: of so many looks, one in twenty runs would show one by chance.
    sure = [one for one in order if one.chance is not None and one.chance * len(found) < _CHANCE]
    looks = f"{counted(len(found), 'slice')} looked at"
    small = f"; {num_small} with fewer than {FEWEST_ROWS} rows left out" if num_small else ""
    blocks: list[Block] = []
    for one in sure:
        # Not against all rows: metrics that average over classes score otherwise on fewer rows whichever these are.
        expected = overall if one.expected is None else one.expected
        side = "better" if (one.score > expected) == metric.greater_is_better else "worse"
        blocks.append(
            Said(
                f"{shown(one.of)}, {shown(one.value)}: {metric.name} {number(one.score)} on "
                f"{counted(one.num_rows, 'row')}, {side} than {number(expected)}, the mean of as many rows drawn at "
                f"random, beyond the noise also with {looks}.",
                "warning" if side == "worse" else "good",
            )
        )
    if (late := len(masks) - len(found) - num_small) > 0:
        small += f"; {late} not compared: no time was left, they hold every row, or the metric is not defined on them"
    if not sure:
        blocks.append(Said(f"No slice differs from all rows beyond the noise, with {looks}{small}."))
    elif small:
        blocks.append(Said(f"{looks.capitalize()}{small}.", "muted"))
    blocks += [_figure(found, metric.name, overall), Said(_method(len(found), in_groups=groups is not None), "muted")]
    return Section("slices", "Scores by slice", tuple(blocks))


def look(
    evidence: Evidence,
    masks: Mapping[tuple[str, str], NDArray[np.bool_]],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> tuple[list[Slice], int]:
    """Scores each slice and compares it with random draws; returns the slices, and how many were too small.

    Args:
        groups: Of the rows: those of one value may be right or wrong together.
    """
    kind, task = task_kind(evidence.task.kind), evidence.task
    num_rows = len(evidence.targets)
    raising = kind.scorer(task, evidence.targets, evidence.shipped)

    def scorer(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return undefined_where_it_raises(raising, rows)

    found, num_small, until = [], 0, time.monotonic() + _ALL_SECONDS
    for (of, value), mask in masks.items():
        rows = np.flatnonzero(mask)
        if time.monotonic() > until:
            break
        if len(rows) < FEWEST_ROWS or len(rows) == num_rows:
            num_small += len(rows) < FEWEST_ROWS
            continue
        started = time.monotonic()
        score = float(scorer(rows[None])[0])
        if not math.isfinite(score) or _FEWEST_TIMES * (time.monotonic() - started) > until - started:
            continue
        targets, outputs = evidence.targets.take(pa.array(rows)), evidence.shipped.take(pa.array(rows))
        own = None if groups is None else groups[rows]
        interval = bootstrap(
            kind, task, targets, outputs, seed=seed, resamples=_RESAMPLES, groups=own, seconds=_SECONDS
        )
        error = 0.0 if own is None else interval.standard_error
        expected, chance = _by_chance(scorer, score, len(rows), num_rows, seed=seed, error=error)
        if own is not None and len(np.unique(own)) < FEWEST_ROWS:
            chance = None
        found.append(Slice(of, value, len(rows), score, interval.low, interval.high, expected, chance))
    return found, num_small


def _by_chance(
    scorer: Scorer, score: float, size: int, num_rows: int, *, seed: int, error: float = 0.0
) -> tuple[float, float] | tuple[None, None]:
    """Returns the mean score of random draws of as many rows, and how often one is as far from that as the score.

    Draws without replacement are what a slice is where it has nothing to do with being right. Their normal tail is
    used, since with many slices chances below one in a thousand matter, but no chance is below the share of the draws
    that are as far off: a single error among ten rows is rare by that tail, and is not where one in a hundred is wrong.

    Args:
        error: The standard error of the score over groups, where there are any: draws of rows know nothing of those.
    """
    rng, scores, started = np.random.default_rng(seed), [], time.monotonic()
    at_once = 20
    for _ in range(_DRAWS // at_once):
        scores += scorer(np.array([rng.permutation(num_rows)[:size] for _ in range(at_once)])).tolist()
        if time.monotonic() - started > _SECONDS:
            break
    drawn = np.array([value for value in scores if math.isfinite(value)])
    if len(drawn) < at_once or not math.isfinite(score) or drawn.std() == 0:
        return None, None
    mean = float(drawn.mean())
    tail = 2 * (1 - NormalDist().cdf(abs(score - mean) / max(drawn.std(ddof=1), error)))
    share = float((np.abs(drawn - mean) >= abs(score - mean) - 1e-12).mean())
    return mean, max(tail, share)


def _masks(data: Data, evidence: Evidence) -> dict[tuple[str, str], NDArray[np.bool_]]:
    masks: dict[tuple[str, str], NDArray[np.bool_]] = {}
    table = evidence.rows.table()
    measured = lengths(table) if not has_images(table) or table.num_rows <= _MOST_IMAGES else None
    if measured is not None:
        unit, values = measured
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _NUM_BANDS + 1)))
        for at, (low, high) in enumerate(itertools.pairwise(edges)):
            last = at == len(edges) - 2
            mask = (values >= low) & ((values <= high) if last else (values < high))
            masks[f"length in {unit}" if "pixels" not in unit else unit, _band(low, high, last)] = mask
    given = data.given_table(evidence.rows)
    if given is not None:
        for name in given.column_names:
            texts = pc.fill_null(given.column(name), "(missing)")
            for value in sorted(pc.unique(texts).to_pylist()):
                masks[name, value] = np.asarray(pc.equal(texts, value).to_numpy(), np.bool_)
    return masks


def _band(low: float, high: float, last: bool) -> str:
    end = high if last else high - 1
    return f"{low:,.0f}" if end <= low else f"{low:,.0f} to {end:,.0f}"


def _method(num_slices: int, *, in_groups: bool) -> str:
    told = (
        "A slice is said to differ where as many rows drawn at random would score as far from their mean less than "
        f"once in {round(num_slices / _CHANCE):,} draws, which is once in twenty for all {num_slices} looked at "
        "together (Bonferroni). Metrics that average over classes see fewer classes in a slice, which alone can move "
        "them."
    )
    if in_groups:
        told += (
            " Rows of one group may be right or wrong together: the error over groups counts where it is larger than "
            f"that of the draws, and of slices with fewer than {FEWEST_ROWS} groups none is said to differ."
        )
    return told


def _figure(found: list[Slice], metric: str, overall: float) -> Figure:
    names = distinct([f"{shown(one.of, limit=24)}: {shown(one.value, limit=20)}" for one in found])[::-1]
    drawn = found[::-1]
    data = {
        "type": "scatter", "mode": "markers", "x": numbers([one.score for one in drawn]), "y": names,
        "marker": {"size": 9, "color": "$series-0"},
        "error_x": {
            "type": "data", "symmetric": False, "color": "$series-0", "thickness": 1.6,
            "array": numbers([max(0.0, one.high - one.score) for one in drawn]),
            "arrayminus": numbers([max(0.0, one.score - one.low) for one in drawn]),
        },
        "customdata": [one.num_rows for one in drawn],
        "hovertemplate": "%{y}<br>%{x:.4f} on %{customdata} rows<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis(plain(metric)), "yaxis": {"type": "category", "automargin": True}, "showlegend": False,
        "shapes": [
            {
                "type": "line", "x0": overall, "x1": overall, "y0": 0, "y1": 1, "yref": "paper",
                "line": {"color": "$muted", "dash": "dash", "width": 1.5},
            }
        ],
    }  # fmt: skip
    table = Table(
        "slices-numbers",
        f"{metric} by slice",
        (
            Column("slice of"), Column("part", "data"), Column("rows", "count"), Column(metric, "interval"),
            Column("by chance", "share", "how often as many random rows score as far from their mean"),
        ),
        tuple(
            (one.of, one.value, one.num_rows, (one.score, one.low, one.high), one.chance) for one in found
        ),
    )  # fmt: skip
    told = f"The dashed line is the score over all rows, {number(overall)}. Bars are 95 % intervals."
    return Figure("slices-figure", f"{metric} by slice", told, (data,), layout, table, height=110 + 30 * len(found))
