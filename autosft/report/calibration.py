"""Whether the probabilities are the shares of right answers: a reliability diagram, and how far off it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosft.proof import Evidence
from autosft.report.answers import wilson
from autosft.report.blocks import Column, Facts, Figure, Said, Section, Table
from autosft.report.ended import Ended
from autosft.report.figures import axis, legend_below, numbers
from autosft.tasks import kind as task_kind

#: Bins of equal width, as in Guo et al. (2017).
NUM_BINS = 15

_NUM_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities in bins, each array of shape (bins,), empty bins left out.

    Attributes:
        said: Mean probability. found: Share that was so. counts: How many.
        error: Expected calibration error: the mean distance of the two, weighted by the counts.
        by_chance: That error of probabilities that are exactly right, on as many: its mean and its 95th percentile.
    """

    said: NDArray[np.float64]
    found: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float
    by_chance: tuple[float, float]


def reliability(said: NDArray[np.float64], happened: NDArray[np.bool_], *, seed: int = 0) -> Reliability:
    """Returns how the probabilities compare with what happened.

    What an error on so many is by chance alone comes of drawing what happens from the probabilities themselves
    (consistency resampling, Broecker and Smith 2007).

    Args:
        said: Probabilities, shape (said,), at least one.
        happened: Whether it was so, shape (said,).
    """
    bins = np.minimum((said * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    sums = np.bincount(bins, weights=said, minlength=NUM_BINS)
    rng = np.random.default_rng(seed)
    draws = np.array([np.bincount(bins[rng.random(len(said)) < said], minlength=NUM_BINS) for _ in range(_NUM_DRAWS)])
    errors = np.abs(draws - sums).sum(axis=1) / len(said)
    hits = np.bincount(bins[happened], minlength=NUM_BINS)
    there = counts > 0
    return Reliability(
        sums[there] / counts[there],
        hits[there] / counts[there],
        counts[there],
        float(np.abs(hits - sums).sum() / len(said)),
        (float(errors.mean()), float(np.quantile(errors, 0.95))),
    )


def calibration(ended: Ended, evidence: Evidence) -> Section | None:
    """Returns the diagram; None where the outputs hold no probabilities."""
    kind, told = task_kind(evidence.task.kind), ended.summary["calibration"]
    found = kind.confidences(evidence.task, evidence.targets, evidence.shipped)
    if found is None or not len(found[0]):
        return None
    after = reliability(*found, seed=ended.plan.seed)
    temperature = told.get("temperature", 1.0)
    before = None
    if temperature != 1.0:
        raw = kind.confidences(evidence.task, evidence.targets, evidence.untempered)
        before = None if raw is None else reliability(*raw, seed=ended.plan.seed)
    mean, most = after.by_chance
    is_off = after.error > most
    overall = float(found[0].mean()), float(found[1].mean())
    sureness = "surer than it is right" if overall[0] > overall[1] else "less sure than it is right"
    verdict = (
        f"The probabilities are off by {after.error:.4f} on average. Were they exactly right, chance alone would show "
        f"{mean:.4f} on so many, and more than {most:.4f} once in twenty: "
        + (f"so they are off beyond chance, {sureness}." if is_off else "so they cannot be told from right ones.")
    )
    if len(found[0]) > len(evidence.targets):
        verdict += " Several answers of one row count as independent; where they go together, chance shows more."
    if temperature != 1.0 and ended.proof.selected_on:
        verdict += " The temperature was fitted on rows that are among these, so expect more on new ones."
    pairs = [("Expected calibration error", f"{after.error:.4f}")]
    if before is not None:
        pairs = [
            ("Calibration error, as shipped", f"{after.error:.4f}"),
            ("Calibration error, as trained", f"{before.error:.4f}"),
            ("Temperature", f"{temperature:.3f}"),
        ]
    pairs += [("What was done", str(told["reason"])), ("How it is computed", _METHOD)]
    return Section(
        "calibration",
        "Calibration",
        (Said(verdict, "warning" if is_off else "plain"), _diagram(after, before), Facts(tuple(pairs))),
    )


_METHOD = (
    f"Probabilities of what was predicted (where several labels may hold, of each label) stand in {NUM_BINS} bins of "
    f"equal width; the error is the mean distance "
    "between a bin's mean probability and its share of right answers, weighted by its count (Guo et al. 2017, arXiv "
    "1706.04599)."
)


def _diagram(after: Reliability, before: Reliability | None) -> Figure:
    low, high = wilson(np.round(after.found * after.counts), after.counts)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "exactly right", "hoverinfo": "skip",
            "line": {"color": "$muted", "dash": "dash", "width": 1.5},
        },
        {
            "type": "scatter", "mode": "lines+markers", "x": numbers(after.said), "y": numbers(after.found),
            "name": "as shipped", "customdata": after.counts.tolist(), "line": {"color": "$series-0", "width": 2},
            "marker": {"size": 8, "color": "$series-0"},
            "error_y": {
                "type": "data", "symmetric": False, "array": numbers(high - after.found),
                "arrayminus": numbers(after.found - low), "color": "$series-0", "thickness": 1.2,
            },
            "hovertemplate": "said %{x:.3f}, was so %{y:.3f}<br>%{customdata} times<extra></extra>",
        },
    ]  # fmt: skip
    if before is not None:
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "x": numbers(before.said), "y": numbers(before.found),
                "name": "as trained", "line": {"color": "$series-1", "width": 1.5, "dash": "dot"},
                "marker": {"size": 6, "color": "$series-1", "symbol": "square"},
                "hovertemplate": "said %{x:.3f}, was so %{y:.3f}<extra>as trained</extra>",
            }
        )  # fmt: skip
    data.append(
        {
            "type": "bar", "x": numbers(after.said), "y": after.counts.tolist(), "name": "how often", "yaxis": "y2",
            "marker": {"color": "$heat-2"}, "width": 0.7 / NUM_BINS, "showlegend": False,
            "hovertemplate": "%{y} times<extra></extra>",
        }
    )  # fmt: skip
    layout = {
        "xaxis": axis("probability that was said", range=[-0.02, 1.02], anchor="y2"),
        "yaxis": axis("share that was so", range=[-0.02, 1.02], domain=[0.3, 1]),
        "yaxis2": axis("count", domain=[0, 0.2], anchor="x"),
        "legend": legend_below(),
    }
    table = Table(
        "reliability-numbers",
        "Probabilities by bin",
        (
            Column("said", "number"),
            Column("was so", "interval", "with Wilson's 95 % interval"),
            Column("count", "count"),
        ),
        tuple(
            (float(s), (float(f), float(lo), float(hi)), int(n))
            for s, f, lo, hi, n in zip(after.said, after.found, low, high, after.counts, strict=True)
        ),
    )
    told = (
        "Above the dashed line the model is more often right than it says, below it less often. Bars are 95 % "
        "intervals; beneath stands how often each probability was said."
    )
    return Figure("reliability", "Said and found", told, tuple(data), layout, table, height=460)
