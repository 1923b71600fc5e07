"""A Job: one piece of work for a Ray worker, as plain values; and what comes back from it. No Ray here."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autosft.accounting import open_ledger
from autosft.disk import disk_error, is_disk_error
from autosft.errors import AutosftError, TrialFailed
from autosft.time_limit import overdue

#: A job that was told to stop gets this long to save what it has.
STOP_GRACE_SECONDS = 5.0

#: Of so many jobs of a process, one looks at everything in its memory for what can go, the others at what is new.
_RELEASES_PER_WALK = 16
_releases = itertools.count()

#: A worker that ends itself gets this long to say why, and that word as long again to reach the driver.
_TELL_SECONDS = 2.0


@dataclass(frozen=True)
class Home:
    """Where a run's driver is: the id of its node, and the name of the depot that hands out its files elsewhere."""

    node_id: str
    depot: str


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        id: Unique in a run.
        function: "module:name" of a function called as `function(report, **arguments)`; it returns a plain value.
        arguments: Plain picklable values.
        cpus: CPUs it takes while it runs; also the threads it may use.
        gpus: GPUs, fractions allowed.
        may_be_stopped: Whether the early-stopping scheduler may discard it.
        kill_after_seconds: A job that still runs then is ended with its worker, whatever it is doing; None for never.
        stop_file: Likewise a job that still runs `STOP_GRACE_SECONDS` after this file appeared.
        submitted_at: Wall-clock time, seconds since the epoch.
        memory_bytes: What it needs of a device's memory at least; nodes that are known to have less do not get it.
        leaves: Names of the files in its folders that the driver wants of a worker on another machine; None for all.
        home: Where the driver is; None where all workers are on its machine.
        avoided: Ids of nodes that must not get it.
        num_lost: How often it was begun on a node that then went.
    """

    id: str
    function: str
    arguments: Mapping[str, Any]
    cpus: float = 1.0
    gpus: float = 0.0
    may_be_stopped: bool = False
    kill_after_seconds: float | None = None
    stop_file: Path | None = None
    submitted_at: float = field(default_factory=time.time)
    memory_bytes: int = 0
    leaves: tuple[str, ...] | None = None
    home: Home | None = None
    avoided: tuple[str, ...] = ()
    num_lost: int = 0


@dataclass(frozen=True)
class Report:
    """A score on the way: at `fidelity`, a share of the full run, with what else the job had to say."""

    job_id: str
    fidelity: float
    score: float
    values: Mapping[str, Any]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Moved:
    """A job is on another node than the driver, where it took so many seconds to have its files."""

    job_id: str
    node_id: str
    seconds: float


@dataclass(frozen=True)
class Delayed:
    """A job ends later than its time limit says, through no fault of its own; why, where a user should hear of it."""

    job_id: str
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        fate: "complete", "stopped" by the scheduler, "failed" (this job alone), or "fatal" (unless what
            waits for it knows better, the run must stop).
        value: What the function returned, if complete; what it raised, if that was an error of autosft's own.
        message: Why it failed, in one sentence; the worker's last lines if fatal.
        worker_died: Whether the worker's process went, and it was not us who ended it.
        seconds: Seconds by phase of the worker, with "start_up" (from submission to start) and "total".
    """

    job_id: str
    fate: str
    value: Any = None
    message: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    worker_died: bool = False

    @property
    def reason(self) -> str:
        """The message's first line: below an unexpected error's own words stands its place."""
        return self.message.partition("\n")[0]

    def or_raise(self) -> Ended:
        """Returns itself, unless the job met something that the caller can change, which it raises."""
        if isinstance(self.value, AutosftError):
            raise self.value
        return self


