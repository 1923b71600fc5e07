"""From which head does a fine-tuning of MiniLM start best? Test files are not read.

    python benchmarks/start_head.py --data ROOT --set goemotions --rows 10 --cuts 3

Fine-tunes the untuned default of `transformers` on so many rows a class, drawn from the training file anew in every
cut, and scores it on 3,000 other rows of the same file, starting from a fresh head ("fresh"), from the logistic
regression on frozen features ("fitted"), and from that one softened as `autosft.trainers.start_head` does ("softened",
what is shipped). Appends a line to results/start_head.jsonl: mean accuracies over the cuts, and gains over the fitted
head with their standard errors.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from few_rows import Bench, keep, parser, rows_of

from autosft.trainers import with_transformers
from autosft.trainers.base import TrainingData
from autosft.trainers.linear_head import LinearHead

RESULTS = Path(__file__).parent / "results" / "start_head.jsonl"
STARTS = ("fitted", "softened", "fresh")


def accuracy(bench: Bench, data: TrainingData, start: str, *, seed: int) -> float:
    if start == "fresh":
        return bench.train("transformers", data, seed=seed, head="mean")[1]
    if start == "softened":
        return bench.train("transformers", data, seed=seed)[1]
    with mock.patch.object(with_transformers, "fit_start_head", LinearHead.fit):
        return bench.train("transformers", data, seed=seed)[1]


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    arguments = reader.parse_args()
    started, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut)
            rows.append([accuracy(bench, data, start, seed=cut) for start in STARTS])
            print(cut, dict(zip(STARTS, np.round(rows[-1], 4).tolist(), strict=True)), flush=True)
    keep(RESULTS, arguments, rows, names=STARTS, started=started)


if __name__ == "__main__":
    main()
