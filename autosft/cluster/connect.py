"""Joining a cluster, or starting Ray here: the one place where `ray.init` is called."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from autosft.cluster.address import check_reachable, other_scheme, resolve
from autosft.errors import PlanError, explain
from autosft.search.settings import Machine

#: Environment that Ray's processes inherit; a user's own settings win.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # A worker whose last job is slow to leave is waited for so long before another one is started.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "10",
    # Jobs without a GPU must not see those that others use.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    # Workers at nice 15 would lose the CPU to anything else on the machine.
    "RAY_worker_niceness": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


def connect(cluster: str | None, *, machine: Machine | None, verbose: bool) -> bool:
    """Makes sure that this process is connected to Ray; returns whether it was connected here, and is to be left.

    Args:
        cluster: As in `address.resolve`. A Ray that this process is connected to already is used, whatever it is.
        machine: CPUs and GPUs to use of this machine where Ray is started; None for all.
        verbose: Whether Ray's own output is shown.

    Raises:
        PlanError: The cluster cannot be joined, or this process is connected to another one.
    """
    import ray

    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if ray.is_initialized():
        _check_same(cluster)
        return False
    options: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
        "configure_logging": verbose,
    }
    address = resolve(cluster)
    if address is not None:
        check_reachable(address)
        _join(address, options)
        return True
    # "local" also where a cluster that is gone has left its address behind.
    options |= {"address": "local", "include_dashboard": False}
    if machine is not None:
        if machine.gpus:
            # Ray counts visible GPUs from zero; those that others use must not be visible to it.
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(machine.gpu_ids)
        options |= {"num_cpus": machine.cpus, "num_gpus": machine.gpus}
    ray.init(**options)
    return True


def _check_same(cluster: str | None) -> None:
    """Raises PlanError where this process is connected to another cluster than the one that is named."""
    import ray

    if ray.util.client.ray.is_connected():
        raise PlanError(other_scheme("ray://"))
    if cluster in (None, "local", "auto"):
        return
    address = resolve(cluster)
    assert address is not None
    own = str(ray.get_runtime_context().gcs_address)
    if _canonical(own) != _canonical(address):
        wrong = f"cluster={cluster!r} is named, and this process is connected to the Ray at {own} already"
        fix = "leave cluster= out to use that one, or call ray.shutdown() first"
        raise PlanError(explain(wrong=wrong, expected="one Ray in a process", fix=fix))


def _canonical(address: str) -> tuple[str, str]:
    import socket

    host, _, port = address.rpartition(":")
    try:
        found = socket.gethostbyname(host.strip("[]"))
    except OSError:
        return host, port
    # Ray names this machine by an address that others can reach.
    from ray.util import get_node_ip_address

    return (get_node_ip_address() if found.startswith("127.") else found), port


def _join(address: str, options: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(address=address, **options)
    except (Exception, SystemExit) as error:  # Of many kinds, all of them about what answers there.
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        wrong = f"the cluster at {address} answers, and could not be joined ({type(error).__name__}: {said})"
        expected = "a machine that is a node of the cluster: a search runs beside one of its nodes"
        fix = (
            f"run `ray start --address={address}` here first, run autosft on the head, or send the command there: "
            "autosft submit --address http://HEAD:8265 -- fit ..."
        )
        raise PlanError(explain(wrong=wrong, expected=expected, fix=fix)) from error


def let_go() -> None:
    """Leaves a Ray that is gone: its client would wait for it as the process exits, and after a minute kill that."""
    import ray

    # What Tune still asks for must not start another Ray.
    ray._private.auto_init_hook.enable_auto_connect = False
    leaving = threading.Thread(target=ray.shutdown, name="autosft-leave-ray", daemon=True)
    leaving.start()
    leaving.join(timeout=10.0)
