"""The calibration: one temperature that makes the shipped model's probabilities the shares of right answers.

Temperature scaling (Guo et al., arXiv 1706.04599): logits are divided by one number, so no prediction changes. It is
folded into the saved model's last layer, so that whatever library loads the folder gives calibrated logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import from_matrix, log_probabilities, to_matrix, to_numbers
from autosft.intervals import standard_error_of_mean
from autosft.search.trial import Trial
from autosft.search.workbench import Workbench
from autosft.task import Output
from autosft.tasks import kind as task_kind

#: Fewer rows say next to nothing of how sure a model may be.
MIN_ROWS = 50

#: Beyond these, something other than the temperature is wrong.
_LOWEST, _HIGHEST = 0.25, 4.0

#: Probabilities that one fit looks at, rows times labels: some twenty times, within a second.
MOST_PROBABILITIES = 2_000_000

#: A warm worker reads and writes models in about a second, and this many bytes in every further one.
_ENOUGH_SECONDS, _BYTES_PER_SECOND = 4.0, 200e6

#: What of the time left the worker may take; the rest is the proof's.
_SHARE = 0.5


@dataclass(frozen=True)
class Calibration:
    """What came of it.

    Attributes:
        reason: What was done, or why nothing, in one sentence.
        temperature: What the logits of the shipped model were divided by; 1 where it is as it was trained.
        loss_before: Mean negative log-likelihood in nats of the winner's validation rows, as it was trained.
        loss_after: The same at `temperature`.
        num_rows: Rows that could be looked at: those validation rows.
        models: Folders of the calibrated models by those of the models as they were trained.
    """

    reason: str
    temperature: float = 1.0
    loss_before: float | None = None
    loss_after: float | None = None
    num_rows: int = 0
    models: Mapping[Path, Path] = field(default_factory=dict)

    def of(self, model: Path) -> Path:
        """Returns the folder to ship in the place of a trained model's."""
        return self.models.get(model, model)

    def to_json(self) -> dict[str, Any]:
        """Returns what `result.json` says of it."""
        names = ("temperature", "loss_before", "loss_after", "num_rows", "reason")
        return {name: getattr(self, name) for name in names}


def temperature(targets: pa.Array, outputs: pa.Array, groups: NDArray[Any] | None = None) -> float:
    """Returns what logits are to be divided by so that the true labels of these rows become likeliest.

    It is 1 where there are too few rows, or where the log-likelihood gains less than its standard error over the rows.
    One is enough, although the rows are those that the temperature was fitted on: for a model that is calibrated as it
    is, n rows gain z²/2n, and the standard error is |z|/n, with z standard normal, which is less but once in twenty.
    Where no row or hardly any is wrong, the likeliest model would be one that is never wrong; so none is made surer
    than what `accuracy` of these rows it may have.

    Args:
        targets: Positions of the true labels, of rows that the model did not train on.
        outputs: The model's probabilities for those rows.
        groups: Of those rows: those of one value may be right or wrong together.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) < MIN_ROWS:
        return 1.0
    every = math.ceil(outputs.type.list_size * len(outputs) / MOST_PROBABILITIES)
    logs, true = log_probabilities(outputs)[::every], to_numbers(targets)[::every]
    # In the logarithm, since half and double are equally far from 1.
    bounds = (math.log(_surest(logs, accuracy(targets, outputs))), math.log(_HIGHEST))
    found = minimize_scalar(lambda at: float(nats(logs, true, math.exp(at)).mean()), bounds=bounds, method="bounded")
    fitted = math.exp(found.x)
    gains = nats(logs, true, 1.0) - nats(logs, true, fitted)
    error = standard_error_of_mean(gains, None if groups is None else groups[::every])
    return fitted if gains.mean() > error else 1.0


def accuracy(targets: pa.Array, outputs: pa.Array) -> float:
    """Returns the share of right labels to expect on further rows, by Laplace's rule of succession: never 0 or 1."""
    right = to_matrix(outputs).argmax(axis=1) == to_numbers(targets)
    return float((right.sum() + 1) / (len(right) + 2))


