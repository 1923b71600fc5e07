"""Several models that answer together, and the one way to load a model's folder, be it of one model or of several."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from autosft.arrays import from_matrix, log_probabilities, softmax
from autosft.errors import RunFolderError, explain
from autosft.trainers import trainer_class
from autosft.trainers.base import FittedModel

ENSEMBLE_FILE = "autosft_ensemble.json"

_FORMAT = 1
_MEMBERS = "members"


@dataclass(frozen=True)
class Member:
    """A model of an ensemble.

    Attributes:
        trainer: The name of what trained it.
        model: In memory.
        weight: What the logarithms of its probabilities count, at least 0.
    """

    trainer: str
    model: FittedModel
    weight: float


@dataclass
class EnsembleModel(FittedModel):
    """Models whose logarithms of probabilities are added up, each by its weight: a logarithmic opinion pool.

    Its folder is that of the first member, with the others in a folder "members" beside its files.
    """

    members: tuple[Member, ...]

    def predict(self, inputs: pa.Table) -> pa.Array:
        logs = [one.weight * log_probabilities(one.model.predict(inputs)) for one in self.members]
        return from_matrix(softmax(np.sum(logs, axis=0)).astype(np.float32))

    def scaled(self, temperature: float) -> EnsembleModel:
        return EnsembleModel(tuple(replace(one, weight=one.weight / temperature) for one in self.members))

    def save(self, folder: Path) -> None:
        for at, one in enumerate(self.members):
            place = _place(folder, at)
            place.mkdir(parents=True, exist_ok=True)
            one.model.save(place)
        rows = [{"trainer": one.trainer, "weight": one.weight} for one in self.members]
        text = json.dumps({"format": _FORMAT, "members": rows}, indent=2)
        (folder / ENSEMBLE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EnsembleModel:
        """Loads what `save` wrote.

        Raises:
            RunFolderError: The file that says what belongs together cannot be read.
        """
        file = folder / ENSEMBLE_FILE
        try:
            row = json.loads(file.read_text(encoding="utf-8"))
            named = [(str(one["trainer"]), float(one["weight"])) for one in row["members"]]
            if row["format"] != _FORMAT or not named or not all(0 <= weight < math.inf for _, weight in named):
                raise ValueError(f"format {row['format']!r} with weights {[weight for _, weight in named]}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong = f"{file} cannot be read ({type(error).__name__}: {error})"
            expected = f"an ensemble of format {_FORMAT}, its weights at least 0"
            fix = "restore the file, or use the autosft that wrote it"
            raise RunFolderError(explain(wrong=wrong, expected=expected, fix=fix)) from error
        return cls(
            tuple(
                Member(trainer, trainer_class(trainer).load(_place(folder, at)), weight)
                for at, (trainer, weight) in enumerate(named)
            )
        )


def load_model(trainer: str, folder: Path) -> FittedModel:
    """Loads a model's folder.

    Args:
        trainer: The name of what trained the model, of an ensemble its first member.

    Raises:
        PlanError: No trainer has this name.
        RunFolderError: It is an ensemble's, and damaged.
    """
    if (folder / ENSEMBLE_FILE).exists():
        return EnsembleModel.load(folder)
    return trainer_class(trainer).load(folder)


def _place(folder: Path, at: int) -> Path:
    """Returns where a member lies; never by a name that stands in a file."""
    return folder / _MEMBERS / str(at) if at else folder
