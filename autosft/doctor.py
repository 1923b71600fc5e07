"""Whether this machine is able: the checks behind `autosft doctor`.

Nothing is started, changed or sent: Ray is imported and its needs are looked at, the hub is not asked.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from autosft.model_hub import cache_folder, is_offline
from autosft.tracking.wandb_mirror.target import has_key

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_GIB = 2**30
_IMPORT_SECONDS = 120


class Status(StrEnum):
    """What a check came to: a "warning" may cost time or comfort, a "problem" stops a run."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        status: What it came to.
        message: What was found, in one line.
        fix: What to do about it; empty when it is ok.
    """

    name: str
    status: Status
    message: str
    fix: str = ""


def checks() -> list[Check]:
    """Returns every check of this machine, in the order in which they should be read. Takes a few seconds."""
    steps: tuple[Callable[[], list[Check]], ...] = (
        _python, _packages, _torchvision, _gpus, _cpus, _memory, _disks, _ray, _stale_cluster, _wandb, _hub,
    )  # fmt: skip
    return [check for step in steps for check in step()]


def _python() -> list[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [Check("Python", Status.OK, f"{version} ({sys.executable})")]


def _packages() -> list[Check]:
    """Compares what is installed with what the package itself declares."""
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires("autosft") or []
    except importlib.metadata.PackageNotFoundError:
        fix = "pip install autosft, or pip install -e . in a checkout"
        return [Check("autosft", Status.WARNING, "it is not installed, so versions cannot be compared", fix)]
    requirements = [Requirement(line) for line in declared]
    return [_package(wanted) for wanted in requirements if wanted.marker is None or wanted.marker.evaluate()]


def _package(wanted: Requirement) -> Check:
    fix = f'pip install "{wanted.name}{wanted.specifier}"'
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(wanted.name, Status.PROBLEM, "not installed", fix)
    if not wanted.specifier.contains(version, prereleases=True):
        return Check(wanted.name, Status.WARNING, f"{version}, which was not tested ({wanted.specifier})", fix)
    return Check(wanted.name, Status.OK, version)


def _torchvision() -> list[Check]:
    """Imports torchvision elsewhere: a build for another torch breaks Transformers and all that stands on it."""
    try:
        version = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return [Check("torchvision", Status.OK, "not installed, and not needed")]
    error = _import_error("torchvision")
    if not error:
        return [Check("torchvision", Status.OK, version)]
    mismatch = "torchvision::nms does not exist" in error
    message = f"{version} was built for another torch" if mismatch else f"{version} cannot be imported: {error}"
    fix = "pip uninstall torchvision (text needs none), or install the build that belongs to your torch"
    return [Check("torchvision", Status.PROBLEM, message, fix)]


def _import_error(module: str) -> str:
    """Returns the last line of what importing a module in a fresh interpreter printed, or "" where it worked."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True, text=True, timeout=_IMPORT_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {_IMPORT_SECONDS} seconds"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]


def _gpus() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Check("GPUs", Status.PROBLEM, f"torch cannot be imported: {error}", "install torch again")]
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi"):
            fix = "install the torch build for your driver, and look at CUDA_VISIBLE_DEVICES"
            return [Check("GPUs", Status.WARNING, f"there is a driver, but torch {torch.__version__} sees no GPU", fix)]
        from autosft.trainers.precision import trains_in_bf16

        precision = "bfloat16" if trains_in_bf16() else "float32"
        return [Check("GPUs", Status.OK, f"none: small base models are tried first, and trained in {precision}")]
    return [_gpu(index) for index in range(torch.cuda.device_count())]


def _gpu(index: int) -> Check:
    import torch

    name = f"GPU {index}"
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        return Check(name, Status.PROBLEM, f"it cannot be used: {error}", "leave it out with CUDA_VISIBLE_DEVICES")
    message = f"{torch.cuda.get_device_name(index)}, {free / _GIB:.0f} of {total / _GIB:.0f} GiB free"
    if free < total / 2:
        return Check(name, Status.WARNING, message + ": others use it", "choose others with CUDA_VISIBLE_DEVICES")
    return Check(name, Status.OK, message)


