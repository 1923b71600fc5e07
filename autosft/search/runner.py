"""One Tune experiment whose trials are jobs, on workers that stay warm between them. Beside `cluster/`, all of Ray.

The driver submits jobs and waits for what they report. Which jobs there are is decided elsewhere; nothing here knows a
trainer. Tune runs in a thread of its own, so that the driver's thread keeps Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from autosft.accounting import PHASES
from autosft.cluster.connect import connect, let_go
from autosft.cluster.depot import open_depot
from autosft.cluster.membership import Membership, bundle_of
from autosft.cluster.nodes import answers, look_around, own_id, vital_places
from autosft.cluster.visit import execute_anywhere
from autosft.counting import counted
from autosft.disk import disk_error, is_disk_error
from autosft.errors import AutosftError, RunnerLost, SearchFailed, explain
from autosft.interrupt import Interrupt
from autosft.search.job import Delayed, Ended, Home, Job, Moved, Report
from autosft.search.settings import Machine

#: How often the driver looks whether Ray is still there, and how long it must be gone to be given up: a cluster's head
#: may be out of reach for a moment.
_LOOK_SECONDS, _LOST_SECONDS = 2.0, 5.0

#: A job that no node could hold by then waits for something that will not come; clusters that grow need a while.
_ROOM_SECONDS = 60.0

#: How often a job is begun again that went with a node.
_MOST_LOST = 2

#: How long a free worker waits for the next job while another job waits for a worker that starts: Tune would give that
#: one the free worker and end the other, and where jobs are shorter than a start no further worker would ever be there.
_NEXT_JOB_SECONDS = 0.3

#: As many jobs as may wait for a worker at once. Tune's own number for a searcher is one: workers would start in a row.
_MOST_WAITING = 10_000


@dataclass
class _Channel:
    """What the driver's thread and Tune's thread share, outside of Tune's objects, which Tune pickles."""

    submitted: queue.Queue[Job | None] = field(default_factory=queue.Queue)
    events: queue.Queue[Report | Moved | Ended | BaseException] = field(default_factory=queue.Queue)
    last: dict[str, Report | Ended] = field(default_factory=dict)
    jobs: dict[str, tuple[Job, float]] = field(default_factory=dict)
    without_worker: set[str] = field(default_factory=set)
    is_worker_free: bool = False
    closing: bool = False


_CHANNELS: dict[str, _Channel] = {}


