"""What the same wall time buys with the tools that people use today: same data, base model, machine, one after another.

    HF_HUB_OFFLINE=1 python benchmarks/peers.py --data ROOT --set banking77_few --budget 5m --seeds 0

ROOT is laid out as `benchmarks/data.md` says. Every method runs in a process of its own and has the same threads. It is
scored once on the test file. Appends a JSON line a method and seed to results/peers.jsonl.

Methods: `autosft`; `trainer_optuna`, transformers' `Trainer.hyperparameter_search`; `ray_asha`, a Ray Tune loop with
ASHA; and three floors that take no budget, `trainer_defaults`, `frozen_logistic` and `contrastive_default`. README.md
says what is fair about the comparison and what is not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import yaml
from text_classification import SETS, commit

import autosft
from autosft.base_models import MINILM, describe, locate
from autosft.budget import Budget
from autosft.data.read import read
from autosft.trainers.with_transformers import default_epochs

RESULTS = Path(__file__).parent / "results" / "peers.jsonl"
SPACE = Path(__file__).parent.parent / "search_spaces" / "transformers" / "text-label.yaml"
VERSIONS = ("torch", "transformers", "ray", "optuna", "scikit-learn", "sentence-transformers")

#: Of the training file, for the peers. `autosft` splits by itself.
VALIDATION_SHARE = 0.2

#: Longest input; what `autosft` cuts at, where the base model takes as much.
MAX_TOKENS = 512

#: What Ray needs to stop its trial and the driver to load the best checkpoint.
RAY_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """One method on one seed, as its process gets it.

    Attributes:
        folder: Holds train.parquet and test.parquet, with the columns text and label; gets what the method writes.
        model: The base model, as `autosft` is given it. weights: The folder with its files, for the peers.
        started: When the process was started, by the system's clock: the budget counts from here.
    """

    method: str
    folder: str
    sentence: str
    model: str
    weights: str
    budget_seconds: float
    seed: int
    threads: int
    started: float

    def left(self) -> float:
        """Returns the seconds of the budget that are left."""
        return self.started + self.budget_seconds - time.time()

    def column(self, split: str, name: str) -> list[Any]:
        return pa.parquet.read_table(f"{self.folder}/{split}.parquet").column(name).to_pylist()


@dataclass(frozen=True)
class Outcome:
    """The test file's predicted labels, and what is worth keeping about the way to them."""

    predictions: list[Any]
    notes: dict[str, Any]


# autosft


def with_autosft(job: Job) -> Outcome:
    test = f"{job.folder}/test.parquet"
    result = autosft.fit(
        job.sentence,
        f"{job.folder}/train.parquet",
        target="label",
        test=test,
        metric="accuracy",
        models=[job.model],
        budget=job.left(),
        folder=f"{job.folder}/run",
        seed=job.seed,
    )
    notes = {key: result.summary[key] for key in ("validation", "test", "best", "refit", "num_trials", "seconds")}
    # `fit` has scored the test rows that its audit kept. Here all are scored, in the same way for every method.
    return Outcome(result.predict(read(test).train.select(["text"])), {"fit": notes})


# What the peers share


@dataclass(frozen=True)
class Encoded:
    """Tokenised rows, split once a seed, and what a training needs to know of them."""

    weights: str
    labels: list[Any]
    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    test: list[dict[str, Any]]

    @staticmethod
    def read(job: Job) -> Encoded:
        from sklearn.model_selection import train_test_split
        from transformers import AutoConfig, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(job.weights)
        longest = min(MAX_TOKENS, AutoConfig.from_pretrained(job.weights).max_position_embeddings)
        given = job.column("train", "label")
        labels = sorted(set(given))

        def rows(split: str) -> list[dict[str, Any]]:
            columns = tokenizer(job.column(split, "text"), truncation=True, max_length=longest)
            return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

        labelled = [row | {"labels": labels.index(label)} for row, label in zip(rows("train"), given, strict=True)]
        shares = {"test_size": VALIDATION_SHARE, "stratify": given, "random_state": job.seed}
        train, validation = train_test_split(labelled, **shares)
        return Encoded(job.weights, labels, train, validation, rows("test"))

    @property
    def epochs(self) -> int:
        return default_epochs(len(self.train))

    def model(self, folder: str | None = None) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            folder or self.weights, num_labels=len(self.labels), dtype=torch.float32
        )

    def trainer(self, arguments: Any, **more: Any) -> Any:
        """Returns a Trainer on the training split; `model` or `model_init`, and what else it takes, by name."""
        from transformers import AutoTokenizer, Trainer

        given = {"train_dataset": self.train, "eval_dataset": self.validation, "compute_metrics": accuracy, **more}
        return Trainer(args=arguments, processing_class=AutoTokenizer.from_pretrained(self.weights), **given)

    def predict(self, trainer: Any) -> list[Any]:
        return [self.labels[at] for at in trainer.predict(self.test).predictions.argmax(axis=1)]

    def prediction_seconds(self, folder: Path) -> float:
        """Estimates how long the test rows will take, from a few of them: that much of the budget is set aside."""
        few = self.test[:64]
        trainer = self.trainer(training_arguments(folder), model=self.model())
        trainer.predict(few[:8])
        started = time.monotonic()
        trainer.predict(few)
        return (time.monotonic() - started) / len(few) * len(self.test)


