"""A Ray that several processes join: started here, or joined."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from autosft.cluster.connect import connect
from autosft.cluster.nodes import look_around
from autosft.search.settings import Machine


@contextlib.contextmanager
def shared(cluster: str | None, machine: Machine) -> Iterator[tuple[str, Machine]]:
    """Holds a Ray for as long as the block runs; yields its address and what there is to run on.

    Args:
        cluster: As in `connect`; None or "local" starts one here.
        machine: CPUs and GPUs to use here.

    Raises:
        PlanError: The cluster cannot be joined, or a node runs another Python, Ray or autosft.
    """
    import ray

    owned = connect(cluster, machine=machine, verbose=False)
    try:
        found, _ = look_around(machine)
        yield str(ray.get_runtime_context().gcs_address), found
    finally:
        if owned:
            ray.shutdown()
