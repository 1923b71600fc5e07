"""The workbench: what refit, calibration and proof train and predict with, beside the search. No Ray here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.search.search import training_arguments
from autosft.search.trial import Trial
from autosft.trainers.base import Limits

if TYPE_CHECKING:
    from autosft.search.job import Ended
    from autosft.search.runner import Runner


@dataclass(frozen=True)
class Workbench:
    """Runs one job after another, each with what a trial gets of the machine.

    Attributes:
        plan: What the run does.
        runner: What jobs run on.
        cache: Folder of what jobs share.
        interrupt: Whether the user asks for an early end.
        micro_batch_sizes: Rows that were found to fit into memory at once, by arm; None where all did.
    """

    plan: Plan
    runner: Runner
    cache: Path
    interrupt: Interrupt
    micro_batch_sizes: Mapping[str, int | None]

    def train(
        self,
        trial: Trial,
        folder: Path,
        *,
        seconds: float | None,
        kill_after_seconds: float | None,
        leaves: tuple[str, ...] | None = None,
    ) -> Ended:
        """Trains a trial's configuration, with its length, fold and seed.

        Args:
            folder: The training's own, which it empties.
            seconds: It anneals to its end within so many; None for as long as it takes.
            kill_after_seconds: See `Job`. leaves: Likewise.

        Raises:
            AutosftError: It met something that the caller can change.
        """
        arm, stop_file = self.plan.arm(trial.arm), folder.with_name(f"stop-{folder.name}")
        stop_file.unlink(missing_ok=True)
        limits = Limits(
            num_threads=self.plan.resources.cpus_per_trial,
            cache=self.cache,
            max_length=arm.max_length,
            time_limit_seconds=seconds,
            micro_batch_size=self.micro_batch_sizes.get(arm.name),
            checkpointing=arm.cost is not None and arm.cost.checkpointing,
            stop_file=stop_file,
        )
        arguments = {
            **training_arguments(self.plan, trial),
            "data": self.plan.data.for_search(),
            "scratch": folder,
            "rungs": (1.0,),
            "limits": limits,
        }
        job = {"stop_file": stop_file, "kill_after_seconds": kill_after_seconds, "leaves": leaves}
        return self._run("autosft.search.work:train", arguments, (trial,), interrupt=self.interrupt, **job)

    def run(
        self, function: str, arguments: Mapping[str, Any], trials: Iterable[Trial], *, kill_after_seconds: float | None
    ) -> Ended:
        """Runs another job, which Ctrl-C does not end; see `Job`.

        Args:
            trials: Those whose models it loads, so that it runs where these fit.

        Raises:
            AutosftError: It met something that the caller can change.
        """
        return self._run(function, arguments, trials, kill_after_seconds=kill_after_seconds)

    def _run(self, function: str, arguments: Mapping[str, Any], trials: Iterable[Trial], **job: Any) -> Ended:
        room = self.plan.resources.per_job(*((self.plan.arm(trial.arm), trial.config) for trial in trials))
        return self.runner.run(function, arguments, **room, **job).or_raise()
