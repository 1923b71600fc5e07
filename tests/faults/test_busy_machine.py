"""A machine that something else keeps busy: the budget is kept all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shell import Shell, ended

# No fault, and with nothing beside it: what else is tested at the same time would count as busy, too.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("trainer", "budget", "longest"),
    [("transformers", 45, 65), ("frozen_head,transformers", 45, 65)],
)
def test_a_budget_is_kept_where_a_full_training_would_not_fit(
    tmp_path: Path, trainer: str, budget: int, longest: float
) -> None:
    shell = Shell(tmp_path, num_rows=6000, hidden_size=128)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        started = time.monotonic()
        process = shell.fit("--trainer", trainer, "--budget", f"{budget}s", "--json")
        done = ended(process, within_seconds=4 * longest)
        took = time.monotonic() - started
    finally:
        busy.kill()
        busy.wait()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_trials"] >= 1
    assert took <= longest, done.stderr
    assert not shell.left_behind()
