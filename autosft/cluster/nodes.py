"""The nodes of the Ray that this process is connected to: what each has, what it runs, and which still live."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autosft.cluster.address import check_versions
from autosft.errors import PlanError
from autosft.search.settings import Machine, Node

#: A node starts its first worker in a second or two; a busy one gets this long to say what it is.
_ASK_SECONDS = 30.0

_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Member:
    """One node as Ray lists it.

    Attributes:
        id: Ray's own, hexadecimal.
        place: Host and port where its Ray listens.
        node: What it has.
    """

    id: str
    place: tuple[str, int]
    node: Node

    def answers(self) -> bool:
        """Whether its Ray still listens: sooner known than Ray's own word on it, which takes up to half a minute."""
        return answers(self.place)


def answers(place: tuple[str, int]) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(place, timeout=_ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def members() -> dict[str, Member]:
    """Returns the nodes that live, by id, as far as Ray's list knows."""
    import ray

    found = {}
    for row in ray.nodes():
        if row["Alive"]:
            resources = row["Resources"]
            node = Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
            place = (row["NodeManagerAddress"], row["NodeManagerPort"])
            found[row["NodeID"]] = Member(row["NodeID"], place, node)
    return found


def own_id() -> str:
    """Returns the id of the node that this process is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def vital_places() -> tuple[tuple[str, int], ...]:
    """Returns host and port of what this process cannot do without: the cluster's head, and Ray on its own node."""
    import ray

    head, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    own = members().get(own_id())
    return ((head.strip("[]"), int(port)), *(() if own is None else (own.place,)))


def is_of_this_process() -> bool:
    """Whether the Ray that runs was started by this process for itself."""
    import ray

    node: Any = ray._private.worker._global_node
    return node is not None and bool(node.head)


def examined(found: Iterable[Member]) -> tuple[dict[str, Member], dict[str, PlanError]]:
    """Asks nodes what they run and what memory they have.

    Returns:
        Those that can be used, with what they said; one that did not answer is as it was. And what is wrong with those
        that run another Python, Ray or autosft.
    """
    here, refused = versions(), {}
    asked = {member.id: member for member in found}
    told = _told(asked)
    for node_id, answer in told.items():
        try:
            check_versions(here, answer["versions"], f"the node {asked[node_id].place[0]}")
        except PlanError as error:
            refused[node_id] = error
    used = {
        node_id: Member(node_id, member.place, _with_memory(member.node, told.get(node_id, {})))
        for node_id, member in asked.items()
        if node_id not in refused
    }
    return used, refused


def versions() -> dict[str, str]:
    """Returns what has to be the same on every node."""
    import ray

    return {"python": platform.python_version(), "ray": str(ray.__version__), "autosft": _own_version()}


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("autosft")
    except PackageNotFoundError:  # A checkout that is not installed.
        return "unknown"


def _with_memory(node: Node, answer: Mapping[str, Any]) -> Node:
    # What Ray was told to have of GPUs counts; their memory is the node's word.
    gpu_memory = int(answer.get("gpu_memory_bytes", 0)) if node.gpus else 0
    return Node(node.cpus, node.gpus, int(answer.get("memory_bytes", 0)), gpu_memory)


def _told(nodes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns each node's own word by its id, as far as it came in time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = _own_version()

    def tell() -> dict[str, Any]:
        # A function inside of a function travels as code: a node without autosft can run it, and say so.
        import importlib.util
        import platform
        from importlib.metadata import PackageNotFoundError, version

        import ray

        try:
            ours: str | None = version("autosft")
        except PackageNotFoundError:
            ours = "unknown" if importlib.util.find_spec("autosft") else None
        said: dict[str, Any] = {
            "versions": {"python": platform.python_version(), "ray": ray.__version__, "autosft": ours}
        }
        # In another version this may stand elsewhere; a node that fails here would count as one that did not answer.
        if ours == wanted:
            from autosft.planning.machine import gpu_memory_bytes, memory_bytes

            # This task has no GPU, so Ray hides all of them; and other runs may be using those of the node.
            visible = ray._private.worker.global_worker.original_visible_accelerator_ids.get("GPU")
            said |= {"memory_bytes": memory_bytes(), "gpu_memory_bytes": gpu_memory_bytes(visible)}
        return said

    remote = ray.remote(num_cpus=0, max_retries=0)(tell)
    asked = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(): node_id
        for node_id in nodes
    }
    done, _ = ray.wait([*asked], num_returns=len(asked), timeout=_ASK_SECONDS) if asked else ([], [])
    told = {}
    for answer in done:
        try:
            told[asked[answer]] = ray.get(answer)
        except ray.exceptions.RayError:  # It left meanwhile, or its worker could not start.
            continue
    return told


def look_around(machine: Machine | None) -> tuple[Machine, dict[str, Member] | None]:
    """Returns what there is to run on, and the nodes where that is more than this machine, or may become so.

    Args:
        machine: What is known of this machine.

    Raises:
        PlanError: A node runs another Python, Ray or autosft.
    """
    there = members()
    if len(there) == 1 and is_of_this_process():
        node = next(iter(there.values())).node
        # Of this machine more is known than Ray says, unless it was told to take another part of it.
        if machine is not None and (machine.cpus, machine.gpus) == (node.cpus, node.gpus):
            return machine, None
        return Machine(max(1, node.cpus), node.gpus, memory_bytes=0 if machine is None else machine.memory_bytes), None
    found, refused = examined(there.values())
    for error in refused.values():
        raise error
    return cluster_machine(found), found


def cluster_machine(found: Mapping[str, Member]) -> Machine:
    """Returns what a cluster offers in all, with its nodes; an arm has to fit on its largest."""
    nodes = tuple(member.node for member in found.values())
    return Machine(
        max(1, sum(node.cpus for node in nodes)),
        sum(node.gpus for node in nodes),
        max((node.gpu_memory_bytes for node in nodes), default=0),
        memory_bytes=max((node.memory_bytes for node in nodes), default=0),
        nodes=nodes,
    )
