"""The loop of a batch: begins jobs as slots and time allow, hears them, begins again what died, and ends in time.

Every decision is a pure function of `shares`, `wants`, `division` or `fate`; what happened is in the folder first.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosft.batch.division import Candidate, Wish, grants, leftovers, scale_of
from autosft.batch.fate import Gone, fate_of, first_line, on_one_line
from autosft.batch.folder import BatchFolder
from autosft.batch.job import Job
from autosft.batch.live import Line, View
from autosft.batch.processes import Host, Offer, Process
from autosft.batch.room import Room
from autosft.batch.wants import Begun, begun, candidates, missing_seconds, wanted_seconds
from autosft.budget import Budget, format_seconds
from autosft.counting import counted
from autosft.errors import RunFolderError
from autosft.interrupt import Interrupt
from autosft.search.slots import SLOTS_FILE

#: A job that overdraws its time by more than this share, and these seconds, is asked to end with what it has. It keeps
#: its time by itself, so this is for one that hangs; and where the batch's time is over, for all.
_OVERDRAWN_SHARE, _OVERDRAWN_SECONDS = 0.25, 60.0
_OVER_SECONDS = 20.0

#: One that was asked and is still there after so long is ended.
_PATIENCE_SECONDS = 120.0

_LOOK_SECONDS, _BEAT_SECONDS = 0.5, 2.0


@dataclass
class _Running:
    """A job's process."""

    process: Process
    started: float
    seconds: float | None
    fate: str = ""
    reason: str = ""
    error: str = ""
    asked_at: float | None = None