def execute(
    job: Job,
    send: Callable[[Report | Ended], None],
    arguments: AbstractContextManager[Mapping[str, Any]] | None = None,
) -> None:
    """Runs a job in a worker, sending each score that it reports and, last, how it ended.

    Args:
        arguments: What the function is called with, where the job's own arguments mean nothing on this machine.
    """
    started = time.time()
    with open_ledger() as ledger:

        def seconds() -> dict[str, float]:
            start_up = max(0.0, started - job.submitted_at)
            return {**ledger.seconds, "start_up": start_up, "total": time.time() - started}

        def tell(ended: Ended) -> None:
            send(replace(ended, seconds=seconds()))

        def report(fidelity: float, score: float, **values: Any) -> None:
            try:
                send(Report(job.id, fidelity, score, values, seconds()))
            except SystemExit as error:
                raise _Stopped from error

        try:
            with _watched(job, tell):
                _prepare(job)
                module, _, name = job.function.partition(":")
                function = getattr(importlib.import_module(module), name)
                with arguments or nullcontext(job.arguments) as given:
                    value = function(report, **given)
            ended = Ended(job.id, "complete", value)
        except _Stopped:
            _release_memory()
            raise SystemExit(0) from None
        except TrialFailed as error:
            ended = Ended(job.id, "failed", message=str(error))
        except AutosftError as error:
            ended = Ended(job.id, "fatal", error, str(error))
        except (Exception, SystemExit) as error:  # Whatever it is must reach the driver, with its place.
            ended = _ended_by(error, job)
    _release_memory()
    tell(ended)


class _Stopped(BaseException):
    """The scheduler ends this job: Ray's word for it is a SystemExit, which a user's function may raise as well."""


def _ended_by(error: BaseException, job: Job) -> Ended:
    """Tells what ends this job alone, or what the user can mend, from what is a defect."""
    from autosft.trainers.memory import is_out_of_memory

    if is_out_of_memory(error):
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        return Ended(job.id, "failed", message=f"it ran out of memory ({said})")
    if is_disk_error(error):
        worded = disk_error(error, "what a worker left")
        return Ended(job.id, "fatal", worded, str(worded))
    return Ended(job.id, "fatal", message=f"{error!r}\n{traceback.format_exc(limit=-6)}")


@contextmanager
def _watched(job: Job, tell: Callable[[Ended], None]) -> Iterator[None]:
    """Ends this process should the job overrun: nothing milder ends a thread that hangs.

    Args:
        tell: Sends how the job ended, where a function of the user's own is what hangs.
    """
    done = threading.Event()

    def leave(last: Ended) -> None:
        # Whoever is to hear it may be gone.
        telling = threading.Thread(target=tell, args=(last,), daemon=True)
        telling.start()
        telling.join(_TELL_SECONDS)
        if not done.wait(_TELL_SECONDS):
            os._exit(1)

    def watch() -> None:
        kill_at = time.monotonic() + (job.kill_after_seconds or math.inf)
        told = False
        while not done.wait(max(0.0, min(0.5, kill_at - time.monotonic()))):
            if not told and job.stop_file is not None and job.stop_file.exists():
                told, kill_at = True, min(kill_at, time.monotonic() + STOP_GRACE_SECONDS)
            if (late := overdue()) is not None:
                leave(Ended(job.id, "fatal", late, str(late)))
            elif time.monotonic() >= kill_at:
                if (held := overdue(STOP_GRACE_SECONDS)) is None:
                    os._exit(1)
                leave(Ended(job.id, "failed", message=f"its time was over: {held}".partition("\n")[0]))

    threading.Thread(target=watch, name="autosft-watch", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _release_memory() -> None:
    """Gives a job's memory back before the next one: trainers leave cycles, and the C library keeps what it freed."""
    # A walk through all that libraries keep takes longer than a head takes to fit, so it is made now and then only.
    if next(_releases) % _RELEASES_PER_WALK == 0:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        # What this process keeps for later, another trial on the same GPU cannot have.
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # Only glibc can be asked.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _prepare(job: Job) -> None:
    """Sets the thread count, which a reused worker keeps from the job before, and quietens libraries."""
    threads = max(1, int(job.cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if not job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
