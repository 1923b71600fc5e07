"""Processes that need the same tokens at the same time: one makes them, the others read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from autosft.inputs.text import cached_table

MAKE = """
import sys, time
from pathlib import Path
import pyarrow as pa
from autosft.inputs.text import cached_table
place = Path(sys.argv[1])
def make():
    with (place / "made").open("a") as file:
        file.write("once\\n")
    time.sleep(1.0)
    return pa.table({"input_ids": [[1, 2], [3]]})
(place / f"ready{sys.argv[2]}").touch()
while len(list(place.glob("ready*"))) < 2:
    time.sleep(0.01)
print(cached_table(place / "tokens.arrow", make).num_rows)
"""


def test_two_processes_compute_it_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path), str(at)], stdout=subprocess.PIPE, text=True)
        for at in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["2", "2"]
    assert (tmp_path / "made").read_text() == "once\n"


def test_what_a_killed_process_left_half_written_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "tokens.arrow"
    path.with_suffix(".unfinished").write_bytes(b"half")
    assert cached_table(path, lambda: pa.table({"input_ids": [[1]]})).num_rows == 1
    assert cached_table(path, lambda: pa.table({"input_ids": [[1], [2]]})).num_rows == 1