class Runner:
    """Runs jobs on Ray workers. A context manager: Ray starts on entering (in the background) and stops on leaving.

    Args:
        scratch: Folder for Tune's own files, removed on leaving.
        scheduler: Name of the early-stopping scheduler, one of SCHEDULERS.
        greater_is_better: Direction of the scores that jobs report.
        cluster: Which Ray, see `connect`; None starts one here, unless Ray is already running in this process.
        machine: CPUs and GPUs to use here; None for all of them.
        verbose: Whether Ray's own output is shown.
        note: Hears what a person should know, in one sentence.

    Attributes:
        cpu_seconds: Seconds times CPUs of all jobs that ended, by phase, with "start_up" and "total".
    """

    def __init__(
        self,
        *,
        scratch: Path,
        scheduler: str = "asha",
        greater_is_better: bool = True,
        cluster: str | None = None,
        machine: Machine | None = None,
        verbose: bool = False,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._scratch = scratch
        self._scheduler = scheduler
        self._greater_is_better = greater_is_better
        self._cluster = cluster
        self._machine = machine
        self._verbose = verbose
        self._note = note
        self._name = uuid.uuid4().hex
        self._channel = _CHANNELS[self._name] = _Channel()
        self._cpus: dict[str, float] = {}
        self._without_room: dict[str, Job] = {}
        self._places: tuple[tuple[str, int], ...] = ()
        self._nodes: Membership | None = None
        self._home: Home | None = None
        self._depot: object | None = None
        self._submitted: dict[str, Job] = {}
        self._looked = self._last_seen = time.monotonic()
        self._is_lost = False
        self.cpu_seconds = dict.fromkeys((*PHASES, "start_up", "total"), 0.0)
        self._ready = threading.Event()
        self._found: Machine | None = None
        self._thread = threading.Thread(target=self._run, name="autosft-tune", daemon=True)

    def __enter__(self) -> Runner:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._channel.closing = True
        self._channel.submitted.put(None)
        if self._is_lost:
            let_go()
        # Tune returns at once when nothing runs; a job that still runs is ended with Ray.
        self._thread.join(timeout=10.0)
        _CHANNELS.pop(self._name, None)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def submit(self, function: str, arguments: Mapping[str, Any], **job: Any) -> str:
        """Queues a job; further fields as in `Job`. Returns its id."""
        new = Job(uuid.uuid4().hex[:12], function, arguments, **job)
        if self._nodes is not None:
            new = replace(new, home=self._home, avoided=self._nodes.avoided(new))
            self._submitted[new.id] = new
        self._cpus[new.id] = new.cpus
        self._without_room[new.id] = new
        self._channel.submitted.put(new)
        return new.id

    def num_at_once(self, cpus: float, gpus: float) -> int | None:
        """Returns how many jobs of a size the nodes hold that are there now; None where these stay what they are."""
        return None if self._nodes is None else self._nodes.num_at_once(cpus, gpus)

    @contextlib.contextmanager
    def asking_for(self, num_jobs: int, cpus: float, gpus: float) -> Iterator[None]:
        """Asks a cluster's autoscaler, while the block runs, for nodes that hold so many jobs of a size at once."""
        if self._nodes is None or not num_jobs:
            yield
            return
        try:
            self._nodes.ask_for(num_jobs * [bundle_of(cpus, gpus)])
            yield
        finally:
            # A Ray that is gone has forgotten it, and keeps whoever asks it waiting.
            if not self._is_lost and ray.is_initialized():
                self._nodes.ask_for(())

    def wait(self, timeout_seconds: float) -> Report | Delayed | Ended | None:
        """Returns the next thing that a job reported, or None after the timeout.

        Raises:
            PlanError: The cluster cannot be reached.
            SearchFailed: Ray itself failed or ended, or has no node that could hold a job.
        """
        until = time.monotonic() + timeout_seconds
        heard: Report | Moved | Ended | BaseException | None = None
        event: Report | Delayed | Ended | BaseException | None = None
        while event is None:
            left = max(0.0, until - time.monotonic())
            heard = None
            with contextlib.suppress(queue.Empty):
                heard = self._channel.events.get(timeout=min(left, _LOOK_SECONDS))
            self._look(heard)
            event = self._of_moved(heard) if isinstance(heard, Moved) else self._again(heard) or heard
            if event is None and left <= _LOOK_SECONDS:
                return None
        if isinstance(event, AutosftError):
            raise event
        if isinstance(event, BaseException) and is_disk_error(event):
            raise disk_error(event, "the folder of temporary files") from event
        if isinstance(event, BaseException):
            wrong = f"Ray could not go on ({type(event).__name__}: {event})"
            raise SearchFailed(
                explain(wrong=wrong, expected="a running Ray", fix="run `autosft doctor`, or again with --verbose")
            ) from event
        if isinstance(event, Ended):
            cpus = self._cpus.pop(event.job_id, 0.0)
            self._without_room.pop(event.job_id, None)
            if self._nodes is not None:
                self._nodes.has_ended(event.job_id)
            self._submitted.pop(event.job_id, None)
            for name, seconds in event.seconds.items():
                self.cpu_seconds[name] += cpus * seconds
        return event

    def _of_moved(self, moved: Moved) -> Delayed | None:
        """Keeps in mind where a job is; what waited for its files gets that time on top."""
        assert self._nodes is not None, "jobs only move where there are several nodes"
        self._nodes.is_at(moved.job_id, moved.node_id)
        return Delayed(moved.job_id, moved.seconds) if moved.seconds else None

    def _again(self, event: object) -> Delayed | None:
        """Begins a job again whose worker died because its node went; returns None where it is not so."""
        if self._nodes is None or not isinstance(event, Ended) or not event.worker_died:
            return None
        job = self._submitted[event.job_id]
        is_unwanted = job.stop_file is not None and job.stop_file.exists()
        if is_unwanted or job.num_lost >= _MOST_LOST or (host := self._nodes.lost_under(job)) is None:
            return None
        self._nodes.has_ended(job.id)
        took = time.time() - job.submitted_at
        # To Tune, this is another trial.
        again = replace(job, submitted_at=time.time(), num_lost=job.num_lost + 1, avoided=self._nodes.avoided(job))
        self._submitted[job.id] = self._without_room[job.id] = again
        self._channel.submitted.put(again)
        return Delayed(job.id, took, f"the node {host} is gone, and what ran on it begins again elsewhere")

    def _look(self, event: object) -> None:
        """Now and then makes sure that something can still come: a Ray that is gone says nothing, and would for ever.

        Raises:
            RunnerLost: Ray ended.
            SearchFailed: It has no node that could hold a job.
        """
        now = time.monotonic()
        # A worker may have died because Ray did; its trial must then not pass for one that failed.
        died = isinstance(event, Ended) and event.worker_died
        if not self._places or isinstance(event, BaseException) or (now < self._looked + _LOOK_SECONDS and not died):
            return
        self._looked = now
        if all(answers(place) for place in self._places):
            self._last_seen = time.monotonic()
        elif died or now > self._last_seen + _LOST_SECONDS:
            self._is_lost = True
            wrong = "Ray ended while the run needed it (killed, or out of memory)"
            fix = "`autosft resume FOLDER` goes on with the trials that ended, or start again if there is no folder yet"
            raise RunnerLost(explain(wrong=wrong, expected="a running Ray", fix=fix))
        else:
            return
        if self._nodes is not None:
            for why in self._nodes.count():
                self._note(f"{why}; it gets no trials")
            self._open_depot()
        for job in list(self._without_room.values()):
            if time.time() >= job.submitted_at + _ROOM_SECONDS:
                del self._without_room[job.id]
                _raise_without_room(job)

    def _open_depot(self) -> None:
        """Opens the depot as soon as there is another node that may ask for files."""
        if self._home is not None and self._depot is None and self._nodes is not None and len(self._nodes) > 1:
            self._depot = open_depot(self._home.depot, self._home.node_id)

    def run(
        self, function: str, arguments: Mapping[str, Any], *, interrupt: Interrupt | None = None, **job: Any
    ) -> Ended:
        """Runs one job to its end, whatever its fate; what it and others report on the way is dropped.

        Args:
            interrupt: When the user asks for an early end, the job's `stop_file` is made for it to see.
            job: See `submit`.
        """
        job_id, stop_file = self.submit(function, arguments, **job), job.get("stop_file")
        while True:
            # In slices, so that a signal's handler gets its turn.
            event = self.wait(1.0)
            if interrupt is not None and interrupt.requested and stop_file is not None:
                # The folder may be one that only the job makes.
                stop_file.parent.mkdir(parents=True, exist_ok=True)
                stop_file.touch()
            if isinstance(event, Ended) and event.job_id == job_id:
                return event

    def _run(self) -> None:
        # A terminal that is closed tells every process in it. Ray's must live on until the run has ended with what it
        # has; they inherit this from the thread that starts them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            with _silence(self._verbose):
                owned = connect(self._cluster, machine=self._machine, verbose=self._verbose)
                # Ray's word on a worker that died may come as late as this.
                with _mute(not owned or self._verbose):
                    try:
                        self._found = self._look_around()
                        self._places = vital_places()
                        self._ready.set()
                        self._tune()
                    finally:
                        if owned:
                            ray.shutdown()
            if not self._channel.closing:
                raise RuntimeError("Tune ended before the run did")
        except BaseException as error:  # The driver's thread must hear of it, whatever it is.
            self._channel.events.put(error)
        finally:
            self._ready.set()

    def machine(self) -> Machine:
        """Returns what there is to run on, once Ray has started: this machine, or what a Ray started elsewhere offers.

        Raises:
            SearchFailed: Ray could not start.
        """
        while not self._ready.wait(1.0):
            pass
        if self._found is None:
            self.wait(0.0)
        assert self._found is not None, "Ray is ready, or its failure was raised"
        return self._found

    def _look_around(self) -> Machine:
        """Returns what there is to run on; where that is more than this machine, or may become so, keeps its nodes."""
        found, nodes = look_around(self._machine)
        if nodes is not None:
            self._nodes, self._home = Membership(nodes), Home(own_id(), self._name)
            self._open_depot()
        return found

    def _tune(self) -> None:
        tuner = tune.Tuner(
            tune.with_resources(_trainable, _resources),
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max" if self._greater_is_better else "min",
                search_alg=_JobSearcher(self._name),
                scheduler=_scheduler(self._scheduler),
                num_samples=-1,
                max_concurrent_trials=_MOST_WAITING,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="jobs",
                storage_path=str(self._scratch.absolute()),
                verbose=1 if self._verbose else 0,
                failure_config=tune.FailureConfig(max_failures=0),
                stop=_WhenClosing(self._name),
                callbacks=[_Watcher(self._name)],
            ),
        )
        tuner.fit()


