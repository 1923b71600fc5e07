"""A frozen text encoder under a regularized linear head from scikit-learn.

Features are computed once per base model and cached as Arrow; every trial after the first fits only the head.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from autosft.accounting import phase
from autosft.base_models import BaseModel
from autosft.errors import TrialFailed
from autosft.inputs.text import tokenize
from autosft.task import Input, Output, Task
from autosft.trainers.base import Cost, FittedModel, Limits, Report, Trainer, TrainingData
from autosft.trainers.encoder import (
    EncoderModel,
    PooledClassifier,
    device,
    load_encoder,
    load_tokenizer,
    softmax,
    weights_key,
)
from autosft.trainers.features import FeatureCache


@dataclass(frozen=True)
class FrozenHeadConfig:
    """What a trial of `frozen_head` may vary.

    Attributes:
        pooling: "mean" over tokens or "cls" for the first.
        normalize: Whether features are scaled to unit length before the head.
        C: Inverse of the L2 penalty of the logistic regression, in scikit-learn's convention.
        class_weights: "none", or "balanced" for weights inverse to class counts.
    """

    pooling: str = "mean"
    normalize: bool = True
    C: float = 10.0
    class_weights: str = "none"


class FrozenHead(Trainer):
    """Frozen encoder, pooled features, logistic regression."""

    name: ClassVar[str] = "frozen_head"
    Config: ClassVar[type[Any]] = FrozenHeadConfig
    trains: ClassVar[frozenset[tuple[Input, Output]]] = frozenset({(Input.TEXT, Output.LABEL)})

    @classmethod
    def default_config(cls, base_model: BaseModel, num_rows: int) -> FrozenHeadConfig:
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
        features, encoder, tokenizer = self.features(data, config, limits)
        train = data.train
        if fidelity < 1:
            train = np.random.default_rng(seed).permutation(train)[: max(len(task.labels), int(fidelity * len(train)))]
        with phase("evaluate"):
            features.compute(data.validation, limits)
        limit = limits.time_limit_seconds
        with phase("train"):
            # The head's own fit is quick beside the encoder's pass; four fifths of the time may go into features.
            deadline = started + 0.8 * limit if limit is not None else None
            wanted, train = len(train), features.compute(train, limits, deadline=deadline, seed=seed)
            weights, bias = fit_head(features.take(train), data.all.targets()[train], config, len(task.labels), seed)
        if len(data.validation):
            with phase("evaluate"):
                outputs = softmax(features.take(data.validation) @ weights.T + bias)
            report(1.0, outputs)
        module = PooledClassifier(encoder, len(task.labels), pooling=config.pooling, normalize=config.normalize)
        set_linear(module.linear, weights, bias)
        model = EncoderModel(
            module.to(device()).eval(),
            tokenizer,
            features.tokens.max_length,
            task.labels,
            frozen_folder=self.base_model_folder,
        )
        model.share_trained = len(train) / wanted
        return model

    def measure(self, config: FrozenHeadConfig, task: Task, data: TrainingData, *, limits: Limits) -> Cost:
        started = time.monotonic()
        features, _, _ = self.features(data, config, limits)
        setup = time.monotonic() - started
        rows_per_second = features.measure(np.concatenate([data.train, data.validation]))
        # Measured on Banking77: about 5 s for 9,000 rows of 384 features and 77 labels.
        head_seconds = 0.2 + 2e-8 * len(data.train) * features.size * len(task.labels)
        run = (len(data.train) + len(data.validation)) / rows_per_second + head_seconds
        tokens = features.tokens
        return Cost(setup, run, rows_per_second, None, tokens.max_length, tokens.share_cut)

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        return EncoderModel.load(folder)

    def features(self, data: TrainingData, config: FrozenHeadConfig, limits: Limits) -> tuple[FeatureCache, Any, Any]:
        """Opens the feature cache of this base model; returns it with the encoder and its tokenizer."""
        encoder = load_encoder(self.base_model_folder)
        tokenizer = load_tokenizer(self.base_model_folder)
        key = weights_key(self.base_model_folder)
        tokens = tokenize(
            data.all,
            data.fingerprint,
            tokenizer,
            key,
            max_length=limits.max_length,
            context_tokens=self.base_model.context_tokens,
            cache=limits.cache,
        )
        features = FeatureCache(
            limits.cache,
            f"{data.fingerprint}|{key}|{tokens.max_length}",
            tokens,
            encoder,
            tokenizer,
            pooling=config.pooling,
            normalize=config.normalize,
        )
        return features, encoder, tokenizer


def fit_head(
    features: NDArray[np.float32], targets: NDArray[np.int64], config: FrozenHeadConfig, num_labels: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fits a multinomial logistic regression; returns weights (labels, size) and bias (labels,).

    A label without rows in `targets` gets zero weights and a bias that keeps it from being predicted.

    Raises:
        TrialFailed: All rows share one label.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(targets)
    if len(present) < 2:
        raise TrialFailed("the training rows of this trial hold one label only, so no head can be fitted")
    weight = "balanced" if config.class_weights == "balanced" else None
    model = LogisticRegression(C=config.C, max_iter=300, tol=1e-3, class_weight=weight, random_state=seed)
    with warnings.catch_warnings():
        # A head stopped at 300 iterations predicts as well as a converged one; the trial's score judges it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)
    coefficients, intercept = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn keeps one row for two classes; softmax needs both.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weights = np.zeros((num_labels, features.shape[1]), np.float32)
    bias = np.full(num_labels, intercept.min() - 20.0, np.float32)
    weights[present], bias[present] = coefficients, intercept
    return weights, bias


def set_linear(linear: torch.nn.Linear, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Copies weights and bias into a torch layer."""
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights))
        linear.bias.copy_(torch.from_numpy(bias))