def tempered(outputs: pa.Array, temperature: float) -> pa.Array:
    """Returns the probabilities that a model gives once its logits are divided by a temperature."""
    if temperature == 1.0:
        return outputs
    values = np.exp(_log_softmax(log_probabilities(outputs) / temperature))
    return from_matrix(values.astype(np.float32))


def calibrate(
    bench: Workbench,
    winner: Trial,
    folder: Path,
    *,
    outputs: pa.Array | None,
    models: Sequence[Path],
    seconds_left: float | None,
) -> Calibration:
    """Fits the temperature and writes the models with it beside those as they were trained.

    A refit trains on the winner's validation rows too, so no rows are left to fit its own temperature on. It gets the
    winner's: the same configuration, trained on somewhat more rows, is about as sure of itself as it may be.

    When the user asks for an early end, models stay as they are.

    Args:
        folder: Where the calibrated models are put; what an earlier sitting left there is replaced.
        outputs: The winner's for its validation rows; None where they are lost.
        models: Folders of the models that may be shipped, all of the winner's configuration.
        seconds_left: What is left of the run, proof included.

    Raises:
        AutosftError: It met something that the caller can change, or what runs it failed.
    """
    plan = bench.plan
    validation = plan.data.training(0)[1]
    if task_kind(plan.task.kind).output is not Output.LABEL:
        return Calibration("only the probabilities of one label a row are calibrated")
    if validation is None or outputs is None or len(outputs) != len(validation):
        return Calibration("not calibrated: the winner's outputs for its validation rows are lost")
    targets, num_rows = validation.targets(), len(validation)
    value = temperature(targets, outputs, validation.groups())
    logs, true = log_probabilities(outputs), to_numbers(targets)
    before, after = (float(nats(logs, true, at).mean()) for at in (1.0, value))

    def left_alone(why: str) -> Calibration:
        return Calibration(f"not calibrated: {why}", 1.0, before, before, num_rows)

    if num_rows < MIN_ROWS:
        return left_alone(f"{num_rows:,} validation rows are too few to tell how sure the model may be")
    if value == 1.0:
        return left_alone(f"on {num_rows:,} validation rows no temperature is better than 1 beyond the noise")
    if bench.interrupt.requested:
        return left_alone("the run was interrupted")
    seconds = None if seconds_left is None else _SHARE * seconds_left
    if seconds is not None and seconds < _seconds(models):
        return left_alone("there was no time for it")
    into = {model: folder / str(at) for at, model in enumerate(models)}
    arguments = {"trainer": plan.arm(winner.arm).trainer, "models": into, "temperature": value, "rows": validation}
    ended = bench.run("autosft.search.work:scale", arguments, [winner], kill_after_seconds=seconds)
    if ended.fate != "complete":
        return left_alone(f"it failed ({ended.reason})")
    if not ended.value:
        return left_alone("the model's last layer cannot be scaled")
    reason = (
        f"logits divided by the temperature {value:.2f}, fitted on {num_rows:,} validation rows of the search, whose "
        f"log loss it takes from {before:.4f} to {after:.4f}"
    )
    return Calibration(reason, value, before, after, num_rows, into)


def _seconds(models: Sequence[Path]) -> float:
    """Predicts what reading and writing the models takes, a late start included."""
    size = sum(path.stat().st_size for model in models for path in model.rglob("*.safetensors"))
    return _ENOUGH_SECONDS + size / _BYTES_PER_SECOND


def _surest(logs: NDArray[np.float64], accuracy: float) -> float:
    """Returns the smallest temperature, at most 1, at which what is said is no likelier than that on average."""
    from scipy.optimize import brentq

    def excess(at: float) -> float:
        return float(np.exp(_log_softmax(logs / at).max(axis=1)).mean()) - accuracy

    if not excess(1.0) < 0:
        return 1.0
    return _LOWEST if excess(_LOWEST) <= 0 else float(brentq(excess, _LOWEST, 1.0, xtol=1e-3))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def nats(logs: NDArray[np.float64], true: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Returns the negative log-likelihood of each row's true label, shape (rows,)."""
    return -_log_softmax(logs / temperature)[np.arange(len(true)), true]
