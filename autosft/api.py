"""`fit`, `plan`, `resume`, `load`, `review`, `sync`: from what was asked to a plan; `sitting` carries it out."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autosft.argument_types import PLACE, SENTENCE, arguments_checked
from autosft.budget import Budget, Clock
from autosft.data.source import Source
from autosft.disk import scratch_folder
from autosft.ensemble import check_ensemble
from autosft.errors import PlanError, explain
from autosft.finish import seconds_before
from autosft.label_errors import find_label_errors
from autosft.planning.arms import draft_arms, latecomers, that_fit
from autosft.planning.machine import fitted, machine_here, resources_on
from autosft.planning.options import Options, given_fields, refuse_settled
from autosft.planning.plan import Plan
from autosft.planning.reach import FEWEST_ROWS, most_rows
from autosft.planning.settle import settle, with_more
from autosft.planning.spaces import GivenSpace, with_space
from autosft.planning.timing import has_ample_time, time_arms, time_latecomers
from autosft.predictor import Predictor
from autosft.prepare import Prepared, Question, check, understand, with_rows
from autosft.result import Result
from autosft.run_folder import RunFolder
from autosft.search.settings import Machine
from autosft.search.slots import within_slots
from autosft.search.trial import TrialLog
from autosft.sitting import carry_out
from autosft.task import AnswerFunction, Metric, MetricFunction, Task
from autosft.tasks import kind as task_kind
from autosft.tracking.base import Tracker
from autosft.tracking.choose import listening, tracked_with
from autosft.tracking.wandb_mirror.sync import sync as sync_with_wandb

if TYPE_CHECKING:
    from autosft.reviewing.claim import Review
    from autosft.search.runner import Runner

DEFAULT_BUDGET = "20m"


@arguments_checked()
def fit(
    task: str | Task | Plan,
    data: object | None = None,
    *,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    test: object | None = None,
    models: Sequence[str] | str | None = None,
    trainer: str | Sequence[str] | None = None,
    space: GivenSpace | None = None,
    metric: str | Metric | MetricFunction | None = None,
    positive: object | None = None,
    group: str | None = None,
    time: str | None = None,
    kind: str | None = None,
    answer: str | AnswerFunction | None = None,
    budget: str | float | Budget = DEFAULT_BUDGET,
    sampler: str = "tpe",
    scheduler: str = "race",
    max_concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    fixes_off: Collection[str] = (),
    tracker: str | Tracker | None = None,
    cluster: str | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> Result:
    """Turns a sentence and a dataset into a proven model.

    Args:
        task: What is wanted, in a sentence; or a Task, to leave nothing to inference; or a Plan, beside which only
            `folder`, `tracker`, `cluster` and `verbose` may be given.
        data: A path (csv, tsv, json, jsonl, parquet, arrow, gzipped or not; a folder of them), a list of dicts, a
            pandas or Arrow table, a `datasets.Dataset` or `DatasetDict`, or a hub id.
        target: Column to predict. inputs: columns to read. Both are worked out where they are left out.
        test: Rows that decide nothing and prove the result; without them, some are set aside where there are enough.
        models: Base models, as hub ids or folders. trainer: one or several of the registered trainers.
        space: A search space: a YAML file, a folder of them (one a trainer), or a function of an Optuna trial.
        metric: What decides: a name, a Metric, or a function of (targets, predictions).
        positive: The label that a binary F1, precision or recall is about.
        group: Rows that share a value of this column stay on one side of every split.
        time: Column of time: the latest rows validate and prove.
        kind: Kind of task, such as "text-regression", instead of the one that the sentence and the columns give.
        answer: Where text is generated: a regular expression, or a function of a text, that reads the answer out of it,
            so that the share of right ones is reported. `metric="exact_match"` lets them decide.
        budget: "20m", "3 trials", "2 gpu-hours", seconds, or a Budget.
        sampler: "tpe" or "random". scheduler: "race", "asha", "median" or "none".
        max_concurrent: Trials at once. gpus_per_trial: GPUs of each, fractions allowed.
        fixes_off: Names of audit checks that only report, or "all".
        tracker: Listens to the run: "wandb" or "wandb:ENTITY/PROJECT" beside the terminal, or a Tracker in its place;
            None shows progress on standard error.
        cluster: "local", "auto" (the Ray cluster of this machine) or host:port of one; None uses this machine, or the
            Ray that runs in this process. See docs/cluster.md.
        folder: The run's folder, new or empty; None makes one under `runs/`.
        seed: Decides splits, configurations and trainings.
        verbose: Shows Ray's own output.

    Raises:
        AutosftError: Something the caller can change; the message says what.
    """
    clock, listener = Clock(), listening(tracker)
    try:
        asked = "" if isinstance(task, Plan) else task
        question = Question(
            asked, data, test, target, inputs, metric, positive, group, time, kind, answer, fixes_off, seed
        )
        options = Options.checked(
            models, trainer, space, budget, sampler, scheduler, max_concurrent, gpus_per_trial, cluster, verbose
        )
        if isinstance(task, Plan):
            _check_alone(question, options)
            return _fit_plan(task, RunFolder.create(folder), clock, listener, cluster=cluster, verbose=verbose)
        RunFolder.check_free(folder)
        listener.phase("read")
        understood, source = understand(question)
        with scratch_folder() as scratch, _runner(options, understood, scratch, listener) as runner:
            listener.phase("audit")
            prepared = check(question, understood, source, most_rows=_most_rows(source, options, runner))
            made = _plan(question, options, prepared, runner, clock, listener)
            run = RunFolder.create(folder)
            with run.locked():
                return carry_out(made, run, runner, clock, listener)
    finally:
        listener.closed()


@arguments_checked(task=SENTENCE)
def plan(
    task: str | Task,
    data: object,
    *,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    test: object | None = None,
    models: Sequence[str] | str | None = None,
    trainer: str | Sequence[str] | None = None,
    space: GivenSpace | None = None,
    metric: str | Metric | MetricFunction | None = None,
    positive: object | None = None,
    group: str | None = None,
    time: str | None = None,
    kind: str | None = None,
    answer: str | AnswerFunction | None = None,
    budget: str | float | Budget = DEFAULT_BUDGET,
    sampler: str = "tpe",
    scheduler: str = "race",
    max_concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    fixes_off: Collection[str] = (),
    tracker: str | Tracker | None = None,
    cluster: str | None = None,
    seed: int = 0,
    timing: bool = True,
    verbose: bool = False,
) -> Plan:
    """Says what `fit` would do, why, and what it would cost. Arguments as in `fit`.

    Args:
        timing: Whether a few real steps are timed; without, the quote holds within a factor of three.
    """
    clock, listener = Clock(), listening(tracker)
    try:
        question = Question(
            task, data, test, target, inputs, metric, positive, group, time, kind, answer, fixes_off, seed
        )
        options = Options.checked(
            models, trainer, space, budget, sampler, scheduler, max_concurrent, gpus_per_trial, cluster, verbose
        )
        options = replace(options, timing=timing)
        listener.phase("read")
        understood, source = understand(question)
        if not timing:
            prepared = check(question, understood, source, most_rows=_most_rows(source, options, None))
            return _plan(question, options, prepared, None, clock, listener)
        with scratch_folder() as scratch, _runner(options, understood, scratch, listener) as runner:
            listener.phase("audit")
            prepared = check(question, understood, source, most_rows=_most_rows(source, options, runner))
            return _plan(question, options, prepared, runner, clock, listener)
    finally:
        listener.closed()


@arguments_checked()
def resume(
    folder: str | Path,
    *,
    budget: str | float | Budget | None = None,
    keep_limits: bool = False,
    space: GivenSpace | None = None,
    tracker: str | Tracker | None = None,
    cluster: str | None = None,
    verbose: bool = False,
) -> Result:
    """Goes on with a run: after a crash with what is left of its budget, or further with more.

    Args:
        folder: The run's folder.
        budget: What is added to the run's budget, such as "+1h" or "+10 trials". A finished run needs it, and so does
            one that was interrupted and closed; without, it is returned as it is, and a note says so.
        keep_limits: Whether limits of the run that `budget` does not name stay, such as its number of trials where a
            time is added. By default they limit no longer.
        space: Another search space from here on, wider or narrower, as for `fit`; what was tried before still counts.
        tracker: As in `fit`; left out, a run that was kept on Weights & Biases goes on being kept there.

    Raises:
        RunFolderError: The folder is not a run's, or another process works on it.
        PlanError: The data are no longer what the plan was made for.
    """
    run = RunFolder.open(folder)
    listener = listening(tracker or tracked_with(run.path))
    try:
        if run.result.exists() and budget is None:
            if space is not None:
                wrong = f"{run.path} holds a finished run, and another search space needs something to spend"
                raise PlanError(explain(wrong=wrong, expected="more budget", fix="pass budget='+30m' too"))
            found = Result.load(folder)
            cut = found.summary.get("interrupted", False)
            how = "was interrupted, and closed with the best model so far" if cut else "is finished"
            listener.note(f"this run {how}: nothing was added; to go on: autosft resume {folder} --budget +10m")
            return found
        with run.locked():
            made = Plan.load(run.plan)
            spent = TrialLog(run.trials).spent_seconds()
            if budget is not None:
                done = len(TrialLog(run.trials).trials())
                more = Budget.parse(budget)
                made = with_more(made, more, spent_seconds=spent, num_trials_done=done, keep_limits=keep_limits)
            if space is not None:
                made = with_space(made, space)
            made = with_rows(made)
            return _with_runner(made, run, Clock(spent_seconds=spent), listener, cluster=cluster, verbose=verbose)
    finally:
        listener.closed()


@arguments_checked()
def load(folder: str | Path) -> Predictor:
    """Loads a model's folder, or a run's, for prediction; needs neither Ray nor Optuna.

    Raises:
        RunFolderError: It is neither.
    """
    return Predictor.load(folder)


@arguments_checked()
def sync(folder: str | Path, *, tracker: str | None = None, rows: bool = False) -> str:
    """Sends a run to Weights & Biases later, or again; what is there already is not sent twice.

    Args:
        folder: The run's folder, finished or not.
        tracker: "wandb:ENTITY/PROJECT"; None is where the run was tracked, or WANDB_ENTITY and WANDB_PROJECT.
        rows: Whether `report.html` goes too, which quotes rows of the data. Without it no row is ever sent.

    Returns:
        What is where now, in one sentence.

    Raises:
        RunFolderError: The folder is not a run's, or no trial has ended in it, or it has no `report.html` to send.
        TrackerError: There is no key, or W&B did not take everything.
    """
    return sync_with_wandb(folder, tracker, rows=rows)


@arguments_checked(target=PLACE)
def review(target: str | Path, *, metric: str | None = None, goal: str | None = None) -> Review:
    """Says what a sweep shows, each claim with its number: what mattered, what was wasted, what luck, what next.

    Args:
        target: A run's folder, finished or not; a table of trials, a row each; or W&B's "entity/project/sweep",
            ".../group" or "entity/project".
        metric: Of a table or W&B: the column that decides. None goes by the sweep's own word, else by names.
        goal: "maximize" or "minimize"; likewise.

    Raises:
        AutosftError: There is nothing there, or it cannot be read.
    """
    from autosft.reviewing.claims import review as review_sweep
    from autosft.reviewing.open import open_sweep

    return review_sweep(open_sweep(target, metric=metric, goal=goal))


def _runner(options: Options, task: Task, scratch: Path, listener: Tracker) -> Runner:
    from autosft.search.runner import Runner

    return Runner(
        scratch=scratch,
        scheduler=options.scheduler,
        greater_is_better=task.metric.greater_is_better,
        cluster=options.cluster,
        machine=machine_here(),
        verbose=options.verbose,
        note=listener.note,
    )


def _most_rows(source: Source, options: Options, runner: Runner | None) -> int | None:
    """Returns how many training rows the budget reaches; where there are few, Ray goes on starting meanwhile."""
    if source.train.num_rows <= FEWEST_ROWS:
        return None
    return most_rows(options.budget, machine_here() if runner is None else runner.machine())


def _plan(
    question: Question, options: Options, prepared: Prepared, runner: Runner | None, clock: Clock, listener: Tracker
) -> Plan:
    """Makes the plan from checked data: draws up the arms, times them, and divides the budget."""
    kind = task_kind(prepared.task.kind)
    if options.budget.ensemble:
        check_ensemble(kind.name)
    machine = machine_here() if runner is None else runner.machine()
    # Refuses what this machine cannot spend, before anything is timed.
    clock = clock.limited(options.budget.wall_seconds(machine.gpus))
    resources = within_slots(
        resources_on(machine, gpus_per_trial=options.gpus_per_trial, max_concurrent=options.max_concurrent)
    )
    rows = prepared.data.training(0)[0]
    draft = partial(
        draft_arms,
        kind.input,
        kind.output,
        num_rows=len(rows),
        models=options.models,
        machine=machine,
        language=prepared.language,
        few_rows_per_class=kind.facts(prepared.task, rows.targets()).get("few_rows_per_class", False),
    )
    arms, reasons = draft(trainers=options.trainer, space=options.space)
    arms, too_large = that_fit(arms, resources)
    reasons = (*reasons, *too_large)
    if runner is not None and options.timing:
        listener.phase("measure")
        arms, left_out = time_arms(arms, prepared, runner, resources, clock)
        reasons = (*reasons, *left_out)
        # Who names trainers or brings spaces has said what races; and where trials are counted each of them counts.
        is_open = not options.trainer and options.space is None and options.budget.num_trials is None
        if is_open and has_ample_time(arms, clock) and (names := latecomers(kind.input, kind.output)):
            # Where the models are made for other trainers, nobody misses these.
            with contextlib.suppress(PlanError):
                late = [arm for arm in draft(trainers=names, space=None)[0] if resources.can_train(arm, arm.default)]
                joined, joining = time_latecomers(late, arms, prepared, runner, resources, clock)
                arms, reasons = (*arms, *joined), (*reasons, *joining)
        suspects = find_label_errors(prepared, arms, runner, resources, limit_seconds=clock.limit_seconds)
        prepared = replace(prepared, findings=(*prepared.findings, *suspects))
    made = settle(
        prepared,
        arms,
        resources,
        origin=replace(question.origin, most_rows=prepared.most_rows),
        budget=options.budget,
        scheduler=options.scheduler,
        sampler=options.sampler,
        seed=question.seed,
        reasons=reasons,
        spent_seconds=clock.spent,
    )
    listener.planned(made)
    return made


def _check_alone(question: Question, options: Options) -> None:
    """Raises PlanError where an argument of `fit` says again what its plan has settled."""
    settled = given_fields(question, Question("", None))
    machine = Options(Budget.parse(DEFAULT_BUDGET), cluster=options.cluster, verbose=options.verbose)
    refuse_settled([*settled, *given_fields(options, machine)])


def _fit_plan(
    made: Plan, run: RunFolder, clock: Clock, listener: Tracker, *, cluster: str | None, verbose: bool
) -> Result:
    """Carries out a plan that was made before."""
    made = with_rows(made)
    listener.planned(made)
    with run.locked():
        return _with_runner(made, run, clock, listener, cluster=cluster, verbose=verbose)


def _with_runner(
    made: Plan, run: RunFolder, clock: Clock, listener: Tracker, *, cluster: str | None, verbose: bool
) -> Result:
    if made.budget.ensemble:
        check_ensemble(made.task.kind)
    options = Options(made.budget, scheduler=made.scheduler, cluster=cluster, verbose=verbose)
    earlier = seconds_before(run, workers=made.resources.max_concurrent)
    with scratch_folder() as scratch, _runner(options, made.task, scratch, listener) as runner:
        made = _fitted(made, runner.machine(), listener)
        # Not before there is something to run on: until then a finished run stays one.
        run.reopen()
        return carry_out(made, run, runner, clock, listener, earlier)


def _fitted(made: Plan, machine: Machine, listener: Tracker) -> Plan:
    """Returns a plan made before for the machine that is here now.

    It keeps arms that have too little memory here: their trials count, and where there is more they go on.

    Raises:
        PlanError: Its trials do not fit, or none of its arms does.
    """
    resources = within_slots(fitted(made.resources, machine))
    fix = "run it where there is more memory, or plan again with smaller models"
    for reason in that_fit(made.arms, resources, fix=fix)[1]:
        listener.note(reason)
    return replace(made, resources=resources)
