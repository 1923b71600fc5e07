"""Is the mean of several trainings' weights better than one of them? Test files are not read.

    python benchmarks/soup.py --data ROOT --set banking77 --rows 10 --cuts 3

Fine-tunes MiniLM on so many rows a class, drawn from the training file anew in every cut, with three seeds from the
same fitted head, and scores each of them, and the means of two and of three, on 3,000 other rows of the same file.
Appends a line to results/soup.jsonl: mean accuracies over the cuts, and gains over one training with their standard
errors.
"""

from __future__ import annotations

import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from few_rows import Bench, keep, parser, rows_of

from autosft.planning.refits import MOST_TRAININGS

RESULTS = Path(__file__).parent / "results" / "soup.jsonl"


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    arguments = reader.parse_args()
    started, by_size = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut)
            trained = [bench.train("transformers", data, seed=seed) for seed in range(MOST_TRAININGS)]
            models = [model for model, _ in trained]
            row = [float(np.mean([score for _, score in trained]))]
            for size in range(2, MOST_TRAININGS + 1):
                means = [first.averaged(others) for first, *others in combinations(models, size)]
                row.append(float(np.mean([bench.accuracy(mean, data) for mean in means if mean is not None])))
            by_size.append(row)
            print(cut, [round(score, 4) for score in row], flush=True)
    keep(RESULTS, arguments, by_size, started=started)


if __name__ == "__main__":
    main()