def _cpus() -> list[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup_cpus()
    if limit is not None and limit < usable:
        message = f"{usable} cores, of which the container may use {limit:g}"
        fix = "no more trials run at once than that; give the container more if it is too slow"
        return [Check("CPU", Status.WARNING, message, fix)]
    return [Check("CPU", Status.OK, f"{usable} cores")]


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Returns the CPUs that the container's quota allows (cgroup v2, then v1), or None where there is no quota."""
    quota = _words(root / "cpu.max")
    if len(quota) != 2:
        quota = _words(root / "cpu" / "cpu.cfs_quota_us") + _words(root / "cpu" / "cpu.cfs_period_us")
    if len(quota) != 2 or not all(word.isdigit() for word in quota) or int(quota[1]) == 0:
        return None
    return int(quota[0]) / int(quota[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _memory() -> list[Check]:
    import psutil

    memory = psutil.virtual_memory()
    message = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if memory.available < 3 * _GIB:
        return [Check("memory", Status.WARNING, message, "close other programs: one small training takes 2 to 3 GiB")]
    return [Check("memory", Status.OK, message)]


def _disks() -> list[Check]:
    places = (
        ("disk, here", Path.cwd(), 5, "checkpoints and the model go here; use another --folder"),
        ("disk, temporary files", _ray_folder(), 2, "Ray writes here; free some, or set RAY_TMPDIR"),
        ("disk, hub cache", cache_folder(), 2, "base models are kept here; set HF_HOME"),
        ("shared memory", Path("/dev/shm"), 0.5, "Ray's objects live here; with Docker, pass --shm-size=2g"),
    )
    # Only Linux has /dev/shm.
    return [_disk(*place) for place in places if place[0] != "shared memory" or place[1].is_dir()]


def _disk(name: str, path: Path, wanted_gib: float, fix: str) -> Check:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / _GIB
    message = f"{free:.1f} GiB free in {path}"
    if not os.access(existing, os.W_OK):
        return Check(name, Status.PROBLEM, f"{path} cannot be written to", fix)
    if free < wanted_gib:
        return Check(name, Status.PROBLEM if free < wanted_gib / 10 else Status.WARNING, message, fix)
    return Check(name, Status.OK, message)


def _ray() -> list[Check]:
    error = _import_error("ray.tune")
    if error:
        return [Check("Ray", Status.PROBLEM, f"it cannot be imported: {error}", 'pip install "ray[tune]"')]
    return [Check("Ray", Status.OK, "it can be imported; a cluster is started at the first search")]


def _ray_folder() -> Path:
    """Returns where Ray keeps its sessions, by its own rule (2.60): TMPDIR counts on Linux alone."""
    named = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None)
    return Path(named or "/tmp")


def _stale_cluster() -> list[Check]:
    """Looks for the address that a dead cluster left behind: joining it would hang the next run."""
    folder = _ray_folder() / "ray"
    address = " ".join(_words(folder / "ray_current_cluster"))
    if not address:
        return [Check("Ray cluster", Status.OK, "none is running here")]
    if _gcs_is_running(address):
        return [Check("Ray cluster", Status.OK, f"one is running at {address}")]
    message = f"{folder / 'ray_current_cluster'} names {address}, which no longer runs"
    return [Check("Ray cluster", Status.WARNING, message, f"rm {folder / 'ray_current_cluster'}")]


def _gcs_is_running(address: str) -> bool:
    import socket

    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


def _wandb() -> list[Check]:
    try:
        version = importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError:
        return [Check("W&B", Status.OK, "not installed; only tracker='wandb' needs it")]
    if os.environ.get("WANDB_MODE") in {"offline", "dryrun", "disabled"}:
        return [Check("W&B", Status.OK, f"{version}, mode {os.environ['WANDB_MODE']}")]
    if has_key():
        return [Check("W&B", Status.OK, f"{version}, with a key")]
    fix = "set WANDB_API_KEY or run `wandb login`; without, tracker='wandb' stays offline until `autosft sync`"
    return [Check("W&B", Status.WARNING, f"{version}, without a key", fix)]


def _hub() -> list[Check]:
    if is_offline():
        return [Check("model hub", Status.OK, "offline (HF_HUB_OFFLINE): base models of this machine only")]
    return [Check("model hub", Status.OK, "online; not asked")]
