"""Parallel coordinates: the configurations of an arm as lines through their settings to their score."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosft.counting import counted
from autosft.planning.plan import Arm
from autosft.report.blocks import Block, Column, Figure, Table
from autosft.report.cells import setting, shown
from autosft.report.ended import Ended
from autosft.report.figures import RANKS, hover
from autosft.search.choice import in_order
from autosft.search.space import SearchSpace
from autosft.search.trial import Trial

#: Configurations that are drawn; the best ones, as more make a figure a blot. Fewer than the least are no picture.
_MOST_DRAWN, _FEWEST = 120, 3

#: Axes, the score's aside.
_MOST_AXES = 8

#: Pixels that an axis needs to be read.
_AXIS_WIDTH = 105

#: Letters of an axis' name in one line.
_AXIS_LETTERS = 13

#: A positive axis that spans so much is drawn by its logarithm.
_LOG_RATIO = 20.0


def parallel(ended: Ended, arm: Arm, own: Sequence[Trial], shares: Mapping[str, float], at: int) -> list[Block]:
    """Returns a figure of an arm's configurations; none where they are too few or all alike.

    Args:
        ended: The run.
        arm: The arm.
        own: One trial of each of its configurations, with a score.
        shares: How much a setting mattered, where that is known: the first axes are those that mattered most.
        at: Tells the figure from those of other arms.
    """
    metric = ended.plan.task.metric
    names = [name for name in arm.default if len({repr(trial.config.get(name)) for trial in own}) > 1]
    if len(own) < _FEWEST or not names:
        return []
    chosen = sorted(names, key=lambda name: -shares.get(name, -1.0))[:_MOST_AXES]
    drawn = in_order(own, metric.greater_is_better)[:_MOST_DRAWN]
    scores = [_score(trial) for trial in drawn]
    axes = [_Axis.of(name, [trial.config.get(name) for trial in drawn], arm) for name in chosen]
    axes.append(_Axis.of(metric.name, scores, None))
    table = Table(
        f"parallel-{at}-numbers",
        f"Settings of {shown(arm.name)}",
        (Column("trial", "count"), *(Column(name) for name in chosen), Column(metric.name, "number")),
        tuple(
            (trial.number, *(place.words[one] for place in axes[:-1]), scores[one]) for one, trial in enumerate(drawn)
        ),
        left_out=len(own) - len(drawn),
    )
    hidden = len(names) - len(chosen)
    told = "A line is a configuration; the more its colour stands out, the better it scored. "
    told += f"{counted(len(own), 'configuration')}, each at its longest training"
    told += f", {hidden} further settings left out." if hidden > 0 else "."
    title = f"Configurations of {shown(arm.name)}"
    data, width = tuple(_lines(axes, drawn, metric.greater_is_better)), _AXIS_WIDTH * len(axes)
    return [Figure(f"parallel-{at}", title, told, data, _layout(axes), table, height=420, min_width=width)]


@dataclass(frozen=True)
class _Axis:
    """An axis.

    Attributes:
        name: What stands above it.
        words: Each configuration's value.
        positions: Where each stands, from 0 to 1.
        ticks: Positions with what is written beside them.
    """

    name: str
    words: list[str]
    positions: list[float]
    ticks: list[tuple[float, str]]

    @staticmethod
    def of(name: str, values: Sequence[Any], arm: Arm | None) -> _Axis:
        """Returns the axis of a setting of an arm, or of the score, which belongs to none."""
        words = [setting(value) if arm else f"{value:.4f}" for value in values]
        found = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(found) < len(values) or len(set(found)) < 2:
            choices = sorted(set(words))
            where = {word: (at + 0.5) / len(choices) for at, word in enumerate(choices)}
            ticks = [(where[word], shown(word, limit=14)) for word in choices]
            return _Axis(name, words, [where[word] for word in words], ticks)
        lowest, highest = min(found), max(found)
        is_log = _is_log(name, arm, lowest, highest)

        def scaled(value: float) -> float:
            return math.log(value) if is_log else float(value)

        width = scaled(highest) - scaled(lowest)
        positions = [(scaled(value) - scaled(lowest)) / width for value in found]
        middle = math.exp((scaled(lowest) + scaled(highest)) / 2) if is_log else (lowest + highest) / 2
        wording = f"{{:.{4 if arm is None else 3}g}}"
        ticks = [(at, wording.format(value)) for at, value in ((0.0, lowest), (0.5, middle), (1.0, highest))]
        return _Axis(f"{name} (log)" if is_log else name, words, positions, ticks)


def _lines(axes: Sequence[_Axis], drawn: Sequence[Trial], greater_is_better: bool) -> Iterator[dict[str, Any]]:
    """Yields a trace for each fifth of the configurations, the worst one first, so that the best lie on top."""
    sign = 1 if greater_is_better else -1
    order = sorted(range(len(drawn)), key=lambda one: sign * _score(drawn[one]))
    # The ends of the scale are always taken, however few lines there are.
    fifths = [round(place * (len(RANKS) - 1) / (len(order) - 1)) for place in range(len(order))]
    for rank, colour in enumerate(RANKS):
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for one in (one for one, fifth in zip(order, fifths, strict=True) if fifth == rank):
            x += [*range(len(axes)), None]
            y += [*(place.positions[one] for place in axes), None]
            texts += [hover(f"trial {drawn[one].number}: {place.words[one]}") for place in axes] + [""]
        label = {0: "worst", len(RANKS) - 1: "best"}.get(rank, "")
        yield {
            "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "text": texts, "name": label,
            "showlegend": bool(label),
            "line": {"color": colour, "width": 1.2 + 0.5 * rank},
            "marker": {"color": colour, "size": 4 + rank // 2},
            "hovertemplate": "%{text}<extra></extra>",
        }  # fmt: skip


def _layout(axes: Sequence[_Axis]) -> dict[str, Any]:
    """Returns plotly's layout: an upright line an axis, with its ticks beside it."""
    return {
        "xaxis": {
            "tickvals": [*range(len(axes))], "ticktext": [_wrapped(place.name) for place in axes],
            "range": [-0.5, len(axes) - 0.45], "side": "top", "ticklabeloverflow": "allow", "tickangle": 0,
            "showgrid": False, "zeroline": False,
        },
        "yaxis": {"visible": False, "range": [-0.07, 1.07]},
        "shapes": [
            {
                "type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": "$muted", "width": 1},
                "layer": "below",
            }
            for at in range(len(axes))
        ],
        "annotations": [
            {
                "x": at, "y": position, "text": hover(text), "showarrow": False, "xanchor": "left", "xshift": 4,
                "font": {"size": 11, "color": "$ink"}, "bgcolor": "$card", "opacity": 0.9, "borderpad": 1,
            }
            for at, place in enumerate(axes)
            for position, text in place.ticks
        ],
        "showlegend": True, "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
        "margin": {"l": 12, "r": 70, "t": 66, "b": 36},
    }  # fmt: skip


def _is_log(name: str, arm: Arm | None, lowest: float, highest: float) -> bool:
    """Whether an axis is logarithmic: as the space says, or where it says nothing, where the values span much."""
    if arm is None or lowest <= 0:
        return False
    parameters: Mapping[str, Any] = (
        {parameter.name: parameter for parameter in arm.space.parameters} if isinstance(arm.space, SearchSpace) else {}
    )
    return bool(parameters[name].log) if name in parameters else highest / lowest >= _LOG_RATIO


def _score(trial: Trial) -> float:
    assert trial.score is not None  # Others are not drawn.
    return trial.score


def _wrapped(name: str) -> str:
    """Returns a name in lines that leave neighbouring axes theirs."""
    lines = [""]
    for part in re.split(r"(?<=[_ ])", name):
        if lines[-1] and len(lines[-1]) + len(part) > _AXIS_LETTERS:
            lines.append("")
        lines[-1] += part
    return "<br>".join(hover(line) for line in lines)
