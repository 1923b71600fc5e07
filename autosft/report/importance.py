"""What mattered: how much of where an arm's configurations came in each setting explains, as the review computed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autosft.planning.plan import Arm
from autosft.report.blocks import Block, Column, Figure, Said, Table
from autosft.report.cells import shown
from autosft.report.figures import axis, hover, numbers
from autosft.reviewing.fields import compared, why_unknown
from autosft.reviewing.importance import Importance
from autosft.reviewing.sweep import Sweep


def importance(arm: Arm, sweep: Sweep, at: int) -> list[Block]:
    """Returns a figure of the shares, or why there is none; nothing of an arm without a score.

    Args:
        arm: The arm.
        sweep: The run; its importances are what the review's sentences hold as well.
        at: Tells the figure from those of other arms.
    """
    found = sweep.importances.get(arm.name)
    if found is None:
        return []
    title = f"What mattered in {shown(arm.name)}"
    if not found:
        return [Said(f"{title} cannot be told: {why_unknown(sweep, arm.name)}.", "muted")]
    sure = [row.field for row in found if row.low > 0]
    verdict = f"Told from noise: {', '.join(sure)}." if sure else "None of them can be told from noise."
    told = (
        f"What each setting explains alone of how configurations rank, by fANOVA over {compared(sweep, arm.name)}; "
        f"with 95 % intervals from resampled configurations. {verdict}"
    )
    table = Table(
        f"importance-{at}-numbers",
        "Share of the variance of the configurations' ranks",
        (Column("setting"), Column("share", "share"), Column("low", "share"), Column("high", "share")),
        tuple((row.field, row.share, row.low, row.high) for row in found),
    )
    layout = {
        "xaxis": axis("share of the variance (%)", rangemode="tozero"),
        "yaxis": {"automargin": True},
        "showlegend": False,
    }
    height = 110 + 32 * len(found)
    return [Figure(f"importance-{at}", title, told, (_bars(found),), layout, table, height=height)]


def _bars(found: Sequence[Importance]) -> dict[str, Any]:
    """Returns a trace of bars with their intervals, the largest on top."""
    drawn = [*found][::-1]
    return {
        "type": "bar", "orientation": "h", "y": [hover(row.field) for row in drawn],
        "x": numbers([100 * row.share for row in drawn]), "marker": {"color": "$series-0"},
        "error_x": {
            "type": "data", "symmetric": False, "color": "$ink", "thickness": 1.5,
            "array": numbers([100 * (row.high - row.share) for row in drawn]),
            "arrayminus": numbers([100 * (row.share - row.low) for row in drawn]),
        },
        "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
    }  # fmt: skip
