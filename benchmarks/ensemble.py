"""What is an ensemble of several methods worth over the fine-tuning alone? Test files are not read.

    python benchmarks/ensemble.py --data ROOT --set banking77 --rows 10 --cuts 3

Draws so many rows a class from the training file anew in every cut. The untuned defaults of `transformers` ("alone"),
`frozen_head` and `tfidf` are trained on four fifths of them, and the fifth that is left says what each counts, as
`autosft.ensemble` fits it; then they are trained on all of them and scored on up to 1,500 other rows of the same file,
by those weights ("ensemble"), and by weights of 1, 1/2 and 1/2 that nothing was fitted for ("fixed"). Appends a line to
results/ensemble.jsonl: mean accuracies over the cuts, gains over "alone" with their standard errors, and the weights.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import few_rows
import numpy as np
import pyarrow as pa
from few_rows import Bench, keep, parser, rows_of
from numpy.typing import NDArray

from autosft.arrays import log_probabilities, to_numbers
from autosft.ensemble import weights
from autosft.trainers.base import TrainingData

RESULTS = Path(__file__).parent / "results" / "ensemble.jsonl"
TRAINERS = ("transformers", "frozen_head", "tfidf")
WAYS = ("alone", "frozen_head", "tfidf", "ensemble", "fixed")
FEW_ROWS = 50


def a_fifth(data: TrainingData, *, seed: int) -> NDArray[np.int64]:
    """Returns a fifth of each class's training rows, one at least of what has two."""
    labels = to_numbers(data.all.targets())[data.train]
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(data.train[labels == label]) for label in np.unique(labels)]
    return np.sort(np.concatenate([rows[: max(1, len(rows) // 5)] for rows in of_class if len(rows) > 1]))


def outputs(bench: Bench, data: TrainingData, trainer: str, *, seed: int, few: bool) -> pa.Array:
    """Trains a method's untuned default and returns its outputs for the validation rows."""
    changed = {"contrastive_weight": 1.0} if trainer == "transformers" and few else {}
    return bench.outputs(trainer, data, seed=seed, **changed)[1]


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    reader.add_argument("--as-they-come", action="store_true", help="on average, in the shares of the file")
    arguments = reader.parse_args()
    few_rows.NUM_VALIDATION = 1_500
    started, rows, counted, few = time.monotonic(), [], [], arguments.rows < FEW_ROWS
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut, as_they_come=arguments.as_they_come)
            left = a_fifth(data, seed=cut)
            part = replace(data, train=np.setdiff1d(data.train, left), validation=left)
            targets = data.all.targets()
            told = [outputs(bench, part, one, seed=cut, few=few) for one in TRAINERS]
            found = weights(targets.take(pa.array(left)), told)[0]
            logs = [log_probabilities(outputs(bench, data, one, seed=cut, few=few)) for one in TRAINERS]
            pools = [*logs, np.tensordot(found, np.stack(logs), 1), logs[0] + 0.5 * logs[1] + 0.5 * logs[2]]
            labels = to_numbers(targets)[data.validation]
            rows.append([float(np.mean(one.argmax(axis=1) == labels)) for one in pools])
            counted.append(np.round(found, 2).tolist())
            print(cut, dict(zip(WAYS, np.round(rows[-1], 4).tolist(), strict=True)), counted[-1], flush=True)
    more = {"as_they_come": True} if arguments.as_they_come else {}
    num_rows = {"weighed_on": len(left), "weights": counted}
    keep(RESULTS, arguments, rows, names=WAYS, started=started, **num_rows, **more)


if __name__ == "__main__":
    main()
