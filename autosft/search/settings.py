"""How a search is run, apart from what it searches: the names a user may choose from, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from autosft.errors import PlanError, did_you_mean, explain

#: How trials are cut short: by racing at ascending lengths, by a scheduler of Ray's that stops them, or not at all.
SCHEDULERS = ("race", "asha", "median", "none")


@dataclass(frozen=True)
class Machine:
    """What there is to run on.

    Attributes:
        cpus: Cores.
        gpus: GPUs that nobody else uses.
        gpu_memory_bytes: Free memory of the smallest of them, or 0.
        gpu_ids: Their numbers, as CUDA_VISIBLE_DEVICES takes them.
        memory_bytes: The machine's memory, as far as a cgroup's limit allows; 0 where it is not known.
    """

    cpus: int
    gpus: int = 0
    gpu_memory_bytes: int = 0
    gpu_ids: tuple[str, ...] = ()
    memory_bytes: int = 0

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
