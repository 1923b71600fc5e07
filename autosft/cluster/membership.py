"""The nodes of a cluster while a run uses them: who is there, who went and when, which jobs a node may get.

And what more of them are asked for, where the cluster has an autoscaler.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from autosft.cluster.nodes import Member, cluster_machine, examined, members
from autosft.search.job import Job
from autosft.search.settings import Machine

#: How often the nodes are counted.
_COUNT_SECONDS = 10.0


class Membership:
    """Nodes that come and go, and the jobs that are away on them.

    Args:
        found: The nodes there are to begin with, by id.
    """

    def __init__(self, found: dict[str, Member]) -> None:
        self._members = found
        self._refused: set[str] = set()
        self._gone: dict[str, tuple[float, str]] = {}
        self._away: dict[str, str] = {}
        self._asked: Sequence[Mapping[str, float]] = ()
        self._counted = time.monotonic()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def machine(self) -> Machine:
        """What the nodes offer that are there now."""
        return cluster_machine(self._members)

    def count(self) -> tuple[str, ...]:
        """Now and then takes in which nodes came and went; says of each that came and is not used why, once."""
        if time.monotonic() < self._counted + _COUNT_SECONDS:
            return ()
        there = members()
        for node_id in self._members.keys() - there.keys():
            self._leave(node_id)
        # A node that was thought to be gone, and is not, is used again. Ray lists one that is gone for a while, and to
        # wait for its word would keep the search waiting.
        new = [there[node_id] for node_id in there.keys() - self._members.keys() - self._refused]
        used, refused = examined(member for member in new if member.answers())
        self._members |= used
        # The run goes on without a node that joins it with other versions.
        self._refused |= refused.keys()
        if self._asked:
            # Ray knows only the last request, which may be that of a run beside this one.
            _request(self._asked)
        self._counted = time.monotonic()
        lines = [str(error).partition("\n")[0].rstrip(".") for error in refused.values()]
        return tuple(line[:1].lower() + line[1:] for line in lines)

    def ask_for(self, bundles: Sequence[Mapping[str, float]]) -> None:
        """Asks the cluster's autoscaler, where there is one, for nodes that hold all of this at once.

        What runs counts as part of it. It stands until something else is asked for, also after this process: who asks
        takes it back by asking for nothing.

        Args:
            bundles: CPUs and GPUs of a job each.
        """
        if list(bundles) != list(self._asked):
            self._asked = bundles
            _request(bundles)

    def num_at_once(self, cpus: float, gpus: float) -> int:
        """Returns how many jobs of a size the nodes hold that are there now."""
        return max(1, sum(member.node.carries(cpus, gpus) for member in self._members.values()))

    def avoided(self, job: Job) -> tuple[str, ...]:
        """Returns the nodes that must not get a job; where all have too little memory it may still try any of them."""
        able = [member for member in self._members.values() if member.node.carries(job.cpus, job.gpus)]
        small = [member.id for member in able if not member.node.has_memory(job.memory_bytes, gpus=job.gpus)]
        return (*sorted(self._refused), *(small if len(small) < len(able) else ()))

    def is_at(self, job_id: str, node_id: str) -> None:
        """Keeps in mind on which node a job is."""
        self._away[job_id] = node_id

    def has_ended(self, job_id: str) -> None:
        """Forgets where a job was."""
        self._away.pop(job_id, None)

    def lost_under(self, job: Job) -> str | None:
        """Returns the address of the node that went while a job was on it, or None.

        A job that died before it said where it is counts as one of a node that went since it was submitted.
        """
        for member in [member for member in self._members.values() if not member.answers()]:
            self._leave(member.id)
        place = self._away.get(job.id)
        if place is not None:
            return self._gone[place][1] if place in self._gone else None
        return next((host for at, host in self._gone.values() if at >= job.submitted_at), None)

    def _leave(self, node_id: str) -> None:
        self._gone[node_id] = (time.time(), self._members.pop(node_id).place[0])


def bundle_of(cpus: float, gpus: float) -> dict[str, float]:
    """Returns what a job takes, as Ray words it."""
    return {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})


def _request(bundles: Sequence[Mapping[str, float]]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle) for bundle in bundles])
