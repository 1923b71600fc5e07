"""One sitting of a run: all that follows from a plan and the trials there are, in order, up to the result."""

from __future__ import annotations

import time as clocks
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from autosft.budget import Clock
from autosft.cache import cache_folder
from autosft.calibration import Calibration, calibrate
from autosft.data.data import Rows
from autosft.disk import disk_error, is_disk_error
from autosft.ensemble import COMBINING_SECONDS, Ensemble, ensemble, others, seconds_kept
from autosft.finish import account, finish
from autosft.interrupt import Interrupt
from autosft.planning.plan import Arm, Plan
from autosft.planning.refits import refit_seconds
from autosft.planning.settle import closing_seconds
from autosft.proof import Candidate, Proof, prove
from autosft.refit import Refit, reason_against, refit
from autosft.result import Result
from autosft.run_folder import RunFolder
from autosft.search.choice import best_default, choose
from autosft.search.finals import Finals, repeats
from autosft.search.policies import policy_for
from autosft.search.prospects import goes_on_from
from autosft.search.search import Search
from autosft.search.slots import slots_allowed
from autosft.search.trial import Trial, TrialLog
from autosft.search.workbench import Workbench
from autosft.soup import soup
from autosft.task import Task
from autosft.tasks import kind as task_kind
from autosft.tracking.base import Tracker

if TYPE_CHECKING:
    from autosft.search.runner import Runner


def carry_out(
    plan: Plan,
    run: RunFolder,
    runner: Runner,
    clock: Clock,
    listener: Tracker,
    earlier: Mapping[str, float] | None = None,
) -> Result:
    """Does what a plan says.

    Args:
        clock: Runs since before the plan was made.
        earlier: Seconds of the sittings before, as `account` gives them.
    """
    with Interrupt() as interrupt:
        try:
            limited = clock.limited(plan.budget.wall_seconds(plan.resources.machine.gpus))
            return Sitting(plan, run, runner, limited, listener, interrupt).work(earlier)
        except KeyboardInterrupt as error:
            words = f" before there was a result; the trials that ended are kept: autosft resume {run.path}"
            raise KeyboardInterrupt(words) from error
        except OSError as error:
            # What writes without naming its place: Optuna's journal, or a folder that is made.
            if not is_disk_error(error):
                raise
            raise disk_error(error, str(run.path)) from error


