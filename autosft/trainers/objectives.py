"""What a network's logits mean for each output: their number, the loss, and the outputs that are reported.

One class an output. No kind of task is named here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from autosft.arrays import from_matrix, one_array, sigmoid, softmax, to_matrix, to_numbers
from autosft.inputs.base import Examples
from autosft.inputs.words import WordWindows
from autosft.task import Output

#: Label that no loss counts, Transformers' convention.
NOT_COUNTED = -100


class Objective(ABC):
    """One output's logits, loss and outputs.

    Class attributes:
        problem_type: What Transformers calls it in a model's config, or None.
    """

    problem_type: ClassVar[str | None] = None

    def __init__(self, width: int) -> None:
        self.width = width

    @abstractmethod
    def outputs(self, examples: Examples, rows: NDArray[np.int64], logits: Sequence[NDArray[np.float32]]) -> pa.Array:
        """Returns outputs for some rows from the logits of their examples."""

    @abstractmethod
    def learn(self, targets: pa.Array, train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> Objective:
        """Returns the objective ready for training.

        Args:
            targets: Of all rows. train: The rows that are trained on; nothing is learnt from others.
            balanced: Whether rare classes weigh more, inversely to their count.
            smoothing: Share of a target that is spread over the other labels.
        """

    @abstractmethod
    def labels(self, examples: Examples, positions: NDArray[np.int64]) -> torch.Tensor:
        """Returns a batch of labels for the loss, NOT_COUNTED where there is none."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns the loss summed over all labels that count."""

    def countable(self, labels: torch.Tensor) -> torch.Tensor:
        """Returns the labels with one element for each that a mean loss is divided by, NOT_COUNTED left in."""
        return labels

    def settle(self, linear: nn.Linear) -> None:  # noqa: B027 - most objectives have nothing to fold in
        """Folds into the last layer what the objective knows and a saved network does not."""


