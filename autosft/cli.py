"""The same verbs for the shell. What they do lives in `api`, how they speak in `shell`."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from autosft.counting import counted
from autosft.errors import PlanError, explain
from autosft.interrupt import Interrupt
from autosft.shell import Interrupted, RowsDone, exit_code, libraries_unheard, open_streams, show


class _Verbs(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # Which typer would end the process with, in silence.
            goes_on = "; what was done before is kept, and the same command goes on"
            kept = goes_on if ctx.invoked_subcommand in ("resume", "batch") else "; nothing was kept"
            raise Interrupted(str(error) or kept) from error


app = typer.Typer(
    cls=_Verbs,
    name="autosft",
    help="AutoML for supervised fine-tuning: a sentence and a dataset in, a proven model out.",
    epilog="New here? `autosft doctor` looks at this machine, `autosft demo` shows a whole run on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: What `fit` takes beside a plan's file: where and how to run.
_BESIDE_A_PLAN = ("data", "folder", "tracker", "cluster", "as_json", "verbose")

_TASK, _SEARCH, _RUN = "What to learn", "How to search", "Where and how to run"

Data = Annotated[str, typer.Argument(help="A data file, a folder of them, or a dataset's hub id.", show_default=False)]
DataOrPlan = Annotated[
    str, typer.Argument(help="A data file, a folder of them, a dataset's hub id, or a saved plan.", show_default=False)
]
Words = Annotated[str, typer.Option("--task", help="What you want, in a sentence.", rich_help_panel=_TASK)]
Target = Annotated[str | None, typer.Option(help="Column to predict.", rich_help_panel=_TASK)]
Inputs = Annotated[str | None, typer.Option(help="Columns to read, separated by commas.", rich_help_panel=_TASK)]
Test = Annotated[
    str | None, typer.Option(help="Test rows: they decide nothing and prove the result.", rich_help_panel=_TASK)
]
MetricName = Annotated[
    str | None, typer.Option("--metric", help="What decides: accuracy, macro_f1, ...", rich_help_panel=_TASK)
]
Positive = Annotated[
    str | None, typer.Option(help="The label that a binary F1 or recall is about.", rich_help_panel=_TASK)
]
Group = Annotated[
    str | None,
    typer.Option(help="Rows that share a value of this column stay on one side of splits.", rich_help_panel=_TASK),
]
Time = Annotated[
    str | None, typer.Option(help="Column of time: the latest rows validate and prove.", rich_help_panel=_TASK)
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", help="Kind of task, such as text-regression or causal-lm.", rich_help_panel=_TASK),
]
Answer = Annotated[
    str | None,
    typer.Option(help="Pattern that reads the answer out of a generated text.", rich_help_panel=_TASK),
]
Off = Annotated[
    str | None,
    typer.Option("--fixes-off", help="Data checks that only report, by name, or 'all'.", rich_help_panel=_TASK),
]
BudgetWords = Annotated[
    str,
    typer.Option("--budget", help="What may be spent: 20m, '3 trials', '2 gpu-hours'.", rich_help_panel=_SEARCH),
]
Models = Annotated[
    str | None, typer.Option(help="Base models: hub ids or folders, separated by commas.", rich_help_panel=_SEARCH)
]
TrainerName = Annotated[
    str | None,
    typer.Option("--trainer", help="Trainers, separated by commas: frozen_head, ...", rich_help_panel=_SEARCH),
]
Space = Annotated[
    str | None, typer.Option(help="A search space in YAML, or a folder of them.", rich_help_panel=_SEARCH)
]
SamplerName = Annotated[str, typer.Option("--sampler", help="tpe or random.", rich_help_panel=_SEARCH)]
SchedulerName = Annotated[str, typer.Option("--scheduler", help="race, asha, median or none.", rich_help_panel=_SEARCH)]
Seed = Annotated[
    int, typer.Option(min=0, help="Decides splits, configurations and trainings.", rich_help_panel=_SEARCH)
]
Concurrent = Annotated[
    int | None, typer.Option("--max-concurrent", min=1, help="Trials at once.", rich_help_panel=_RUN)
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-trial", min=0, help="GPUs of a trial, fractions allowed.", rich_help_panel=_RUN),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="A Ray cluster: host:port, 'auto' on its head, or 'local'.", rich_help_panel=_RUN),
]
TrackerName = Annotated[
    str | None,
    typer.Option(
        "--tracker",
        help="Track beside the terminal: wandb, or wandb:ENTITY/PROJECT. Never sends rows.",
        rich_help_panel=_RUN,
    ),
]
Folder = Annotated[
    str | None, typer.Option(help="The run's folder, new or empty; else one under runs/.", rich_help_panel=_RUN)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.", rich_help_panel=_RUN)]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Ray's own output.", rich_help_panel=_RUN)]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.", rich_help_panel=_RUN)]
Refit = Annotated[
    bool | None,
    typer.Option(help="Retrain the winner on all rows; the plan decides by default.", rich_help_panel=_SEARCH),
]
Finals = Annotated[
    bool,
    typer.Option(help="Train the best again, where time allows, before one is chosen.", rich_help_panel=_SEARCH),
]
Soup = Annotated[
    bool, typer.Option(help="Average the winner over several seeds, where time allows.", rich_help_panel=_SEARCH)
]
Ensemble = Annotated[
    bool,
    typer.Option(help="Let the best of other methods answer beside the winner; slower.", rich_help_panel=_SEARCH),
]


@app.command()
def fit(
    context: typer.Context,
    data: DataOrPlan,
    task: Words = "",
    target: Target = None,
    inputs: Inputs = None,
    test: Test = None,
    group: Group = None,
    time: Time = None,
    kind: Kind = None,
    answer: Answer = None,
    models: Models = None,
    trainer: TrainerName = None,
    space: Space = None,
    metric: MetricName = None,
    positive: Positive = None,
    budget: BudgetWords = "20m",
    refit: Refit = None,
    finals: Finals = True,
    soup: Soup = True,
    ensemble: Ensemble = False,
    sampler: SamplerName = "tpe",
    scheduler: SchedulerName = "race",
    max_concurrent: Concurrent = None,
    gpus_per_trial: Gpus = None,
    fixes_off: Off = None,
    tracker: TrackerName = None,
    cluster: Cluster = None,
    folder: Folder = None,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search, prove and keep the best model; or carry out a plan that `autosft plan --out` wrote.

    Example: autosft fit train.csv --task "Is this message spam?" --test test.csv --budget 5m --folder runs/spam
    """
    from autosft import api
    from autosft.budget import Budget
    from autosft.planning.options import refuse_settled
    from autosft.planning.plan import Plan

    with libraries_unheard():
        if _is_plan_file(data):
            refuse_settled([name for name in _said(context) if name not in _BESIDE_A_PLAN])
            result = api.fit(Plan.load(data), folder=folder, tracker=tracker, cluster=cluster, verbose=verbose)
        else:
            result = api.fit(
                task,
                data,
                target=target,
                inputs=_names(inputs),
                test=test,
                group=group,
                time=time,
                kind=kind,
                answer=answer,
                models=_names(models),
                trainer=_names(trainer),
                space=space,
                metric=metric,
                positive=positive,
                budget=Budget.parse(budget, refit=refit, finals=finals, soup=soup, ensemble=ensemble),
                sampler=sampler,
                scheduler=scheduler,
                max_concurrent=max_concurrent,
                gpus_per_trial=gpus_per_trial,
                fixes_off=_names(fixes_off) or (),
                tracker=tracker,
                cluster=cluster,
                folder=folder,
                seed=seed,
                verbose=verbose,
            )
    _show_result(result, as_json)


