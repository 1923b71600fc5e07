"""How the search went: scores over the length of training, configurations in parallel, and what mattered."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from autosft.planning.plan import Arm
from autosft.report.blocks import Block, Column, Figure, Listing, Said, Section, Table
from autosft.report.cells import counted, setting, shown
from autosft.report.ended import Ended
from autosft.report.figures import MARKERS, RANKS, SERIES, axis, legend_below, numbers, plain
from autosft.report.leaderboard import changed_settings
from autosft.reviewing.importance import FEWEST_TRIALS, Importance, importances
from autosft.search.choice import in_order
from autosft.search.space import SearchSpace
from autosft.search.trial import Trial

#: Configurations that are drawn; the best ones, as more make a figure a blot.
_MOST_DRAWN = 120

#: Axes of parallel coordinates, the score's aside, and figures of them.
_MOST_AXES, _MOST_ARMS = 8, 4

#: Pixels that an axis of parallel coordinates needs to be read.
_AXIS_WIDTH = 105

#: Letters of an axis' name in one line.
_AXIS_LETTERS = 13

#: A positive axis that spans so much is drawn by its logarithm.
_LOG_RATIO = 20.0


def claims_section(claims: Sequence[tuple[str, str]]) -> Section | None:
    """Returns what a review of the search says; None where it says nothing."""
    if not claims:
        return None
    topics = list(dict.fromkeys(topic for topic, _ in claims))
    blocks = tuple(
        Listing(tuple(sentence for of, sentence in claims if of == topic), title=topic.capitalize()) for topic in topics
    )
    return Section("search-tells", "What the search tells", blocks)


def course(ended: Ended) -> Section:
    """Returns figures of the search."""
    blocks: list[Block] = [*_lengths(ended)]
    tried = _longest(ended.trials)
    arms = sorted(ended.plan.arms, key=lambda arm: -sum(trial.arm == arm.name for trial in tried))
    for at, arm in enumerate(arms[:_MOST_ARMS]):
        own = [trial for trial in tried if trial.arm == arm.name]
        found = _importance(ended, own)
        blocks += _parallel(ended, arm, own, found, at)
        blocks += _importance_blocks(arm, own, found, at)
    hidden = len(arms) - _MOST_ARMS
    if hidden > 0:
        blocks.append(Said(f"{counted(hidden, 'more arm')} with fewer trials are left out here.", "muted"))
    return Section("search", "How the search went", tuple(blocks))


def _lengths(ended: Ended) -> list[Block]:
    """Returns the scores of configurations over the share of a full training that they were given."""
    curves: dict[str, dict[float, float]] = {}
    one: dict[str, Trial] = {}
    for trial in ended.trials:
        if trial.stage != "search":
            continue
        points = [*trial.reports]
        if trial.fate == "complete":
            # What it reported on the way is of what was asked for; its time may have allowed less.
            points = [
                *(point for point in points if point[0] < trial.fidelity),
                (trial.fidelity, trial.score or math.nan),
            ]
        for length, score in points:
            if math.isfinite(score):
                curves.setdefault(trial.identity, {})[round(length, 4)] = score
                one.setdefault(trial.identity, trial)
    lengths = sorted({length for curve in curves.values() for length in curve})
    if len(lengths) < 2:
        only = f" ({lengths[0]:.0%} of a full run)" if lengths else ""
        return [Said(f"Every training had the same length{only}, so there are no curves over lengths.", "muted")]
    sign = -1 if ended.plan.task.metric.greater_is_better else 1
    best = sorted(curves, key=lambda key: sign * curves[key][max(curves[key])])[:_MOST_DRAWN]
    winner, metric = ended.winner.identity, ended.plan.task.metric.name
    data = []
    for at, arm in enumerate(ended.plan.arms):
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for key in best:
            if one[key].arm != arm.name:
                continue
            curve = sorted(curves[key].items())
            x += [*(100 * length for length, _ in curve), None]
            y += [*(score for _, score in curve), None]
            texts += [_hover(changed_settings(ended, one[key]))] * (len(curve) + 1)
        if x:
            colour, marker = SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]
            data.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": _hover(arm.name), "x": x, "y": y, "text": texts,
                    "line": {"width": 1.2, "color": colour}, "marker": {"size": 6, "symbol": marker, "color": colour},
                    "opacity": 0.75, "hovertemplate": "%{y:.4f} at %{x:.3g} %<br>%{text}<extra></extra>",
                }
            )  # fmt: skip
    if winner in curves:
        curve = sorted(curves[winner].items())
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": "the winner", "x": [100 * at for at, _ in curve],
                "y": [score for _, score in curve], "line": {"width": 3, "color": "$ink"},
                "marker": {"size": 9, "color": "$ink"}, "hovertemplate": "%{y:.4f} at %{x:.3g} %<extra>winner</extra>",
            }
        )  # fmt: skip
    is_wide = lengths[-1] / max(lengths[0], 1e-6) >= 4
    ticks = [100 * length for length in lengths] if len(lengths) <= 8 else None
    x_axis = axis("length of training (% of a full run)", type="log" if is_wide else "linear")
    if ticks:
        x_axis |= {"tickvals": numbers(ticks), "ticktext": [f"{tick:.3g}" for tick in ticks]}
    shown_lengths = lengths if len(lengths) <= 8 else [lengths[round(i * (len(lengths) - 1) / 7)] for i in range(8)]
    table = Table(
        "lengths-numbers",
        f"{metric} by length of training",
        (
            Column("arm"),
            Column("settings"),
            *(Column(f"at {100 * length:.3g} %", "number") for length in shown_lengths),
        ),
        tuple(
            (one[key].arm, changed_settings(ended, one[key]), *(curves[key].get(length) for length in shown_lengths))
            for key in best
        ),
        left_out=len(curves) - len(best),
    )  # fmt: skip
    told = (
        "A line is a configuration. Where lines cross between two lengths, the shorter one ranks them wrongly; "
        f"{counted(len(curves), 'configuration')}, the winner in bold."
    )
    y_axis = axis(metric)
    drawn = [score for key in best for score in curves[key].values()]
    if (ends := _window(drawn, sign)) is not None:
        y_axis["range"] = list(ends)
        hidden = sum(not ends[0] <= score <= ends[1] for score in drawn)
        told += f" {counted(hidden, 'score')} far worse than the others lie outside of the figure, and stand below."
    layout = {"xaxis": x_axis, "yaxis": y_axis, "legend": legend_below()}
    return [Figure("lengths", "Scores over the length of training", told, tuple(data), layout, table), *_ranks(ended)]


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
    found = [row for row in ended.summary.get("rungs", ()) if row["rank_correlation"] is not None]
    if not found:
        return []
    items = tuple(
        f"Between {row['from']:.0%} and {row['to']:.0%} of the length the rank correlation of scores is "
        f"{row['rank_correlation']:.2f}, over {row['num_configs']} configurations that ran both."
        for row in found
    )
    return [Listing(items)]


def _longest(trials: Sequence[Trial]) -> list[Trial]:
    """Returns each configuration's longest training that has a score."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.stage == "search" and trial.score is not None and math.isfinite(trial.score):
            known = found.get(trial.identity)
            if known is None or trial.fidelity >= known.fidelity:
                found[trial.identity] = trial
    return list(found.values())


