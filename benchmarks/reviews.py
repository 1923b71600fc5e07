"""Are the numbers of a review right? Three sweeps of different shape, and their numbers computed in other ways.

    HF_HUB_OFFLINE=1 python benchmarks/reviews.py --data ROOT --budget "60 trials"

The sweeps are one search of autosft on sentence polarity, without fine-tuning; a plain random search over a linear
model of SMS messages, logged by hand into a csv file; and one that is full of failures, repetitions and odd columns, in
JSON lines. What is recomputed reads their files with the standard library and shares no code with the review. Appends a
line a number to results/reviews.jsonl, prints the reviews, and ends with 1 where a number differs by more than its
tolerance.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom, rankdata, spearmanr
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from text_classification import commit, sentence_polarity, sms_spam

import autosft
from autosft.base_models import MINILM
from autosft.reviewing.claim import Review

RESULTS = Path(__file__).parent / "results" / "reviews.jsonl"
SOLVERS, PENALTIES = ("lbfgs", "liblinear", "saga"), ("elasticnet", "l1", "l2")
NUM_TRAIN, NUM_VALIDATION = 600, 1_000


class Number(NamedTuple):
    """One number of a review: which, as the review says it, as it was recomputed, and how far they may differ."""

    what: str
    said: float
    found: float
    tolerance: float = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", default="60 trials")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweeps = {
            "autosft": own(arguments.data, Path(folder) / "own", arguments.budget),
            "random search": by_hand(arguments.data, Path(folder) / "random.csv"),
            "failures": with_failures(arguments.data, Path(folder) / "odd.jsonl"),
        }
        differ = 0
        for name, numbers in sweeps.items():
            for number in numbers:
                agrees = math.isclose(number.said, number.found, rel_tol=1e-4, abs_tol=number.tolerance)
                differ += not agrees
                row = {"sweep": name, **number._asdict(), "agrees": agrees, "commit": commit()}
                print(json.dumps(row), flush=True)
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    sys.exit(1 if differ else 0)


def own(root: Path, folder: Path, budget: str) -> Iterator[Number]:
    """Yields numbers about a search of autosft."""
    train, test = sentence_polarity(root)
    autosft.fit(
        "Is this sentence positive or negative?", train, test=test, models=[MINILM], trainer=["frozen_head", "tfidf"],
        budget=budget, folder=folder,
    )  # fmt: skip
    review = reviewed(folder)
    events = [json.loads(line) for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    trials = [event["trial"] for event in events if event["event"] == "ended"]
    searched = [trial for trial in trials if trial["stage"] == "search" and trial["fate"] == "complete"]
    yield said(review, "sweep", "trials", len(trials))
    yield said(review, "sweep", "configurations", len({identity(trial) for trial in trials}))
    yield said(review, "sweep", "best", max(trial["score"] for trial in searched if trial["rung"] == 1))

    rows = read_parquet(folder / "data" / "proof.parquet")
    gains = np.array([row["right"] for row in rows], float) - np.array([row["default_right"] for row in rows], float)
    if gain := review.topic("winner")[0].numbers.get("num_rows"):
        draws = np.random.default_rng(1).integers(len(gains), size=(4_000, len(gains)))
        low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
        yield Number("rows of the proof", gain, len(gains))
        yield said(review, "winner", "gain", float(gains.mean()))
        # Two bootstraps of the same rows.
        yield said(review, "winner", "low", float(low), tolerance=0.003)
        yield said(review, "winner", "high", float(high), tolerance=0.003)

    luck = review.topic("luck")[0].numbers
    at_most = float(np.random.default_rng(0).normal(size=(20_000, int(luck["compared"]))).max(axis=1).mean())
    optimism = at_most * luck["standard_error"]
    yield said(review, "luck", "optimism_at_most", optimism, tolerance=0.05 * optimism)
    yield Number("standard errors seen", luck["standard_error"], typical_error(searched), 0.3 * luck["standard_error"])

    seconds = json.loads((folder / "result.json").read_text(encoding="utf-8"))["seconds"]
    useful = (seconds["train"] + seconds["evaluate"] + seconds["features"]) / (seconds["wall"] * seconds["workers"])
    yield said(review, "waste", "useful", useful, tolerance=0.001)
    yield from rank_correlations(review, searched)


def rank_correlations(review: Review, trials: list[dict[str, Any]]) -> Iterator[Number]:
    """Yields Spearman's correlation between lengths that enough configurations ran."""
    claims = [claim.numbers for claim in review.topic("rungs") if "rank_correlation" in claim.numbers]
    lengths = sorted({trial["rung"] for trial in trials})
    by_length = {
        length: {identity(trial): trial["score"] for trial in trials if trial["rung"] == length} for length in lengths
    }
    for short, long in itertools.pairwise(lengths):
        both = sorted(set(by_length[short]) & set(by_length[long]))
        for numbers in claims:
            if numbers["num_configs"] == len(both):
                found = spearmanr([by_length[short][key] for key in both], [by_length[long][key] for key in both])
                yield Number(f"rungs: {short:.2f} and {long:.2f}", numbers["rank_correlation"], float(found.statistic))


