"""A frozen encoder under a regularized linear head from scikit-learn.

Features are computed once per base model and cached; every trial after the first fits only the head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.arrays import to_numbers
from autosft.base_models import BaseModel
from autosft.inputs import reader_class
from autosft.inputs.base import Examples, Reader
from autosft.inputs.overlap import NUM_OVERLAPS
from autosft.inputs.text import ApartReader
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData, reading_facts
from autosft.trainers.encoder import EncoderModel, read_rows
from autosft.trainers.features import FeatureCache
from autosft.trainers.linear_head import Fitted, LinearHead, each_label_first, head_rows, head_seconds
from autosft.trainers.networks import (
    ArchitectureClassifier,
    Network,
    PairClassifier,
    PooledClassifier,
    device,
    last_linear,
    load_encoder,
    load_with_head,
    set_linear,
)
from autosft.trainers.objectives import OBJECTIVES, width_of


@dataclass(frozen=True)
class FrozenHeadConfig:
    """What a trial of `frozen_head` may vary.

    Attributes:
        pooling: "mean" over tokens or "cls" for the first; of an image model its own.
        normalize: Whether features are scaled to unit length before the head. Those of an image model and of pairs of
            texts never are: each is standardised for the fit, which the linear layer takes up into its weights.
        C: Inverse of the L2 penalty of the logistic regression, in scikit-learn's convention; for numbers, of a ridge
            regression.
        class_weights: "none", or "balanced" for weights inverse to class counts.
        class_name_rows: As how many rows of its class a class's name counts, where `TrainingData` has names.
    """

    pooling: str = "mean"
    normalize: bool = True
    C: float = 10.0
    class_weights: str = "none"
    class_name_rows: int = 1


#: What a pair's overlaps weigh, see `_feature_weights`.
_OVERLAP_WEIGHT = 20.0

#: Of a time limit, what features of validation rows may take at most, as there is no model without rows to train on;
#: what features and head may take together; and what of it is kept for the head at least and, as how long that takes is
#: only estimated, at most.
_VALIDATION_SHARE, _FITTED_SHARE, _HEAD_SHARE, _MOST_HEAD_SHARE = 0.4, 0.95, 0.15, 0.5

#: Rows that a head is fitted on however little time is left for it, in all and for each label.
_FEWEST_ROWS, _FEWEST_OF_LABEL = 16, 2

#: Inputs whose features differ in scale, of one kind of them from another, and are standardised before the head.
_STANDARDISED = frozenset({Input.IMAGE, Input.TEXT_PAIR})


@dataclass(frozen=True)
class Opened:
    """A frozen network with the features of every row.

    Attributes:
        network: The head in it is still to be set.
        reader: What reads rows for it.
        examples: Every row.
        features: Of `examples`.
    """

    network: Network
    reader: Reader
    examples: Examples
    features: FeatureCache


class FrozenHead(Trainer):
    """Frozen encoder, pooled features, logistic or ridge regression."""

    name: ClassVar[str] = "frozen_head"
    is_probe: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = FrozenHeadConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset(
        {
            (Input.TEXT, Output.LABEL),
            (Input.TEXT, Output.LABELS),
            (Input.TEXT, Output.NUMBER),
            (Input.TEXT_PAIR, Output.LABEL),
            (Input.TEXT_PAIR, Output.NUMBER),
            (Input.IMAGE, Output.LABEL),
        }
    )

    @classmethod
    def least_memory_bytes(cls, base_model: BaseModel, config: Mapping[str, Any]) -> int:
        return 4 * base_model.num_parameters

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int, input: Input, output: Output) -> FrozenHeadConfig:
        # A standardised feature's weight is penalised as often as there are features, which are hundreds, and of pairs
        # four times as many. Of pairs, cross-validated with MiniLM on training rows: 0.001 was best of 0.0001 to 0.01
        # for PubMedQA's three labels, 0.0001 of 0.000001 to 0.001 for JSTS's numbers. Unit vectors, with the product
        # scaled to them, were level with this (0.592 and 0.604 to 0.600 and 0.605).
        if input is Input.IMAGE:
            return FrozenHeadConfig(normalize=False, C=0.01)
        if input is Input.TEXT_PAIR:
            return FrozenHeadConfig(normalize=False, C=0.0001 if output is Output.NUMBER else 0.001)
        return FrozenHeadConfig()

    def fit(
        self,
        config: FrozenHeadConfig,
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
        standardised = data.input in _STANDARDISED
        config = replace(config, normalize=config.normalize and not standardised)
        opened = self.open(data, config, task, limits)
        features, network = opened.features, opened.network
        train = data.with_names(config.class_name_rows).train
        if fidelity < 1:
            train = np.random.default_rng(seed).permutation(train)[: max(len(task.labels), int(fidelity * len(train)))]
        wanted, num_labels, left = len(train), len(task.labels), None
        if limits.time_limit_seconds is not None:
            left = max(0.0, limits.time_limit_seconds - (time.monotonic() - started))
        validated, train, fitted_by = _in_time(features, data, train, num_labels, limits, left, seed)
        with phase("train"):
            values, targets = _taken(features, train, config), data.all.targets().take(pa.array(train))
            head = LinearHead(config.C, config.class_weights, seed)
            fit = partial(
                head.fit, data.output, targets=targets, num_labels=num_labels, limits=limits, deadline=fitted_by
            )
            if standardised:
                fitted = _fit_standardised(fit, values, _feature_weights(data.input, features.size))
            else:
                fitted = fit(values)
            weights, bias = fitted.weights, fitted.bias
        set_linear(last_linear(network), weights, bias)
        if len(data.validation):
            with phase("evaluate"):
                # What time did not allow to be read is answered as the average row that was trained on.
                seen = np.tile(values.mean(axis=0), (len(data.validation), 1))
                seen[np.isin(data.validation, validated)] = _taken(features, validated, config)
                logits = seen @ weights.T + bias
                objective = OBJECTIVES[data.output](width_of(data.output, task.labels))
                outputs = objective.outputs(opened.examples, data.validation, list(logits))
            report(1.0, outputs)
        model = EncoderModel(
            network.to(device()).eval(),
            opened.reader.cut_at(opened.examples.max_length),
            data.input,
            data.output,
            task.labels,
            frozen_folder=self.base_model_folder,
        )
        model.share_trained = len(train) / wanted * fitted.share
        return model

    def measure(self, config: FrozenHeadConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        started = time.monotonic()
        opened = self.open(data, config, task, limits)
        features, examples = opened.features, opened.examples
        setup = time.monotonic() - started
        rows_per_second = features.measure(np.concatenate([data.train, data.validation]))
        run = (len(data.train) + len(data.validation)) / rows_per_second
        run += head_seconds(len(data.train), features.size, len(task.labels))
        return Cost(setup, run, rows_per_second, None, **reading_facts(examples, data))

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return EncoderModel.load(folder)

    def open(self, data: TrainingData, config: FrozenHeadConfig, task: Task, limits: Limits) -> Opened:
        """Opens the feature cache of this base model."""
        # An encoder alone, with nothing trained in it, compares texts best by their vectors.
        reading = ApartReader if data.input is Input.TEXT_PAIR else reader_class(data.input)
        reader, examples, key = read_rows(reading, self.base_model, self.base_model_folder, data, limits)
        network, plain = self._networks(data, config, width_of(data.output, task.labels))
        features = FeatureCache(
            limits.cache,
            f"{key}|{examples.max_length}|{config.pooling}",
            examples,
            lambda batch: plain.features(**batch),
            last_linear(network).in_features,
        )
        return Opened(network, reader, examples, features)

    def _networks(self, data: TrainingData, config: FrozenHeadConfig, width: int) -> tuple[Network, Network]:
        """Returns the network that the head goes into, and one on the same weights that gives its plain features."""
        if data.input is Input.IMAGE:
            model = load_with_head(self.base_model_folder, data.input, data.output, width=width)
            network = ArchitectureClassifier(model).to(device()).eval()
            return network, network
        encoder = load_encoder(self.base_model_folder)
        if data.input is Input.TEXT_PAIR:
            pair = PairClassifier(encoder, width, pooling=config.pooling).to(device()).eval()
            return pair, pair
        pooled = PooledClassifier(encoder, width, pooling=config.pooling, normalize=config.normalize)
        plain = PooledClassifier(encoder, 1, pooling=config.pooling)
        return pooled.to(device()).eval(), plain.to(device()).eval()


def _in_time(
    features: FeatureCache,
    data: TrainingData,
    train: NDArray[np.int64],
    num_labels: int,
    limits: Limits,
    left: float | None,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], float | None]:
    """Computes features; returns the rows to validate and train on that there was time for, and when a head is due.

    Args:
        left: Seconds for features and head; None without a limit.
    """
    if left is None:
        with phase("evaluate"):
            features.compute(data.validation, limits)
        with phase("train"):
            features.compute(train, limits)
        return data.validation, train, None
    began, least, most = time.monotonic(), _HEAD_SHARE * left, _MOST_HEAD_SHARE * left

    def seconds_to_fit(num_rows: int) -> float:
        return min(max(head_seconds(num_rows, features.size, num_labels), least), most)

    with phase("evaluate"):
        validated = features.compute(data.validation, limits, deadline=began + _VALIDATION_SHARE * left, seed=seed)
    with phase("train"):
        order = shuffled(train, data, seed)
        until = began + _FITTED_SHARE * left
        found = features.compute(train, limits, deadline=until, order=order, seconds_after=seconds_to_fit)
    seconds = max(until - time.monotonic(), least)
    num_rows = max(head_rows(seconds, features.size, num_labels), _FEWEST_ROWS, _FEWEST_OF_LABEL * num_labels)
    # Of sets of labels each is fitted alone, at a pace that says better than an estimate what time allows.
    if data.output is not Output.LABELS and len(found) > num_rows:
        found = shuffled(found, data, seed)[:num_rows]
    return validated, found, time.monotonic() + seconds


def shuffled(rows: NDArray[np.int64], data: TrainingData, seed: int) -> NDArray[np.int64]:
    """Returns rows in random order, of classes one row of each first, so that what is cut off takes none away."""
    if data.output is not Output.LABEL:
        return np.random.default_rng(seed).permutation(rows)
    return rows[each_label_first(to_numbers(data.all.targets().take(pa.array(rows))), seed)]


def _taken(features: FeatureCache, rows: NDArray[np.int64], config: FrozenHeadConfig) -> NDArray[np.float32]:
    """Returns features as the head is given them."""
    values = features.take(rows)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) if config.normalize else values


def _feature_weights(input: Input, size: int) -> NDArray[np.float32]:
    """Returns how much a standardised feature weighs before the penalty, shape (size,).

    A pair's few overlaps would be drowned by the hundreds of features of an encoder. Cross-validated on 3,000 training
    rows of JSTS, with an encoder that does not know the language: 1, 4, 10, 20 and 40 times gave a Spearman correlation
    of .590, .638, .667, .673 and .674, where the overlap of characters alone has .638.
    """
    weights = np.ones(size, np.float32)
    if input is Input.TEXT_PAIR:
        weights[-NUM_OVERLAPS:] = _OVERLAP_WEIGHT
    return weights


def _fit_standardised(
    fit: Callable[[NDArray[np.float32]], Fitted], features: NDArray[np.float32], feature_weights: NDArray[np.float32]
) -> Fitted:
    """Fits a head on weighted features of mean 0 and deviation 1; its weights are returned for plain features."""
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    # A feature that hardly varies among these rows must not drown the others in a row where it does.
    deviation = np.maximum(deviation, max(0.05 * float(np.median(deviation)), 1e-6)) / feature_weights
    standard = features - mean.astype(np.float32)
    standard /= deviation.astype(np.float32)
    found = fit(standard)
    weights = found.weights / deviation
    return found._replace(weights=weights.astype(np.float32), bias=(found.bias - weights @ mean).astype(np.float32))
