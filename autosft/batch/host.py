"""`python -m autosft.batch.host`: the process that holds the Ray of a batch, or looks at a cluster once for it.

It writes one line of JSON about what it found, and ends with the process that started it.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict

from autosft.batch.pipes import Lines, read_line
from autosft.errors import AutosftError


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
        with shared(address, machine_here()) as (found, machine):
            environment = {key: os.environ[key] for key in ("RAY_AUTH_MODE",) if key in os.environ}
            offer = {"cpus": machine.cpus, "gpus": machine.gpus, "nodes": [asdict(node) for node in machine.nodes]}
            # A cluster of somebody else's is not started again, so whether it still answers is the jobs' to find out.
            places = vital_places() if is_of_this_process() else ()
            out.write({"address": found, "places": places, "environment": environment, **offer})
            while os.read(0, 4096):  # Until the other end is closed, by whatever ended it.
                pass
    except AutosftError as error:
        out.write({"error": str(error)})
        sys.exit(2)
    except Exception as error:  # Ray's own, of many kinds; the log has all of it.
        out.write({"error": f"Ray could not start ({type(error).__name__}: {error})", "is_fault": True})
        raise


if __name__ == "__main__":
    main()
