"""TF-IDF of words and letters under a regularized linear head: no language model at all.

What it reaches says what a language model is worth on these rows. It is ahead of one where the letter of a text decides
more than its meaning, in languages that no base model at hand reads, and in long texts, which it reads to the end.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.arrays import from_matrix, sigmoid, softmax, to_numbers
from autosft.base_models import NO_MODEL, BaseModel
from autosft.data.data import Rows
from autosft.errors import TrialFailed
from autosft.inputs.terms import LETTERS, TERMS_FILE, WORDS, NoTermsError, TermReader, Terms
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData
from autosft.trainers.linear_head import LinearHead, each_label_first

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: The numbers of a saved model.
_WEIGHTS_FILE = "model.safetensors"

_KINDS = {"words+letters": (WORDS, LETTERS), "words": (WORDS,), "letters": (LETTERS,)}

#: Rows that the pace of reading is measured by: few, and where these take less than so many seconds, more.
_TIMED_ROWS, _MORE_TIMED_ROWS, _QUICK_SECONDS = 32, 512, 0.1

#: Rows that a head is fitted on however little time there is, in all and for each label.
_FEWEST_ROWS, _FEWEST_OF_LABEL = 16, 2

#: What fitting takes at all, and for each term of a row and label; and what of a time limit is planned with.
_SECONDS_AT_ALL, _SECONDS_EACH, _FILL = 0.2, 4e-8, 0.8

#: Texts are read so many at a time in prediction, as their terms take several times their own memory.
_BLOCK_ROWS = 2048


@dataclass(frozen=True)
class TfidfConfig:
    """What a trial of `tfidf` may vary.

    Attributes:
        terms: "words" with pairs of them, "letters" for pieces of two to five within words, or "words+letters".
        C: Inverse of the L2 penalty of the logistic regression, in scikit-learn's convention; for numbers, of a ridge
            regression.
        class_weights: "none", or "balanced" for weights inverse to class counts.
    """

    terms: str = "words+letters"
    C: float = 10.0
    class_weights: str = "none"


@dataclass(frozen=True)
class Pace:
    """What a training takes: seconds to read a row, and the weights that a row has on average."""

    read_seconds: float
    num_weights: float

    def head_seconds(self, num_rows: int, num_labels: int) -> float:
        """Estimates the seconds that fitting a head takes."""
        return _SECONDS_AT_ALL + _SECONDS_EACH * num_rows * self.num_weights * max(1, num_labels)

    def seconds(self, num_train: int, num_validation: int, num_labels: int) -> float:
        """Estimates the seconds of a training; its rows are read twice, once to learn which terms there are."""
        return (2 * num_train + num_validation) * self.read_seconds + self.head_seconds(num_train, num_labels)


class TfidfTrainer(Trainer):
    """TF-IDF, logistic or ridge regression."""

    name: ClassVar[str] = "tfidf"
    only_base: ClassVar[BaseModel | None] = NO_MODEL
    Config: ClassVar[type[Any]] = TfidfConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset(
        {
            (Input.TEXT, Output.LABEL),
            (Input.TEXT, Output.LABELS),
            (Input.TEXT, Output.NUMBER),
            (Input.TEXT_PAIR, Output.LABEL),
            (Input.TEXT_PAIR, Output.NUMBER),
        }
    )

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> TfidfConfig:
        # Cross-validated on training rows with C of 1, 10 and 100: sentence polarity .826, .830, .820; Banking77 (2,500
        # rows) .787, .822, .811; eight emotions of GoEmotions .679, .681, .680; SMS spam .968, .985, .987. For numbers
        # with .1, 1 and 10, JSTS: .715, .714, .688.
        return TfidfConfig(C=0.3 if output is Output.NUMBER else 10.0)

    def fit(
        self,
        config: TfidfConfig,
        task: Task,
        data: TrainingData,
        *,
        fidelity: float,
        seed: int,
        folder: Path,
        report: Report,
        rungs: tuple[float, ...] = (1.0,),
        limits: Limits,
    ) -> FittedModel:
        started = time.monotonic()
        limits.raise_if_stopped()
        num_labels, train = len(task.labels), _shuffled(data, seed)
        wanted = min(len(train), max(num_labels, int(fidelity * len(train))))
        train = train[:wanted]
        deadline = None
        if limits.time_limit_seconds is not None:
            deadline = started + limits.time_limit_seconds
            pace = _pace(config, data)
            train = train[: _most_rows(pace, data, num_labels, deadline - time.monotonic())]
        # In the order of the file, so that what is trained on whole does not depend on the seed.
        train = np.sort(train)
        with phase("train"):
            rows = Rows(data.all.path, train)
            reader = _learn(config, rows, data.input)
            limits.raise_if_stopped()
            head = LinearHead(config.C, config.class_weights, seed)
            features, targets = reader.matrix(rows.table()), rows.targets()
            fitted = head.fit(data.output, features, targets, num_labels=num_labels, limits=limits, deadline=deadline)
        model = TfidfModel(reader, data.output, task.labels, fitted.weights, fitted.bias)
        model.share_trained = len(train) / wanted * fitted.share
        if len(data.validation):
            with phase("evaluate"):
                outputs = model.predict(Rows(data.all.path, data.validation).table())
            report(1.0, outputs)
        return model

    def measure(self, config: TfidfConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        started = time.monotonic()
        # The first use of scikit-learn loads it, which is paid once a worker.
        _timed(config, data, 2)
        setup = time.monotonic() - started
        pace = _pace(config, data)
        run = pace.seconds(len(data.train), len(data.validation), len(task.labels))
        return Cost(setup, run, 1 / pace.read_seconds, micro_batch_size=None, max_length=None, share_cut=0.0)

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return TfidfModel.load(folder)


@dataclass
class TfidfModel(FittedModel):
    """A linear model over terms.

    Attributes:
        reader: Knows the terms.
        output: What it gives back.
        labels: Label names in output order; empty for a number.
        weights: Shape (width, terms). bias: Shape (width,).
    """

    reader: TermReader
    output: Output
    labels: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def predict(self, inputs: pa.Table) -> pa.Array:
        starts = range(0, max(1, inputs.num_rows), _BLOCK_ROWS)
        logits = np.concatenate([self._logits(self.reader.matrix(inputs.slice(at, _BLOCK_ROWS))) for at in starts])
        if self.output is Output.NUMBER:
            return pa.array(logits[:, 0].astype(np.float64), pa.float64())
        return from_matrix(softmax(logits) if self.output is Output.LABEL else sigmoid(logits))

    def scaled(self, temperature: float) -> TfidfModel:
        return replace(self, weights=self.weights / np.float32(temperature), bias=self.bias / np.float32(temperature))

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        with phase("checkpoint"):
            arrays = {"weights": self.weights, "bias": self.bias}
            arrays |= {f"idf.{one.kind}": one.idf for one in self.reader.terms}
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, folder / _WEIGHTS_FILE)
            row = {
                "format": 1,
                "output": self.output,
                "labels": self.labels,
                "pairs": self.reader.pairs,
                "terms": {one.kind: one.names for one in self.reader.terms},
            }
            (folder / TERMS_FILE).write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TfidfModel:
        """Loads what `save` wrote."""
        from safetensors.numpy import load_file

        with phase("load"):
            row = json.loads((folder / TERMS_FILE).read_text(encoding="utf-8"))
            arrays = load_file(folder / _WEIGHTS_FILE)
            terms = [Terms(kind, tuple(names), arrays[f"idf.{kind}"]) for kind, names in row["terms"].items()]
            reader = TermReader(terms, pairs=row["pairs"])
            return cls(reader, Output(row["output"]), tuple(row["labels"]), arrays["weights"], arrays["bias"])

    def _logits(self, features: csr_matrix) -> NDArray[np.float32]:
        return np.asarray(features @ self.weights.T + self.bias, np.float32)


def _learn(config: TfidfConfig, rows: Rows, input: Input) -> TermReader:
    try:
        return TermReader.learn(rows.table(), _KINDS[config.terms], pairs=input is Input.TEXT_PAIR)
    except NoTermsError as error:
        raise TrialFailed(str(error)) from error


def _shuffled(data: TrainingData, seed: int) -> NDArray[np.int64]:
    """Returns training rows in random order, of classes one row of each first, so that a part of them lacks none."""
    if data.output is not Output.LABEL:
        return np.random.default_rng(seed).permutation(data.train)
    targets = to_numbers(Rows(data.all.path, data.train).targets())
    return data.train[each_label_first(targets, seed)]


def _pace(config: TfidfConfig, data: TrainingData) -> Pace:
    """Measures how fast rows are read, on some of them."""
    # The first use of scikit-learn loads it, which takes seconds and is no row's pace.
    _timed(config, data, 2)
    found = _timed(config, data, _TIMED_ROWS)
    is_quick = 2 * _TIMED_ROWS * found.read_seconds < _QUICK_SECONDS
    return _timed(config, data, _MORE_TIMED_ROWS) if is_quick else found


def _timed(config: TfidfConfig, data: TrainingData, num_rows: int) -> Pace:
    chosen = np.random.default_rng(0).permutation(data.train)[:num_rows]
    rows = Rows(data.all.path, np.sort(chosen))
    started = time.monotonic()
    features = _learn(config, rows, data.input).matrix(rows.table())
    # Learning which terms there are takes about as long as weighing them.
    seconds = (time.monotonic() - started) / 2
    return Pace(max(seconds / len(chosen), 1e-6), features.nnz / len(chosen))


def _most_rows(pace: Pace, data: TrainingData, num_labels: int, seconds: float) -> int:
    """Returns how many rows there is time to train on."""
    most = len(data.train)
    fixed = pace.seconds(0, len(data.validation), num_labels)
    each = (pace.seconds(1000, len(data.validation), num_labels) - fixed) / 1000
    fits = int((_FILL * seconds - fixed) / each)
    return min(most, max(fits, _FEWEST_ROWS, _FEWEST_OF_LABEL * num_labels))
