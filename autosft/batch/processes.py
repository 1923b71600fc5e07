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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
        self.tell(order)
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

    def tell(self, message: Mapping[str, Any]) -> None:
        """Writes a line to it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It died, which its end will tell.
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

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
        machine: What it has, by the host's latest word: nodes of a cluster come and go.
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
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._wanted: Sequence[Mapping[str, float]] = ()

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
        if self.is_alive and (latest := self.latest()) is not None:
            return latest
        if self._process is not None:
            # What is left of its Ray goes with it.
            self._process.kill()
        # What the one before says of its end is for nobody.
        self._said, self._wanted = queue.Queue(), ()
        order = {"cluster": self._cluster}
        self._process = Process("autosft.batch.host", order, log=self._log, environment={}, hear=self._said.put)
        try:
            found = self._said.get(timeout=_START_SECONDS)
        except queue.Empty:
            self._process.kill()
            found = {"error": f"Ray did not start within {_START_SECONDS:.0f} s", "is_fault": True}
        if found is None or found.get("is_fault"):
            wrong = found["error"] if found else "the process that starts Ray ended at once"
            fix = f"run `autosft doctor`, and see {self._log}"
            raise SearchFailed(explain(wrong=wrong, expected="a running Ray", fix=fix))
        if "error" in found:
            raise PlanError(found["error"])
        places = tuple((host, port) for host, port in found["places"])
        self._offer = Offer(found["address"], _machine(found["machine"]), found["environment"], places)
        return self._offer

    def latest(self) -> Offer | None:
        """Returns where jobs run with what there is by now, without a wait; None where nobody asked for it yet."""
        with contextlib.suppress(queue.Empty):
            while self._offer is not None:
                said = self._said.get_nowait()
                if said is not None and "machine" in said:
                    self._offer = replace(self._offer, machine=_machine(said["machine"]))
        return self._offer

    def ask_for(self, bundles: Sequence[Mapping[str, float]]) -> None:
        """Has a cluster's autoscaler asked for nodes that hold all of this at once; see `Membership.ask_for`."""
        is_cluster = self._offer is not None and self._offer.machine.nodes
        if self._process is not None and is_cluster and list(bundles) != list(self._wanted):
            self._wanted = bundles
            self._process.tell({"wanted": [dict(bundle) for bundle in bundles]})

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


def _machine(row: Mapping[str, Any]) -> Machine:
    return Machine(row["cpus"], row["gpus"], nodes=tuple(Node(**node) for node in row["nodes"]))
