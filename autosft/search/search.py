"""The search: asks the sampler, submits trials to the runner, tells both what came of them, within the budget.

Which trials to stop early is the scheduler's affair, inside the runner.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autosft.budget import Clock
from autosft.errors import SearchFailed, explain
from autosft.planning.division import MAX_TRIALS_PER_ARM
from autosft.planning.plan import Arm, Plan
from autosft.search.choice import best, contenders
from autosft.search.job import Ended, Report
from autosft.search.sampler import ArmSpace, Sampler
from autosft.search.trial import Trial, TrialLog
from autosft.tracking.base import Tracker
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits

#: Where trials of a fine-tuning arm report, as shares of their own length.
RUNGS = (1 / 9, 1 / 3, 1.0)

#: A trial that would need more than what is left of the search is not begun, unless it is an arm's first.
_FITS = 0.95
_FIRST_FITS = 0.3


class JobRunner(Protocol):
    """What the search needs of a runner."""

    def submit(self, function: str, arguments: dict[str, Any], **job: Any) -> str: ...

    def wait(self, timeout_seconds: float) -> Report | Ended | None: ...


class Search:
    """One search, from its first trial to the end of its share of the budget.

    Args:
        earlier: Trials that an earlier sitting of the same run finished; the sampler knows them from its journal.
        cache: Folder for tokens and features.
        closing_seconds: Time to leave for proof and writing.
        refit_factor: Cost of a refit over that of a trial.
    """

    def __init__(
        self,
        plan: Plan,
        runner: JobRunner,
        *,
        folder: Path,
        cache: Path,
        clock: Clock,
        tracker: Tracker,
        closing_seconds: float,
        refit_factor: float,
        earlier: Sequence[Trial] = (),
    ) -> None:
        self._plan = plan
        self._runner = runner
        self._folder = folder
        self._cache = cache
        self._clock = clock
        self._tracker = tracker
        self._closing_seconds = closing_seconds
        self._refit_factor = refit_factor
        self._log = TrialLog(folder / "trials.jsonl")
        self._data = plan.data.for_search()
        self.greater_is_better = plan.task.metric.greater_is_better
        spaces = {arm.name: ArmSpace(arm.space, arm.default, plan.facts) for arm in plan.arms}
        self._sampler = Sampler(
            spaces,
            sampler=plan.sampler,
            seed=plan.seed,
            greater_is_better=self.greater_is_better,
            journal=folder / "study.log",
        )
        self.trials: list[Trial] = list(earlier)
        self._running: dict[str, Trial] = {}
        self._micro_batch = {arm.name: arm.cost.micro_batch_size for arm in plan.arms if arm.cost}
        self.interrupted = False

    @property
    def stop_file(self) -> Path:
        """When it appears, running trials end at their next step."""
        return self._folder / "trials" / "stop"

    def run(self) -> list[Trial]:
        """Runs trials until the budget's share, the space or the user ends the search; returns every trial.

        Ctrl-C ends it with the trials that are complete.

        Raises:
            SearchFailed: No trial is complete at the end.
        """
        (self._folder / "trials").mkdir(parents=True, exist_ok=True)
        self.stop_file.unlink(missing_ok=True)
        try:
            self._loop()
        except KeyboardInterrupt:
            if best(self.trials, self.greater_is_better) is None:
                raise
            self.interrupted = True
            self._tracker.note("interrupted: ending with the best model so far (again to stop at once)")
            self.stop_file.touch()
            self._drain()
        if best(self.trials, self.greater_is_better) is None:
            raise _nothing_complete(self.trials)
        return self.trials

    def _loop(self) -> None:
        while True:
            while len(self._running) < self._plan.resources.max_concurrent and self._submit_next():
                pass
            if not self._running:
                return
            self._hear(self._runner.wait(self._patience()))

    def _drain(self) -> None:
        """Waits for running trials to notice the stop file, but not for long."""
        for _ in range(20):
            if not self._running:
                return
            self._hear(self._runner.wait(0.5))

    def _patience(self) -> float:
        left = self._search_left()
        if left is None:
            return 3600.0
        if left < -10.0 and self._running:
            # A trial keeps its own time limit; one that overran it by this much has to be told.
            self.stop_file.touch()
            return 5.0
        return max(1.0, left + 10.5)

    def _search_left(self) -> float | None:
        """Seconds left for trials: the budget's, less a refit of the best arm so far and the closing."""
        if self._clock.left is None:
            return None
        leader = best(self.trials, self.greater_is_better)
        names = [leader.arm] if leader else [arm.name for arm in self._plan.arms]
        refit = max(self._predict_seconds(name) for name in names) * self._refit_factor if self._plan.refit else 0.0
        return self._clock.left - self._closing_seconds - refit

    def _predict_seconds(self, arm: str) -> float:
        """Seconds of a trial: as the latest complete one took, else as measured."""
        for trial in reversed(self.trials):
            if trial.arm == arm and trial.fate == "complete":
                return trial.seconds.get("total", 0.0)
        return self._plan.arm(arm).trial_seconds

    def _submit_next(self) -> bool:
        begun = len(self.trials) + len(self._running)
        if self._plan.budget.num_trials is not None and begun >= self._plan.budget.num_trials:
            return False
        left = self._search_left()
        arms = [arm.name for arm in self._plan.arms if self._may_begin(arm, left)]
        proposal = self._sampler.ask(arms) if arms else None
        if proposal is None:
            return False
        arm = self._plan.arm(proposal.arm)
        trial = Trial(proposal.number, arm.name, proposal.config, arm.fidelity, 0, self._plan.seed, proposal.is_default)
        self._log.append("started", trial=trial.to_json(), spent_seconds=self._clock.spent)
        self._tracker.started(trial)
        job_id = self._runner.submit("autosft.search.work:train", self._arguments(arm, trial, left), **self._job(trial))
        self._running[job_id] = trial
        return True

    def _may_begin(self, arm: Arm, left: float | None) -> bool:
        known = [trial for trial in (*self.trials, *self._running.values()) if trial.arm == arm.name]
        if self._plan.budget.num_trials is None and len(known) >= MAX_TRIALS_PER_ARM:
            return False
        if left is None:
            return True
        needed = self._predict_seconds(arm.name)
        return needed * (_FITS if known else _FIRST_FITS) <= left if known else left > _FIRST_FITS * needed

    def _arguments(self, arm: Arm, trial: Trial, left: float | None) -> dict[str, Any]:
        reports_rungs = trainer_class(arm.trainer).reports_rungs
        return {
            **training_arguments(self._plan, trial),
            "data": self._data,
            "scratch": self.scratch(trial),
            "rungs": RUNGS if reports_rungs and self._plan.scheduler != "none" else (1.0,),
            "limits": Limits(
                num_threads=self._plan.resources.cpus_per_trial,
                cache=self._cache,
                max_length=arm.max_length,
                time_limit_seconds=left,
                micro_batch_size=self._micro_batch.get(arm.name),
                stop_file=self.stop_file,
            ),
        }

    def _job(self, trial: Trial) -> dict[str, Any]:
        resources = self._plan.resources
        return {
            "cpus": float(resources.cpus_per_trial),
            "gpus": resources.gpus_per_trial,
            "may_be_stopped": not trial.is_default,
        }

    def scratch(self, trial: Trial) -> Path:
        """Returns the folder of a trial."""
        return self._folder / "trials" / f"{trial.number:04d}"

    def _hear(self, event: Report | Ended | None) -> None:
        if event is None or event.job_id not in self._running:
            return
        trial = self._running[event.job_id]
        if isinstance(event, Report):
            reports = (*trial.reports, (event.fidelity * trial.fidelity, event.score))
            trial = replace(trial, reports=reports, score=event.score, loss=event.values.get("loss"))
            self._running[event.job_id] = trial
            self._tracker.reported(trial, event.fidelity, event.score)
            return
        del self._running[event.job_id]
        if event.fate == "fatal":
            self._log.append("fatal", trial=asdict(trial), message=event.message)
            raise event.value if isinstance(event.value, BaseException) else SearchFailed(_fatal(event.message))
        self._end(trial, event)

    def _end(self, trial: Trial, event: Ended) -> None:
        outcome = event.value or {}
        trial = replace(trial, fate=event.fate, seconds=dict(event.seconds), message=event.message)
        if event.fate == "complete":
            trial = replace(trial, **{key: outcome[key] for key in ("score", "loss", "interval")})
            if outcome["micro_batch_size"] is not None:
                self._micro_batch[trial.arm] = outcome["micro_batch_size"]
        self.trials.append(trial)
        self._log.append("ended", trial=trial.to_json(), spent_seconds=self._clock.spent)
        reached = trial.reports[-1][0] if trial.reports else trial.fidelity
        state: Any = event.fate
        self._sampler.tell(trial.number, score=trial.score, fidelity=reached, state=state, reports=trial.reports[:-1])
        self._keep_best_models()
        self._tracker.ended(trial, best(self.trials, self.greater_is_better), self._clock.left)

    def _keep_best_models(self) -> None:
        numbers = {trial.number for trial in contenders(self.trials, self.greater_is_better)}
        for trial in self.trials:
            if trial.number not in numbers:
                shutil.rmtree(self.scratch(trial), ignore_errors=True)

    def outputs(self, trial: Trial) -> NDArray[np.float32] | None:
        """Returns a contender's outputs for the validation rows, or None where a crash lost them."""
        path = self.scratch(trial) / "outputs.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None


def training_arguments(plan: Plan, trial: Trial) -> dict[str, Any]:
    """Returns what `work.train` needs to know of a trial, its data, place and limits aside."""
    arm = plan.arm(trial.arm)
    return {
        "trainer": arm.trainer,
        "base_model": arm.base_model,
        "folder": arm.folder,
        "config": dict(trial.config),
        "task": plan.task,
        "fold": trial.fold,
        "fidelity": trial.fidelity,
        "seed": trial.seed,
    }


def _nothing_complete(trials: Sequence[Trial]) -> SearchFailed:
    reasons = {trial.message for trial in trials if trial.message}
    wrong = f"none of {len(trials)} trials produced a model" + (
        f" ({'; '.join(sorted(reasons)[:3])})" if reasons else ""
    )
    return SearchFailed(
        explain(wrong=wrong, expected="at least one complete trial", fix="give it more budget, or see trials.jsonl")
    )


def _fatal(message: str) -> str:
    return f"A trial failed in a way that would fail every trial. The worker's last lines:\n{message}"
