"""Memory that really runs out, by a limit on the process: batches of half the size, and then words."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

#: Features of long rows of a wide model, in a process whose memory ends a little above what it takes to begin.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from autosft.errors import TrialFailed
from autosft.trainers.base import Limits
from autosft.trainers.features import FeatureCache

torch.set_num_threads(1)
width, megabytes = int(sys.argv[2]), int(sys.argv[3])

class Long:
    max_length = 512
    lengths = np.full(64, 512)
    def __len__(self): return 64
    def collate(self, rows): return {"x": torch.ones(len(rows), 512, width)}

largest = []
def embed(batch):
    found = (batch["x"] * 2.0).relu().sum(dim=1)[:, :4]
    largest.append(len(batch["x"]))
    return found

features = FeatureCache(Path(sys.argv[1]), "key", Long(), embed, 4)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), resource.RLIM_INFINITY))
try:
    rows = features.compute(np.arange(64), Limits(1, Path(sys.argv[1])))
    print("rows", len(rows), "largest batch", max(largest))
except TrialFailed as error:
    print("failed:", error)
"""


def limited(folder: Path, *, width: int, megabytes: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(folder), str(width), str(megabytes)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_batches_shrink_until_they_fit(tmp_path: Path) -> None:
    # Four megabytes a row, and twice that while it is worked on: 16 rows do not fit into 100, eight do.
    said = limited(tmp_path, width=2048, megabytes=100)
    assert said.startswith("rows 64 largest batch ")
    assert 1 <= int(said.split()[-1]) <= 8


def test_where_not_even_one_row_fits_it_is_said(tmp_path: Path) -> None:
    assert "failed: the model and one row of length 512 do not fit in memory" in limited(
        tmp_path, width=40_000, megabytes=60
    )
