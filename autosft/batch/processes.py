"""The processes of a batch: the one that holds Ray, and one a job. None outlives the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.cluster.nodes import answers
from autosft.errors import PlanError, SearchFailed, explain
from autosft.search.settings import Machine, Node

#: Ray may take so long to start on a busy machine.
_START_SECONDS = 120.0

#: What a process that was asked to end may take before it is ended.
_END_SECONDS = 10.0


class Process:
    """A process that speaks in lines of JSON.

    Args:
        module: What it runs.
        order: What it is asked to do.
        log: File that its standard error is appended to.
        hear: Called with each line, in a thread; and at last with None.
    """

    def __init__(
        self,
        module: str,
        order: Mapping[str, Any],
        *,
        log: Path,
        environment: Mapping[str, str],
        hear: Callable[[dict[str, Any] | None], None],
    ) -> None:
        with log.open("ab") as errors:
            # In a session of its own: Ctrl-C in a terminal is for the batch, which passes it on.
            self._process = subprocess.Popen(
                [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It died at once, which its end will tell.
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        self._hear = hear
        self._thread = threading.Thread(target=self._read, name=f"autosft-{module}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # The half line of one that was killed.
                self._hear(json.loads(line))
        self._process.wait()
        self._hear(None)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def return_code(self) -> int | None:
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Asks it to end with what it has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Closes its standard input, at which it ends; one that does not is ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(frozen=True)
class Offer:
    """Where jobs run.

    Attributes:
        address: Of the Ray that they join.
        machine: What it has.
        environment: What a process needs to join it.
        places: Host and port of what it cannot do without, where it is the host's own; none where it was joined.
    """

    address: str
    machine: Machine
    environment: Mapping[str, str]
    places: tuple[tuple[str, int], ...] = ()


class Host:
    """The process that holds the Ray that all jobs join, started when it is first needed and again when it died."""

    def __init__(self, cluster: str | None, *, log: Path) -> None:
        self._cluster = cluster
        self._log = log
        self._process: Process | None = None
        self._offer: Offer | None = None

    @property
    def is_alive(self) -> bool:
        """Whether jobs can join: the process may outlive its Ray for a minute or longer."""
        if self._process is None or self._offer is None or not self._process.is_alive:
            return False
        return all(map(answers, self._offer.places))

    def offer(self) -> Offer:
        """Returns where jobs run; starts what must be started.

        Raises:
            PlanError: The cluster cannot be reached.
            SearchFailed: Ray could not start.
        """
        if self._offer is not None and self.is_alive:
            return self._offer
        if self._process is not None:
            # What is left of its Ray goes with it.
            self._process.kill()
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        order = {"cluster": self._cluster}
        self._process = Process("autosft.batch.host", order, log=self._log, environment={}, hear=said.put)
        try:
            found = said.get(timeout=_START_SECONDS)
        except queue.Empty:
            self._process.kill()
            found = {"error": f"Ray did not start within {_START_SECONDS:.0f} s", "is_fault": True}
        if found is None or found.get("is_fault"):
            wrong = found["error"] if found else "the process that starts Ray ended at once"
            fix = f"run `autosft doctor`, and see {self._log}"
            raise SearchFailed(explain(wrong=wrong, expected="a running Ray", fix=fix))
        if "error" in found:
            raise PlanError(found["error"])
        nodes = tuple(Node(**node) for node in found["nodes"])
        machine = Machine(found["cpus"], found["gpus"], nodes=nodes)
        places = tuple((host, port) for host, port in found["places"])
        self._offer = Offer(found["address"], machine, found["environment"], places)
        return self._offer

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
