"""What share should the weights that a fine-tuning starts from have in the model? Test files are not read.

    python benchmarks/start_weights.py --data ROOT --set banking77 --rows 10 --cuts 3

Fine-tunes MiniLM from a fitted head on so many rows a class, drawn from the training file anew in every cut, and scores
the model, what it started from, and what lies between them on 3,000 other rows of the same file. Appends a line to
results/start_weights.jsonl: mean accuracies over the cuts by share, and gains over no share with their standard errors.
"""

from __future__ import annotations

import tempfile
import time
from fractions import Fraction
from pathlib import Path

from few_rows import Bench, keep, parser, rows_of

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
    keep(RESULTS, arguments, by_cut, shares=[round(float(share), 3) for share in SHARES], started=started)


if __name__ == "__main__":
    main()