def training_arguments(folder: str | Path, **fields: Any) -> Any:
    """Returns the Trainer's own defaults but for output, device and the fields given."""
    from transformers import TrainingArguments

    quiet = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no"}
    return TrainingArguments(str(folder), use_cpu=True, per_device_eval_batch_size=64, **quiet, **fields)


def accuracy(evaluated: Any) -> dict[str, float]:
    return {"accuracy": float((evaluated.predictions.argmax(axis=1) == evaluated.label_ids).mean())}


@dataclass(frozen=True)
class Space:
    """The part of autosft's search space that a plain Trainer has, under the names of `TrainingArguments`."""

    learning_rate: tuple[float, float]
    per_device_train_batch_size: list[int]
    weight_decay: tuple[float, float]
    warmup_steps: tuple[float, float]
    label_smoothing_factor: tuple[float, float]

    @staticmethod
    def of(model: str) -> Space:
        given = yaml.safe_load(SPACE.read_text(encoding="utf-8"))["parameters"]

        def between(name: str, scale: float = 1.0) -> tuple[float, float]:
            return given[name]["low"] * scale, given[name]["high"] * scale

        return Space(
            between("learning_rate", describe(model).learning_rate),
            given["batch_size"]["values"],
            between("weight_decay"),
            between("warmup_share"),  # A share below 1 is one of all steps.
            between("label_smoothing"),
        )

    def ask(self, trial: Any) -> dict[str, Any]:
        """Returns a configuration, asked of an Optuna trial."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            "per_device_train_batch_size": trial.suggest_categorical(
                "per_device_train_batch_size", self.per_device_train_batch_size
            ),
            "weight_decay": trial.suggest_float("weight_decay", *self.weight_decay, log=True),
            "warmup_steps": trial.suggest_float("warmup_steps", *self.warmup_steps),
            "label_smoothing_factor": trial.suggest_float("label_smoothing_factor", *self.label_smoothing_factor),
        }

    def for_ray(self) -> dict[str, Any]:
        from ray import tune

        return {
            "learning_rate": tune.loguniform(*self.learning_rate),
            "per_device_train_batch_size": tune.choice(self.per_device_train_batch_size),
            "weight_decay": tune.loguniform(*self.weight_decay),
            "warmup_steps": tune.uniform(*self.warmup_steps),
            "label_smoothing_factor": tune.uniform(*self.label_smoothing_factor),
        }


# Trainer.hyperparameter_search


def with_trainer_optuna(job: Job) -> Outcome:
    """Searches as the documentation of transformers shows, then retrains the best configuration on all rows.

    Optuna's timeout only keeps trials from being started, so the search also ends where another trial and the
    retraining, both as long as the longest so far, would not fit. Where no retraining fits, the best trial's weights
    predict.
    """
    import optuna
    from torch.nn.functional import cross_entropy
    from transformers import TrainerCallback

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(job.folder) / "trainer"
    encoded, space = Encoded.read(job), Space.of(job.model)
    num_rows = len(encoded.train) + len(encoded.validation)
    predicting = encoded.prediction_seconds(folder)
    trials: list[Any] = []
    seconds: list[float] = []
    started, refit = time.monotonic(), False
    best_weights: tuple[float, dict[str, Any]] = (-math.inf, {})

    def retraining() -> float:
        return max(seconds) * num_rows / len(encoded.train)

    def ask(trial: Any) -> dict[str, Any]:
        trials.append(trial)
        return space.ask(trial)

    class EndInTime(TrainerCallback):
        def on_train_end(self, *given: Any, model: Any, **named: Any) -> None:
            nonlocal best_weights, started, refit
            seconds.append(time.monotonic() - started)
            started = time.monotonic()
            if trainer.objective is not None and trainer.objective > best_weights[0]:
                weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                best_weights = trainer.objective, weights
            refit = job.left() >= retraining() + predicting
            if job.left() < max(seconds) + retraining() + predicting:
                trials[-1].study.stop()

    def smoothed(outputs: Any, labels: Any, **named: Any) -> Any:
        # The Trainer sets its label smoother up once, so that a search over the factor would have no effect.
        return cross_entropy(outputs["logits"], labels, label_smoothing=trainer.args.label_smoothing_factor)

    # A search turns each value into the type of the one before: with its default, 0, warm-up would always be 0.
    shared = {"num_train_epochs": encoded.epochs, "seed": job.seed}
    arguments = training_arguments(folder, eval_strategy="epoch", warmup_steps=0.0, **shared)
    trainer = encoded.trainer(
        arguments, model_init=lambda: encoded.model(), callbacks=[EndInTime()], compute_loss_func=smoothed
    )
    best = trainer.hyperparameter_search(
        hp_space=ask,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        n_trials=10_000,
        direction="maximize",
        backend="optuna",
        timeout=max(0.0, job.left()),
        sampler=optuna.samplers.TPESampler(seed=job.seed),
    )
    arguments = training_arguments(folder, **shared, **best.hyperparameters)
    final = encoded.trainer(arguments, model=encoded.model(), train_dataset=encoded.train + encoded.validation)
    if refit:
        final.train()
    else:
        final.model.load_state_dict(best_weights[1])
    notes = {
        "num_trials": len(trials),
        "num_pruned": len(trials[0].study.get_trials(states=[optuna.trial.TrialState.PRUNED])),
        "longest_trial_seconds": round(max(seconds), 1),
        "validation": best.objective,
        "best": best.hyperparameters,
        "epochs": encoded.epochs,
        "refit": refit,
    }
    return Outcome(encoded.predict(final), notes)


# Ray Tune


def with_ray_asha(job: Job) -> Outcome:
    """Tunes as Ray's tutorials do: a trial reports every epoch, ASHA stops the worse, the best checkpoint predicts.

    One trial at a time, on all threads. Time for the prediction is set aside.
    """
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    folder = Path(job.folder) / "ray"
    encoded = Encoded.read(job)
    predicting = encoded.prediction_seconds(folder)
    ray.init(address="local", num_cpus=job.threads, num_gpus=0, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(train_and_report, encoded=encoded, seed=job.seed, threads=job.threads)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": job.threads}),
        param_space=Space.of(job.model).for_ray(),
        tune_config=tune.TuneConfig(
            metric="eval_accuracy",
            mode="max",
            search_alg=OptunaSearch(seed=job.seed),
            scheduler=ASHAScheduler(max_t=encoded.epochs),
            num_samples=-1,
            max_concurrent_trials=1,
            time_budget_s=max(1.0, job.left() - predicting - RAY_STOP_SECONDS),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder.absolute()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="eval_accuracy"),
        ),
    )
    results = tuner.fit()
    if not any(result.checkpoint for result in results):
        raise SystemExit("no trial came to the end of an epoch")
    best = results.get_best_result(scope="all")
    checkpoint = best.get_best_checkpoint("eval_accuracy", "max")
    with checkpoint.as_directory() as weights:
        predictions = encoded.predict(encoded.trainer(training_arguments(folder), model=encoded.model(weights)))
    epochs = [(result.metrics or {}).get("training_iteration", 0) for result in results]
    notes = {
        "num_trials": len(results),
        "num_finished": sum(num == encoded.epochs for num in epochs),
        "validation": float(best.metrics_dataframe["eval_accuracy"].max()),
        "best": best.config,
        "best_trained_epochs": int(best.metrics_dataframe["training_iteration"].max()),
        "epochs": encoded.epochs,
    }
    return Outcome(predictions, notes)


def train_and_report(config: dict[str, Any], *, encoded: Encoded, seed: int, threads: int) -> None:
    import torch
    from ray import tune
    from transformers import TrainerCallback

    torch.set_num_threads(threads)

    class Report(TrainerCallback):
        def on_evaluate(self, *given: Any, model: Any, metrics: dict[str, float], **named: Any) -> None:
            with tempfile.TemporaryDirectory() as weights:
                model.save_pretrained(weights)
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(weights))

    arguments = training_arguments(
        "trainer", num_train_epochs=encoded.epochs, eval_strategy="epoch", seed=seed, **config
    )
    encoded.trainer(arguments, model_init=lambda: encoded.model(), callbacks=[Report()]).train()


# Floors: no search, no budget


def with_trainer_defaults(job: Job) -> Outcome:
    """Trains once, on all rows, with what the Trainer does where it is told nothing: 3 epochs, 5e-5, batches of 8."""
    encoded = Encoded.read(job)
    arguments = training_arguments(Path(job.folder) / "trainer", seed=job.seed)
    trainer = encoded.trainer(arguments, model=encoded.model(), train_dataset=encoded.train + encoded.validation)
    trainer.train()
    return Outcome(encoded.predict(trainer), {"epochs": arguments.num_train_epochs})


def with_frozen_logistic(job: Job) -> Outcome:
    """Logistic regression at its defaults on the unit-length sentence vectors of the base model as it is."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    encoder = SentenceTransformer(job.weights, device="cpu")
    train, test = (
        encoder.encode(job.column(split, "text"), normalize_embeddings=True, show_progress_bar=False)
        for split in ("train", "test")
    )
    head = LogisticRegression(max_iter=1000).fit(train, job.column("train", "label"))
    return Outcome(head.predict(test).tolist(), {})