def _importance(ended: Ended, own: Sequence[Trial]) -> list[Importance]:
    sign = 1.0 if ended.plan.task.metric.greater_is_better else -1.0
    # Lengths differ in score more than configurations do, so only those of the commonest length are compared.
    lengths = [round(trial.rung, 4) for trial in own]
    common = max(set(lengths), key=lambda length: (lengths.count(length), length), default=1.0)
    compared = [trial for trial, length in zip(own, lengths, strict=True) if length == common]
    scores = [sign * (trial.score or 0.0) for trial in compared]
    return importances([trial.config for trial in compared], scores, seed=ended.plan.seed)


def _importance_blocks(arm: Arm, own: Sequence[Trial], found: Sequence[Importance], at: int) -> list[Block]:
    if not own:
        return []
    if not found:
        why = f"Fewer than {FEWEST_TRIALS} trials" if len(own) < FEWEST_TRIALS else "Too few comparable trials"
        told = f"{why} of {arm.name} ({len(own)} scored): what mattered cannot be told from so few."
        return [Said(told, "muted")]
    rows = tuple((row.field, row.share, row.low, row.high) for row in found)
    table = Table(
        f"importance-{at}-numbers",
        "Share of the variance of the trials' ranks",
        (Column("setting"), Column("share", "share"), Column("low", "share"), Column("high", "share")),
        rows,
    )
    drawn = [*found][::-1]
    data = {
        "type": "bar", "orientation": "h", "y": [_hover(row.field) for row in drawn],
        "x": numbers([100 * row.share for row in drawn]), "marker": {"color": "$series-0"},
        "error_x": {
            "type": "data", "symmetric": False, "color": "$ink", "thickness": 1.5,
            "array": numbers([100 * (row.high - row.share) for row in drawn]),
            "arrayminus": numbers([100 * (row.share - row.low) for row in drawn]),
        },
        "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("share of the variance (%)", rangemode="tozero"),
        "yaxis": {"automargin": True},
        "showlegend": False,
    }
    sure = [row.field for row in found if row.low > 0]
    verdict = f"Told from noise: {', '.join(sure)}." if sure else "None of them can be told from noise."
    num = found[0].num_trials
    told = f"By fANOVA over {num} trials of one length, with 95 % intervals from resampled trials. {verdict}"
    height = 110 + 32 * len(drawn)
    return [
        Figure(f"importance-{at}", f"What mattered in {shown(arm.name)}", told, (data,), layout, table, height=height)
    ]


