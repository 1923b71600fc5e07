"""Where the model is right and where it is wrong, by what it gives back: classes, numbers, or texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.arrays import to_numbers
from autosft.counting import counted
from autosft.intervals import STANDARD_ERRORS, Interval, standard_error_of_mean
from autosft.proof import Evidence
from autosft.report.blocks import Block, Column, Figure, Said, Section, Table
from autosft.report.cells import number, shown
from autosft.report.figures import HEAT, axis, distinct, legend_below, numbers, plain
from autosft.task import Output
from autosft.tasks import kind as task_kind
from autosft.tasks.base import ClassCounts

#: Labels of a confusion matrix; of more, those that are most confused.
_MOST_CONFUSED = 24

#: Pairs of labels that are listed, classes that are, and points that are drawn.
_MOST_PAIRS, _MOST_CLASSES, _MOST_POINTS = 40, 500, 2_000

#: Texts that are shown whole, as samples.
_NUM_SAMPLES = 8

_CLASSES = {Output.TOKEN_LABELS: "entity type"}


def answers(evidence: Evidence) -> Section:
    """Returns what the outputs allow to be said of each class, number or text."""
    kind = task_kind(evidence.task.kind)
    verdicts = kind.verdicts(evidence.task, evidence.targets, evidence.shipped)
    # A kind of a plugin's may say nothing of single rows, which must not read as if all were wrong.
    is_told = verdicts.column("loss").null_count < verdicts.num_rows
    tell = _BY_OUTPUT.get(kind.output, _nothing) if is_told else _nothing
    blocks: list[Block] = [*tell(evidence, verdicts)]
    counts = kind.class_counts(evidence.task, evidence.targets, evidence.shipped)
    if counts is not None:
        in_groups = evidence.task.group_column is not None
        blocks += _per_class(counts, _CLASSES.get(kind.output, "label"), in_groups=in_groups)
    return Section("answers", "Where it is right and wrong", tuple(blocks))


def wilson(successes: NDArray[Any], total: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns Wilson's 95 % interval (1927) of shares, which has a width also where all or none of a few are right."""
    safe, z = np.maximum(total, 1).astype(np.float64), STANDARD_ERRORS
    share = successes / safe
    middle = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2)) / (1 + z**2 / safe)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def _per_class(counts: ClassCounts, noun: str, *, in_groups: bool) -> list[Block]:
    """Returns precision, recall and F1 of each class.

    F1 grows with the share of what was found right among all that is there or was predicted, so the ends of that
    share's interval give the ends of F1's.
    """

    def triple(successes: NDArray[np.int64], total: NDArray[np.int64], f1: bool = False) -> list[Any]:
        ends = (successes / np.maximum(total, 1), *wilson(successes, total))
        spans = np.stack([2 * end / (1 + end) if f1 else end for end in ends], axis=1).tolist()
        return [tuple(span) if num else None for span, num in zip(spans, total, strict=True)]

    either = counts.predicted + counts.true - counts.matched
    precision, recall = triple(counts.matched, counts.predicted), triple(counts.matched, counts.true)
    f1 = triple(counts.matched, either, f1=True)
    order = sorted(range(len(counts.names)), key=lambda at: (f1[at][0] if f1[at] else math.inf, -int(counts.true[at])))
    rows = tuple(
        (counts.names[at], f1[at], precision[at], recall[at], int(counts.true[at]), int(counts.predicted[at]))
        for at in order[:_MOST_CLASSES]
    )
    columns = (
        Column(noun, "data"),
        Column("F1", "interval"),
        Column("precision", "interval", "of what was predicted, the share that is right"),
        Column("recall", "interval", "of what is there, the share that was found"),
        Column("support", "count", "how often it is there"),
        Column("predicted", "count", "how often it was predicted"),
    )
    absent = int((counts.true == 0).sum())
    told = f"Worst F1 first. Intervals are Wilson's, 95 %, each {noun} by itself: of {len(counts.names):,}, about one "
    told += "in twenty lies outside of its own." if len(counts.names) > 5 else "in twenty would lie outside of its own."
    if absent:
        verb, whose = ("occurs", "its") if absent == 1 else ("occur", "their")
        told += f" {counted(absent, noun)} never {verb} in these rows, so {whose} recall is not known."
    if in_groups:
        told += " They take rows for independent: where those of one group go together, they are too narrow."
    table = Table("classes", f"Scores of each {noun}", columns, rows, left_out=max(0, len(order) - _MOST_CLASSES))
    return [Said(told, "muted"), table]