def with_contrastive_default(job: Job) -> Outcome:
    """The untuned default of autosft's own contrastive trainer, and its refit on all rows."""
    budget = Budget(num_trials=1)
    asked = {"target": "label", "metric": "accuracy", "models": [job.model], "trainer": "contrastive"}
    train, test, folder = f"{job.folder}/train.parquet", f"{job.folder}/test.parquet", f"{job.folder}/run"
    result = autosft.fit(job.sentence, train, test=test, budget=budget, folder=folder, seed=job.seed, **asked)
    return Outcome(result.predict(read(test).train.select(["text"])), {"refit": result.summary["refit"]})


METHODS: dict[str, Callable[[Job], Outcome]] = {
    "autosft": with_autosft,
    "trainer_optuna": with_trainer_optuna,
    "ray_asha": with_ray_asha,
    "trainer_defaults": with_trainer_defaults,
    "frozen_logistic": with_frozen_logistic,
    "contrastive_default": with_contrastive_default,
}

#: These are given no budget and take what their defaults take; after so many seconds they are ended.
FLOORS, FLOOR_SECONDS = ("trainer_defaults", "frozen_logistic", "contrastive_default"), 1500.0


# The process of a method


def carry_out(path: Path) -> None:
    """Runs a job and leaves its outcome beside it, with the time at which the predictions were there."""
    job = Job(**json.loads(path.read_text(encoding="utf-8")))
    outcome = METHODS[job.method](job)
    done = {"predicted": time.time(), **asdict(outcome)}
    path.with_name("outcome.json").write_text(json.dumps(done, default=str), encoding="utf-8")


