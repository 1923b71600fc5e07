"""`autosft.fit` on real data of every kind of task, scored once on each test file, beside a trivial baseline.

    python benchmarks/kinds.py --data ROOT --set wnut17 --budget 5m --seeds 0

ROOT is laid out as `benchmarks/data.md` says. Appends a JSON line a run to results/kinds.jsonl. Without a test file, a
third of the inputs is held back, the same third for every seed. What each baseline is stands beside its set. Where the
task is to find entities, the line also has seqeval's own F1 for the same test file.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from text_classification import commit

import autosft
from autosft.arrays import to_numbers
from autosft.base_models import MINILM
from autosft.data.read import read
from autosft.tasks import kind as task_kind

RESULTS = Path(__file__).parent / "results" / "kinds.jsonl"
Split = tuple[object, object]


@dataclass(frozen=True)
class Set:
    """One data set.

    Attributes:
        split: From ROOT to training and test data.
        sentence: What is wanted.
        baseline: What the baseline is, in words.
        trivial: The baseline's score in the deciding metric, from training and test data; None where it is the untuned
            default of the run itself.
        options: Further arguments of `fit`.
    """

    split: Callable[[Path], Split]
    sentence: str
    baseline: str
    trivial: Callable[[pa.Table, pa.Table], float] | None
    options: Callable[[Path], dict[str, Any]] = field(default=lambda root: {"models": [MINILM]})


def held_back(table: pa.Table, column: str) -> Split:
    """Holds back a third of the rows, by the hash of a column's value; of an image, by that of its last two names."""
    values = table.column(column).to_pylist()
    if column == "image":
        values = ["/".join(Path(value).parts[-2:]) for value in values]
    is_test = pa.array([hashlib.sha256(str(value).encode()).digest()[0] % 3 == 0 for value in values])
    return table.filter(pa.compute.invert(is_test)), table.filter(is_test)


def goemotions(root: Path) -> Split:
    folder = root / "multilabel/goemotions"
    names = (folder / "labels.txt").read_text().split()

    def rows(name: str) -> pa.Table:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        labels = [[names[int(label)] for label in line[1].split(",")] for line in lines]
        return pa.table({"text": [line[0] for line in lines], "emotions": labels})

    return {"train": rows("train.tsv"), "validation": rows("dev.tsv")}, rows("test.tsv")


def emobank(root: Path) -> Split:
    table = read(root / "text-regression/emobank/emobank.csv")
    train, test = table.splits["train"], table.splits.get("test")
    if test is None:
        part = train.column("split")
        train, test = (train.filter(pa.compute.not_equal(part, "test")), train.filter(pa.compute.equal(part, "test")))
    return train.select(["text", "V"]), test.select(["text", "V"])


def jsts(root: Path) -> Split:
    folder = root / "sentence-pair/jglue_jsts"

    def rows(name: str) -> pa.Table:
        lines = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        return pa.Table.from_pylist([{key: row[key] for key in ("sentence1", "sentence2", "label")} for row in lines])

    return {"train": rows("train-v1.3.json"), "validation": rows("valid-v1.3.json")}, rows("test-v1.3.json")


def pubmedqa(root: Path) -> Split:
    folder = root / "sentence-pair/pubmedqa_pqal"
    rows = json.loads((folder / "ori_pqal.json").read_text(encoding="utf-8"))
    test = json.loads((folder / "test_ground_truth.json").read_text(encoding="utf-8"))
    tables: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for key, row in rows.items():
        context = " ".join(row["CONTEXTS"])
        tables[key in test].append({"question": row["QUESTION"], "context": context, "answer": row["final_decision"]})
    return tables[False], tables[True]


def gsm8k(root: Path) -> Split:
    return root / "causal-lm/gsm8k/train.jsonl", root / "causal-lm/gsm8k/test.jsonl"


def gsm8k_800(root: Path) -> Split:
    """The first 800 training rows: few enough for a search on two cores."""
    train, test = gsm8k(root)
    return read(train).train.slice(0, 800), test