def _labels(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    """Returns which labels are taken for which."""
    names = evidence.task.labels
    true = to_numbers(evidence.targets)
    index = pc.index_in(verdicts.column("prediction"), value_set=pa.array(names, pa.string()))
    predicted = to_numbers(index)
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    num_wrong = int(wrong.sum())
    if not num_wrong:
        return [Said(f"All of {counted(len(true), 'row')} are right.", "good")]
    support = matrix.sum(axis=1)
    cells = np.argwhere(wrong > 0)
    cells = cells[np.argsort(-wrong[cells[:, 0], cells[:, 1]], kind="stable")]
    pairs = Table(
        "confused",
        "Labels that are most often taken for another",
        (
            Column("is", "data"),
            Column("taken for", "data"),
            Column("rows", "count"),
            Column("of its rows", "share", "of the rows that have the label"),
            Column("the other way", "count", "rows that have the second label and were given the first"),
        ),
        tuple(
            (names[i], names[j], int(wrong[i, j]), wrong[i, j] / support[i], int(wrong[j, i]))
            for i, j in cells[:_MOST_PAIRS]
        ),
        left_out=max(0, len(cells) - _MOST_PAIRS),
    )
    first = f"{counted(num_wrong, 'row')} of {len(true):,} are wrong"
    top = int(wrong[cells[:10, 0], cells[:10, 1]].sum())
    spread = (
        f"; the ten most frequent of {len(cells):,} confusions make {top / num_wrong:.0%} of them"
        if len(cells) > 10
        else ""
    )
    return [Said(f"{first}{spread}."), _confusion(names, matrix, wrong), pairs]


def _confusion(names: Sequence[str], matrix: NDArray[np.int64], wrong: NDArray[np.int64]) -> Figure:
    chosen = np.arange(len(names))
    if len(names) > _MOST_CONFUSED:
        errors = wrong.sum(axis=0) + wrong.sum(axis=1)
        chosen = np.sort(np.argsort(-errors, kind="stable")[:_MOST_CONFUSED])
        chosen = _neighbours(wrong, chosen)
    kept = matrix[np.ix_(chosen, chosen)]
    support = matrix.sum(axis=1)[chosen]
    shares = 100 * kept / np.maximum(support, 1)[:, None]
    words = distinct([shown(names[at], limit=26) for at in chosen.tolist()])
    hidden = len(names) - len(chosen)
    inside = int(np.asarray(wrong[np.ix_(chosen, chosen)]).sum())
    told = "Each row is a true label and adds up to 100 %; the diagonal is what is right."
    if hidden:
        told = (
            f"The {len(chosen)} labels with most errors of {len(names):,}, like beside like; {inside:,} of "
            f"{int(wrong.sum()):,} errors are among these. {told}"
        )
    size = max(340, 130 + 22 * len(chosen))
    data = {
        "type": "heatmap", "z": [numbers(row) for row in shares], "x": words, "y": words, "colorscale": HEAT, "zmin": 0,
        "zmax": 100, "xgap": 1, "ygap": 1, "customdata": kept.tolist(),
        "colorbar": {"title": {"text": "%"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "is %{y}<br>taken for %{x}<br>%{customdata} rows, %{z:.1f} %<extra></extra>",
    }  # fmt: skip
    few = len(chosen) <= 12
    annotations = [
        {
            "x": words[j], "y": words[i], "text": f"{kept[i, j]:,}", "showarrow": False,
            "font": {"color": "$card" if shares[i, j] > 60 else "$ink", "size": 12},
        }
        for i in range(len(chosen)) for j in range(len(chosen)) if few and kept[i, j]
    ]  # fmt: skip
    layout = {
        "xaxis": axis("predicted", autotickangles=[0, -60], type="category", showgrid=False),
        "yaxis": axis("true", autorange="reversed", type="category", showgrid=False),
        "annotations": annotations,
        "margin": {"l": 60, "r": 10, "t": 8, "b": 60},
    }
    # The cells off the diagonal are listed as pairs; here the rows of the matrix.
    cells = [(i, j) for i in range(len(chosen)) for j in range(len(chosen)) if kept[i, j]]
    table = Table(
        "confusion-numbers",
        "Rows by true and predicted label",
        (Column("is", "data"), Column("given", "data"), Column("rows", "count"), Column("of its rows", "share")),
        tuple((names[int(chosen[i])], names[int(chosen[j])], int(kept[i, j]), shares[i, j] / 100) for i, j in cells),
    )
    # The scale and the margins, the longest label at the side, and cells that their numbers fit into.
    width = 130 + 7 * max(map(len, words)) + (34 if few else 20) * len(chosen)
    return Figure("confusion", "Confusion of labels", told, (data,), layout, table, height=size, min_width=width)


def _neighbours(wrong: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the labels so that those confused with each other stand together: each time the likest of those left."""
    both = wrong + wrong.T
    order, left = [int(chosen[both[np.ix_(chosen, chosen)].sum(axis=1).argmax()])], {*chosen.tolist()}
    left.discard(order[0])
    while left:
        nearest = max(sorted(left), key=lambda at: both[order[-1], at])
        if not both[order[-1], nearest]:
            nearest = max(sorted(left), key=lambda at: both[np.array([*left])][:, at].sum())
        order.append(nearest)
        left.discard(nearest)
    return np.array(order)


def _sets(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    right = int(pc.sum(verdicts.column("right")).as_py() or 0)
    num_rows = verdicts.num_rows
    thresholds = evidence.task.thresholds
    told = (
        f"The whole set of labels is right in {right:,} of {counted(num_rows, 'row')} ({right / max(1, num_rows):.1%})."
    )
    if thresholds:
        low, high = min(thresholds), max(thresholds)
        told += f" A label is predicted from its threshold on; thresholds go from {low:.2f} to {high:.2f}."
    return [Said(told)]


def _tokens(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    right = int(pc.sum(verdicts.column("right")).as_py() or 0)
    told = (
        f"Every tag is right in {right:,} of {counted(verdicts.num_rows, 'row')}. An entity counts as found where its "
        "words and its type both are."
    )
    return [Said(told)]


def _values(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    true = to_numbers(verdicts.column("target")).astype(np.float64)
    predicted = to_numbers(verdicts.column("prediction")).astype(np.float64)
    errors = predicted - true
    name = shown(evidence.task.target_column, limit=40)
    some = np.arange(len(true))
    if len(true) > _MOST_POINTS:
        some = np.sort(np.random.default_rng(0).choice(len(true), _MOST_POINTS, replace=False))
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    points = {
        "type": "scatter", "mode": "markers", "name": "rows", "x": numbers(true[some]), "y": numbers(predicted[some]),
        "marker": {"size": 5, "color": "$series-0", "opacity": 0.45},
        "hovertemplate": "is %{x:.4g}<br>predicted %{y:.4g}<extra></extra>",
    }  # fmt: skip
    exact = {
        "type": "scatter", "mode": "lines", "name": "exact", "x": [low, high], "y": [low, high],
        "line": {"color": "$muted", "dash": "dash", "width": 1.5}, "hoverinfo": "skip",
    }  # fmt: skip
    layout = {"xaxis": axis(f"actual {plain(name)}"), "yaxis": axis("predicted"), "legend": legend_below()}
    bands = _bands(true, predicted)
    told = "A point is a row; on the dashed line the prediction is exact."
    if len(some) < len(true):
        told += f" {len(some):,} of {len(true):,} rows, drawn at random."
    counts, edges = np.histogram(errors, bins=min(40, max(8, int(math.sqrt(len(errors))))))
    bars = {
        "type": "bar", "x": numbers((edges[:-1] + edges[1:]) / 2), "y": counts.tolist(),
        "width": float(edges[1] - edges[0]),
        "marker": {"color": "$series-0", "line": {"color": "$card", "width": 1}},
        "hovertemplate": "%{y} rows around %{x:.3g}<extra></extra>",
    }  # fmt: skip
    residuals = Table(
        "residuals-numbers",
        "Errors, predicted minus actual",
        (Column("from", "number"), Column("to", "number"), Column("rows", "count")),
        tuple((float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)),
    )
    bias = float(errors.mean())
    se = standard_error_of_mean(errors, evidence.rows.groups())
    half = float(np.median(np.abs(errors)))
    off = "too high" if bias > 0 else "too low"
    verdict = f"{off} beyond the noise" if abs(bias) > STANDARD_ERRORS * se else "which is within the noise"
    lead = (
        f"Half of the predictions are within {number(half)} of the actual {name}; on average they are off by "
        f"{bias:+.4g} (standard error {se:.2g}), {verdict}."
    )
    # Plotly stretches one axis alone otherwise, and the diagonal would not be one.
    return [
        Said(lead),
        Figure("actual", "Predicted against actual", told, (points, exact), layout, bands, height=440),
        Figure(
            "residuals", "Errors", "Predicted minus actual; a good model's stand around zero.", (bars,),
            {"xaxis": axis("predicted minus actual"), "yaxis": axis("rows"), "bargap": 0, "showlegend": False},
            residuals, height=280,
        ),
    ]  # fmt: skip


def _bands(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> Table:
    edges = np.unique(np.quantile(true, np.linspace(0, 1, 11)))
    where = np.clip(np.searchsorted(edges, true, side="right") - 1, 0, max(0, len(edges) - 2))
    rows = []
    for at in np.unique(where):
        chosen = where == at
        error = predicted[chosen] - true[chosen]
        top = edges[min(at + 1, len(edges) - 1)]
        rows.append((float(edges[at]), float(top), int(chosen.sum()), float(error.mean()), float(np.abs(error).mean())))
    columns = (
        Column("actual from", "number"),
        Column("to", "number"),
        Column("rows", "count"),
        Column("mean error", "signed", "predicted minus actual"),
        Column("mean size", "number", "of the error"),
    )
    return Table("actual-numbers", "Errors by tenths of the actual numbers", columns, tuple(rows))


def _texts(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    lengths = to_numbers(pc.fill_null(pc.utf8_length(verdicts.column("target")), 0)).astype(np.float64)
    bits = to_numbers(verdicts.column("loss")).astype(np.float64)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 9)))
    where = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(0, len(edges) - 2))
    rows, groups = [], evidence.rows.groups()
    for at in np.unique(where):
        own = bits[where == at]
        mean = float(own.mean())
        error = standard_error_of_mean(own, None if groups is None else groups[where == at])
        interval = Interval.around(mean, error)
        span = (mean, None, None) if math.isnan(error) else (mean, interval.low, interval.high)
        rows.append((int(edges[at]), int(edges[min(at + 1, len(edges) - 1)]), len(own), span))
    table = Table(
        "lengths-of-targets-numbers",
        "Bits per byte by length of the target",
        (
            Column("letters from", "count"), Column("to", "count"), Column("rows", "count"),
            Column("bits per byte", "interval", "mean over the rows, with its 95 % interval by standard errors"),
        ),
        tuple(rows),
    )  # fmt: skip
    labels = [f"{row[0]}–{row[1]}" for row in rows]  # noqa: RUF001
    data = {
        "type": "scatter", "mode": "markers", "x": labels, "y": numbers([row[3][0] for row in rows]),
        "marker": {"size": 9, "color": "$series-0"},
        "error_y": {
            "type": "data", "color": "$series-0",
            "array": numbers([(row[3][2] - row[3][0]) if row[3][2] is not None else 0.0 for row in rows]),
        },
        "hovertemplate": "%{y:.4f} bits per byte<br>%{x} letters<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("letters of the target", type="category"), "yaxis": axis("bits per byte"), "showlegend": False,
    }  # fmt: skip
    told = (
        "How unlikely the targets are to the model, by their length; lower is better. Means over rows, with intervals."
    )
    blocks: list[Block] = [
        Figure("lengths-of-targets", "Loss by length of the target", told, (data,), layout, table, height=340)
    ]
    written = verdicts.column("prediction")
    there = np.flatnonzero(np.asarray(pc.is_valid(written).to_numpy(zero_copy_only=False)))
    if not len(there):
        return [*blocks, Said("No texts were generated to be scored, so there are no samples.", "muted")]
    chosen = np.random.default_rng(0).permutation(there)[:_NUM_SAMPLES]
    places = evidence.rows.numbers("row")
    samples = Table(
        "samples",
        "Generated texts, drawn at random",
        (Column("row", "count"), Column("wanted", "data"), Column("generated", "data"), Column("same answer", "text")),
        tuple(
            (
                int(places[at]), verdicts.column("target")[int(at)].as_py(), written[int(at)].as_py(),
                "yes" if verdicts.column("right")[int(at)].as_py() else "no",
            )
            for at in np.sort(chosen)
        ),
    )  # fmt: skip
    return [*blocks, samples]


def _nothing(evidence: Evidence, verdicts: pa.Table) -> list[Block]:
    return [Said("Of outputs of this kind nothing more is told.", "muted")]


_BY_OUTPUT: Mapping[Output, Callable[[Evidence, pa.Table], list[Block]]] = {
    Output.LABEL: _labels,
    Output.LABELS: _sets,
    Output.NUMBER: _values,
    Output.TOKEN_LABELS: _tokens,
    Output.TEXT: _texts,
}
