"""What are a refit, augmentation and an ensemble worth where rows are few? Test files are not read.

    python benchmarks/few_row_stages.py --data ROOT --set banking77 --rows 10 --cuts 3

Fine-tunes the untuned default of `transformers` on so many rows a class, drawn from the training file anew in every
cut, and scores it on 3,000 other rows of the same file: trained on all of them, as a refit is ("all"), on four fifths,
as a search's trial is, and on all of them with each augmentation of texts; beside it a frozen head, the contrastive
default, and the mean of the logarithms of what both and "all" say ("ensemble"), which costs three passes of an
encoder to predict with. Appends a line to results/few_row_stages.jsonl: mean accuracies over the cuts, and gains over
"all" with their standard errors.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from few_rows import Bench, keep, parser, rows_of

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows
from autosft.trainers.base import TrainingData

RESULTS = Path(__file__).parent / "results" / "few_row_stages.jsonl"
WAYS = ("all", "four fifths", "token-cutoff", "punctuation", "frozen_head", "contrastive", "ensemble")


def four_fifths(data: TrainingData, *, seed: int) -> TrainingData:
    """Leaves a fifth of each class's rows out of training."""
    labels = to_numbers(data.all.targets())[data.train]
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(data.train[labels == label]) for label in np.unique(labels)]
    return replace(data, train=np.sort(np.concatenate([rows[len(rows) // 5 :] for rows in of_class])))


def accuracies(bench: Bench, data: TrainingData, *, seed: int) -> list[float]:
    """Returns the accuracy of each way."""
    model, of_all = bench.train("transformers", data, seed=seed)
    found = [of_all, bench.train("transformers", four_fifths(data, seed=seed), seed=seed)[1]]
    for name in WAYS[2:4]:
        found.append(bench.train("transformers", data, seed=seed, augmentation=name)[1])
    others = [bench.train(trainer, data, seed=seed) for trainer in WAYS[4:6]]
    table = Rows(data.all.path, data.validation).table()
    told = [to_matrix(one.predict(table)).astype(np.float64) for one in (model, *(other for other, _ in others))]
    labels = to_numbers(data.all.targets())[data.validation]
    together = np.sum([np.log(np.maximum(one, 1e-12)) for one in told], axis=0)
    return [*found, *(score for _, score in others), float(np.mean(together.argmax(axis=1) == labels))]


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    arguments = reader.parse_args()
    started, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut)
            rows.append(accuracies(bench, data, seed=cut))
            print(cut, dict(zip(WAYS, np.round(rows[-1], 4).tolist(), strict=True)), flush=True)
    keep(RESULTS, arguments, rows, names=WAYS, started=started)


if __name__ == "__main__":
    main()
