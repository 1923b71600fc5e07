"""A Ray that several processes join: started here, or joined."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from autosft.cluster.connect import connect
from autosft.cluster.membership import Membership
from autosft.cluster.nodes import look_around
from autosft.search.settings import Machine


@contextlib.contextmanager
def shared(cluster: str | None, machine: Machine) -> Iterator[tuple[str, Machine, Membership | None]]:
    """Holds a Ray for as long as the block runs; yields its address, what there is to run on, and its nodes.

    The nodes are None where this machine is all there is and will be.

    Args:
        cluster: As in `connect`; None or "local" starts one here.
        machine: CPUs and GPUs to use here.

    Raises:
        PlanError: The cluster cannot be joined, or a node runs another Python, Ray or autosft.
    """
    import ray

    owned = connect(cluster, machine=machine, verbose=False)
    try:
        found, nodes = look_around(machine)
        members = None if nodes is None else Membership(nodes)
        yield str(ray.get_runtime_context().gcs_address), found, members
    finally:
        if owned:
            ray.shutdown()
