"""`python -m autosft.batch.host`: the process that holds the Ray of a batch, or looks at a cluster for it.

It writes a line of JSON about what it found, and one whenever nodes came or went; a line that it reads says what the
batch asks the cluster's autoscaler for. It ends with the process that started it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from autosft.batch.pipes import Lines, read_line
from autosft.errors import AutosftError
from autosft.search.settings import Machine

if TYPE_CHECKING:
    from autosft.cluster.membership import Membership

#: How often it looks whether nodes came or went, as a search does; they are counted less often.
_LOOK_SECONDS = 2.0


def main() -> None:
    """Starts Ray or joins a cluster, says where it is, and waits."""
    # Ctrl-C is for the batch, which ends its jobs before it lets go of this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = Lines.taken_from_stdout()
    address = read_line()["cluster"]
    from autosft.cluster.nodes import is_of_this_process, vital_places
    from autosft.cluster.shared import shared
    from autosft.planning.machine import machine_here

    try:
        with shared(address, machine_here()) as (found, machine, nodes):
            environment = {key: os.environ[key] for key in ("RAY_AUTH_MODE",) if key in os.environ}
            # A cluster of somebody else's is not started again, so whether it still answers is the jobs' to find out.
            places, own = vital_places(), is_of_this_process()
            offer = {"address": found, "places": places if own else (), "environment": environment}
            out.write({**offer, "machine": _as_json(machine)})
            if nodes is None:
                while os.read(0, 4096):  # Until the other end is closed, by whatever ended it.
                    pass
            else:
                _follow(nodes, places, out)
    except AutosftError as error:
        out.write({"error": str(error)})
        sys.exit(2)
    except Exception as error:  # Ray's own, of many kinds; the log has all of it.
        out.write({"error": f"Ray could not start ({type(error).__name__}: {error})", "is_fault": True})
        raise


def _follow(nodes: Membership, places: Sequence[tuple[str, int]], out: Lines) -> None:
    """Says which nodes came and went, and asks for more of them, until the other end is closed."""
    from autosft.cluster.nodes import answers

    told, wanted = nodes.machine, []
    try:
        while True:
            if select.select([0], [], [], _LOOK_SECONDS)[0]:
                try:
                    wanted = read_line()["wanted"]
                except ValueError:  # Nothing more comes.
                    return
            # A Ray that is gone keeps whoever asks it waiting.
            if all(map(answers, places)):
                nodes.ask_for(wanted)
                nodes.count()
            if nodes.machine != told:
                told = nodes.machine
                out.write({"machine": _as_json(told)})
    finally:
        if all(map(answers, places)):
            nodes.ask_for(())


def _as_json(machine: Machine) -> dict[str, Any]:
    return {"cpus": machine.cpus, "gpus": machine.gpus, "nodes": [asdict(node) for node in machine.nodes]}


if __name__ == "__main__":
    main()