def by_hand(root: Path, path: Path) -> Iterator[Number]:
    """Yields numbers about a random search that logs a row a trial into a csv file."""
    texts, is_spam, train, validation = messages(root)
    draw, rows = np.random.default_rng(0), []
    for trial in range(60):
        config = {
            "alpha": float(10 ** draw.uniform(-7, 0)),
            "ngram": int(draw.integers(1, 4)),
            "features": int(2 ** draw.integers(8, 16)),
            "average": bool(draw.random() < 0.5),
            "epochs": int(draw.integers(1, 21)),
        }
        started = time.perf_counter()
        reader = HashingVectorizer(ngram_range=(1, config["ngram"]), n_features=config["features"])
        model = SGDClassifier(
            loss="log_loss", alpha=config["alpha"], average=config["average"], max_iter=config["epochs"], tol=None,
            random_state=trial,
        ).fit(reader.transform(texts[train]), is_spam[train])  # fmt: skip
        score = model.score(reader.transform(texts[validation]), is_spam[validation])
        seconds = time.perf_counter() - started
        rows.append(config | {"val_accuracy": score, "seconds": seconds, "seed": trial})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

    review = reviewed(path, metric="val_accuracy")
    scores = np.array([row["val_accuracy"] for row in rows])
    yield said(review, "sweep", "trials", len(rows))
    yield said(review, "sweep", "best", scores.max())
    yield said(review, "further", "place", int(scores.argmax()) + 1)
    in_an_hour = 3600 * len(rows) / sum(row["seconds"] for row in rows)
    yield said(review, "further", "in_an_hour", in_an_hour)
    yield said(review, "further", "chance", len(rows) / (len(rows) + len(rows)))
    shares = review.topic("importance")[0].numbers
    for field in ("alpha", "features", "ngram", "average", "epochs"):
        # A correlation ratio over eighths is another measure of what a field explains alone.
        alone = correlation_ratio([float(row[field]) for row in rows], rankdata(scores))
        yield Number(f"importance: {field}", shares[field][0], alone, 0.15)
    yield from next_ranges(review, rows, scores)