def _parallel(ended: Ended, arm: Arm, own: Sequence[Trial], found: Sequence[Importance], at: int) -> list[Block]:
    """Returns the configurations of an arm as lines through their settings to their score."""
    metric = ended.plan.task.metric
    names = [name for name in arm.default if len({_hashable(trial.config.get(name)) for trial in own}) > 1]
    if len(own) < 3 or not names:
        return []
    shares = {row.field: row.share for row in found}
    axes = sorted(names, key=lambda name: -shares.get(name, -1.0))[:_MOST_AXES]
    best_first = in_order(own, metric.greater_is_better)[:_MOST_DRAWN]
    places = [_Axis.of(name, [trial.config.get(name) for trial in best_first], arm) for name in axes]
    scores = [float(trial.score or 0.0) for trial in best_first]
    places.append(_Axis.of(metric.name, scores, None))
    data = []
    sign = 1 if metric.greater_is_better else -1
    order = sorted(range(len(best_first)), key=lambda one: sign * scores[one])
    for rank, colour in enumerate(RANKS):
        # The ends of the scale are always taken, however few lines there are.
        fifths = [round(place * (len(RANKS) - 1) / (len(order) - 1)) for place in range(len(order))]
        chosen = [one for one, fifth in zip(order, fifths, strict=True) if fifth == rank]
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for one in chosen:
            x += [*range(len(places)), None]
            y += [*(place.positions[one] for place in places), None]
            texts += [_hover(f"trial {best_first[one].number}: {place.words[one]}") for place in places] + [""]
        label = {0: "worst", len(RANKS) - 1: "best"}.get(rank, "")
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "text": texts, "name": label,
                "showlegend": bool(label),
                "line": {"color": colour, "width": 1.2 + 0.5 * rank},
                "marker": {"color": colour, "size": 4 + rank // 2},
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    layout = {
        "xaxis": {
            "tickvals": [*range(len(places))], "ticktext": [_wrapped(place.name) for place in places],
            "range": [-0.5, len(places) - 0.45], "side": "top", "ticklabeloverflow": "allow", "tickangle": 0,
            "showgrid": False, "zeroline": False,
        },
        "yaxis": {"visible": False, "range": [-0.07, 1.07]},
        "shapes": [
            {
                "type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": {"color": "$muted", "width": 1},
                "layer": "below",
            }
            for i in range(len(places))
        ],
        "annotations": [
            {
                "x": i, "y": position, "text": _hover(text), "showarrow": False, "xanchor": "left", "xshift": 4,
                "font": {"size": 11, "color": "$ink"}, "bgcolor": "$card", "opacity": 0.9, "borderpad": 1,
            }
            for i, place in enumerate(places)
            for position, text in place.ticks
        ],
        "showlegend": True, "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
        "margin": {"l": 12, "r": 70, "t": 66, "b": 36},
    }  # fmt: skip
    table = Table(
        f"parallel-{at}-numbers",
        f"Settings of {shown(arm.name)}",
        (Column("trial", "count"), *(Column(name) for name in axes), Column(metric.name, "number")),
        tuple(
            (trial.number, *(place.words[one] for place in places[:-1]), scores[one])
            for one, trial in enumerate(best_first)
        ),
        left_out=len(own) - len(best_first),
    )
    hidden = len(names) - len(axes)
    told = "A line is a configuration; the more its colour stands out, the better it scored. "
    told += f"{counted(len(own), 'configuration')}, each at its longest training"
    told += f", {hidden} further settings left out." if hidden > 0 else "."
    title = f"Configurations of {shown(arm.name)}"
    width = _AXIS_WIDTH * len(places)
    return [Figure(f"parallel-{at}", title, told, tuple(data), layout, table, height=420, min_width=width)]


class _Axis:
    """An axis of parallel coordinates: where each value stands on it, from 0 to 1, and what is written beside it."""

    def __init__(self, name: str, words: list[str], positions: list[float], ticks: list[tuple[float, str]]) -> None:
        self.name, self.words, self.positions, self.ticks = name, words, positions, ticks

    @staticmethod
    def of(name: str, values: Sequence[Any], arm: Arm | None) -> _Axis:
        words = [setting(value) if arm else f"{value:.4f}" for value in values]
        plain = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(plain) < len(values) or len(set(plain)) < 2:
            choices = sorted(set(words))
            where = {word: (at + 0.5) / len(choices) for at, word in enumerate(choices)}
            return _Axis(
                name, words, [where[word] for word in words], [(where[word], shown(word, limit=14)) for word in choices]
            )
        lowest, highest = min(plain), max(plain)
        is_log = _is_log(name, arm, lowest, highest)

        def scaled(value: float) -> float:
            return math.log(value) if is_log else float(value)

        width = scaled(highest) - scaled(lowest)
        positions = [(scaled(value) - scaled(lowest)) / width for value in plain]
        middle = math.exp((scaled(lowest) + scaled(highest)) / 2) if is_log else (lowest + highest) / 2
        name = f"{name} (log)" if is_log else name
        wording = f"{{:.{4 if arm is None else 3}g}}"
        ticks = [(at, wording.format(value)) for at, value in ((0.0, lowest), (0.5, middle), (1.0, highest))]
        return _Axis(name, words, positions, ticks)


def _is_log(name: str, arm: Arm | None, lowest: float, highest: float) -> bool:
    """Whether an axis is logarithmic: as the space says, or where it says nothing, where the values span much."""
    if arm is None or lowest <= 0:
        return False
    parameters: Mapping[str, Any] = (
        {parameter.name: parameter for parameter in arm.space.parameters} if isinstance(arm.space, SearchSpace) else {}
    )
    return bool(parameters[name].log) if name in parameters else highest / lowest >= _LOG_RATIO


def _hashable(value: Any) -> str:
    return repr(value)


def _wrapped(name: str) -> str:
    lines = [""]
    for part in re.split(r"(?<=[_ ])", name):
        if lines[-1] and len(lines[-1]) + len(part) > _AXIS_LETTERS:
            lines.append("")
        lines[-1] += part
    return "<br>".join(_hover(line) for line in lines)


def _hover(text: str) -> str:
    return plain(shown(text))
