"""How the run was done: what the audit found, what the time went into, the plan's reasons, and how to do it again."""

from __future__ import annotations

import math
import shlex

from autosft.budget import format_seconds
from autosft.class_names import told_names, told_settings
from autosft.counting import counted
from autosft.data.finding import Severity
from autosft.report.blocks import Block, Code, Column, Facts, Figure, Folded, Listing, Said, Section, Table
from autosft.report.cells import setting, shown
from autosft.report.ended import Ended
from autosft.report.figures import SERIES, axis, legend_below, numbers
from autosft.tasks import kind as task_kind

_PHASES = ("train", "evaluate", "features", "load", "compile", "checkpoint", "start_up", "idle")


def audit(ended: Ended) -> Section:
    """Returns what the audit found, what was done about it, and where."""
    order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    findings = sorted(ended.plan.findings, key=lambda finding: order.index(finding.severity))
    parts = ", ".join(f"{count:,} {name}" for name, count in _parts(ended).items())
    facts = [("Rows", parts), ("Fingerprint of the checked rows", ended.plan.data.fingerprint)]
    if names := told_names(ended.winner.config, named=ended.plan.data.named is not None):
        facts.insert(1, ("Names of classes", names))
    blocks: list[Block] = [Facts(tuple(facts))]
    if not findings:
        return Section("audit", "The data", (*blocks, Said("The audit found nothing to remark.", "good")))
    rows = tuple(
        (
            str(finding.severity), finding.message.rstrip("."), finding.count, finding.action.rstrip(".") or None,
            "done" if finding.fixed else "advice" if finding.action else None,
        )
        for finding in findings
    )  # fmt: skip
    columns = (
        Column("severity"), Column("finding"), Column("rows", "count", "or columns, or classes, concerned"),
        Column("what to do, or what was done"), Column("state"),
    )  # fmt: skip
    blocks.append(Table("findings", "What the audit found", columns, rows))
    # Those of labels stand in a section of their own.
    places = tuple(
        Listing(finding.examples, title=finding.message.rstrip("."))
        for finding in findings
        if finding.examples and finding.check != "label-errors"
    )
    if places:
        blocks.append(Folded("Places and examples, which are rows of your data", places))
    return Section("audit", "The data", tuple(blocks))


def cost(ended: Ended) -> Section:
    """Returns what the time went into, by phase and by arm."""
    seconds = ended.summary["seconds"]
    workers = seconds["workers"]
    total = seconds["wall"] * workers or 1.0
    phases = tuple((name.replace("_", " "), seconds.get(name, 0.0), seconds.get(name, 0.0) / total) for name in _PHASES)
    table = Table(
        "phases-numbers",
        "Worker seconds by phase",
        (Column("phase"), Column("seconds", "short"), Column("share", "share")),
        phases,
    )
    data = tuple(
        {
            "type": "bar", "orientation": "h", "name": name, "y": ["workers"], "x": numbers([100 * share]),
            "marker": {"color": SERIES[at % len(SERIES)]},
            "hovertemplate": f"{name}: {spent:.1f} s, %{{x:.1f}} %<extra></extra>",
        }
        for at, (name, spent, share) in enumerate(phases)
    )  # fmt: skip
    layout = {
        "barmode": "stack", "xaxis": axis("share of the workers' time (%)", range=[0, 100]),
        "yaxis": {"visible": False}, "legend": {**legend_below(), "traceorder": "normal"},
    }  # fmt: skip
    arms = []
    for arm in ended.plan.arms:
        own = [trial for trial in ended.trials if trial.arm == arm.name]
        spent = [trial.seconds.get("total", 0.0) for trial in own]
        complete = [trial.score for trial in own if trial.fate == "complete" and trial.score is not None]
        scores = [score for score in complete if not math.isnan(score)]
        pick = max if ended.plan.task.metric.greater_is_better else min
        best = pick(scores) if scores else None
        per_trial = sum(spent) / len(spent) if spent else None
        failed = sum(trial.fate == "failed" for trial in own)
        arms.append((arm.name, len(own), failed, sum(spent), per_trial, best))
    by_arm = Table(
        "arms",
        "Trials by arm",
        (
            Column("arm"), Column("trials", "count"), Column("failed", "count"), Column("seconds", "short"),
            Column("a trial", "short", "seconds on average"), Column("best score", "number"),
        ),
        tuple(arms),
    )  # fmt: skip
    quote = ended.plan.quote
    told = (
        f"{format_seconds(seconds['wall'])} of wall time, {workers:.3g} at once; the budget was {ended.plan.budget}, "
        f"the quote {format_seconds(quote.wall_seconds)} and about {counted(quote.num_trials, 'trial')}. The process "
        f"that led the run took {seconds['driver']:.1f} CPU seconds beside that."
    )
    figure = Figure("phases", "Where the workers' time went", _TOLD_PHASES, data, layout, table, height=210)
    return Section("cost", "Cost", (Said(told), figure, by_arm))