def next_ranges(review: Review, rows: list[dict[str, Any]], scores: np.ndarray) -> Iterator[Number]:
    """Yields how many of the best eighth a narrowed range holds."""
    import yaml

    assert review.next_space is not None
    space = yaml.safe_load(review.next_space)["parameters"]
    best = np.argsort(-scores, kind="stable")[: len(rows) // 8]
    sorts = review.topic("next")[0].numbers
    for field in (field for field in space if "min" in space[field]):
        low, high = space[field]["min"], space[field]["max"]
        inside = sum(low <= rows[at][field] <= high for at in best)
        yield Number(f"next: the best in the range of {field}", inside, len(best), 1)
        tried = [row[field] for row in rows]
        whole = math.log(high / low) / math.log(max(tried) / min(tried))
        if field in sorts["narrowed"]:
            yield Number(f"next: the range of {field} is narrower", float(whole < 1), 1.0)
        if field in sorts["widened"]:
            is_wider = low < min(tried) or high > max(tried)
            yield Number(f"next: the range of {field} goes beyond what was tried", float(is_wider), 1.0)


def with_failures(root: Path, path: Path) -> Iterator[Number]:
    """Yields numbers about a search of which much failed, with nested, empty, constant, mixed and secret columns."""
    texts, is_spam, train, validation = messages(root)
    reader, draw, rows = HashingVectorizer(n_features=2**12), np.random.default_rng(0), []
    features, unseen = reader.transform(texts[train]), reader.transform(texts[validation])
    for trial in range(50):
        solver, penalty = str(draw.choice(SOLVERS)), str(draw.choice(PENALTIES))
        row: dict[str, Any] = {
            "run": f"run-{trial}", "model": {"solver": solver, "penalty": penalty},
            "C": float(10 ** draw.uniform(-3, 3)), "tags": ["night", "try"], "note": f"tried at {trial}",
            "api_key": "none-of-your-business",
            "git_sha": "0" * 40, "batch_size": 32 if trial % 2 else "32", "empty": None,
            "odd": math.nan if trial % 7 == 0 else trial % 3,
        }  # fmt: skip
        started = time.perf_counter()
        try:
            model = LogisticRegression(
                solver=solver, penalty=penalty, C=row["C"], max_iter=50,
                l1_ratio=0.5 if penalty == "elasticnet" else None,
            ).fit(features, is_spam[train])  # fmt: skip
            row |= {"accuracy": model.score(unseen, is_spam[validation]), "state": "finished"}
        except ValueError as error:  # Half of the pairs of solver and penalty do not exist.
            row |= {"accuracy": None, "state": "crashed", "error": str(error)[:80]}
        row["seconds"] = time.perf_counter() - started
        rows.append(row)
    rows += [row | {"run": f"again-{at}"} for at, row in enumerate(rows[:6])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    review = reviewed(path, metric="accuracy")
    failed = [row for row in rows if row["state"] == "crashed"]
    scored = [row for row in rows if row["state"] == "finished"]
    failures, with_field, repeated = (claim.numbers for claim in review.topic("waste")[:3])
    yield said(review, "sweep", "failed", len(failed))
    yield said(review, "sweep", "best", max(row["accuracy"] for row in scored))
    whole = sum(row["seconds"] for row in rows)
    yield Number("waste: failed, of all time", failures["share"], sum(row["seconds"] for row in failed) / whole)
    reasons = Counter(row["error"] for row in failed)
    yield Number("waste: the commonest reason", max(failures["reasons"].values()), reasons.most_common(1)[0][1])
    has_failed = np.array([float(row["state"] == "crashed") for row in rows])
    alone = {
        name: correlation_ratio([sorted(names).index(row["model"][name]) for row in rows], has_failed)
        for name, names in (("solver", SOLVERS), ("penalty", PENALTIES))
    }
    named = with_field["field"].removeprefix("model.")
    yield Number(f"waste: failures go with the {named}", with_field["share"], alone[named], 0.15)
    yield Number("waste: as much as with the other", alone[named], max(alone.values()), 0.15)
    again = [row for row in scored if row["run"].startswith("again")]
    yield Number("waste: repeated", repeated["trials"], len(again))
    told = json.dumps([claim.sentence for claim in review.topic("importance") + review.topic("next")])
    for field in ("tags", "note", "api_key", "git_sha", "batch_size", "empty"):
        yield Number(f"{field} is no hyperparameter", float(field in told), 0.0)
    for crowded in (claim.numbers for claim in review.topic("edges") if "chance" in claim.numbers):
        # Each of the fields that vary in numbers has two ends that were looked at.
        once = hypergeom.sf(crowded["there"] - 1, crowded["all"], crowded["all_there"], crowded["good"])
        looks = crowded["chance"] / once
        yield Number(f"edges: {crowded['field']}, ends that were looked at", looks, round(looks), 1e-6)
        values = sorted({row["C"]: row["accuracy"] for row in scored}.items(), key=lambda pair: -pair[1])
        yield Number("edges: the bound", crowded["bound"], max(value for value, _ in values))


def messages(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns texts, whether each is spam, and which of them train and validate."""
    table = sms_spam(root)[0]
    texts = np.array(table.column("text").to_pylist(), object)
    order = np.random.default_rng(0).permutation(len(texts))
    is_spam = np.array(table.column("label").to_pylist()) == "spam"
    return texts, is_spam, order[:NUM_TRAIN], order[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION]


def reviewed(path: Path, **options: Any) -> Review:
    review = autosft.review(path, **options)
    print(review, flush=True)
    return review


def said(review: Review, topic: str, name: str, found: float, *, tolerance: float = 1e-6) -> Number:
    """Returns the first number of this name that a topic has, beside the one that was found."""
    value = next(claim.numbers[name] for claim in review.topic(topic) if name in claim.numbers)
    return Number(f"{topic}: {name}", float(value), float(found), tolerance)


def identity(trial: dict[str, Any]) -> str:
    return json.dumps([trial["arm"], trial["config"]], sort_keys=True)


def typical_error(trials: list[dict[str, Any]]) -> float:
    """Returns the median standard error of the trials' 95 % intervals."""
    widths = [trial["interval"][1] - trial["interval"][0] for trial in trials if trial["interval"]]
    return float(np.median(widths)) / (2 * 1.96)


def correlation_ratio(values: list[float], ranks: np.ndarray) -> float:
    """Returns the share of the ranks' variance between eighths of the values, what chance alone gives taken off.

    Where there are no more than eight values, each is a part of its own.
    """
    few = len(set(values)) <= 8
    parts = np.array(values) if few else np.minimum(8 * (rankdata(values) - 1) // len(values), 7)
    names, counts = np.unique(parts, return_counts=True)
    means = np.array([ranks[parts == name].mean() for name in names])
    between = float((counts * (means - ranks.mean()) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum())
    by_chance = (len(names) - 1) / (len(ranks) - 1)
    return max(0.0, (between - by_chance) / (1 - by_chance))


def read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


if __name__ == "__main__":
    main()
