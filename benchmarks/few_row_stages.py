"""What are a refit, augmentation and an ensemble worth where rows are few? Test files are not read.

    python benchmarks/few_row_stages.py --data ROOT --set banking77 --rows 10 --cuts 3
    python benchmarks/few_row_stages.py --data ROOT --set snips --rows 100 --ways "all,three quarters,four fifths"

Fine-tunes the untuned default of `transformers` on so many rows a class, drawn from the training file anew in every
cut, and scores it on 3,000 other rows of the same file: trained on all of them, as a refit is ("all"), so for three
quarters of the epochs, on four fifths of the rows, as a search's trial is, and on all of them with each augmentation of
texts and with a contrastive loss beside the head's ("contrast", no part of "all"); beside it a frozen head, the
contrastive trainer, and the mean of the logarithms of what both and "all" say ("ensemble"), which costs three passes of
an encoder to predict with. Appends a line to results/few_row_stages.jsonl: mean accuracies over the cuts, and gains
over "all" with their standard errors.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from few_rows import Bench, keep, parser, rows_of

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows
from autosft.trainers.base import TrainingData
from autosft.trainers.with_transformers import default_epochs

RESULTS = Path(__file__).parent / "results" / "few_row_stages.jsonl"
AUGMENTATIONS, TRAINERS = ("token-cutoff", "punctuation"), ("frozen_head", "contrastive")
WAYS = ("all", "contrast", "three quarters", "four fifths", *AUGMENTATIONS, *TRAINERS, "ensemble")


def four_fifths(data: TrainingData, *, seed: int) -> TrainingData:
    """Leaves a fifth of each class's rows out of training."""
    labels = to_numbers(data.all.targets())[data.train]
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(data.train[labels == label]) for label in np.unique(labels)]
    return replace(data, train=np.sort(np.concatenate([rows[len(rows) // 5 :] for rows in of_class])))


def accuracies(bench: Bench, data: TrainingData, ways: Sequence[str], *, seed: int) -> list[float]:
    """Returns the accuracy of each way."""
    model, of_all = bench.train("transformers", data, seed=seed)
    models, found = [model], {"all": of_all}
    for way in ways:
        if way == "contrast":
            found[way] = bench.train("transformers", data, seed=seed, contrastive_weight=1.0)[1]
        elif way == "three quarters":
            epochs = default_epochs(len(data.train))
            found[way] = bench.train("transformers", data, seed=seed, num_train_epochs=round(0.75 * epochs))[1]
        elif way == "four fifths":
            found[way] = bench.train("transformers", four_fifths(data, seed=seed), seed=seed)[1]
        elif way in AUGMENTATIONS:
            found[way] = bench.train("transformers", data, seed=seed, augmentation=way)[1]
        elif way in TRAINERS:
            other, found[way] = bench.train(way, data, seed=seed)
            models.append(other)
    if "ensemble" in ways:
        table = Rows(data.all.path, data.validation).table()
        told = [to_matrix(one.predict(table)).astype(np.float64) for one in models]
        labels = to_numbers(data.all.targets())[data.validation]
        together = np.sum([np.log(np.maximum(one, 1e-12)) for one in told], axis=0)
        found["ensemble"] = float(np.mean(together.argmax(axis=1) == labels))
    return [found[way] for way in ways]


def main() -> None:
    reader = parser(__doc__, cuts=3)
    reader.add_argument("--rows", type=int, default=10, help="rows a class")
    reader.add_argument("--as-they-come", action="store_true", help="on average, in the shares of the file")
    reader.add_argument("--ways", default=",".join(WAYS), help="which of them, all first")
    arguments = reader.parse_args()
    started, rows, ways = time.monotonic(), [], arguments.ways.split(",")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rows_of(arguments.data, arguments.set), Path(folder), arguments.threads)
        for cut in range(arguments.cuts):
            data = bench.draw(arguments.rows, cut, as_they_come=arguments.as_they_come)
            rows.append(accuracies(bench, data, ways, seed=cut))
            print(cut, dict(zip(ways, np.round(rows[-1], 4).tolist(), strict=True)), flush=True)
    more = {"as_they_come": True} if arguments.as_they_come else {}
    keep(RESULTS, arguments, rows, names=ways, started=started, **more)


if __name__ == "__main__":
    main()
