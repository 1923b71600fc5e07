"""Records learning curves of real fine-tunings, which `simulate.py` replays, so that a search is judged in seconds.

    python benchmarks/replay/record.py --data ROOT --set banking77 --configs 100
    python benchmarks/replay/record.py --data ROOT --set banking77 --configs 25 --arm frozen_head

Recorded are what a search may open with (the untuned default, other learning rates of it, a fresh head in the place of
its fitted one) and draws from the shipped space. Every configuration is trained at every rung as a whole, annealed run
of that length, and at full length with a report at each rung, so that annealed and cut-off rungs can be compared.
Configurations that could win, the default, and fresh heads are trained at full length with more seeds. Runs that the
table holds already are not made again: stop it at any time, and go on later. ROOT is laid out as `benchmarks/data.md`
says; no test file is read.

The encoder is MiniLM's first layer, so that a full run takes seconds on two cores; other arms (`--arm`) are recorded on
the same rows, for searches over several. Cost is counted in rows trained on, not in seconds, which other work on the
machine would change.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from transformers.utils import logging

from autosft.arrays import to_matrix, to_numbers
from autosft.base_models import MINILM, NO_MODEL, BaseModel, describe, locate
from autosft.data.data import Rows, materialise
from autosft.data.read import read
from autosft.data.source import Source
from autosft.infer import infer
from autosft.search.space_file import find_space
from autosft.task import Input, Output, Task
from autosft.tasks import kind as task_kind
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.with_transformers import TransformersConfig

RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 360, 300, 600
EPOCHS = 5


@dataclass(frozen=True)
class Arm:
    """What can be recorded on a set's rows.

    Attributes:
        trainer: Name of the trainer.
        num_layers: Of MiniLM, from its embeddings up.
        rungs: Lengths at which a configuration is trained.
    """

    trainer: str
    num_layers: int
    rungs: tuple[float, ...] = RUNGS


#: By name; the first is what `simulate.py` replays by itself.
ARMS = {
    "transformers-1": Arm("transformers", 1),
    "transformers-3": Arm("transformers", 3, RUNGS[1:]),
    "frozen_head": Arm("frozen_head", 3, (1.0,)),
    "tfidf": Arm("tfidf", 0, (1.0,)),
}
FIRST_ARM = next(iter(ARMS))

#: Untuned learning rate of the shortened encoder, between those of MiniLM and of training from scratch.
LEARNING_RATE = 2e-4
#: Factors on it at which the default is also trained with a fresh head, and the id of the first of these: far behind
#: those of draws, so that more can be drawn later.
FRESH_HEAD_FACTORS, FIRST_FRESH_HEAD = (1.0, 3.0), 1000

#: Columns of the table: a row a run and report.
SCHEMA = pa.schema(
    [
        ("config_id", pa.int32()),  # 0 is the untuned default; see `configurations`
        ("config", pa.string()),  # JSON
        ("seed", pa.int32()),
        ("run_fidelity", pa.float64()),  # length of the run that reported
        ("fidelity", pa.float64()),  # where in a full run it reported
        ("validation", pa.float64()),  # accuracy
        ("loss", pa.float64()),  # mean negative log-likelihood on the validation rows
        ("calibrated", pa.float64()),  # the same after scaling by the temperature that makes it least
        ("test", pa.float64()),  # accuracy; null below full length
        ("seconds", pa.float64()),
    ]
)


def sentence_polarity(root: Path) -> pa.Table:
    rows = []
    for name in ("amazon_cells", "imdb", "yelp"):
        path = root / f"text-classification/sentence_polarity_uci/{name}_labelled.txt"
        lines = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").split("\n") if "\t" in line]
        rows += [{"text": text, "label": label.strip()} for text, label in lines]
    return pa.Table.from_pylist(rows)


def banking77(root: Path) -> pa.Table:
    """The twenty most frequent intents of the training file."""
    table = read(root / "intent/banking77/train.csv").train
    counts = table.column("category").value_counts().to_pylist()
    kept = [row["values"] for row in sorted(counts, key=lambda row: (-row["counts"], row["values"]))[:20]]
    rows = [row for row in table.to_pylist() if row["category"] in kept]
    return pa.Table.from_pylist([{"text": row["text"], "label": row["category"]} for row in rows])


def goemotions(root: Path) -> pa.Table:
    """Comments with exactly one of the eight most frequent emotions, "neutral" aside."""
    names = (root / "multilabel/goemotions/labels.txt").read_text(encoding="utf-8").split()
    lines = (root / "multilabel/goemotions/train.tsv").read_text(encoding="utf-8").split("\n")
    parts = [line.split("\t") for line in lines if line]
    labelled = [(text, labels) for text, labels, _ in parts if labels.isdigit()]
    single = [(text, names[int(label)]) for text, label in labelled if names[int(label)] != "neutral"]
    kept = [label for label, _ in Counter(label for _, label in single).most_common(8)]
    return pa.Table.from_pylist([{"text": text, "label": label} for text, label in single if label in kept])


def snips(root: Path) -> pa.Table:
    """Requests to an assistant, with seven intents."""
    rows = []
    for path in sorted((root / "intent/snips").glob("*/train_*.json")):
        for intent, requests in json.loads(path.read_text(encoding="utf-8")).items():
            texts = ["".join(part["text"] for part in request["data"]) for request in requests]
            rows += [{"text": text.strip(), "label": intent} for text in texts]
    return pa.Table.from_pylist(rows)


SETS: dict[str, Callable[[Path], pa.Table]] = {
    "sentence_polarity": sentence_polarity,
    "banking77": banking77,
    "goemotions": goemotions,
    "snips": snips,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=[*SETS], required=True)
    parser.add_argument("--arm", choices=[*ARMS], default=FIRST_ARM)
    parser.add_argument("--configs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the configurations that could win")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    table = table_of(Path(__file__).parent, arguments.set, arguments.arm)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(SETS[arguments.set](arguments.data), ARMS[arguments.arm], Path(folder), arguments.threads)
        record(recorder, table, arguments.configs, arguments.seeds)


def table_of(folder: Path, set_name: str, arm: str) -> Path:
    """Returns where the table of a set and arm is kept."""
    return folder / (f"{set_name}.parquet" if arm == FIRST_ARM else f"arms/{set_name}.{arm}.parquet")


def record(recorder: Recorder, path: Path, num_configs: int, num_seeds: int) -> None:
    """Makes the runs that the table lacks, and writes it after each configuration."""
    path.parent.mkdir(exist_ok=True)
    configs = configurations(recorder.arm, recorder.default, num_configs)
    for config_id, config in configs.items():
        _record_one(recorder, path, config_id, config, 0, recorder.arm.rungs)
    for config_id in could_win(path):
        for seed in range(1, num_seeds):
            _record_one(recorder, path, config_id, configs[config_id], seed, (1.0,))


def _record_one(
    recorder: Recorder, path: Path, config_id: int, config: dict[str, Any], seed: int, rungs: tuple[float, ...]
) -> None:
    table = pq.read_table(path) if path.exists() else SCHEMA.empty_table()
    if any(row["config_id"] == config_id and row["seed"] == seed for row in table.to_pylist()):
        return
    rows = [row for fidelity in rungs for row in recorder.run(config, fidelity, seed)]
    named = {"config_id": config_id, "config": json.dumps(config), "seed": seed}
    table = pa.concat_tables([table, pa.Table.from_pylist([named | row for row in rows], schema=SCHEMA)])
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.replace(path)
    print(path.stem, config_id, seed, f"{rows[-1]['validation']:.3f}", f"{rows[-1]['test']:.3f}", flush=True)


def could_win(path: Path) -> list[int]:
    """Returns the default, it with fresh heads, and the third of the configurations that did best at full length."""
    rows = [row for row in pq.read_table(path).to_pylist() if row["fidelity"] == row["run_fidelity"] == 1]
    ranked = sorted((row for row in rows if row["seed"] == 0), key=lambda row: -row["validation"])
    fresh = sorted(row["config_id"] for row in ranked if row["config_id"] >= FIRST_FRESH_HEAD)
    return list(dict.fromkeys([0, *fresh, *(row["config_id"] for row in ranked[: len(ranked) // 3])]))


def configurations(arm: Arm, default: dict[str, Any], num: int) -> dict[int, dict[str, Any]]:
    """Returns by id the untuned default, it at other learning rates and with fresh heads, and draws.

    Args:
        num: Configurations without those with fresh heads, which have ids of their own.
    """
    space = find_space(arm.trainer, Input.TEXT, Output.LABEL)
    assert space is not None
    first, fresh = [default], list[dict[str, Any]]()
    if arm.trainer == "transformers":
        rate = default["learning_rate"]
        first = [default | {"learning_rate": rate * factor} for factor in (1.0, 1 / 3, 3.0)]
        fresh = [default | {"learning_rate": rate * factor, "head": "mean"} for factor in FRESH_HEAD_FACTORS]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(num - len(first)):
        trial = study.ask()
        drawn.append(default | space.suggest(trial, prefix="arm", defaults=default, facts={}))
    # What a search may open with is recorded before the draws, so that a table that is not complete has it.
    opening = dict(enumerate(first[:num])) | dict(enumerate(fresh, FIRST_FRESH_HEAD))
    return opening | dict(enumerate(drawn, len(first)))


class Recorder:
    """Trains configurations on one split of one set."""

    def __init__(self, rows: pa.Table, arm: Arm, folder: Path, num_threads: int) -> None:
        self.arm = arm
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        _, first = np.unique(rows.column("text").to_pylist(), return_index=True)
        order = np.random.default_rng(0).permutation(np.sort(first))[: NUM_TRAIN + NUM_VALIDATION + NUM_TEST]
        rows = rows.take(order)
        self.task: Task = infer("", Source({"train": rows}, ""), target="label", inputs=["text"], metric="accuracy")
        self._kind = task_kind(self.task.kind)
        data, _ = materialise(self._kind, self.task, Source({"train": rows}, ""), folder=folder / "data", seed=0)
        everything = Rows(data.training(None)[0].path, None)
        # Splits of our own: the table's rows were shuffled above.
        positions = np.arange(len(everything))
        self._data = TrainingData(
            Input.TEXT, Output.LABEL, everything, positions[:NUM_TRAIN],
            positions[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION], data.fingerprint,
        )  # fmt: skip
        self._test = positions[NUM_TRAIN + NUM_VALIDATION :]
        subject = trainer_class(arm.trainer)
        base, place = (NO_MODEL, Path()) if subject.only_base else shortened(folder / "encoder", arm.num_layers)
        self._trainer = subject(base, place)
        self._scratch, self._limits = folder / "scratch", Limits(num_threads, folder / "cache")
        if arm.trainer == "transformers":
            self.default = asdict(TransformersConfig(learning_rate=LEARNING_RATE, num_train_epochs=EPOCHS))
        else:
            self.default = asdict(subject.default_config(base, NUM_TRAIN, Input.TEXT, Output.LABEL))

    def run(self, config: dict[str, Any], fidelity: float, seed: int) -> list[dict[str, Any]]:
        """Trains once; returns a row for each report."""
        rows: list[dict[str, Any]] = []

        def on_report(share: float, outputs: pa.Array) -> None:
            scores = self._scores(self._data.validation, outputs)
            seconds = time.monotonic() - started
            rows.append({"run_fidelity": fidelity, "fidelity": share * fidelity, **scores, "seconds": seconds})

        started = time.monotonic()
        self._scratch.mkdir(exist_ok=True)
        model = self._trainer.fit(
            self._trainer.Config(**config), self.task, self._data, fidelity=fidelity, seed=seed, folder=self._scratch,
            report=on_report, rungs=RUNGS if fidelity == 1 else (1.0,), limits=self._limits,
        )  # fmt: skip
        if fidelity == 1:
            inputs = Rows(self._data.all.path, self._test).table()
            rows[-1]["test"] = self._scores(self._test, model.predict(inputs))["validation"]
        return rows

    def _scores(self, positions: NDArray[np.int64], outputs: pa.Array) -> dict[str, float]:
        targets = self._data.all.targets().take(pa.array(positions))
        score, loss = self._kind.score(self.task, targets, outputs), self._kind.loss(self.task, targets, outputs)
        calibrated = _least_loss(to_matrix(outputs), to_numbers(targets))
        return {"validation": score, "loss": loss, "calibrated": calibrated}


def _least_loss(probabilities: NDArray[Any], targets: NDArray[Any]) -> float:
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(targets)), targets]))

    return float(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").fun)


def shortened(folder: Path, num_layers: int) -> tuple[BaseModel, Path]:
    """Writes MiniLM without its upper layers."""
    from transformers import AutoModel, AutoTokenizer

    whole = locate(MINILM)
    AutoModel.from_pretrained(whole, num_hidden_layers=num_layers).save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    return describe(str(folder)), folder


if __name__ == "__main__":
    main()
