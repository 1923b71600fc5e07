"""What every trainer must do, as tests that a plugin inherits.

A package with a trainer of its own writes `class TestMine(TrainerContract)` with a fixture `trainer_name`, in a test
module that pytest collects. Only trainers of one text to one label are covered.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows
from autosft.errors import TrialFailed
from autosft.search.space import SearchSpace
from autosft.search.space_file import load_space
from autosft.task import Input, Output, Task
from autosft.testing.tiny_data import WORDS, tiny_training_data
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import trainer_class
from autosft.trainers.base import Cost, FittedModel, Limits, Trainer, TrainingData

#: What a saved model may hold apart from safetensors: text that a person can read.
_READABLE = {".json", ".txt", ".md", ".model", ".jinja", ".safetensors"}


@dataclass
class Subject:
    """A trainer bound to a tiny base model, with rows to train on.

    Attributes:
        trainer: The trainer.
        task: Three labels of one text.
        data: A hundred rows or so.
        folder: For what the trainings write.
    """

    trainer: Trainer
    task: Task
    data: TrainingData
    folder: Path
    _number: int = 0

    @property
    def config(self) -> Any:
        """The untuned default."""
        data = self.data
        return type(self.trainer).default_config(self.trainer.base_model, len(data.train), data.input, data.output)

    @property
    def inputs(self) -> Any:
        """The validation rows as a model is given them."""
        return Rows(self.data.all.path, self.data.validation).table()

    def limits(self, **changed: Any) -> Limits:
        """Returns the limits that trainings run under."""
        return Limits(**{"num_threads": 1, "cache": self.folder / "cache", **changed})

    def fit(self, *, config: Any = None, fidelity: float = 1.0, seed: int = 0, **limits: Any) -> Training:
        """Runs one training."""
        self._number += 1
        scratch = self.folder / f"training{self._number}"
        scratch.mkdir()
        training = Training()
        training.model = self.trainer.fit(
            config or self.config,
            self.task,
            self.data,
            fidelity=fidelity,
            seed=seed,
            folder=scratch,
            report=lambda share, outputs: training.reports.append((share, outputs)),
            limits=self.limits(**limits),
        )
        return training


@dataclass
class Training:
    """What one training reported, in order, and the model it came to."""

    reports: list[tuple[float, pa.Array]] = field(default_factory=list)
    model: FittedModel = field(init=False)

    @property
    def outputs(self) -> NDArray[np.float32]:
        """The last report's probabilities, shape (rows, labels)."""
        return to_matrix(self.reports[-1][1])


