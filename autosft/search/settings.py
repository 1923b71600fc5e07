"""How a search is run, apart from what it searches: the names a user may choose from, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from autosft.errors import PlanError, did_you_mean, explain

#: How trials are cut short: by racing at ascending lengths, by a scheduler of Ray's that stops them, or not at all.
SCHEDULERS = ("race", "asha", "median", "none")


@dataclass(frozen=True)
class Node:
    """One machine of a cluster: cores, GPUs, and what it and each of its GPUs have of memory; 0 where unknown."""

    cpus: int
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0

    def carries(self, cpus: float, gpus: float) -> int:
        """Returns how many trials of this size fit on it at once. A fraction of a GPU lies on one GPU."""
        by_cpus = int(self.cpus / cpus) if cpus else self.cpus
        if not gpus:
            return by_cpus
        return min(by_cpus, self.gpus * int(1 / gpus + 1e-9) if gpus <= 1 else int(self.gpus / gpus))

    def has_memory(self, needed_bytes: int, *, gpus: float) -> bool:
        """Whether it, or each of its GPUs where a trial takes any, has so much memory as far as is known."""
        has = self.gpu_memory_bytes if gpus else self.memory_bytes
        return not has or has >= needed_bytes


@dataclass(frozen=True)
class Machine:
    """What there is to run on.

    Attributes:
        cpus: Cores, of all nodes.
        gpus: GPUs that nobody else uses, likewise.
        gpu_memory_bytes: Free memory of the smallest of them, or 0; of a cluster, of those of its largest node.
        gpu_ids: Their numbers, as CUDA_VISIBLE_DEVICES takes them.
        memory_bytes: The machine's memory, as far as a cgroup's limit allows; 0 where it is not known. Of a cluster,
            that of its largest node.
        nodes: The machines of a cluster; none where it is one machine.
    """

    cpus: int
    gpus: int = 0
    gpu_memory_bytes: int = 0
    gpu_ids: tuple[str, ...] = ()
    memory_bytes: int = 0
    nodes: tuple[Node, ...] = ()

    @property
    def parts(self) -> tuple[Node, ...]:
        """What a trial has to fit on: one of the nodes, or the machine as a whole."""
        return self.nodes or (Node(self.cpus, self.gpus, self.memory_bytes, self.gpu_memory_bytes),)

    def carries(self, cpus: float, gpus: float) -> int:
        """Returns how many trials of this size fit at once."""
        return sum(node.carries(cpus, gpus) for node in self.parts)

    @property
    def training_memory_bytes(self) -> int:
        """Memory that one training has at most: a GPU's, or the machine's; 0 where it is not known."""
        return self.gpu_memory_bytes if self.gpus else self.memory_bytes


def check_scheduler(name: str) -> str:
    """Returns the name of an early-stopping scheduler.

    Raises:
        PlanError: No scheduler has this name; says the nearest match.
    """
    if name not in SCHEDULERS:
        wrong = f"no early-stopping scheduler is called '{name}'"
        raise PlanError(explain(wrong=wrong, expected="a scheduler's name", fix=did_you_mean(name, SCHEDULERS)))
    return name