def _raise_without_room(job: Job) -> None:
    """Raises SearchFailed where no node has in all what a job takes: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in job.avoided]
    if any(node.get("CPU", 0) >= job.cpus and node.get("GPU", 0) >= job.gpus for node in nodes):
        return
    there = "; ".join(_size(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes) or "no node"
    wrong = f"a job takes {_size(job.cpus, job.gpus)}, and no node of Ray has as many ({there})"
    fix = "pass a larger max_concurrent or smaller gpus_per_trial, or add nodes to the cluster"
    raise SearchFailed(explain(wrong=wrong, expected="a node that can hold it", fix=fix))


def _size(cpus: float, gpus: float) -> str:
    return f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}"


def _trainable(config: dict[str, Any]) -> None:
    """What Tune runs: one job."""
    job: Job = config["job"]

    def send(event: Report | Moved | Ended) -> None:
        # The event travels as one opaque value, since Tune would flatten a dictionary; its scheduler reads the rest.
        fidelity, score = (event.fidelity, event.score) if isinstance(event, Report) else (1.0, 0.0)
        tune.report({"fidelity": fidelity, "score": score, "event": event})

    execute_anywhere(job, send)


def _resources(config: dict[str, Any]) -> Any:
    job: Job = config["job"]
    bundle = bundle_of(job.cpus, job.gpus)
    if not job.avoided:
        return tune.PlacementGroupFactory([bundle])
    label = {"ray.io/node-id": f"!in({','.join(job.avoided)})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[label])


class _WhenClosing(tune.Stopper):
    """Ends the experiment, running jobs included, when the runner closes."""

    def __init__(self, channel_name: str) -> None:
        self.channel_name = channel_name

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        channel = _CHANNELS.get(self.channel_name)
        return channel is None or channel.closing


class _Watcher(tune.Callback):
    """Sees which jobs have a worker, and submits again those that Tune drops without a word to the searcher.

    Tune does so where the worker that it wants to reuse is not ready in time, since the job before is slow to leave;
    the searcher would wait for it for ever.
    """

    def __init__(self, channel_name: str) -> None:
        self.channel_name = channel_name

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if (channel := _CHANNELS.get(self.channel_name)) is not None:
            channel.without_worker.discard(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        channel = _CHANNELS.get(self.channel_name)
        # Those that are under way are among the latest.
        left = 0 if channel is None else len(channel.jobs)
        for trial in reversed(trials):
            if channel is None or not left:
                return
            if trial.trial_id in channel.jobs:
                left -= 1
                if trial.status == "ERROR":
                    del channel.last[trial.trial_id]
                    channel.without_worker.discard(trial.trial_id)
                    channel.submitted.put(channel.jobs.pop(trial.trial_id)[0])


class _JobSearcher(Searcher):
    """Hands out submitted jobs as Tune trials, and passes on what they report."""

    def __init__(self, channel_name: str) -> None:
        super().__init__()
        self.channel_name = channel_name

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        channel = _CHANNELS.get(self.channel_name)
        if channel is None:
            return Searcher.FINISHED
        # Tune sleeps a second when it has nothing to run, so while nothing runs the wait for work is here instead.
        nothing_runs = not channel.last
        waits = nothing_runs or (channel.is_worker_free and bool(channel.without_worker))
        channel.is_worker_free = False
        try:
            job = channel.submitted.get(block=waits, timeout=60 if nothing_runs else _NEXT_JOB_SECONDS)
        except queue.Empty:
            return None
        if job is None:
            return Searcher.FINISHED
        channel.without_worker.add(trial_id)
        channel.last[trial_id] = Report(job.id, 0.0, 0.0, {}, {})
        channel.jobs[trial_id] = (job, time.monotonic())
        return {"job": job}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if (channel := _CHANNELS.get(self.channel_name)) is not None:
            event = result["event"]
            if not isinstance(event, Moved):
                channel.last[trial_id] = event
            if not isinstance(event, Ended):
                channel.events.put(event)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if (channel := _CHANNELS.get(self.channel_name)) is not None:
            # Tune passes the very last result here alone, without on_trial_result.
            before = channel.last.pop(trial_id)
            job, begun = channel.jobs.pop(trial_id)
            channel.without_worker.discard(trial_id)
            channel.is_worker_free = True
            last = result["event"] if result and "event" in result else before
            last = before if isinstance(last, Moved) else last
            if isinstance(last, Report) and last is not before:
                channel.events.put(last)
            channel.events.put(_ended(last, error, job, time.monotonic() - begun))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the run's own log is the truth about trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def _ended(last: Report | Ended, error: bool, job: Job, seconds: float) -> Ended:
    if isinstance(last, Ended):
        return last
    if error:
        message, died = "its worker died (out of memory, or ended from outside)", True
        if job.kill_after_seconds is not None and seconds >= job.kill_after_seconds:
            message, died = f"it did not end within {job.kill_after_seconds:.0f} s, so its worker was ended", False
        elif job.stop_file is not None and job.stop_file.exists():
            message, died = "it did not end when it was told to, so its worker was ended", False
        return Ended(last.job_id, "failed", message=message, seconds=last.seconds, worker_died=died)
    return Ended(last.job_id, "stopped", seconds=last.seconds)


def _scheduler(name: str) -> TrialScheduler:
    """Returns Ray's own scheduler by name, wrapped so that it only judges jobs that may be stopped."""
    if name in ("race", "none"):
        return _InOrder()  # type: ignore[no-untyped-call]
    # Ray wants a time that counts up: the share of the full run in 27ths, so that rungs fall on 1/9, 1/3 and 1.
    if name == "asha":
        return _Judge(AsyncHyperBandScheduler(time_attr="fidelity_27ths", grace_period=3, max_t=28, reduction_factor=3))
    return _Judge(MedianStoppingRule(time_attr="fidelity_27ths", grace_period=3, min_samples_required=3))