class Driver:
    """One sitting of a batch.

    Args:
        jobs: In the order in which they were given.
        budget_seconds: Wall time of the whole batch, earlier sittings included; None for as long as it takes.
        cluster: Address of the Ray that all jobs join; None starts one here.
        max_jobs: Jobs beside each other at most.
        tracker: What each job's run is tracked with beside its log, by name; None for nothing.
        view: Shows how it goes.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: BatchFolder,
        *,
        budget_seconds: float | None,
        cluster: str | None,
        max_jobs: int | None,
        tracker: str | None,
        view: View,
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._room = Room(self._jobs, max_jobs)
        self._folder = folder
        self._budget_seconds = budget_seconds
        self._tracker = tracker
        self._view = view
        self._host = Host(cluster, log=folder.ray_log)
        self._messages: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
        self._running: dict[str, _Running] = {}
        self._waiting = [job.name for job in jobs if not folder.run(job.name).result.exists()]
        self._tries: dict[str, int] = {}
        self._settled: set[str] = set()
        self._interrupt = Interrupt()
        self._was_asked = False
        self._may_extend = True
        self._begun = time.monotonic()
        self._before = folder.spent_seconds()
        self._beaten = 0.0
        #: Why jobs were not begun, by name.
        self.reasons: dict[str, str] = {}

    @property
    def spent(self) -> float:
        """Wall seconds of the batch, earlier sittings included."""
        return self._before + time.monotonic() - self._begun

    @property
    def left(self) -> float | None:
        return None if self._budget_seconds is None else self._budget_seconds - self.spent

    @property
    def was_interrupted(self) -> bool:
        return self._interrupt.requested

    def run(self) -> None:
        """Works until every job is finished or failed, the time is spent, or the user ends it.

        Raises:
            PlanError: The cluster cannot be reached.
            SearchFailed: Ray cannot start.
            KeyboardInterrupt: The user asked twice.
        """
        self._folder.append("opened", spent_seconds=self.spent, budget_seconds=self._budget_seconds)
        for name in self._jobs:
            if name not in self._waiting:
                self._view.line(name, Line("finished"))
        try:
            with self._interrupt:
                if self._waiting or self._budget_seconds is not None:
                    self._go_on()
        finally:
            for running in self._running.values():
                running.process.kill()
            self._host.close()
            for name in self._jobs:
                self._folder.slots_file(name).unlink(missing_ok=True)
            self._folder.append("closed", spent_seconds=self.spent)

    def _go_on(self) -> None:
        self._say_if_scaled()
        while True:
            if self._interrupt.requested:
                self._end_all(
                    "interrupted: every job that runs ends with its best model so far (again to stop at once)"
                )
            else:
                self._begin_what_can()
            self._beat()
            if not self._running:
                break
            self._hear()
            self._follow_nodes()
            self._keep_time()

    # What begins

    def _begin_what_can(self) -> None:
        while (chosen := self._next() if self._waiting else self._next_extension()) is not None:
            self._start(*chosen)

    def _next(self) -> tuple[str, float | None, float | None] | None:
        """Returns the job to begin now and its seconds; None where there is no room or no time for any."""
        order = self._room.in_turn(self._waiting)
        if not self._room.has_for(order[0], self._running):
            return None
        runs = self._runs(order)
        if len(runs) < len(order):
            return self._next() if self._waiting else self._next_extension()
        wishes = self._wishes(runs)
        promised = sum(
            max(0.0, one.seconds - (time.monotonic() - one.started))
            for one in self._running.values()
            if one.seconds is not None
        )
        abreast = self._room.at_once([*self._running, *order])
        found = grants(wishes, left_seconds=self.left, at_once=abreast, promised_seconds=promised)
        if found:
            name = order[0]
            self._waiting.remove(name)
            return name, found[name], None
        if not self._running:
            left = format_seconds(max(0.0, self.left or 0.0))
            reason = f"{left} of the batch's budget were left, too little to be of use; run it again with more"
            if self.left is not None and self.left <= 0:
                reason = f"not tried: {self._spent_words()}"
            for name in order:
                self.reasons[name] = reason
                self._view.line(name, Line("not started", reason=reason))
            self._waiting.clear()
        return None

    def _next_extension(self) -> tuple[str, float | None, float | None] | None:
        """Returns a job that goes on with what is left of the budget, by the still-improving rule."""
        if self.left is None or not self._may_extend:
            return None
        # Until another job ends, the answer can only be the same or "no".
        self._may_extend = False
        runs = self._runs([name for name in self._jobs if name not in self._running and name not in self._settled])
        asked = candidates([self._jobs[name] for name in runs], self._folder.past(), runs)
        found = self._leftovers(asked)
        if found and not self._running:
            # Ray alone knows how many have room beside each other, and may not have been asked yet.
            self._offer()
            found = self._leftovers(asked)
        name = next(iter(found), None)
        if name is None or not self._room.has_for(name, self._running):
            return None
        self._may_extend = True
        return name, found[name], found[name]

    def _leftovers(self, asked: Sequence[Candidate]) -> Mapping[str, float]:
        if self.left is None:
            return {}
        abreast = self._room.at_once([*self._running, *(one.name for one in asked)])
        return leftovers(asked, left_seconds=self.left, at_once=abreast, num_running=len(self._running))

    def _runs(self, names: Iterable[str]) -> dict[str, Begun | None]:
        """Returns what the runs of jobs have come to, by name; a job whose folder is damaged fails and is left out."""
        found = {}
        for name in names:
            try:
                found[name] = begun(self._folder.run(name))
            except OSError as error:  # RunFolderError is one, and a file that may not be read another.
                self._fail(name, error)
        return found

    def _fail(self, name: str, error: OSError) -> None:
        """Counts a job that cannot be begun as failed; the others go on."""
        if name in self._waiting:
            self._waiting.remove(name)
        self._settled.add(name)
        reason, kind = on_one_line(str(error)), type(error).__name__
        self._folder.append("ended", spent_seconds=self.spent, name=name, fate="failed", reason=reason, error=kind)
        self._view.line(name, Line("failed", reason=first_line(str(error))))

    def _wishes(self, runs: Mapping[str, Begun | None]) -> list[Wish]:
        return [Wish(name, wanted_seconds(self._jobs[name].budget, run)) for name, run in runs.items()]

    def _say_if_scaled(self) -> None:
        if self._waiting and self.left is not None and self.left <= 0:
            self._view.note(self._spent_words())
            return
        wishes = self._wishes(self._runs([*self._waiting]))
        if not wishes:
            return
        self._offer()
        abreast = self._room.at_once(self._waiting)
        scale = scale_of(wishes, left_seconds=self.left, at_once=abreast)
        if scale < 1:
            asked = format_seconds(sum(wish.seconds or 0.0 for wish in wishes))
            left = format_seconds(max(0.0, self.left or 0.0))
            asking = f"{counted(len(wishes), 'job')} {'asks' if len(wishes) == 1 else 'ask'}"
            self._view.note(
                f"{asking} for {asked} in all, {abreast} at a time, and {left} are left: "
                f"each gets about {scale:.0%} of its budget"
            )

    def _spent_words(self) -> str:
        """Says that the batch's time is over, and what to do."""
        given = self._budget_seconds or 0.0
        return (
            f"the batch's budget of {format_seconds(given)} is spent: {format_seconds(self.spent)} went by, "
            f"{format_seconds(self.spent - given)} more than it; give it more (--budget counts from its first sitting)"
        )

    def _offer(self) -> Offer:
        offer = self._host.offer()
        self._take(offer)
        return offer

    def _follow_nodes(self) -> None:
        """Divides what there is anew where nodes came or went."""
        offer = self._host.latest()
        if offer is not None:
            self._take(offer)

    def _take(self, offer: Offer) -> None:
        if offer.machine == self._room.machine:
            return
        before, self._room.machine = self._room.num_slots, offer.machine
        if self._running:
            # Who found no room may find it now.
            self._may_extend = True
            self._share_slots()
            if (now := self._room.num_slots) != before:
                self._view.note(f"nodes came or went: {counted(now, 'slot')} now, {before} before")

    def _start(self, name: str, seconds: float | None, more_seconds: float | None) -> None:
        job, offer = self._jobs[name], self._offer()
        runs = self._runs([name])
        if name not in runs:
            return
        arguments, run = dict(job.arguments), runs[name]
        if seconds is not None and run is None:
            arguments["budget"] = Budget(**arguments["budget"]).to_json() | {"seconds": max(1.0, seconds)}
        order = {
            "name": name,
            "folder": str(self._folder.run(name).path),
            "arguments": arguments,
            "cluster": offer.address,
            "tracker": self._tracker,
            "more_seconds": more_seconds if more_seconds is not None else missing_seconds(job.budget, run),
            "is_extension": more_seconds is not None,
        }
        self._folder.append("started", spent_seconds=self.spent, name=name, seconds=seconds, more_seconds=more_seconds)
        self._folder.allow(name, 1)
        process = Process(
            "autosft.batch.child",
            order,
            log=self._folder.job_log(name),
            environment={**offer.environment, SLOTS_FILE: str(self._folder.slots_file(name))},
            hear=lambda message: self._messages.put((name, message)),
        )
        self._running[name] = _Running(process, time.monotonic(), seconds)
        self._share_slots()
        self._tries[name] = self._tries.get(name, 0) + (more_seconds is None)
        note = "goes on with what the others left" if more_seconds is not None else "goes on" if run is not None else ""
        self._view.line(name, Line("running", seconds=seconds, note=note))

    def _share_slots(self) -> None:
        for name, (num_trials, num_slots) in self._room.shares(self._running).items():
            self._folder.allow(name, num_trials)
            self._view.slots(name, num_slots)
        self._host.ask_for(self._room.wanted(self._running, self._waiting))

    # What is heard

    def _hear(self) -> None:
        try:
            name, message = self._messages.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            self._view.look(spent_seconds=self.spent, left_seconds=self.left)
            return
        running = self._running.get(name)
        if running is None:
            return
        if message is None:
            self._ended(name, running)
        elif message["event"] == "ended":
            running.fate, running.reason = message["fate"], message["reason"]
            running.error = message.get("error", "")
        elif message["event"] == "opened":
            self._room.planned[name] = (message["cpus"], message["gpus"])
            self._share_slots()
        else:
            self._view.heard(name, message)

    def _ended(self, name: str, running: _Running) -> None:
        """Counts a process that is gone: finished, failed, ended by the user, or to be begun again."""
        run = self._folder.run(name)
        gone = Gone(
            return_code=running.process.return_code or 0,
            fate=running.fate,
            reason=running.reason,
            error=running.error,
            has_result=run.result.exists(),
            num_tries=self._tries.get(name, 0),
            asked_after_seconds=None if running.asked_at is None else time.monotonic() - running.started,
            was_interrupted=self._interrupt.requested,
        )
        fate, reason = fate_of(gone)
        error, summary = running.error, None
        if fate == "finished":
            try:
                summary = run.read(run.result)
            except RunFolderError as damage:
                fate, reason, error = "failed", str(damage), type(damage).__name__
                self._settled.add(name)
        if gone.has_result and gone.fate != "finished":
            self._settled.add(name)  # Who could not go on is not asked again.
        del self._running[name]
        self._room.planned.pop(name, None)
        self._may_extend = True
        self._folder.slots_file(name).unlink(missing_ok=True)
        self._folder.append(
            "ended", spent_seconds=self.spent, name=name, fate=fate, reason=on_one_line(reason), error=error
        )
        if fate == "finished":
            self._view.line(name, Line("finished", summary=summary))
        elif fate == "failed":
            self._view.line(name, Line("failed", reason=first_line(reason)))
        elif fate == "died":
            self._waiting.insert(0, name)
            self._view.line(name, Line("waiting", reason=f"{first_line(reason)}; it will go on"))
        else:
            self._settled.add(name)
            self._view.line(name, Line("unfinished", reason=first_line(reason)))
        self._share_slots()

    # Time

    def _keep_time(self) -> None:
        """Asks jobs that overdraw to end, and ends those that do not."""
        now = time.monotonic()
        for running in self._running.values():
            if running.asked_at is not None:
                if now > running.asked_at + _PATIENCE_SECONDS:
                    running.process.kill()
                continue
            given = math.inf if running.seconds is None else running.seconds
            hangs = now - running.started > given + max(_OVERDRAWN_SECONDS, _OVERDRAWN_SHARE * given)
            if hangs or (self.left is not None and self.left < -_OVER_SECONDS):
                running.asked_at = now
                running.process.ask_to_end()

    def _end_all(self, words: str) -> None:
        if self._was_asked:
            return
        self._was_asked = True
        self._view.note(words)
        for name in self._waiting:
            self.reasons[name] = "the batch was ended before its turn; run it again"
        self._waiting.clear()
        for running in self._running.values():
            running.asked_at = time.monotonic()
            running.process.ask_to_end()

    def _beat(self) -> None:
        if time.monotonic() > self._beaten + _BEAT_SECONDS:
            self._beaten = time.monotonic()
            self._folder.beat(self.spent)