@dataclass
class Sitting:
    """What every step of a sitting needs."""

    plan: Plan
    run: RunFolder
    runner: Runner
    clock: Clock
    listener: Tracker
    interrupt: Interrupt

    def work(self, earlier: Mapping[str, float] | None) -> Result:
        """Searches, refits, calibrates, proves, and writes the result."""
        plan, run = self.plan, self.run
        run.write(run.plan, plan.to_json())
        self.listener.opened(run.path)
        cpu_before = clocks.process_time()
        closing = self._closing_seconds(plan.arms, self.clock.left)

        combining = COMBINING_SECONDS * plan.budget.ensemble
        search, winner = self._search(closing + combining)
        trials = search.trials
        default = best_default(trials, plan.task.metric.greater_is_better) or winner
        tasks = {trial.number: self._tuned(search, trial) for trial in (winner, default)}
        bench = Workbench(plan, self.runner, cache_folder(), self.interrupt, search.micro_batch_sizes)
        # Whoever might have won may be slower to prove than those who are to be.
        beside = others(plan, trials, winner) if plan.budget.ensemble else []
        proven = [plan.arm(trial.arm) for trial in (winner, default, *beside)]
        ending = min(closing, self._closing_seconds(proven, None))
        refitted = self._refit(bench, winner, ending + combining, seconds_kept(plan, trials, winner))
        together = self._ensemble(bench, search, winner, refitted, ending)
        searched = search.scratch(winner) / "model"
        model = together.model or refitted.model or searched
        # Where rows are held out they may speak against what is more than the search's own model.
        models = (model, searched) if model != searched and plan.data.held_out() else (model,)
        calibration = self._calibrate(bench, winner, search.outputs(winner), models)
        proof = self._prove(bench, search, winner, default, tasks, model, calibration)
        if proof.against_refit is not None:
            # What was put together is as little trusted as the refit that it was made of, if there was one.
            if together.model:
                together = Ensemble(f"none: {proof.against_refit}")
            refitted, model = Refit(None, proof.against_refit) if refitted.model else refitted, searched
            self.listener.note(proof.against_refit)

        seconds = account(
            self.runner.cpu_seconds,
            plan.resources,
            wall_seconds=self.clock.sitting,
            driver_seconds=clocks.process_time() - cpu_before,
            earlier=earlier,
        )
        summary = finish(
            run,
            plan,
            tasks[winner.number],
            trials,
            winner=winner,
            default=default,
            refit=refitted,
            ensemble=together,
            calibration=calibration,
            proof=proof,
            model=calibration.of(model),
            seconds=seconds,
            interrupted=self.interrupt.requested,
            tracker=self.listener,
        )
        self.listener.finished(summary)
        return Result(run.path, plan, tuple(trials), summary)

    def _closing_seconds(self, arms: Sequence[Arm], seconds_left: float | None) -> float:
        """Returns what is kept for the end: calibration, files, and proof of models of these arms."""
        held_out = self.plan.data.held_out()
        rates = [arm.cost.predict_rows_per_second for arm in arms if arm.cost]
        # Of one training the winner is the default, and nothing else is there to be proven.
        is_one = self.plan.quote.num_trials == 1 and not self.run.trials.exists()
        num_models = (1 if is_one else 2) + self.plan.refit
        num_models += len(self.plan.arms) - 1 if self.plan.budget.ensemble else 0
        return closing_seconds(len(held_out[1]) if held_out else 0, rates, seconds_left, num_models=num_models)

    def _search(self, closing: float) -> tuple[Search, Trial]:
        """Searches, holds the finals where there is time for them, and says who won."""
        plan = self.plan
        self.listener.phase("search")
        earlier = TrialLog(self.run.trials).trials()
        search = Search(
            plan,
            self.runner,
            folder=self.run.path,
            cache=cache_folder(),
            clock=self.clock,
            tracker=self.listener,
            interrupt=self.interrupt,
            earlier=earlier,
        )
        policy = policy_for(plan, journal=self.run.path / "study.log", earlier=earlier, closing_seconds=closing)
        resources = plan.resources
        with self.runner.asking_for(self._most_at_once(), resources.cpus_per_trial, resources.gpus_per_trial):
            trials = search.run(policy)
        if policy.remark():
            self.listener.note(policy.remark())
        goes_on = partial(goes_on_from, plan)
        winner = choose(
            plan.task,
            trials,
            self._targets,
            search.outputs,
            seed=plan.seed,
            groups=self._validation.groups(),
            goes_on_from=goes_on,
        )
        # Those of an earlier sitting count although there is no time for more.
        if plan.finals_share or any(trial.stage == "finals" for trial in trials):
            self.listener.phase("finals")
            kept = closing + refit_seconds(plan, winner.arm, winner.config, winner.seconds_again)
            finals = Finals(plan, trials, search.outputs, kept_seconds=kept)
            search.run(finals)
            self.listener.note(finals.remark())
            winner = finals.verdict() or winner
        return search, winner

    def _most_at_once(self) -> int:
        """Returns for how many trials at once nodes may be asked for: none where no number was given, or in a batch."""
        most, trials = self.plan.resources.most_concurrent, self.plan.budget.num_trials
        if most is None or slots_allowed() is not None:  # A batch asks for all its jobs.
            return 0
        return most if trials is None else min(most, trials)

    def _refit(self, bench: Workbench, winner: Trial, closing: float, kept: float) -> Refit:
        """Trains the winner on all rows, unless something speaks against it, and again where there is time.

        Args:
            kept: Seconds to leave for an ensemble, before which one training of the winner comes.
        """
        once = self._refit_once(bench, winner, closing)
        again = self.run.path / "trials" / "refit" / "again"
        found = soup(bench, winner, once, again, seconds_left=self._left(closing + kept))
        self.listener.note(found.reason)
        return found

    def _ensemble(self, bench: Workbench, search: Search, winner: Trial, refitted: Refit, closing: float) -> Ensemble:
        """Puts the best of other methods beside the winner, where that was asked for."""
        found = ensemble(
            bench,
            winner,
            refitted,
            others(self.plan, search.trials, winner),
            self.run.path / "trials" / "refit" / "beside",
            outputs=search.outputs,
            searched=lambda trial: search.scratch(trial) / "model",
            seconds_left=self._left(closing),
        )
        if found.reason:
            self.listener.note(f"ensemble: {found.reason}")
        return found

    def _refit_once(self, bench: Workbench, winner: Trial, closing: float) -> Refit:
        left = self._left(closing)
        against = reason_against(self.plan, winner, seconds_left=left, interrupt=self.interrupt)
        if against is not None:
            return Refit(None, against)
        self.listener.phase("refit")
        return refit(bench, winner, self.run.path / "trials" / "refit", seconds_left=left)

    def _calibrate(
        self, bench: Workbench, winner: Trial, outputs: pa.Array | None, models: Sequence[Path]
    ) -> Calibration:
        """Fits the temperature of the winner's probabilities, and says so where there was anything to fit."""
        folder = self.run.path / "trials" / "calibrated"
        found = calibrate(bench, winner, folder, outputs=outputs, models=models, seconds_left=self.clock.left)
        if found.num_rows:
            self.listener.note(found.reason)
        return found

    def _prove(
        self,
        bench: Workbench,
        search: Search,
        winner: Trial,
        default: Trial,
        tasks: Mapping[int, Task],
        model: Path,
        calibration: Calibration,
    ) -> Proof:
        """Scores the winner and the best default on rows that decided nothing."""
        self.listener.phase("prove")

        def candidate(first: Trial) -> Candidate:
            folders = {trial.fold or 0: search.scratch(trial) for trial in self._folds(search, first)}
            return Candidate(first, tasks[first.number], folders)

        return prove(
            bench,
            candidate(winner),
            candidate(default),
            self.run.path / "trials" / "folds",
            shipped_model=model,
            temperature=calibration.temperature,
            seconds_left=self.clock.left,
        )

    def _left(self, closing: float) -> float | None:
        """Returns the seconds that are left beside what is kept for the end."""
        return None if self.clock.left is None else self.clock.left - closing

    @cached_property
    def _validation(self) -> Rows:
        validation = self.plan.data.training(0)[1]
        assert validation is not None, "fold 0 is the validation set"
        return validation

    @cached_property
    def _targets(self) -> pa.Array:
        """Of the validation rows."""
        return self._validation.targets()

    def _tuned(self, search: Search, trial: Trial) -> Task:
        """Returns the task as a trial's model reads it: what tells are outputs for rows that it did not train on.

        Those are of other folds too, where the finals trained it there; any of them may be lost in a crash.
        """
        task, targets, outputs = self.plan.task, [], []
        for one in self._folds(search, trial):
            rows, found = self.plan.data.training(one.fold)[1], search.outputs(one)
            if rows is not None and found is not None:
                targets.append(rows.targets())
                outputs.append(found)
        if not outputs:
            return task
        return task_kind(task.kind).tuned(task, pa.concat_arrays(targets), pa.concat_arrays(outputs))

    def _folds(self, search: Search, first: Trial) -> tuple[Trial, ...]:
        """Returns a trial of the search, and its repetitions on other folds."""
        return first, *repeats(first, search.trials, seed=self.plan.seed)
