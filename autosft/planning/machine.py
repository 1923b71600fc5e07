"""What there is to run on, and how it is divided among trials."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from autosft.counting import counted
from autosft.errors import PlanError, explain
from autosft.planning.plan import Resources
from autosft.search.settings import Machine

#: A trial gets all cores up to this: training speeds up 1.84 times from one thread to two (MiniLM), less beyond four.
MAX_THREADS = 4

#: A GPU with less of its memory free is somebody else's.
_FREE_SHARE = 0.9

#: Trials of a cluster get fewer cores rather than leave more than a tenth of all cores idle.
_BUSY_SHARE = 0.9


def machine_here() -> Machine:
    """Returns this machine's cores and those GPUs that nobody else uses; a cgroup's limit counts."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cpus = min(cpus, max(1, int(quota) // int(period))) if quota != "max" else cpus
    except (OSError, ValueError):
        pass
    free = _free_gpus()
    return Machine(cpus, len(free), min(free.values(), default=0), tuple(free), memory_bytes())


def memory_bytes() -> int:
    """Returns this machine's memory, as far as a cgroup's limit allows."""
    import psutil

    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def resources_on(machine: Machine, *, gpus_per_trial: float | None, max_concurrent: int | None) -> Resources:
    """Divides a machine among trials: as many at once as it carries.

    Raises:
        PlanError: A trial would not fit on the machine, or on any node of a cluster.
    """
    gpus = gpus_per_trial if gpus_per_trial is not None else (1.0 if machine.gpus else 0.0)
    if gpus < 0:
        wrong = f"gpus_per_trial is {gpus:g}"
        raise PlanError(explain(wrong=wrong, expected="0 or more", fix="leave gpus_per_trial out"))
    most = max(node.gpus for node in machine.parts)
    if gpus > most:
        free = f"no node has more than {most} free" if machine.nodes else f"{most} are free here"
        wrong = f"a trial would take {counted(gpus, 'GPU')}, and {free}"
        raise PlanError(explain(wrong=wrong, expected="at most what is free", fix="pass a smaller gpus_per_trial"))
    if max_concurrent is not None and max_concurrent < 1:
        wrong = f"max_concurrent is {max_concurrent}"
        raise PlanError(explain(wrong=wrong, expected="1 or more", fix="leave max_concurrent out"))
    if machine.nodes:
        return _over_nodes(machine, gpus, max_concurrent)
    carried = machine.carries(0, gpus) if gpus else max(1, machine.cpus // MAX_THREADS)
    at_once = min(carried if max_concurrent is None else max_concurrent, machine.cpus)
    if gpus:
        at_once = min(at_once, carried)
    return Resources(machine, max(1, machine.cpus // at_once), gpus, at_once)


def _over_nodes(machine: Machine, gpus: float, max_concurrent: int | None) -> Resources:
    """Divides a cluster: all trials are of one size, and each has to fit on one node."""
    if gpus:
        able = [node for node in machine.nodes if node.gpus >= gpus]
        cpus = min(max(1, node.cpus // max(1, node.carries(0, gpus))) for node in able)
    else:
        cpus = _cpus_over_nodes(machine, max_concurrent)
    carried = max(1, machine.carries(cpus, gpus))
    at_once = carried if max_concurrent is None else min(max_concurrent, carried)
    follows = max_concurrent is None
    return Resources(machine, cpus, gpus, at_once, follows_nodes=follows, most_concurrent=max_concurrent)


def _cpus_over_nodes(machine: Machine, max_concurrent: int | None) -> int:
    """Returns the cores of a trial: as many as leave few idle on nodes of any size, or as carry so many at once."""
    largest = max(1, *(node.cpus for node in machine.nodes))
    if max_concurrent is not None:
        wanted = min(max_concurrent, machine.cpus)
        return next((cpus for cpus in range(largest, 1, -1) if machine.carries(cpus, 0) >= wanted), 1)
    most = largest // max(1, largest // MAX_THREADS)
    busy = {cpus: cpus * machine.carries(cpus, 0) for cpus in range(most, 0, -1)}
    return next((cpus for cpus, used in busy.items() if used >= _BUSY_SHARE * busy[1]), 1)


def fitted(resources: Resources, machine: Machine) -> Resources:
    """Returns what was settled before for the machine that is here now.

    Raises:
        PlanError: Its trials do not fit.
    """
    carried = machine.carries(resources.cpus_per_trial, resources.gpus_per_trial)
    if not carried:
        asked = f"{counted(resources.cpus_per_trial, 'CPU')} and {counted(resources.gpus_per_trial, 'GPU')}"
        free = f"{machine.cpus} and {machine.gpus} are free here"
        if machine.nodes:
            largest = max(machine.nodes, key=lambda node: (node.gpus, node.cpus))
            free = f"no node has as many (the largest has {counted(largest.cpus, 'CPU')} and "
            free += f"{counted(largest.gpus, 'GPU')})"
        wrong = f"the plan's trials take {asked}, and {free}"
        raise PlanError(explain(wrong=wrong, expected="at most what is free", fix="plan again on this machine"))
    most = resources.most_concurrent or resources.max_concurrent
    at_once = carried if resources.follows_nodes else min(most, carried)
    follows = resources.follows_nodes and bool(machine.nodes)
    return replace(resources, machine=machine, max_concurrent=at_once, follows_nodes=follows)


def gpu_memory_bytes(visible: Collection[str] | None) -> int:
    """Returns the memory of the smallest visible GPU of this machine, whoever uses it now; 0 without one.

    Args:
        visible: Numbers or ids, as CUDA_VISIBLE_DEVICES lists them; None for all.
    """
    return min((total for _, total in _gpus(visible).values()), default=0)


def _free_gpus() -> dict[str, int]:
    """Returns the free bytes of each visible GPU that has nine tenths of its memory free, by its number."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _gpus(None if visible is None else [name.strip() for name in visible.split(",")])
    return {number: free for number, (free, total) in found.items() if free >= _FREE_SHARE * total}


def _gpus(visible: Collection[str] | None) -> dict[str, tuple[int, int]]:
    """Returns the free bytes and all bytes of each visible GPU, by its number."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return {}
    found = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4 or not (cells[2].isdigit() and cells[3].isdigit()):
            continue  # nvidia-smi words its own errors on this stream too.
        if visible is None or cells[0] in visible or cells[1] in visible:
            found[cells[0]] = (int(cells[2]) * 2**20, int(cells[3]) * 2**20)
    return found