@app.command()
def plan(
    data: Data,
    task: Words = "",
    target: Target = None,
    inputs: Inputs = None,
    test: Test = None,
    group: Group = None,
    time: Time = None,
    kind: Kind = None,
    answer: Answer = None,
    models: Models = None,
    trainer: TrainerName = None,
    space: Space = None,
    metric: MetricName = None,
    positive: Positive = None,
    budget: BudgetWords = "20m",
    refit: Refit = None,
    finals: Finals = True,
    soup: Soup = True,
    ensemble: Ensemble = False,
    sampler: SamplerName = "tpe",
    scheduler: SchedulerName = "race",
    max_concurrent: Concurrent = None,
    gpus_per_trial: Gpus = None,
    fixes_off: Off = None,
    cluster: Cluster = None,
    seed: Seed = 0,
    timing: Annotated[bool, typer.Option(help="Time a few real steps for the quote.")] = True,
    out: Annotated[str | None, typer.Option(help="Write the plan to this .json file, for `autosft fit PLAN`.")] = None,
    force: Force = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what would be done, why, and what it would cost. Nothing is trained.

    Example: autosft plan train.csv --task "Is this message spam?" --out plan.json
    """
    from autosft import api
    from autosft.budget import Budget
    from autosft.out_file import check_plan_file
    from autosft.tracking.terminal import Phases

    if out is not None:
        check_plan_file(out, read=(data, test, space), force=force)
    with libraries_unheard():
        made = api.plan(
            task,
            data,
            target=target,
            inputs=_names(inputs),
            test=test,
            group=group,
            time=time,
            kind=kind,
            answer=answer,
            models=_names(models),
            trainer=_names(trainer),
            space=space,
            metric=metric,
            positive=positive,
            budget=Budget.parse(budget, refit=refit, finals=finals, soup=soup, ensemble=ensemble),
            sampler=sampler,
            scheduler=scheduler,
            max_concurrent=max_concurrent,
            gpus_per_trial=gpus_per_trial,
            fixes_off=_names(fixes_off) or (),
            cluster=cluster,
            seed=seed,
            timing=timing,
            tracker=Phases(),
            verbose=verbose,
        )
    if out is not None:
        made.save(out)
    typer.echo(json.dumps(made.to_json(), ensure_ascii=False) if as_json else str(made))


@app.command()
def predict(
    folder: Annotated[str, typer.Argument(help="A run's folder, or a model's.")],
    data: Annotated[str, typer.Argument(help="Rows to predict.")],
    out: Annotated[str, typer.Option(help="Where to write: .csv, .tsv, .jsonl, .parquet or .arrow.")],
) -> None:
    """Add a prediction to every row, and a score where the kind of task has one; columns, rows and their order stay.

    Example: autosft predict runs/spam new.csv --out predictions.csv
    """
    from autosft.data.write import write_table
    from autosft.out_file import check_table_file
    from autosft.predictor import Predictor

    check_table_file(out, read=(data, folder))
    with libraries_unheard():
        table = Predictor.load(folder).predict_table(data, progress=RowsDone())
    write_table(table, Path(out))
    typer.echo(f"{counted(table.num_rows, 'row')} with predictions: {out}{_renamed(table.column_names)}")


@app.command()
def resume(
    folder: Annotated[str, typer.Argument(help="The run's folder.")],
    budget: Annotated[str | None, typer.Option(help="What to add, such as +1h or '+10 trials'.")] = None,
    space: Space = None,
    tracker: TrackerName = None,
    cluster: Cluster = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Go on with a run: after a crash, or with more budget.

    Example: autosft resume runs/spam --budget +30m
    """
    from autosft import api

    with libraries_unheard():
        result = api.resume(folder, budget=budget, space=space, tracker=tracker, cluster=cluster, verbose=verbose)
    _show_result(result, as_json)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, such as http://head:8265.")
    ],
    working_dir: Annotated[str, typer.Option(help="What relative paths in the command start from.")] = ".",
    also: Annotated[
        list[str] | None, typer.Option("--with", help="A further file or folder below it to upload; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what the job says, and end with its exit code.")] = False,
) -> None:
    """Send a command to a Ray cluster, with the files that it names; the run's folder stays on the cluster.

    Example: autosft submit --address http://head:8265 --wait -- fit train.csv --task "Is this message spam?"
    """
    from autosft.cluster.submit import follow
    from autosft.cluster.submit import submit as send

    verbs = sorted({*typer.main.get_command(app).list_commands(context)} - {"submit"})  # type: ignore[attr-defined]
    if not context.args or context.args[0] not in verbs:
        given = context.args[0] if context.args else "nothing"
        fix = "write the command behind two dashes: autosft submit --address http://HEAD:8265 -- fit train.csv"
        raise PlanError(explain(wrong=f"'{given}' is no verb of autosft", expected=", ".join(verbs), fix=fix))
    also = [*(also or ()), *_named_in_jobs(context, Path(working_dir))]
    job, client = send(context.args, address=address, working_folder=Path(working_dir), also=also)
    uploaded = f"uploaded: {', '.join(job.uploaded)}" if job.uploaded else "nothing was uploaded"
    typer.echo(f"job {job.job_id} ({uploaded})", err=wait)
    how = f"ray job logs --follow {job.job_id} --address {address}"
    if not wait:
        typer.echo(f"to follow it: {how}")
        return
    try:
        code = follow(job, client, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        stop = f"ray job stop {job.job_id} --address {address}"
        typer.echo(f"\nautosft: the job goes on; to follow it: {how}; to stop it: {stop}", err=True)
        code = 130
    raise typer.Exit(code)


@app.command()
def sync(
    folder: Annotated[str, typer.Argument(help="The run's folder, finished or not.")],
    tracker: Annotated[
        str | None, typer.Option(help="Where to: wandb:ENTITY/PROJECT; else where the run was tracked.")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Send report.html too, which quotes rows of the data; else none is sent.")
    ] = False,
) -> None:
    """Send a run to Weights & Biases later: its trials, their sweep and the report. Nothing is sent twice.

    Example: autosft sync runs/spam --tracker wandb:my-team/spam
    """
    from autosft import api

    typer.echo(api.sync(folder, tracker=tracker, rows=rows))


@app.command()
def review(
    target: Annotated[
        str,
        typer.Argument(help="A run's folder, a table of trials, or W&B's entity/project/sweep.", show_default=False),
    ],
    metric: Annotated[str | None, typer.Option(help="What decides, of a table or W&B.")] = None,
    goal: Annotated[str | None, typer.Option(help="maximize or minimize, of a table or W&B.")] = None,
    next_space: Annotated[
        str | None,
        typer.Option("--next-space", help="Write the next search space: a .yaml file, or a folder of one a trainer."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a sweep shows: what mattered, what was wasted, what was luck, and what to search next.

    Example: autosft review runs/spam --next-space next.yaml
    """
    from autosft import api
    from autosft.out_file import space_place

    with libraries_unheard():
        found = api.review(target, metric=metric, goal=goal)
    show(json.dumps(found.to_json(), ensure_ascii=False) if as_json else str(found))
    # Last, so that a place that cannot be written costs no review.
    if next_space is None:
        if found.next_space is not None and not as_json:
            typer.echo("             --next-space FILE writes it.")
        return
    written = found.write_next_spaces(space_place(next_space, read=(target,), force=force))
    if written:
        what = "the next search space" if len(written) == 1 else "the next search spaces"
        typer.echo(f"autosft: wrote {what}: {', '.join(map(str, written))}", err=as_json)
    else:
        typer.echo(f"autosft: nothing was written to {next_space}: see the last line above", err=True)


@app.command()
def batch(
    jobs: Annotated[str, typer.Argument(help="A file of jobs, YAML or JSON.", show_default=False)],
    folder: Annotated[
        str | None, typer.Option(help="The batch's folder, new or begun; else one under runs/.", rich_help_panel=_RUN)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall time of the whole batch, such as 8h.", rich_help_panel=_SEARCH)
    ] = None,
    cluster: Cluster = None,
    tracker: TrackerName = None,
    max_jobs: Annotated[
        int | None, typer.Option("--max-jobs", min=1, help="Jobs beside each other.", rich_help_panel=_RUN)
    ] = None,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say where logs are.", rich_help_panel=_RUN)] = False,
) -> None:
    """Run many jobs within one budget; run it again to go on. Exit 1 where a job has no model.

    Example: autosft batch jobs.yaml --folder runs/night --budget 8h
    """
    from autosft.batch.jobs_file import read_jobs
    from autosft.batch.many import run_batch

    with libraries_unheard():
        found = run_batch(
            read_jobs(jobs),
            budget=budget,
            folder=folder,
            cluster=cluster,
            tracker=tracker,
            max_jobs=max_jobs,
            verbose=verbose,
        )
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False) if as_json else str(found))
    if found.failed:
        raise typer.Exit(1)


@app.command()
def models() -> None:
    """List the base models autosft knows, and which are on this machine."""
    from autosft.base_models import BASE_MODELS, at_hand
    from autosft.made_models import is_made
    from autosft.task import Input

    here = set(at_hand())
    for row in BASE_MODELS:
        mark = "*" if row.id in here or is_made(row.id) else " "
        languages = ",".join(row.languages)
        size = f"{row.num_parameters / 1e6:.{1 if row.num_parameters < 1e6 else 0}f}M" if row.num_parameters else "-"
        unit = "pixels" if Input.IMAGE in row.inputs else "tokens"
        typer.echo(f"{mark} {row.id:<62} {size:>5}  {row.context_tokens:>6} {unit}  {languages:<12} {row.licence}")
    typer.echo("* on this machine, or made on it; any other hub id or folder with safetensors works too")


@app.command()
def doctor() -> None:
    """Say whether this machine is able: versions, GPUs, Ray, torchvision, W&B key, disk."""
    from autosft.doctor import Status, checks

    found = checks()
    for check in found:
        typer.echo(f"{check.status:<8} {check.name}: {check.message}")
        if check.fix:
            typer.echo(f"         {check.fix}")
    if any(check.status == Status.PROBLEM for check in found):
        raise typer.Exit(2)


@app.command()
def demo(
    budget: BudgetWords = "3m",
    folder: Folder = None,
    seed: Seed = 0,
) -> None:
    """Run the whole line on text that every machine has: the standard library's docstrings."""
    from autosft.demo import run

    with libraries_unheard():
        shown = run(budget=budget, folder=folder, seed=seed)
    typer.echo(shown)


def main() -> None:
    """Runs the shell command; turns errors into one message and an exit code."""
    open_streams()
    Interrupt.end_at_once()
    # Before torch is loaded: its threads would wait for each other at full speed, and take the processor from those
    # that they wait for where the machine is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = exit_code(lambda: app(prog_name="autosft", standalone_mode=False))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # Its reader has gone; what Python would still write as it ends would change the exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _named_in_jobs(context: typer.Context, working_folder: Path) -> list[str]:
    """Returns what a batch's file of jobs names, relative to the working folder, where that file is here.

    Raises:
        PlanError: The file cannot be read.
    """
    from autosft.batch.jobs_file import places

    verb, *arguments = context.args
    if verb != "batch":
        return []
    command: Any = typer.main.get_command(app).get_command(context, verb)  # type: ignore[attr-defined]
    jobs = command.make_context(verb, arguments, parent=context.parent).params["jobs"]
    # Other paths are the cluster's own.
    if jobs.startswith(("/", "~")):
        return []
    return [os.path.join(os.path.dirname(jobs), name) for name in places(working_folder / jobs)]


def _show_result(result: Any, as_json: bool) -> None:
    show(json.dumps(dict(result.summary), ensure_ascii=False) if as_json else str(result))


def _renamed(columns: list[str]) -> str:
    """Words what the columns of predictions are called where the rows had columns of those names already."""
    # They stand last, the prediction first among them.
    start = max(at for at, name in enumerate(columns) if re.fullmatch(r"prediction(_\d+)?", name))
    names = [name for name in columns[start:] if re.search(r"_\d+$", name)]
    return f" (new columns: {', '.join(names)}, as there were columns of the plain names)" if names else ""


def _said(context: typer.Context) -> list[str]:
    """Returns the arguments of a verb that stand on the command line, also where they say what is so anyway."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _is_plan_file(data: str) -> bool:
    from autosft.planning.plan import is_plan

    path = Path(data)
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        return is_plan(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