class _InOrder(FIFOScheduler):
    """Leaves it to Tune's queue which trial is next; Tune's own would name one that has a worker starting for it."""

    def choose_trial_to_run(self, controller: Any) -> None:
        return None


class _Judge(_InOrder):
    """Shows an inner scheduler every score, and follows its advice only where a job may be stopped."""

    def __init__(self, inner: TrialScheduler) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner = inner
        self._spared: set[str] = set()

    def set_search_properties(self, metric: Any, mode: Any, **spec: Any) -> bool:
        return bool(self.inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        self.inner.on_trial_add(controller, trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        # Ray expects a trial that its scheduler stopped to be gone, so one that was spared is not shown to it again.
        if not isinstance(result["event"], Report) or trial.trial_id in self._spared:
            return TrialScheduler.CONTINUE
        timed = {**result, "fidelity_27ths": round(27 * result["fidelity"])}
        stop = self.inner.on_trial_result(controller, trial, timed) == TrialScheduler.STOP
        may_stop = trial.config["job"].may_be_stopped and result["fidelity"] < 1
        if stop and not may_stop:
            self._spared.add(trial.trial_id)
        return TrialScheduler.STOP if stop and may_stop else TrialScheduler.CONTINUE

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        self.inner.on_trial_remove(controller, trial)


@contextlib.contextmanager
def _silence(verbose: bool) -> Iterator[None]:
    """Keeps Ray's and Tune's loggers quiet. Their prints are not redirected: other threads share the streams."""
    if verbose:
        yield
        return
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.data", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _mute(heard: bool) -> Iterator[None]:
    """Keeps what Ray prints about workers that died off standard output, where it ignores `log_to_driver`."""
    worker: Any = ray._private.worker
    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = before and heard
    try:
        yield
    finally:
        worker._worker_logs_enabled = before