class TrainerContract:
    """Tests of one trainer. A subclass, or its module, gives a fixture `trainer_name` of class scope or wider."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, trainer_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
        """The trainer on a tiny BERT; override it for trainers that start from something else."""
        found = trainer_class(trainer_name)
        if (Input.TEXT, Output.LABEL) not in found.trains:
            pytest.skip(f"{trainer_name} does not train one text to one label")
        folder = tmp_path_factory.mktemp(trainer_name)
        base = write_tiny_encoder(folder / "base", words=WORDS)
        task, data = tiny_training_data(folder / "data")
        yield Subject(found(tiny_base_model(base), base), task, data, folder)

    @pytest.fixture(scope="class")
    @classmethod
    def training(cls, subject: Subject) -> Training:
        """One full run of the untuned default, shared by the tests that only look at it."""
        return subject.fit()

    def space(self, subject: Subject) -> SearchSpace:
        """The search space that is shipped with the trainer."""
        return load_space(type(subject.trainer).name, Input.TEXT, Output.LABEL)

    def endless(self, config: Any) -> Any:
        """Returns a configuration whose full run takes longer than anybody waits, where the trainer has such a one."""
        names = [item.name for item in dataclasses.fields(config)]
        return dataclasses.replace(config, num_train_epochs=100_000) if "num_train_epochs" in names else config

    def test_is_found_by_its_name(self, subject: Subject, trainer_name: str) -> None:
        assert type(subject.trainer).name == trainer_name

    def test_config_is_a_frozen_dataclass_of_plain_values(self, subject: Subject) -> None:
        config = subject.config
        assert type(config) is type(subject.trainer).Config
        assert type(config)(**dataclasses.asdict(config)) == config
        first = dataclasses.fields(config)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, first, getattr(config, first))

    def test_the_default_lies_inside_the_search_space(self, subject: Subject) -> None:
        space, default = self.space(subject), dataclasses.asdict(subject.config)
        space.check(type(subject.config))
        for parameter in space.parameters:
            value = default[parameter.name]
            if parameter.type == "choice":
                assert value in parameter.values, parameter.name
            else:
                unit = value if parameter.scale == "default" else 1
                assert parameter.low is not None and parameter.high is not None
                assert parameter.low * unit <= value <= parameter.high * unit, parameter.name

    def test_reports_probabilities_once_at_the_end(self, subject: Subject, training: Training) -> None:
        assert [share for share, _ in training.reports] == [1.0]
        assert training.outputs.shape == (len(subject.data.validation), len(subject.task.labels))
        assert training.outputs.min() >= 0
        np.testing.assert_allclose(training.outputs.sum(axis=1), 1.0, atol=1e-5)

    def test_the_report_is_of_the_model_that_comes_back(self, subject: Subject, training: Training) -> None:
        np.testing.assert_allclose(to_matrix(training.model.predict(subject.inputs)), training.outputs, atol=1e-5)

    def test_learns_what_the_words_say(self, subject: Subject, training: Training) -> None:
        targets = to_numbers(subject.data.all.targets())[subject.data.validation]
        accuracy = float((training.outputs.argmax(axis=1) == targets).mean())
        assert accuracy > 0.5, "no better than chance, which is a third"

    def test_the_same_seed_gives_the_same_outputs(self, subject: Subject, training: Training) -> None:
        np.testing.assert_allclose(subject.fit().outputs, training.outputs, atol=1e-6)

    def test_a_smaller_fidelity_is_a_shorter_training(self, subject: Subject, training: Training) -> None:
        short = subject.fit(fidelity=0.2)
        assert [share for share, _ in short.reports] == [1.0], "a rung is a share of its own run"
        # A trainer that took no notice would reach the very same outputs, since the seed is the same.
        assert np.abs(short.outputs - training.outputs).max() > 1e-3

    def test_all_rows_train_where_none_validates(self, subject: Subject) -> None:
        everything = np.arange(len(subject.data.all))
        data = dataclasses.replace(subject.data, train=everything, validation=everything[:0])
        refit = dataclasses.replace(subject, data=data, folder=subject.folder / "refit")
        refit.folder.mkdir()
        training = refit.fit()
        assert training.reports == []
        assert to_matrix(training.model.predict(subject.inputs)).shape == (
            len(subject.data.validation),
            len(subject.task.labels),
        )

    def test_a_saved_model_predicts_the_same(self, subject: Subject, training: Training, tmp_path: Path) -> None:
        training.model.save(tmp_path)
        loaded = type(subject.trainer).load(tmp_path)
        np.testing.assert_allclose(to_matrix(loaded.predict(subject.inputs)), training.outputs, atol=1e-5, rtol=0)
        order = np.arange(len(subject.inputs))[::-1]
        np.testing.assert_allclose(
            to_matrix(loaded.predict(subject.inputs.take(order))), training.outputs[order], atol=1e-5
        )

    def test_no_rows_have_no_predictions(self, subject: Subject, training: Training) -> None:
        assert to_matrix(training.model.predict(subject.inputs.slice(0, 0))).shape == (0, len(subject.task.labels))

    def test_a_saved_model_holds_safetensors_and_no_pickle(self, training: Training, tmp_path: Path) -> None:
        training.model.save(tmp_path)
        suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
        assert ".safetensors" in suffixes
        assert suffixes <= _READABLE

    def test_the_cost_is_positive(self, subject: Subject) -> None:
        cost = subject.trainer.measure(subject.config, subject.task, subject.data, limits=subject.limits())
        assert isinstance(cost, Cost)
        assert min(cost.setup_seconds, cost.run_seconds, cost.predict_rows_per_second) > 0
        assert cost.max_length is None or cost.max_length > 0
        assert 0 <= cost.share_cut <= 1

    def test_a_time_limit_is_kept(self, subject: Subject) -> None:
        started = time.monotonic()
        training = subject.fit(config=self.endless(subject.config), time_limit_seconds=2.0)
        assert time.monotonic() - started < 12, "2 seconds, and time to spare for a busy machine"
        assert [share for share, _ in training.reports] == [1.0]

    def test_a_stop_file_ends_the_training(self, subject: Subject, tmp_path: Path) -> None:
        (tmp_path / "stop").touch()
        with pytest.raises(TrialFailed, match="stopped"):
            subject.fit(config=self.endless(subject.config), stop_file=tmp_path / "stop")