def self_instruct(root: Path) -> Split:
    lines = (root / "causal-lm/self_instruct_seed/seed_tasks.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    table = [{"instruction": row["instruction"], **row["instances"][0]} for row in rows]
    return held_back(pa.Table.from_pylist(table), "instruction")


def sgd(root: Path) -> Split:
    def rows(name: str) -> list[dict[str, Any]]:
        dialogues = json.loads((root / f"chat/sgd_dialogues/{name}/dialogues_003.json").read_text(encoding="utf-8"))
        turns = [[{key: turn[key] for key in ("speaker", "utterance")} for turn in one["turns"]] for one in dialogues]
        return [{"turns": one} for one in turns]

    return {"train": rows("train"), "validation": rows("dev")}, rows("test")


def stories(root: Path) -> dict[str, Any]:
    return {"models": [str(root.parent / "models/stories260k")]}


def images(root: Path) -> dict[str, Any]:
    return {}


def majority(column: str) -> Callable[[pa.Table, pa.Table], float]:
    """Returns what scores the accuracy of always saying the most frequent label."""

    def score(train: pa.Table, test: pa.Table) -> float:
        most = Counter(train.column(column).to_pylist()).most_common(1)[0][0]
        return float(np.mean([label == most for label in test.column(column).to_pylist()]))

    return score


def most_frequent_set(train: pa.Table, test: pa.Table) -> float:
    """Returns the micro F1 of giving every row the most frequent label."""
    counts = Counter(label for labels in train.column("emotions").to_pylist() for label in labels)
    most = counts.most_common(1)[0][0]
    truth = test.column("emotions").to_pylist()
    right = sum(most in labels for labels in truth)
    return 2 * right / (len(truth) + sum(map(len, truth)))


def overlap(train: pa.Table, test: pa.Table) -> float:
    """Returns the Spearman correlation of the share of characters that two sentences have in common."""
    from scipy.stats import spearmanr

    pairs = zip(test.column("sentence1").to_pylist(), test.column("sentence2").to_pylist(), strict=True)
    shares = [len(set(one) & set(two)) / len(set(one) | set(two)) for one, two in pairs]
    return float(spearmanr(shares, to_numbers(test.column("label"))).statistic)


def nothing(train: pa.Table, test: pa.Table) -> float:
    """Returns the score of a constant: no correlation, and no entity found."""
    return 0.0


def seqeval_f1(result: autosft.Result, test: pa.Table) -> float:
    """Returns what seqeval itself makes of the shipped model's tags for the test file, by the tags that stand there."""
    from seqeval.metrics import f1_score

    return float(f1_score(test.column("tags").to_pylist(), result.predict(test)))


SETS = {
    "wnut17": Set(
        lambda root: (
            {
                "train": read(root / "ner/wnut17/wnut17train.conll").train,
                "validation": read(root / "ner/wnut17/emerging.dev.conll").train,
            },
            read(root / "ner/wnut17/emerging.test.annotated").train,
        ),
        "Find the named entities",
        "the most frequent tag, O, for every token",
        nothing,
    ),
    "wikigold": Set(
        lambda root: held_back(read(root / "ner/wikigold/wikigold.conll.txt").train, "tokens"),
        "Find the named entities",
        "the most frequent tag, O, for every token",
        nothing,
    ),
    "gsm8k": Set(gsm8k, "Answer the question", "the untuned default", None, stories),
    "gsm8k_800": Set(gsm8k_800, "Answer the question", "the untuned default", None, stories),
    "self_instruct": Set(self_instruct, "Follow the instruction", "the untuned default", None, stories),
    "sgd": Set(sgd, "Answer as the assistant of this dialogue", "the untuned default", None, stories),
    "fashion_mnist": Set(
        lambda root: (
            root / "image-classification/fashion_mnist_png/train",
            root / "image-classification/fashion_mnist_png/test",
        ),
        "Which piece of clothing is it?",
        "the most frequent label",
        majority("label"),
        images,
    ),
    "sign_language": Set(
        lambda root: held_back(read(root / "image-classification/sign_language_digits_0to4").train, "image"),
        "Which digit does the hand show?",
        "the most frequent label",
        majority("label"),
        images,
    ),
    "goemotions": Set(goemotions, "Which emotions does the comment express?", "the most frequent label",
                      most_frequent_set),
    "emobank": Set(emobank, "Predict the valence V as a number", "a constant", nothing),
    "pubmedqa": Set(pubmedqa, "Does the context answer the question with yes, no or maybe?",
                    "the most frequent label", majority("answer")),
    "jsts": Set(jsts, "How similar are the two sentences, from 0 to 5?", "the overlap of characters", overlap),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", default="0")
    arguments = parser.parse_args()
    chosen = SETS[arguments.set]
    root = arguments.data.absolute()
    for seed in map(int, arguments.seeds.split(",")):
        data, test = chosen.split(root)
        started, load = time.monotonic(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["AUTOSFT_CACHE"] = f"{folder}/cache"  # Every run pays for its own tokens and features.
            result = autosft.fit(
                chosen.sentence, data, test=test, budget=arguments.budget, folder=f"{folder}/run", seed=seed,
                **chosen.options(root),
            )  # fmt: skip
            wall_seconds = time.monotonic() - started
            summary = result.summary
            checked = {}
            if summary["kind"] == "token-classification":
                checked = {"seqeval_f1": seqeval_f1(result, read(test).train)}
        if chosen.trivial is None:
            baseline = summary["default"]["score"]
        else:
            baseline = chosen.trivial(read(data).train, read(test).train)
        row = {
            "set": arguments.set,
            "budget": arguments.budget,
            "seed": seed,
            "wall_seconds": round(wall_seconds, 1),
            "baseline": {"what": chosen.baseline, "score": baseline},
            **{key: summary[key] for key in ("kind", "metric", "validation", "test", "default", "gain_over_default")},
            **checked,
            **{key: summary[key] for key in ("best", "refit", "num_trials", "seconds", "versions")},
            "commit": commit(),
            "cores": os.cpu_count(),
            "load_before": round(load, 2),
        }
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            # A local base model is named by its path, which is nobody else's.
            file.write(json.dumps(row).replace(str(root.parent), "ROOT/..") + "\n")
        print(result, file=sys.stderr)
        sign = 1 if task_kind(summary["kind"]).metrics.get(summary["metric"], True) else -1
        better = math.copysign(1, sign * (summary["test"]["score"] - baseline))
        print(
            f"{arguments.set} {arguments.budget} seed {seed}: {summary['metric']} {summary['test']['score']:.4f}, "
            f"{'better' if better > 0 else 'not better'} than {chosen.baseline} ({baseline:.4f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
