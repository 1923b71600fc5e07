"""`python -m autosft.batch.child`: one job of a batch in a process of its own, so that no fault of it reaches another.

It reads what to do as a line of JSON, begins the run or goes on with it, and says as lines of JSON how far it is.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosft.batch.job import as_given
from autosft.batch.pipes import Lines, die_with_parent, read_line
from autosft.budget import Budget
from autosft.errors import AutosftError
from autosft.planning.plan import Plan
from autosft.run_folder import RunFolder, as_json
from autosft.search.trial import Trial
from autosft.tracking.base import Tracker, Trackers
from autosft.tracking.choose import listening


def main() -> None:
    """Carries out one order, and ends the process with how it went."""
    out = Lines.taken_from_stdout()
    order = read_line()
    die_with_parent()
    # Where no run listens to it yet, it ends this process as Ctrl-C would.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_carry_out(order, out))


def _carry_out(order: Mapping[str, Any], out: Lines) -> int:
    try:
        # Standard error is the job's log.
        _run(order, Trackers(_Messenger(out), listening(order["tracker"])))
    except KeyboardInterrupt:
        out.write({"event": "ended", "fate": "interrupted", "reason": "it was ended before there was a model"})
        return 130
    except AutosftError as error:
        print(error, file=sys.stderr, flush=True)
        out.write({"event": "ended", "fate": "failed", "reason": str(error), "error": type(error).__name__})
        return 1
    except BaseException as error:  # A fault of ours: the log has its traceback, and the batch goes on.
        traceback.print_exc()
        reason = f"a fault of autosft's own ({type(error).__name__}: {error})"
        out.write({"event": "ended", "fate": "failed", "reason": reason, "error": "fault"})
        return 1
    out.write({"event": "ended", "fate": "finished", "reason": ""})
    return 0


def _run(order: Mapping[str, Any], tracker: Tracker) -> None:
    from autosft import api

    folder, cluster = Path(order["folder"]), order["cluster"]
    if RunFolder(folder).plan.exists():
        more = None if order["more_seconds"] is None else Budget(seconds=order["more_seconds"])
        # One that lost time to a kill gets that back; what else its budget names was not lost.
        keep = not order["is_extension"]
        api.resume(folder, budget=more, keep_limits=keep, tracker=tracker, cluster=cluster)
        return
    arguments = as_given(order["arguments"])
    arguments["budget"] = Budget(**arguments["budget"])
    api.fit(**arguments, tracker=tracker, folder=folder, cluster=cluster)


class _Messenger(Tracker):
    """Passes on what a table of many jobs shows of each."""

    def __init__(self, out: Lines) -> None:
        self._out = out

    def phase(self, name: str) -> None:
        self._out.write({"event": "phase", "phase": name})

    def planned(self, plan: Plan) -> None:
        metric = plan.task.metric
        self._out.write({"event": "planned", "kind": plan.task.kind, "metric": metric.name})

    def opened(self, folder: Path) -> None:
        run = RunFolder(folder)
        trial = run.read(run.plan)["resources"]
        self._out.write({"event": "opened", "cpus": trial["cpus_per_trial"], "gpus": trial["gpus_per_trial"]})

    def started(self, trial: Trial) -> None:
        self._out.write({"event": "trial", "number": trial.number, "arm": trial.arm})

    def ended(self, trial: Trial, best: Trial | None, seconds_left: float | None) -> None:
        found = {} if best is None else {"score": best.score, "interval": best.interval}
        counts = {"fate": trial.fate, "number": trial.number, "seconds_left": seconds_left}
        self._out.write(as_json({"event": "trial_ended", **counts, "best": found}))


if __name__ == "__main__":
    main()
