"""Is a threshold a label better than one for all? Test files are not read.

    python benchmarks/thresholds.py --data ROOT

Fits untuned defaults on 2,500 rows of GoEmotions' training file. Of 8,000 other rows of it, thresholds are chosen on
so many and judged on 5,000 more, drawn anew twenty times. Appends a line for each trainer and number of rows to
results/thresholds.jsonl: F1 with one threshold for all labels, and by how much it is higher with one a label, for
several numbers of positive rows at which a label's own counts as much as the common one, with standard errors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
from text_classification import commit
from tfidf import Bench

from autosft.arrays import to_matrix
from autosft.tasks import label_set_metrics
from autosft.tasks.label_set_metrics import Decided, Flags, metric_values, thresholds

RESULTS = Path(__file__).parent / "results" / "thresholds.jsonl"
TRAINERS = ("tfidf", "frozen_head", "transformers")
NUM_CHOSEN_ON, NUM_JUDGED, DRAWS = (200, 1_000, 3_000), 5_000, 20
TRUST = {"micro_f1": (1, 50, 100, 200, 400), "macro_f1": (1, 2, 10, 50)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.data, "goemotions", Path(folder), arguments.threads)
        data = bench.draw(0)
        others = np.setdiff1d(np.arange(len(data.all)), data.train)
        most = NUM_CHOSEN_ON[-1] + NUM_JUDGED
        data = replace(data, validation=np.sort(np.random.default_rng(0).permutation(others)[:most]))
        targets = to_matrix(data.all.targets().take(pa.array(data.validation))).astype(bool)
        for trainer in TRAINERS:
            probabilities = to_matrix(bench.outputs(trainer, data)).astype(np.float32)
            for metric, trusted in TRUST.items():
                for num_rows in NUM_CHOSEN_ON:
                    row = {"set": "goemotions", "trainer": trainer, "metric": metric, "rows": num_rows}
                    row |= compared(targets, probabilities, metric, num_rows, trusted)
                    row |= {"commit": commit()}
                    print(json.dumps(row), flush=True)
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


def compared(
    targets: Flags, probabilities: np.ndarray, metric: str, num_rows: int, trusted: tuple[int, ...]
) -> dict[str, float | dict[str, list[float]]]:
    """Returns the mean F1 with one threshold for all labels, and the gains with one a label."""
    scores: dict[int | None, list[float]] = {trust: [] for trust in (None, *trusted)}
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(targets))
        chosen, judged = order[:num_rows], order[-NUM_JUDGED:]
        for trust, found in scores.items():
            at = {} if trust is None else {metric: trust}
            with mock.patch.object(label_set_metrics, "_HALF_TRUSTED_AT", at):
                cuts = thresholds(targets[chosen], probabilities[chosen], metric)
            decided = Decided(targets[judged], probabilities[judged], probabilities[judged] >= cuts)
            found.append(float(metric_values(metric, decided, np.ones((1, NUM_JUDGED)))[0]))
    common = np.array(scores.pop(None))
    gains = {str(trust): np.array(found) - common for trust, found in scores.items()}
    return {
        "common": round(float(common.mean()), 4),
        "gains": {
            trust: [round(float(gain.mean()), 4), round(float(gain.std(ddof=1) / DRAWS**0.5), 4)]
            for trust, gain in gains.items()
        },
    }


if __name__ == "__main__":
    main()