def environment(job: Job) -> dict[str, str]:
    return {
        **os.environ,
        "AUTOSFT_CACHE": f"{job.folder}/cache",  # Every run pays for its own tokens and features.
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(job.threads),
        # Threads that spin while they wait cost a busy machine several times what they save.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "true",
        "TRANSFORMERS_VERBOSITY": "error",
        "WANDB_MODE": "disabled",
    }


def run(job: Job) -> dict[str, Any]:
    """Runs a method in a process of its own; returns what it came to, an error included.

    One that is half its budget and a minute late, or a floor that takes longer than `FLOOR_SECONDS`, is ended, and the
    line says so.
    """
    folder = Path(job.folder)
    (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    limit, error = FLOOR_SECONDS if job.method in FLOORS else 1.5 * job.budget_seconds + 60, None
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        command = [sys.executable, str(Path(__file__).absolute()), "--job", str(folder / "job.json")]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment(job), start_new_session=True
        )
        try:
            if process.wait(limit):
                error = f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            error = f"ended by the benchmark: no predictions within {limit:.0f} s"
        finally:
            # Also what a method left behind, so that it does not slow the next one down.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    outcome = folder / "outcome.json"
    if outcome.is_file():
        return {"error": None, **json.loads(outcome.read_text(encoding="utf-8"))}
    tail = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-3000:].strip()
    print(f"{job.method}: {error}\n{tail}", file=sys.stderr)
    if tail and process.returncode > 0:
        error = f"{error}: {tail.splitlines()[-1]}"
    return {"error": error, "predicted": time.time(), "predictions": None, "notes": {}}


