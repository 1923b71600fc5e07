"""What share should the weights that a fine-tuning starts from have in the model? Test files are not read.

    python benchmarks/start_weights.py --data ROOT --set banking77 --rows 10 --cuts 3

Fine-tunes MiniLM from a fitted head on so many rows a class, drawn from the training file anew in every cut, and scores
the model, what it started from, and what lies between them on 3,000 other rows of the same file. Appends a line to
results/start_weights.jsonl: mean accuracies over the cuts by share, and gains over no share with their standard errors.
"""

from __future__ import annotations

import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from few_rows import Bench, parser, rows_of
from text_classification import commit

RESULTS = Path(__file__).parent / "results" / "start_weights.jsonl"

SHARES = [Fraction(0), Fraction(1, 5), Fraction(1, 3), Fraction(1, 2), Fraction(2, 3), Fraction(1)]


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    arguments = reader.parse_args()
    started, by_cut = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut)
            end, _ = bench.train("transformers", data, seed=cut)
            start, _ = bench.train("transformers", data, seed=cut, learning_rate=0.0, num_train_epochs=1)
            row = []
            for share in SHARES:
                parts = [start] * share.numerator + [end] * (share.denominator - share.numerator)
                mixed = parts[0].averaged(parts[1:])
                assert mixed is not None, "both are the same network"
                row.append(bench.accuracy(mixed, data))
            by_cut.append(row)
            print(cut, [round(score, 4) for score in row], flush=True)
    found = np.array(by_cut)
    gains = found[:, 1:] - found[:, :1]
    error = gains.std(axis=0, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.full(gains.shape[1], np.nan)
    result = {
        "set": arguments.set,
        "rows_per_class": arguments.rows,
        "cuts": arguments.cuts,
        "shares": [round(float(share), 3) for share in SHARES],
        "accuracy": found.mean(axis=0).round(4).tolist(),
        "gain": gains.mean(axis=0).round(4).tolist(),
        "standard_error": [None if np.isnan(value) else round(float(value), 4) for value in error],
        "seconds": round(time.monotonic() - started, 1),
        "commit": commit(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