class OneLabel(Objective):
    """Softmax over labels, cross-entropy."""

    problem_type = "single_label_classification"

    def learn(self, targets: pa.Array, train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> OneLabel:
        self._targets = to_numbers(targets).astype(np.int64)
        self._smoothing = smoothing
        counts = np.bincount(self._targets[train], minlength=self.width)
        weights = len(train) / (self.width * np.maximum(counts, 1))
        self._weights = torch.tensor(weights, dtype=torch.float32) if balanced else None
        return self

    def labels(self, examples: Examples, positions: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(self._targets[positions])

    def countable(self, labels: torch.Tensor) -> torch.Tensor:
        # An augmentation may have mixed rows: a row is then shares of all labels, and still one row.
        return labels[:, 0] if labels.is_floating_point() else labels

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses = nn.functional.cross_entropy(logits, labels, label_smoothing=self._smoothing, reduction="none")
        if self._weights is not None:
            # Each row weighs what its label does. PyTorch's own `weight` also weighs what smoothing spreads over the
            # other labels, so that a rare one among them would outweigh the true one.
            weights = self._weights.to(logits.device)
            losses = losses * (labels @ weights if labels.is_floating_point() else weights[labels])
        return losses.sum()

    def outputs(self, examples: Examples, rows: NDArray[np.int64], logits: Sequence[NDArray[np.float32]]) -> pa.Array:
        return from_matrix(softmax(_stacked(logits, self.width)))


class SeveralLabels(Objective):
    """A sigmoid for each label, binary cross-entropy."""

    problem_type = "multi_label_classification"

    def learn(self, targets: pa.Array, train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> SeveralLabels:
        self._targets = to_matrix(targets).astype(np.float32)
        self._smoothing = smoothing
        positives = self._targets[train].sum(axis=0)
        # As many times as a label is absent more often than present, but within what a rate can bear.
        weights = np.clip((len(train) - positives) / np.maximum(positives, 1), 1, 100)
        self._weights = torch.tensor(weights, dtype=torch.float32) if balanced else None
        return self

    def labels(self, examples: Examples, positions: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(self._targets[positions])

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smooth = labels * (1 - self._smoothing) + self._smoothing / 2
        # By the true label, not by the smoothed one: see `OneLabel.loss`.
        weights = None if self._weights is None else 1 + labels * (self._weights.to(logits.device) - 1)
        return nn.functional.binary_cross_entropy_with_logits(logits, smooth, weight=weights, reduction="sum")

    def outputs(self, examples: Examples, rows: NDArray[np.int64], logits: Sequence[NDArray[np.float32]]) -> pa.Array:
        return from_matrix(sigmoid(_stacked(logits, self.width)))


class OneNumber(Objective):
    """One linear value, squared error. Targets are standardised for training, by the training rows."""

    problem_type = "regression"
    _mean, _scale = 0.0, 1.0

    def learn(self, targets: pa.Array, train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> OneNumber:
        self._targets = to_numbers(targets).astype(np.float64)
        self._mean = float(self._targets[train].mean())
        self._scale = float(self._targets[train].std()) or 1.0
        return self

    def labels(self, examples: Examples, positions: NDArray[np.int64]) -> torch.Tensor:
        standard = (self._targets[positions] - self._mean) / self._scale
        return torch.from_numpy(standard.astype(np.float32))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(logits[:, 0], labels, reduction="sum")

    def outputs(self, examples: Examples, rows: NDArray[np.int64], logits: Sequence[NDArray[np.float32]]) -> pa.Array:
        values = _stacked(logits, 1)[:, 0].astype(np.float64)
        return pa.array(values * self._scale + self._mean, pa.float64())

    def settle(self, linear: nn.Linear) -> None:
        with torch.no_grad():
            linear.weight.mul_(self._scale)
            linear.bias.mul_(self._scale).add_(self._mean)
        self._mean, self._scale = 0.0, 1.0


class TokenLabels(Objective):
    """Softmax over labels for each word, cross-entropy at the first token of each; once, however windows overlap."""

    def learn(self, targets: pa.Array, train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> TokenLabels:
        whole = one_array(targets)
        lengths = to_numbers(whole.value_lengths())
        self._starts = np.cumsum(lengths) - lengths
        self._targets = to_numbers(whole.flatten()).astype(np.int64)
        self._smoothing = smoothing
        counts = np.bincount(to_numbers(whole.take(pa.array(train)).flatten()), minlength=self.width)
        # Most words have the label that stands for nothing, so the rarest would drown all others.
        weights = np.clip(counts.sum() / (self.width * np.maximum(counts, 1)), 0.01, 100)
        self._weights = torch.tensor(weights, dtype=torch.float32) if balanced else None
        return self

    def labels(self, examples: Examples, positions: NDArray[np.int64]) -> torch.Tensor:
        windows = cast(WordWindows, examples)
        longest = int(windows.lengths[positions].max(initial=1))
        found = np.full((len(positions), longest), NOT_COUNTED, np.int64)
        for at, window in enumerate(positions):
            words, places = windows.words(window)
            found[at, places] = self._targets[self._starts[windows.rows[window]] + words]
        return torch.from_numpy(found)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits, labels = logits.flatten(0, 1), labels.flatten()
        losses = nn.functional.cross_entropy(
            logits, labels, label_smoothing=self._smoothing, ignore_index=NOT_COUNTED, reduction="none"
        )
        if self._weights is not None:
            # By the true label, not by the smoothed one: see `OneLabel.loss`.
            losses = losses * self._weights.to(logits.device)[labels.clamp(min=0)]
        return losses.sum()

    def outputs(self, examples: Examples, rows: NDArray[np.int64], logits: Sequence[NDArray[np.float32]]) -> pa.Array:
        """Returns probabilities of each word; one without any token surely has the first label, which says nothing."""
        windows = cast(WordWindows, examples)
        lengths = windows.num_words(rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        found = np.zeros((int(offsets[-1]), self.width), np.float32)
        found[:, 0] = 1.0
        starts = np.repeat(offsets[:-1], windows.num_windows(rows))
        for window, start, values in zip(windows.of_rows(rows), starts, logits, strict=True):
            words, places = windows.words(window)
            found[start + words] = softmax(values[places])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), from_matrix(found))


OBJECTIVES: dict[Output, type[Objective]] = {
    Output.LABEL: OneLabel,
    Output.LABELS: SeveralLabels,
    Output.NUMBER: OneNumber,
    Output.TOKEN_LABELS: TokenLabels,
}


def width_of(output: Output, labels: Sequence[str]) -> int:
    """Returns how many values a network gives for an output over these labels."""
    return 1 if output is Output.NUMBER else len(labels)


def _stacked(logits: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.stack(logits) if len(logits) else np.zeros((0, width), np.float32)