_TOLD_PHASES = "Idle is waiting: for the next trial, for the driver, or because nothing was left to do."


def plan(ended: Ended) -> Section:
    """Returns what was decided before the search, and why."""
    made, task = ended.plan, ended.plan.task
    inputs = ", ".join(task.input_columns)
    pairs = [
        ("Asked for", task.description or "(nothing was said)"),
        ("Kind", task.kind),
        ("Reads", inputs),
        ("Predicts", f"{task.target_column}: {task_kind(task.kind).wording(task)}"),
        ("Decided by", task.metric.name + (f", of the label {task.metric.positive}" if task.metric.positive else "")),
        ("Search", f"{made.sampler}, {made.scheduler}, seed {made.seed}"),
        ("On", _machine(ended)),
    ]
    if task.runner_up:
        pairs.append(("Or else", task.runner_up))
    reasons = tuple(reason.rstrip(".") + "." for reason in (*task.reasons, *made.reasons))
    arms = Table(
        "plan-arms",
        "What raced",
        (
            Column("arm"), Column("parameters", "count"), Column("licence"), Column("cut at", "count"),
            Column("a full run", "time", "as it was measured before the search"), Column("lengths"),
        ),
        tuple(
            (
                arm.name, arm.base_model.num_parameters, arm.base_model.licence, arm.max_length,
                arm.cost.run_seconds if arm.cost else None, ", ".join(f"{100 * rung:.3g} %" for rung in arm.rungs),
            )
            for arm in made.arms
        ),
    )  # fmt: skip
    return Section("plan", "The plan and its reasons", (Facts(tuple(pairs)), Listing(reasons, title="Because"), arms))


def again(ended: Ended) -> Section:
    """Returns the winner's settings, the versions, and what to type to have the same again."""
    summary = ended.summary
    versions = summary["versions"]
    pinned = " ".join(
        shlex.quote(f"{name}=={version}")
        for name, version in versions.items()
        if name != "python" and version != "unknown"
    )
    origin = ended.plan.origin
    lines = [f"python -m pip install {pinned}   # Python {versions['python']}"]
    # A plan of rows from memory can be run again while the cache holds them.
    lines.append(f"autosft fit {shlex.quote(str(ended.folder / 'plan.json'))} --folder again")
    arm = ended.plan.arm(ended.winner.arm)
    rows = tuple(
        (name, setting(value), "default" if arm.default.get(name) == value else "tuned")
        for name, value in told_settings(ended.winner.config, named=ended.plan.data.named is not None).items()
    )
    settings = Table(
        "winner-settings",
        f"Settings of the winner, {shown(arm.name)}",
        (Column("setting"), Column("value"), Column("from")),
        rows,
    )
    pairs = (
        ("Shipped", str(summary["refit"]["reason"])),
        *((("Ensemble", together),) if (together := summary.get("ensemble", {}).get("reason")) else ()),
        ("Data", origin.data or "rows held in memory, of which the cache keeps a copy"),
        *((("Test rows", origin.test),) if origin.test else ()),
        ("Seed", str(ended.plan.seed)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    )
    told = (
        "The same seed gives the same splits and the same configurations in the same order. A budget in time also "
        "depends on the machine's pace: how many trials fit, and how long each may train."
    )
    return Section(
        "again", "How to have it again", (Facts(pairs), Code("\n".join(lines)), Said(told, "muted"), settings)
    )


def _parts(ended: Ended) -> dict[str, int]:
    train, validation = ended.plan.data.training(0)
    parts = {"training": len(train), "validation": len(validation) if validation is not None else 0}
    return parts | {name: count for name, count in ended.plan.data.parts.items() if name != "search"}


def _machine(ended: Ended) -> str:
    resources = ended.plan.resources
    per_trial = resources.gpus_per_trial
    gpus = f" and {per_trial:g} GPU{'' if per_trial == 1 else 's'}" if per_trial else ""
    at_once, cpus = counted(resources.max_concurrent, "trial"), counted(resources.cpus_per_trial, "CPU")
    return f"{at_once} at once, each on {cpus}{gpus}"
