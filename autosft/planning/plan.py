"""The Plan: every decision before money is spent, with its reasons. Frozen, printable, JSON both ways.

How the decisions are made lives beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autosft.base_models import BaseModel
from autosft.budget import Budget, format_seconds
from autosft.counting import counted
from autosft.data.data import Data
from autosft.data.finding import Finding, Severity
from autosft.disk import writing
from autosft.errors import AutosftError, PlanError, explain
from autosft.run_folder import as_json
from autosft.search.settings import Machine, Node
from autosft.search.space import Space
from autosft.search.space_file import space_from_json
from autosft.task import Input, Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import Cost

FORMAT = 1


@dataclass(frozen=True)
class Arm:
    """A trainer with a base model.

    Attributes:
        name: "trainer/model", or the trainer's alone where it takes no model; unique in a plan.
        trainer: The trainer's name.
        base_model: What is known about the model.
        folder: Where its files are.
        default: The untuned default configuration.
        space: What may vary.
        max_length: Tokens a row is cut at; None until the trainer has chosen.
        fidelity: Share of a full run that a trial is expected to reach; below 1 where the budget is small.
        rungs: Lengths that the race trains it for, as shares of a full run, ascending; one where it does not race.
        cost: What a full run costs, measured or, where that was not timed, estimated; None only before there is a plan.
    """

    name: str
    trainer: str
    base_model: BaseModel
    folder: str
    default: Mapping[str, Any]
    space: Space
    max_length: int | None
    fidelity: float = 1.0
    rungs: tuple[float, ...] = (1.0,)
    cost: Cost | None = None

    @property
    def trial_seconds(self) -> float:
        """Predicted seconds of one trial, 0 where nothing is known of its cost yet."""
        return self.cost.run_seconds * self.fidelity if self.cost else 0.0

    @property
    def is_quick(self) -> bool:
        """Whether a trial takes a moment: there is nothing to stop half-way, and no length worth choosing."""
        return not trainer_class(self.trainer).reports_rungs

    def least_memory_bytes(self, config: Mapping[str, Any]) -> int:
        """Returns what a training of one of its configurations takes of its device's memory at least."""
        return trainer_class(self.trainer).least_memory_bytes(self.base_model, config)

    def to_json(self) -> dict[str, Any]:
        return {
            **{key: getattr(self, key) for key in ("name", "trainer", "folder", "max_length", "fidelity")},
            "rungs": list(self.rungs),
            "base_model": asdict(self.base_model),
            "default": dict(self.default),
            "space": self.space.to_json(),
            "cost": asdict(self.cost) if self.cost else None,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Arm:
        base = row["base_model"]
        lists = {"languages": tuple(base["languages"]), "inputs": tuple(Input(name) for name in base["inputs"])}
        return Arm(
            **{
                **row,
                "base_model": BaseModel(**{**base, **lists}),
                "space": space_from_json(row["space"]),
                "rungs": tuple(row.get("rungs", (1.0,))),
                "cost": Cost(**{**row["cost"], "cut_rows": tuple(row["cost"].get("cut_rows", ()))}),
            }
        )


@dataclass(frozen=True)
class Quote:
    """What a run is expected to cost.

    Attributes:
        wall_seconds: The whole run.
        cpu_hours: Cores in use times hours.
        gpu_hours: GPUs in use times hours.
        num_trials: Trials that fit.
        timed: Whether real steps were timed; otherwise the numbers hold within a factor of three.
        untimed: Names of the arms that were not timed, where others were.
    """

    wall_seconds: float
    cpu_hours: float
    gpu_hours: float
    num_trials: int
    timed: bool
    untimed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resources:
    """What trials run on: CPUs and GPUs of each, and how many at once.

    Attributes:
        follows_nodes: Whether that number follows the nodes of a cluster as they come and go; not where it was given.
        most_concurrent: The number that was given for a cluster, which may come to hold as many; None elsewhere.
    """

    machine: Machine
    cpus_per_trial: int
    gpus_per_trial: float
    max_concurrent: int
    follows_nodes: bool = False
    most_concurrent: int | None = None

    @property
    def able(self) -> tuple[Node, ...]:
        """The nodes that have room for a trial, or this machine as a whole; all nodes where none has."""
        parts = self.machine.parts
        return tuple(node for node in parts if node.carries(self.cpus_per_trial, self.gpus_per_trial)) or parts

    def can_train(self, arm: Arm, config: Mapping[str, Any]) -> bool:
        """Whether one of the able nodes has the memory for a configuration of an arm, as far as is known."""
        needed = arm.least_memory_bytes(config)
        return any(node.has_memory(needed, gpus=self.gpus_per_trial) for node in self.able)

    def per_job(self, *trainings: tuple[Arm, Mapping[str, Any]]) -> dict[str, Any]:
        """Returns what a job takes of a machine, as fields of `Job`.

        Args:
            trainings: Arms and configurations that it trains, or whose models it loads, which takes no more.
        """
        memory = max(arm.least_memory_bytes(config) for arm, config in trainings)
        return {"cpus": float(self.cpus_per_trial), "gpus": self.gpus_per_trial, "memory_bytes": memory}


@dataclass(frozen=True)
class DataOrigin:
    """Where the rows came from, so that a saved plan can be run again; empty paths stand for data held in memory.

    Attributes:
        data: Path or hub id. test: likewise, None without test rows.
        fixes_off: Audit checks that only reported.
        most_rows: Training rows that a sample was drawn of; None where all were read.
    """

    data: str
    test: str | None = None
    fixes_off: tuple[str, ...] = ()
    most_rows: int | None = None


@dataclass(frozen=True)
class Plan:
    """Every decision before money is spent.

    Attributes:
        task: What is predicted, and which metric decides.
        origin: Where the rows came from.
        data: The checked rows in their parts.
        findings: What the audit noticed and did.
        arms: What races, in the order in which the defaults run.
        facts: What the search spaces need to know about the data.
        budget: What may be spent.
        refit: Whether time is kept for retraining the winner on train and validation rows together.
        finals_share: Share of the search's time in which the best are trained again before one is chosen.
        scheduler: "race", or the name of an early-stopping scheduler of Ray's.
        sampler: Name of the sampler.
        resources: What trials run on.
        seed: Decides splits, configurations and trainings.
        quote: What it is expected to cost.
        reasons: Why, one sentence a decision.
        soup: Whether time is kept for retraining the winner with other seeds too, see `autosft.soup`.
    """

    task: Task
    origin: DataOrigin
    data: Data
    findings: tuple[Finding, ...]
    arms: tuple[Arm, ...]
    facts: Mapping[str, bool]
    budget: Budget
    refit: bool
    finals_share: float
    scheduler: str
    sampler: str
    resources: Resources
    seed: int
    quote: Quote
    reasons: tuple[str, ...] = ()
    soup: bool = False

    def arm(self, name: str) -> Arm:
        """Returns the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def races(self) -> bool:
        """Whether trainings of different lengths race; otherwise each is asked for at whole length."""
        return any(len(arm.rungs) > 1 for arm in self.arms)

    @property
    def refit_factor(self) -> float:
        """See the function of this name."""
        return refit_factor(self.data)

    def with_budget(self, budget: Budget) -> Plan:
        """Returns the same plan with another budget."""
        return replace(self, budget=budget)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back; its "format" tells a plan from data."""
        return {
            "format": FORMAT,
            "autosft": "plan",
            "task": self.task.to_json(),
            "origin": asdict(self.origin),
            "data": self.data.to_json(),
            "findings": [finding.to_json() for finding in self.findings],
            "arms": [arm.to_json() for arm in self.arms],
            "facts": dict(self.facts),
            "budget": self.budget.to_json(),
            "resources": asdict(self.resources),
            "quote": asdict(self.quote),
            "reasons": list(self.reasons),
            **{key: getattr(self, key) for key in ("refit", "soup", "finals_share", "scheduler", "sampler", "seed")},
        }

    @staticmethod
    def from_json(row: Mapping[str, Any], *, strict: bool = True) -> Plan:
        """Rebuilds a plan; `strict` as in `Task.from_json`.

        Raises:
            PlanError: It is of a newer format, or was edited into something unusable.
            TaskError: A function of its task can no longer be imported.
        """
        if row.get("format") != FORMAT:
            wrong = f"the plan has format {row.get('format')!r}"
            raise PlanError(
                explain(wrong=wrong, expected=f"format {FORMAT}", fix="use the autosft that wrote it, or plan again")
            )
        try:
            resources = row["resources"]
            return Plan(
                task=Task.from_json(row["task"], strict=strict),
                origin=DataOrigin(**{**row["origin"], "fixes_off": tuple(row["origin"]["fixes_off"])}),
                data=Data.from_json(row["data"]),
                findings=tuple(Finding.from_json(item) for item in row["findings"]),
                arms=tuple(Arm.from_json(item) for item in row["arms"]),
                facts=row["facts"],
                budget=Budget(**row["budget"]),
                resources=Resources(**{**resources, "machine": _machine(resources["machine"])}),
                quote=Quote(**{**row["quote"], "untimed": tuple(row["quote"].get("untimed", ()))}),
                reasons=tuple(row["reasons"]),
                finals_share=row.get("finals_share", 0.0),
                soup=row.get("soup", False),
                **{key: row[key] for key in ("refit", "scheduler", "sampler", "seed")},
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, AutosftError):
                raise
            wrong = f"the plan cannot be read ({type(error).__name__}: {error})"
            raise PlanError(
                explain(wrong=wrong, expected="a plan as `autosft plan --out` wrote it", fix="plan again")
            ) from error

    def save(self, path: str | Path) -> None:
        """Writes the plan as JSON, over a file that is there; raises RunFolderError where it cannot."""
        text = json.dumps(as_json(self.to_json()), indent=2, ensure_ascii=False, allow_nan=False)
        path = Path(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.unfinished")
            unfinished.write_text(text + "\n", encoding="utf-8")
            unfinished.replace(path)

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Reads a plan that `save` wrote; raises PlanError where it cannot."""
        try:
            row = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            wrong = f"{path} cannot be read as a plan ({error})"
            raise PlanError(
                explain(wrong=wrong, expected="a JSON file written by `autosft plan --out`", fix="plan again")
            ) from error
        if not is_plan(row):
            raise PlanError(
                explain(
                    wrong=f"{path} is not a plan", expected='a JSON object with "autosft": "plan"', fix="plan again"
                )
            )
        return Plan.from_json(row)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def refit_factor(data: Data) -> float:
    """Returns the rows of a refit over those of a trial, which is about what its time is."""
    return data.parts["search"] / max(1, len(data.training(0)[0]))


def _machine(row: Mapping[str, Any]) -> Machine:
    nodes = tuple(Node(**node) for node in row.get("nodes", ()))
    return Machine(**{**row, "gpu_ids": tuple(row["gpu_ids"]), "nodes": nodes})


def is_plan(row: object) -> bool:
    """Whether a JSON value is a plan, and not data that happens to be JSON."""
    return isinstance(row, dict) and row.get("autosft") == "plan"


def _lines(plan: Plan) -> list[str]:
    task, quote = plan.task, plan.quote
    inputs = ", ".join(f"'{name}'" for name in task.input_columns)
    rows = ", ".join(f"{count:,} {part}" for part, count in plan.data.parts.items())
    lines = [
        f"Task      {task.kind}: {inputs} -> '{task.target_column}', {task_kind(task.kind).wording(task)}, "
        f"decided by {task.metric.name}",
        f"Data      {plan.origin.data or 'held in memory'}: {rows} rows",
    ]
    for finding in plan.findings:
        told = "; ".join(filter(None, (finding.message.rstrip("."), finding.action)))
        lines.append(f"          {_MARKS[finding.severity]} {told}")
        if finding.severity is not Severity.INFO:
            lines += [f"            {example}" for example in finding.examples]
    lines += [f"Arm       {_describe(arm)}" for arm in plan.arms]
    lines.append(
        f"Search    {plan.sampler}, {plan.scheduler}; {counted(plan.resources.max_concurrent, 'trial')} at once on "
        f"{counted(plan.resources.cpus_per_trial, 'CPU')}"
        + (f" and {counted(plan.resources.gpus_per_trial, 'GPU')}" if plan.resources.gpus_per_trial else "")
    )
    spent = f"{quote.gpu_hours:.2f} GPU-hours" if quote.gpu_hours else f"{quote.cpu_hours:.2f} CPU-hours"
    missing = f"{' and '.join(quote.untimed)} {'was' if len(quote.untimed) == 1 else 'were'} not timed"
    within = "" if quote.timed else f", within a factor of three ({missing if quote.untimed else 'nothing was timed'})"
    lines.append(
        f"Budget    {plan.budget}; quote: {format_seconds(quote.wall_seconds)}, {spent}, "
        f"about {counted(quote.num_trials, 'trial')}{within}"
    )
    lines += [f"Because   {reason.rstrip('.')}" for reason in (*task.reasons, *plan.reasons)]
    if task.runner_up:
        lines.append(f"Or else   {task.runner_up}")
    return lines


def _took(seconds: float) -> str:
    return format_seconds(seconds) if round(seconds) else "under a second"


_MARKS = {Severity.INFO: "-", Severity.WARNING: "!", Severity.ERROR: "x"}


def _in_memory(cost: Cost, batch_size: int | None) -> str:
    """Says what was chosen so that a training fits into memory."""
    text = ""
    if batch_size is not None and cost.micro_batch_size is not None and cost.micro_batch_size < batch_size:
        text += f", {batch_size} rows an update gathered {cost.micro_batch_size} at a time, which fit in memory"
    return text + (", with gradient checkpointing" if cost.checkpointing else "")


def _describe(arm: Arm) -> str:
    model = arm.base_model
    size = f"{model.num_parameters / 1e6:.{1 if model.num_parameters < 1e6 else 0}f}M parameters"
    text = f"{arm.name}: " + (f"{size}, licence {model.licence}" if model.num_parameters else "no pretrained weights")
    if arm.max_length is not None:
        images = model.inputs == (Input.IMAGE,)
        text += f", images of {arm.max_length} pixels a side" if images else f", rows cut at {arm.max_length} tokens"
    if arm.cost:
        text += _in_memory(arm.cost, arm.default.get("batch_size"))
        share = "" if arm.fidelity >= 1 else f"; there is time for about {arm.fidelity:.0%} of it"
        text += f"; a full run takes {_took(arm.cost.run_seconds)}{share}"
    return text
