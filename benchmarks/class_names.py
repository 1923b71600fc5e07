"""Does the name of a class, as one more training row of it, help where rows are few? Test files are not read.

    python benchmarks/class_names.py --data ROOT --set banking77 --rows 1,2,5,10,20 --cuts 8
    python benchmarks/class_names.py --data ROOT --set banking77 --rows 10 --cuts 3 --trainer transformers

Trains MiniLM on so many rows a class, drawn from the training file anew in every cut, with the name of each class
counting as 0, 1 or 3 rows, and scores on 3,000 other rows of the same file. Appends a line a set and number of rows to
results/class_names.jsonl: mean accuracies over the cuts, and gains over no names with their standard errors.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from few_rows import Bench, parser, rows_of
from numpy.typing import NDArray
from text_classification import commit

RESULTS = Path(__file__).parent / "results" / "class_names.jsonl"
TIMES = (0, 1, 3)


def main() -> None:
    reader = parser(__doc__, cuts=8)
    reader.add_argument("--rows", default="1,2,5,10,20", help="rows a class")
    reader.add_argument("--trainer", default="frozen_head", choices=["frozen_head", "transformers"])
    arguments = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for num_rows in map(int, arguments.rows.split(",")):
            started = time.monotonic()
            cuts = [bench.draw(num_rows, cut) for cut in range(arguments.cuts)]
            found = np.array(
                [
                    [bench.train(arguments.trainer, data, seed=cut, class_name_rows=times)[1] for times in TIMES]
                    for cut, data in enumerate(cuts)
                ]
            )
            gains = found[:, 1:] - found[:, :1]
            errors = gains.std(axis=0, ddof=1) / len(gains) ** 0.5
            row = {
                "set": arguments.set,
                "trainer": arguments.trainer,
                "rows_per_class": num_rows,
                "cuts": arguments.cuts,
                "accuracy": _by_times(TIMES, found.mean(axis=0)),
                "gain": _by_times(TIMES[1:], gains.mean(axis=0)),
                "standard_error": _by_times(TIMES[1:], errors),
                "seconds": round(time.monotonic() - started, 1),
                "commit": commit(),
            }
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _by_times(times: Sequence[int], values: NDArray[np.float64]) -> dict[str, float]:
    return {str(time): round(float(value), 4) for time, value in zip(times, values, strict=True)}


if __name__ == "__main__":
    main()
