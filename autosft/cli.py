"""The same verbs for the shell. Answers go to standard output, progress and errors to standard error.

Exit 0: done. Exit 2: the user must change something. Exit 1: a fault of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from autosft.errors import AutosftError, SearchFailed, explain

app = typer.Typer(
    name="autosft",
    help="AutoML for supervised fine-tuning: a sentence and a dataset in, a proven model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[str, typer.Argument(help="A data file, a folder, a hub id, or a plan.json.")]
Words = Annotated[str, typer.Option("--task", help="What you want, in a sentence.")]
Target = Annotated[str | None, typer.Option(help="Column to predict.")]
Test = Annotated[str | None, typer.Option(help="Test rows: they decide nothing and prove the result.")]
Group = Annotated[str | None, typer.Option(help="Rows that share a value here stay on one side of every split.")]
Time = Annotated[str | None, typer.Option(help="Column of time: the latest rows validate.")]
Models = Annotated[str | None, typer.Option(help="Base models, separated by commas.")]
TrainerName = Annotated[str | None, typer.Option("--trainer", help="Trainers, separated by commas.")]
Space = Annotated[str | None, typer.Option(help="A search space in YAML.")]
MetricName = Annotated[str | None, typer.Option("--metric", help="What decides.")]
Positive = Annotated[str | None, typer.Option(help="The label that a binary F1 or recall is about.")]
BudgetWords = Annotated[str, typer.Option("--budget", help="'20m', '3 trials', '2 gpu-hours'.")]
SamplerName = Annotated[str, typer.Option("--sampler", help="tpe or random.")]
SchedulerName = Annotated[str, typer.Option("--scheduler", help="asha, median or none.")]
Concurrent = Annotated[int | None, typer.Option("--max-concurrent", help="Trials at once.")]
Gpus = Annotated[float | None, typer.Option("--gpus-per-trial", help="GPUs of a trial, fractions allowed.")]
Off = Annotated[str | None, typer.Option("--fixes-off", help="Audit checks that only report, or 'all'.")]
Cluster = Annotated[str | None, typer.Option(help="Address of a Ray cluster.")]
Folder = Annotated[str | None, typer.Option(help="The run's folder, new or empty.")]
Seed = Annotated[int, typer.Option(help="Decides splits, configurations and trainings.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Ray's own output.")]


@app.command()
def fit(
    data: Data,
    task: Words = "",
    target: Target = None,
    test: Test = None,
    group: Group = None,
    time: Time = None,
    models: Models = None,
    trainer: TrainerName = None,
    space: Space = None,
    metric: MetricName = None,
    positive: Positive = None,
    budget: BudgetWords = "20m",
    refit: Annotated[bool, typer.Option(help="Retrain the winner on all rows.")] = True,
    sampler: SamplerName = "tpe",
    scheduler: SchedulerName = "asha",
    max_concurrent: Concurrent = None,
    gpus_per_trial: Gpus = None,
    fixes_off: Off = None,
    cluster: Cluster = None,
    folder: Folder = None,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search, prove and keep the best model; or carry out a plan.json."""
    from autosft import api
    from autosft.budget import Budget
    from autosft.planning.plan import Plan

    if _is_plan_file(data):
        result = api.fit(Plan.load(data), folder=folder, cluster=cluster, verbose=verbose)
    else:
        result = api.fit(
            task,
            data,
            target=target,
            test=test,
            group=group,
            time=time,
            models=_names(models),
            trainer=_names(trainer),
            space=space,
            metric=metric,
            positive=positive,
            budget=Budget.parse(budget, refit=None if refit else False),
            sampler=sampler,
            scheduler=scheduler,
            max_concurrent=max_concurrent,
            gpus_per_trial=gpus_per_trial,
            fixes_off=_names(fixes_off) or (),
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
    test: Test = None,
    group: Group = None,
    time: Time = None,
    models: Models = None,
    trainer: TrainerName = None,
    space: Space = None,
    metric: MetricName = None,
    positive: Positive = None,
    budget: BudgetWords = "20m",
    sampler: SamplerName = "tpe",
    scheduler: SchedulerName = "asha",
    max_concurrent: Concurrent = None,
    gpus_per_trial: Gpus = None,
    fixes_off: Off = None,
    cluster: Cluster = None,
    seed: Seed = 0,
    timing: Annotated[bool, typer.Option(help="Time a few real steps for the quote.")] = True,
    out: Annotated[str | None, typer.Option(help="Write the plan here, for `autosft fit PLAN`.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what would be done, why, and what it would cost."""
    from autosft import api
    from autosft.tracking.base import Tracker

    made = api.plan(
        task,
        data,
        target=target,
        test=test,
        group=group,
        time=time,
        models=_names(models),
        trainer=_names(trainer),
        space=space,
        metric=metric,
        positive=positive,
        budget=budget,
        sampler=sampler,
        scheduler=scheduler,
        max_concurrent=max_concurrent,
        gpus_per_trial=gpus_per_trial,
        fixes_off=_names(fixes_off) or (),
        cluster=cluster,
        seed=seed,
        timing=timing,
        tracker=Tracker(),
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
    """Add a prediction and its score to every row, columns and order kept."""
    from autosft.data.write import write_table
    from autosft.predictor import Predictor

    table = Predictor.load(folder).predict_table(data)
    write_table(table, Path(out))
    typer.echo(f"{table.num_rows:,} rows with predictions: {out}")


@app.command()
def resume(
    folder: Annotated[str, typer.Argument(help="The run's folder.")],
    budget: Annotated[str | None, typer.Option(help="What to add, such as +1h or '+10 trials'.")] = None,
    cluster: Cluster = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Go on with a run: after a crash, or with more budget."""
    from autosft import api

    _show_result(api.resume(folder, budget=budget, cluster=cluster, verbose=verbose), as_json)


@app.command()
def models() -> None:
    """List the base models autosft knows, and which are on this machine."""
    from autosft.base_models import BASE_MODELS, at_hand

    here = set(at_hand())
    for row in BASE_MODELS:
        mark = "*" if row.id in here else " "
        languages = ",".join(row.languages)
        size = f"{row.num_parameters / 1e6:.0f}M"
        typer.echo(f"{mark} {row.id:<62} {size:>5}  {row.context_tokens:>5} tokens  {languages:<12} {row.licence}")
    typer.echo("* on this machine; any other hub id or folder with safetensors works too")


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

    typer.echo(run(budget=budget, folder=folder, seed=seed))


def main() -> None:
    """Runs the shell command; turns errors into one message and an exit code."""
    sys.exit(_exit_code(lambda: app(standalone_mode=False)))


def _exit_code(command: Callable[[], Any]) -> int:
    import click

    try:
        code = command()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    except KeyboardInterrupt:
        typer.echo("autosft: stopped before there was a model", err=True)
        return 130
    except SearchFailed as error:
        typer.echo(f"autosft: {error}", err=True)
        return 1
    except AutosftError as error:
        typer.echo(f"autosft: {error}", err=True)
        return 2
    except Exception:  # A fault of ours: its traceback goes to a log, never to the shell.
        typer.echo(f"autosft: {_fault()}", err=True)
        return 1


def _fault() -> str:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="autosft-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(traceback.format_exc())
    last = traceback.format_exc().strip().splitlines()[-1]
    fix = f"see {log.name}, and report it with that file"
    return explain(wrong=f"a fault of autosft's own ({last})", expected="an answer", fix=fix)


def _show_result(result: Any, as_json: bool) -> None:
    typer.echo(json.dumps(dict(result.summary), ensure_ascii=False) if as_json else str(result))


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
