"""The W&B report of a finished search: its leaderboard, what mattered, the winner against the default, the data.

Panels draw from the runs on the server; text and tables come from the run's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autosft.run_folder import default_won
from autosft.tracking.wandb_mirror.runs import COMPARED, COMPLETE, WON, TrackedRun, TrackedSearch, digest, length_tag

_NUM_SHOWN = 10
#: Axes of the parallel coordinates: more cannot be read.
_NUM_AXES = 10


def report_digest(search: TrackedSearch) -> str:
    """Tells whether the report would say something else than before."""
    return digest([search.result, search.name, [run.digest for run in search.runs]])


def write_report(search: TrackedSearch, entity: str, project: str, *, report: str | None) -> tuple[str, str]:
    """Writes the report, over an earlier one where there is one; returns its id and address."""
    import wandb_workspaces.reports.v2.interface as reports

    made = reports.Report(
        entity=entity,
        project=project,
        title=f"autosft {search.name}",
        description=f"{search.metric}, {len(search.runs)} trial{'' if len(search.runs) == 1 else 's'}",
        blocks=_blocks(reports, search, entity, project),
        width="fluid",
    )
    made.id = report or ""
    made.save()
    return made.id, made.url


def _blocks(reports: Any, search: TrackedSearch, entity: str, project: str) -> list[Any]:
    result = search.result or {}
    compared = _longest(search)
    length = length_tag(compared[0].config["rung"])
    trials = f"Group = '{search.name}'"
    order = [reports.OrderBy(reports.SummaryMetric("score"), ascending=not search.greater_is_better)]

    def runset(name: str, filters: str) -> Any:
        columns = ["tags:__ALL__", "summary:score", "summary:fidelity", "config:arm.value", "summary:seconds"]
        return reports.Runset(
            entity=entity, project=project, name=name, filters=filters, order=order, pinned_columns=columns
        )

    return [
        reports.H1("Winner against default"),
        reports.MarkdownBlock("\n".join(_verdict(search, result))),
        reports.PanelGrid(
            runsets=[runset("winner and best default", f"{trials} and Tags in ['{WON}', '{COMPARED}']")],
            panels=[reports.RunComparer(diff_only="split", layout=reports.Layout(w=24, h=9))],
        ),
        reports.H1("Leaderboard"),
        reports.MarkdownBlock("\n".join(_leaderboard(search))),
        reports.H1("What mattered"),
        reports.PanelGrid(
            # Among scores of several lengths, what mattered would be the length.
            runsets=[runset(f"complete, {length}", f"{trials} and Tags in ['{COMPLETE}'] and Tags in ['{length}']")],
            panels=[
                reports.ParallelCoordinatesPlot(
                    title=f"Configurations and {search.metric}",
                    columns=[
                        *(_axis(reports, search, name) for name in _axes(search, compared)),
                        reports.ParallelCoordinatesPlotColumn(
                            reports.SummaryMetric("score"), display_name=search.metric
                        ),
                    ],
                    layout=reports.Layout(w=24, h=10),
                ),
                reports.ParameterImportancePlot(with_respect_to="score", layout=reports.Layout(y=10, w=24, h=9)),
            ],
        ),
        reports.H1("Scores by length"),
        reports.PanelGrid(
            runsets=[runset("all trials", trials)],
            panels=[
                reports.LinePlot(
                    title=f"{search.metric} by length of training, a line a configuration",
                    x="fidelity",
                    y=["score"],
                    title_x="share of a full run",
                    title_y=search.metric,
                    groupby=reports.Config("configuration"),
                    range_x=(0, 1),
                    layout=reports.Layout(w=24, h=9),
                ),
            ],
        ),
        reports.H1("What the data check found"),
        reports.MarkdownBlock("\n".join(_findings(search))),
    ]


def _longest(search: TrackedSearch) -> list[TrackedRun]:
    """Returns the complete runs of the longest length; all runs where none is complete."""
    complete = [run for run in search.runs if run.summary["fate"] == COMPLETE] or [*search.runs]
    longest = max(run.config["rung"] for run in complete)
    return [run for run in complete if run.config["rung"] == longest]


def _axes(search: TrackedSearch, compared: Sequence[TrackedRun]) -> list[str]:
    """Returns the parameters that took more than one value in these runs."""
    taken = {name: {str(run.config.get(name)) for run in compared} for name in search.sweep["parameters"]}
    return [name for name, values in taken.items() if len(values) > 1][:_NUM_AXES]


def _axis(reports: Any, search: TrackedSearch, name: str) -> Any:
    distribution = search.sweep["parameters"][name].get("distribution", "")
    return reports.ParallelCoordinatesPlotColumn(reports.Config(name), log="log" in distribution or None)


def _verdict(search: TrackedSearch, result: Mapping[str, Any]) -> list[str]:
    best, default, test, gain = (result[key] for key in ("best", "default", "test", "gain_over_default"))
    winner = _numbered(search, best["trial"])
    changed = ", ".join(f"{key} {_shown(value)}" for key, value in best["changed"].items()) or "nothing"
    compared = "no untuned default was trained to its end"
    if default["trial"] is not None:
        compared = f"trial {default['trial']}, {search.metric} {_measured(default)}"
    verdict = "proven better than the default" if gain["proven"] else "not better than the default beyond the noise"
    gained = "none: it is the untuned default" if default_won(result) else f"{_measured(gain, sign='+')}: {verdict}"
    return _table(
        ("", ""),
        [
            ("Winner", f"trial {best['trial']}, {winner.config['arm'] if winner else best['trainer']}"),
            ("Changed from its untuned default", changed),
            (f"{search.metric} of the shipped model", f"{_measured(test)} ({test['rows']} rows)"),
            ("Best untuned default", compared),
            ("Gain from tuning", gained),
        ],
    )


def _leaderboard(search: TrackedSearch) -> list[str]:
    sign = -1 if search.greater_is_better else 1

    def place(run: TrackedRun) -> tuple[bool, bool, float, float]:
        score = run.summary.get("score")
        ended = run.summary["fate"] == "complete" and score is not None
        return not ended, run.job_type != "search", -run.config["rung"], sign * (score or 0.0)

    rows = [
        (
            run.name + "".join(f", {tag}" for tag in (WON, COMPARED) if tag in run.tags),
            _number(run.summary.get("score")),
            _interval(run.summary.get("score_low"), run.summary.get("score_high")),
            f"{run.summary['fidelity']:.0%}",
            f"{run.summary.get('seconds', 0.0):.0f}",
            run.summary["fate"],
            run.config["arm"],
        )
        for run in sorted(search.runs, key=place)[:_NUM_SHOWN]
    ]
    return _table(("trial", search.metric, "95 % interval", "length", "seconds", "fate", "arm"), rows)


def _findings(search: TrackedSearch) -> list[str]:
    if not search.findings:
        return ["Nothing."]
    rows = [
        (str(row["check"]), str(row["severity"]), f"{row['count']:,}", "fixed" if row["fixed"] else "reported")
        for row in search.findings
    ]
    return _table(("check", "severity", "concerned", "what was done"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _numbered(search: TrackedSearch, number: int | None) -> TrackedRun | None:
    return next((run for run in search.runs if run.config["trial"] == number), None)


def _measured(row: Mapping[str, Any], *, sign: str = "") -> str:
    return f"{_number(row['score'], sign=sign)} {_interval(*row['interval'], sign=sign)}".strip()


def _interval(low: float | None, high: float | None, *, sign: str = "") -> str:
    return "" if low is None or high is None else f"[{_number(low, sign=sign)}, {_number(high, sign=sign)}]"


def _number(value: float | None, *, sign: str = "") -> str:
    return "not defined" if value is None else f"{value:{sign}.4f}"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