# Scores


def wilson(num_right: int, num_rows: int) -> list[float]:
    """Returns the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, num_right / num_rows
    middle, scale = share + z * z / (2 * num_rows), 1 + z * z / num_rows
    half = z * math.sqrt(share * (1 - share) / num_rows + z * z / (4 * num_rows**2))
    return [(middle - half) / scale, (middle + half) / scale]


def gain(right: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Returns the accuracy of one over another on the same rows, with a paired bootstrap's 95 % interval."""
    difference = right.astype(float) - other
    rng = np.random.default_rng(0)
    means = [difference[rng.integers(len(difference), size=len(difference))].mean() for _ in range(2000)]
    return {"score": difference.mean(), "interval": np.quantile(means, [0.025, 0.975]).tolist()}


def tables(name: str, root: Path, num_rows: int | None) -> tuple[pa.Table, pa.Table]:
    """Returns training and test rows with the columns text and label; a cut, for a try, has as many of a class."""
    train, test = (read(given).train for given in SETS[name][0](root))
    target = next(column for column in train.column_names if column != "text")
    train, test = (table.select(["text", target]).rename_columns(["text", "label"]) for table in (train, test))
    if num_rows is None:
        return train, test
    classes = sorted(set(train["label"].to_pylist()))[: max(2, num_rows // 10)]

    def cut(table: pa.Table) -> pa.Table:
        each = [table.filter(pa.compute.equal(table["label"], label)) for label in classes]
        return pa.concat_tables([rows.slice(0, num_rows // len(classes)) for rows in each])

    return cut(train), cut(test)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--budget", default="5m", help="a time")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", default=",".join(METHODS), help="in the order in which they run")
    parser.add_argument("--model", default=MINILM, help="a hub id or a folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="cut both files to about this many rows, to try the script")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"no such method: {', '.join(sorted(unknown))}")
    seconds = Budget.parse(arguments.budget).seconds
    if seconds is None:
        parser.error("--budget must be a time")
    train, test = tables(arguments.set, arguments.data, arguments.rows)
    truth = test.column("label").to_pylist()
    if hasattr(os, "sched_setaffinity"):  # Inherited, so that no method has more cores than threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    for seed in map(int, arguments.seeds.split(",")):
        ours = None
        for method in methods:
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                for name, table in (("train", train), ("test", test)):
                    pa.parquet.write_table(table, f"{folder}/{name}.parquet")
                job = Job(
                    method=method,
                    folder=folder,
                    sentence=SETS[arguments.set][1],
                    model=arguments.model,
                    weights=str(locate(arguments.model)),
                    budget_seconds=seconds,
                    seed=seed,
                    threads=arguments.threads,
                    started=time.time(),
                )
                done = run(job)
            wall = done["predicted"] - job.started
            row = {
                "set": arguments.set,
                "rows": arguments.rows,
                "model": arguments.model,
                "method": method,
                "budget": arguments.budget,
                "seed": seed,
                "wall_seconds": round(wall, 1),
                "overrun_seconds": round(max(0.0, wall - seconds), 1),
                "error": done["error"],
                "test": None,
                "gain_of_autosft": None,
                **done["notes"],
                "versions": versions(),
                "commit": commit(),
                "cores": os.cpu_count(),
                "threads": arguments.threads,
                "load_before": round(load, 2),
            }
            said = done["error"]
            if done["predictions"] is not None:
                right = np.array([one == other for one, other in zip(done["predictions"], truth, strict=True)])
                interval = wilson(int(right.sum()), len(right))
                row["test"] = {"score": float(right.mean()), "interval": interval, "num_rows": len(right)}
                said = f"accuracy {right.mean():.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"
                if method == "autosft":
                    ours = right
                elif ours is not None:
                    row["gain_of_autosft"] = gain(ours, right)
            arguments.out.parent.mkdir(exist_ok=True)
            with arguments.out.open("a", encoding="utf-8") as file:
                # A folder is named by its path, which is nobody else's.
                line = json.dumps(row)
                file.write((line if arguments.model == MINILM else line.replace(arguments.model, "MODEL")) + "\n")
            print(f"{arguments.set} {arguments.budget} seed {seed} {method}: {said} in {wall:.0f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        carry_out(Path(sys.argv[2]))
    else:
        main()
