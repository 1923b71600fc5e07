"""Worker seconds by phase: nested phases count once, and the parts of a run add up to wall time times workers."""

from __future__ import annotations

import threading
import time

import pytest

from autosft.accounting import PHASES, open_ledger, phase
from autosft.finish import account
from autosft.planning.plan import Resources
from autosft.search.settings import Machine


def test_a_nested_phase_counts_for_the_inner_one_only() -> None:
    with open_ledger() as ledger:
        with phase("train"):
            time.sleep(0.05)
            with phase("evaluate"):
                time.sleep(0.1)
            time.sleep(0.05)
        with phase("train"):
            time.sleep(0.05)
    assert ledger.seconds["train"] == pytest.approx(0.15, abs=0.05)
    assert ledger.seconds["evaluate"] == pytest.approx(0.1, abs=0.05)
    assert sum(ledger.seconds.values()) == pytest.approx(0.25, abs=0.08)


def test_a_phase_that_raises_is_counted_and_closed() -> None:
    with open_ledger() as ledger:
        with pytest.raises(ValueError, match="boom"), phase("load"):
            time.sleep(0.02)
            raise ValueError("boom")
        with phase("train"):
            pass
    assert ledger.seconds["load"] >= 0.02


def test_a_phase_outside_of_a_ledger_and_in_another_thread_counts_nowhere() -> None:
    def elsewhere() -> None:
        with phase("train"):
            time.sleep(0.02)

    with phase("train"):
        pass
    with open_ledger() as ledger:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert set(ledger.seconds.values()) == {0.0}


def test_an_unknown_phase_is_refused() -> None:
    with open_ledger(), pytest.raises(KeyError, match="train"), phase("lunch"):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_the_parts_of_a_run_add_up(workers: int) -> None:
    cpu_seconds = {**dict.fromkeys(PHASES, 4.0), "start_up": 6.0, "total": 28.0}
    resources = Resources(Machine(4), 2, 0.0, workers)
    seconds = account(cpu_seconds, resources, wall_seconds=30.0, driver_seconds=3.0)
    parts = (*PHASES, "start_up", "idle")
    assert sum(seconds[name] for name in parts) == pytest.approx(30.0 * workers)
    assert seconds["train"] == 2.0  # Two CPUs were one worker.
    assert seconds["load"] == 2.0 + (28.0 - len(PHASES) * 4.0) / 2
