"""The search: asks a policy what to train, has the runner do it, and tells the policy and the log what came of it.

Which trials to stop early is the scheduler's affair, inside the runner.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from autosft.arrays import load_array
from autosft.budget import Clock
from autosft.counting import counted
from autosft.errors import AutosftError, FunctionTimeout, MetricError, SearchFailed, explain
from autosft.interrupt import Interrupt
from autosft.planning.plan import Arm, Plan
from autosft.search.choice import best, contenders
from autosft.search.job import Delayed, Ended, Report
from autosft.search.policy import Policy, Standing, Start
from autosft.search.slots import slots_allowed
from autosft.search.trial import OUTPUTS_FILE, Trial, TrialLog
from autosft.task import Metric
from autosft.tracking.base import Tracker
from autosft.trainers.base import Limits

#: Share of the budget's tolerance that trials may overrun before they are told to stop.
_OVERRUN, _FIRST_OVERRUN = 0.15, 0.5

#: Time limit of a trial that begins although nothing is left.
_SHORTEST_SECONDS = 2.0


class JobRunner(Protocol):
    """What the search needs of a runner."""

    def submit(self, function: str, arguments: dict[str, Any], **job: Any) -> str: ...

    def wait(self, timeout_seconds: float) -> Report | Delayed | Ended | None: ...

    def num_at_once(self, cpus: float, gpus: float) -> int | None: ...


class Search:
    """The trials of one run, whatever policy decides on them.

    Args:
        earlier: Trials that an earlier sitting of the same run finished.
        cache: Folder for tokens and features.
        interrupt: Whether the user asks for an early end.
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
        interrupt: Interrupt,
        earlier: Sequence[Trial] = (),
    ) -> None:
        self._plan = plan
        self._runner = runner
        self._folder = folder
        self._cache = cache
        self._clock = clock
        self._tracker = tracker
        self._log = TrialLog(folder / "trials.jsonl")
        self._data = plan.data.for_search()
        self.greater_is_better = plan.task.metric.greater_is_better
        self.trials: list[Trial] = list(earlier)
        self._next_number = 1 + max((trial.number for trial in self._log.begun()), default=-1)
        self._running: dict[str, Trial] = {}
        self.micro_batch_sizes = {arm.name: arm.cost.micro_batch_size for arm in plan.arms if arm.cost}
        self._until: dict[str, float] = {}
        self._overran: set[int] = set()
        self._defects: dict[str, str] = {}
        self._unsure: list[Trial] = []
        self._begun = 0
        self._interrupt = interrupt
        self._was_ended = False

    def run(self, policy: Policy) -> list[Trial]:
        """Runs trials until the policy has no more or the user ends the search; returns every trial.

        Raises:
            KeyboardInterrupt: The user asked for an end before any trial was complete.
            SearchFailed: No trial is complete at the end, or what runs them failed.
            AutosftError: A trial met something that the caller can change.
        """
        (self._folder / "trials").mkdir(parents=True, exist_ok=True)
        while not self._interrupt.requested:
            while len(self._running) < self._num_at_once() and self._submit_next(policy):
                pass
            if not self._running:
                break
            self._hear(self._runner.wait(min(1.0, self._patience())), policy)
        if self._interrupt.requested:
            self._end_early(policy)
        policy.close()
        if self._leader is None and self._defects:
            raise SearchFailed(_fatal([*self._defects.values()][-1]))
        if self._leader is None:
            raise _nothing_complete(self.trials, self._plan.task.metric)
        return self.trials

    def _num_at_once(self) -> int:
        """As many as the plan says, or a batch now allows; on a cluster no more than its nodes carry, else all that."""
        resources, slots = self._plan.resources, slots_allowed()
        carried = self._runner.num_at_once(resources.cpus_per_trial, resources.gpus_per_trial)
        if carried is None:
            return resources.max_concurrent if slots is None else slots
        if slots is not None:
            return min(carried, slots)
        most = resources.most_concurrent or resources.max_concurrent
        return carried if resources.follows_nodes else min(carried, most)

    def _end_early(self, policy: Policy) -> None:
        """Waits for running trials to notice the stop file; one that does not loses its worker."""
        if self._leader is None:
            raise KeyboardInterrupt
        if not self._was_ended:
            self._tracker.note("interrupted: ending with the best model so far (again to stop at once)")
        self._was_ended = True
        for trial in self._running.values():
            self._stop_file(trial).touch()
        while self._running:
            self._hear(self._runner.wait(1.0), policy)

    def _patience(self) -> float:
        """Seconds to wait for news. Tells running trials to stop where they overran the time that they were given."""
        if self._clock.left is None:
            return 3600.0
        # A trial keeps its own time limit, so an overrun of this much is no accident; the first model is worth more.
        tolerance = (_FIRST_OVERRUN if self._leader is None else _OVERRUN) * self._clock.grace
        patience = 3600.0
        for job_id, trial in self._running.items():
            until = self._until[job_id] - self._clock.spent
            if self._leader is None:
                # Without it there is no answer at all, so it gets what was kept for refit and proof.
                until = max(until, self._clock.left)
            if until + tolerance < 0 and not self._stop_file(trial).exists():
                self._overran.add(trial.number)
                self._stop_file(trial).touch()
            patience = min(patience, max(1.0, until + tolerance + 0.5))
        return patience

    @property
    def _leader(self) -> Trial | None:
        return best(self.trials, self.greater_is_better)

    def _standing(self) -> Standing:
        allowed, begun = self._plan.budget.num_trials, len(self.trials) + len(self._running)
        return Standing(
            trials=self.trials,
            running=[*self._running.values()],
            num_begun=self._begun,
            seconds_left=self._clock.left,
            trials_left=None if allowed is None else allowed - begun,
            barred=[arm.name for arm in self._plan.arms if self._is_broken(arm) or not self._fits(arm)],
        )

    def _submit_next(self, policy: Policy) -> bool:
        start = policy.ask(self._standing())
        if start is None:
            return False
        trial = Trial(
            self._next_number,
            start.arm,
            start.config,
            start.fidelity,
            start.fold,
            self._plan.seed if start.seed is None else start.seed,
            start.is_default,
            rung=start.fidelity,
            stage=start.stage,
        )
        self._next_number += 1
        self._log.append("started", trial=trial.to_json(), spent_seconds=self._clock.spent)
        self._tracker.started(trial)
        job_id = self._runner.submit(
            "autosft.search.work:train", self._arguments(trial, start), **self._job(trial, start)
        )
        self._running[job_id] = trial
        self._until[job_id] = self._clock.spent + max(start.limit_seconds or 0.0, _SHORTEST_SECONDS)
        self._begun += 1
        return True

    def _is_broken(self, arm: Arm) -> bool:
        """Whether an unexpected error came of an arm, and no model so far: its other trials would go the same way."""
        return arm.name in self._defects and not any(
            trial.arm == arm.name and trial.fate == "complete" for trial in self.trials
        )

    def _fits(self, arm: Arm) -> bool:
        """Whether what there is to run on now can train an arm, which it could where the plan was made."""
        return self._plan.resources.can_train(arm, arm.default)

    def _arguments(self, trial: Trial, start: Start) -> dict[str, Any]:
        arm, limit = self._plan.arm(trial.arm), start.limit_seconds
        return {
            **training_arguments(self._plan, trial),
            "data": self._data,
            "scratch": self.scratch(trial),
            "rungs": start.rungs,
            "limits": Limits(
                num_threads=self._plan.resources.cpus_per_trial,
                cache=self._cache,
                max_length=arm.max_length,
                time_limit_seconds=None if limit is None else max(limit, _SHORTEST_SECONDS),
                micro_batch_size=self.micro_batch_sizes.get(arm.name),
                checkpointing=arm.cost is not None and arm.cost.checkpointing,
                stop_file=self._stop_file(trial),
            ),
        }

    def _job(self, trial: Trial, start: Start) -> dict[str, Any]:
        arm = self._plan.arm(trial.arm)
        return {
            **self._plan.resources.per_job((arm, trial.config)),
            "may_be_stopped": start.may_be_stopped,
            "stop_file": self._stop_file(trial),
            # Of a repetition only the outputs count, so its model need not come back from another machine.
            "leaves": (OUTPUTS_FILE,) if trial.stage == "finals" else None,
        }

    def _stop_file(self, trial: Trial) -> Path:
        """When it appears, the trial ends at its next step."""
        return self._folder / "trials" / f"{trial.number:04d}.stop"

    def scratch(self, trial: Trial) -> Path:
        """Returns the folder of a trial."""
        return self._folder / "trials" / f"{trial.number:04d}"

    def _hear(self, event: Report | Delayed | Ended | None, policy: Policy) -> None:
        if event is None or event.job_id not in self._running:
            return
        trial = self._running[event.job_id]
        if isinstance(event, Report):
            reports = (*trial.reports, (event.fidelity * trial.fidelity, event.score))
            trial = replace(trial, reports=reports, score=event.score, loss=event.values.get("loss"))
            self._running[event.job_id] = trial
            self._tracker.reported(trial, event.fidelity, event.score)
            return
        if isinstance(event, Delayed):
            self._until[event.job_id] += event.seconds
            if event.why:
                self._log.append("again", trial=trial.to_json(), message=event.why, spent_seconds=self._clock.spent)
                self._running[event.job_id] = replace(trial, reports=(), score=None, loss=None)
                self._tracker.note(f"trial {trial.number}: {event.why}")
            return
        del self._running[event.job_id], self._until[event.job_id]
        was_told = self._interrupt.requested or self._stop_file(trial).exists()
        self._stop_file(trial).unlink(missing_ok=True)
        if event.fate == "fatal":
            self._log.append("fatal", trial=trial.to_json(), message=event.message)
            # A user's metric that works for some models and not for others costs a trial, and neither arm nor run.
            if not (isinstance(event.value, MetricError | FunctionTimeout) and self._leader is not None):
                if isinstance(event.value, BaseException):
                    raise event.value
                self._defects[trial.arm] = event.message
            event = replace(event, fate="failed", message=event.reason)
        elif event.fate == "failed" and was_told and trial.number not in self._overran:
            self._cut_off(trial, event, policy)
            return
        self._end(trial, event, policy)

    def _cut_off(self, trial: Trial, event: Ended, policy: Policy) -> None:
        """Forgets a trial that the user interrupted, so that `resume` runs it again."""
        trial = replace(trial, fate="interrupted", seconds=dict(event.seconds), message=event.message)
        self._log.append("interrupted", trial=trial.to_json(), spent_seconds=self._clock.spent)
        policy.forget(trial)
        shutil.rmtree(self.scratch(trial), ignore_errors=True)
        self._tracker.note(f"trial {trial.number} was interrupted: {trial.arm}")

    def _end(self, trial: Trial, event: Ended, policy: Policy) -> None:
        outcome = event.value or {}
        trial = replace(trial, fate=event.fate, seconds=dict(event.seconds), message=event.message)
        if event.fate == "complete":
            trial = replace(trial, **{key: outcome[key] for key in ("score", "loss", "interval", "fidelity")})
            if outcome["micro_batch_size"] is not None:
                self.micro_batch_sizes[trial.arm] = outcome["micro_batch_size"]
        self.trials.append(trial)
        self._unsure.append(trial)
        # What a defect ended waits for a first model: without any, the run stops, and `resume` runs it again.
        if self._leader is not None:
            while self._unsure:
                self._record(self._unsure.pop(0), policy)
        elif trial.arm not in self._defects:
            self._record(self._unsure.pop(), policy)
        self._keep_best_models()
        self._tracker.ended(trial, best(self.trials, self.greater_is_better), self._clock.left)

    def _record(self, trial: Trial, policy: Policy) -> None:
        """Makes a trial count for good."""
        self._log.append("ended", trial=trial.to_json(), spent_seconds=self._clock.spent)
        policy.tell(trial)

    def _keep_best_models(self) -> None:
        numbers = {trial.number for trial in contenders(self.trials, self.greater_is_better)}
        for trial in self.trials:
            if trial.stage == "finals":
                # The model of the search is the one that is shipped; of its repetitions only the outputs count.
                shutil.rmtree(self.scratch(trial) / "model", ignore_errors=True)
            elif trial.number not in numbers and self.scratch(trial).exists():
                shutil.rmtree(self.scratch(trial), ignore_errors=True)

    def outputs(self, trial: Trial) -> pa.Array | None:
        """Returns a contender's or a finalist's outputs for the validation rows, or None where a crash lost them."""
        path = self.scratch(trial) / OUTPUTS_FILE
        return load_array(path) if path.exists() else None


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


def _nothing_complete(trials: Sequence[Trial], metric: Metric) -> AutosftError:
    unscored = sum(trial.fate == "complete" for trial in trials)
    if unscored and metric.function is not None:
        wrong = f"the metric {metric.name} gave no finite number for any of {counted(unscored, 'complete trial')}"
        fix = "correct the function, then `autosft resume` with more budget, or start again"
        return MetricError(explain(wrong=wrong, expected="a number that two models can be compared by", fix=fix))
    reasons = {trial.message for trial in trials if trial.message}
    wrong = f"none of {counted(len(trials), 'trial')} produced a model" + (
        f" ({'; '.join(sorted(reasons)[:3])})" if reasons else ""
    )
    return SearchFailed(
        explain(wrong=wrong, expected="at least one complete trial", fix="give it more budget, or see trials.jsonl")
    )


def _fatal(message: str) -> str:
    return f"A trial failed in a way that would fail every trial. The worker's last lines:\n{message}"
