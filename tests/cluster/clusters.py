"""Clusters of several nodes on one machine, for tests: each node with a cache, and if need be a disk, of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autosft.testing.tiny_data import WORDS
from autosft.testing.tiny_models import write_tiny_encoder

RAY = str(Path(sys.executable).with_name("ray"))


def can_hide_folders() -> bool:
    """Whether this process may give another one a view of the disk of its own."""
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class RealCluster:
    """Nodes that `ray start` began, each in a session of processes of its own."""

    folder: Path
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    #: Ray's sockets have to have short names.
    sessions: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="r", dir="/tmp"))

    def start(self, name: str, *options: str, hidden: Sequence[Path] = (), **environment: str) -> None:
        """Starts a node and waits until it is up. What is hidden is an empty folder to it and its workers."""
        home = self.folder / name
        home.mkdir(parents=True)
        common = ("--block", "--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats")
        joined = (f"--address={self.address}",) if self.address else ("--head", f"--temp-dir={self.sessions}")
        command = [RAY, "start", *joined, *common, *options]
        if hidden:
            hide = " && ".join(f"mount -t tmpfs none {place}" for place in hidden)
            command = ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh", *command]
        log = (home / "log").open("w")
        self.nodes[name] = subprocess.Popen(
            command, env={**os.environ, **self.environment, "AUTOSFT_CACHE": str(home / "cache"), **environment},
            stdout=log, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + 60
        while "Ray runtime started" not in (home / "log").read_text():
            assert self.nodes[name].poll() is None and time.monotonic() < until, (home / "log").read_text()
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """Takes a node away, with all that runs on it, as if somebody pulled its plug."""
        process = self.nodes.pop(name)
        with_children(process.pid, signal.SIGKILL)
        process.wait(30)

    def stop(self) -> None:
        for name in [*self.nodes][::-1]:
            self.kill(name)
        shutil.rmtree(self.sessions, ignore_errors=True)


def with_children(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process and all that it started, the youngest included."""
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


@contextmanager
def real_cluster(folder: Path, **environment: str) -> Iterator[RealCluster]:
    cluster = RealCluster(folder, environment={"RAY_USAGE_STATS_ENABLED": "0", **environment})
    try:
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def head_for(driver: str, folder: Path, *options: str) -> Iterator[RealCluster]:
    """A head that `ray start` begins with these options; workers can load `driver`, in `folder/code/driver.py`."""
    (folder / "code").mkdir()
    (folder / "code" / "driver.py").write_text(driver)
    path = os.pathsep.join([str(folder / "code"), *sys.path])
    with real_cluster(folder, RAY_AUTH_MODE="disabled", PYTHONPATH=path) as started:
        port = free_port()
        started.start("head", f"--port={port}", "--include-dashboard=false", *options)
        started.address = f"127.0.0.1:{port}"
        yield started


def write_base_model(folder: Path, *, hidden_size: int = 16) -> Path:
    return Path(write_tiny_encoder(folder, words=WORDS, hidden_size=hidden_size))
