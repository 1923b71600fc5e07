"""The calibration: which temperature is found and when none is, that labels stay, and that saved models carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import autosft
from autosft.arrays import from_matrix, to_matrix
from autosft.calibration import MIN_ROWS, Calibration, calibrate, temperature, tempered
from autosft.data.data import Rows
from autosft.errors import BaseModelError, TrialFailed
from autosft.interrupt import Interrupt
from autosft.planning.plan import Plan
from autosft.search.job import Ended
from autosft.search.trial import Trial
from autosft.search.work import scale, train
from autosft.search.workbench import Workbench
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_kinds import question
from autosft.tracking.base import Tracker
from autosft.trainers import trainer_class
from autosft.trainers.base import FittedModel, Limits

#: Two trainers, and every way in which a head is saved.
SAVED = [
    ("text-classification", "frozen_head", {}),
    ("text-classification", "transformers", {"head": "architecture"}),
    ("text-pair-classification", "frozen_head", {}),
    ("image-classification", "transformers", {}),
]


def softmax(logits: NDArray[np.float64]) -> pa.Array:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return from_matrix((values / values.sum(axis=1, keepdims=True)).astype(np.float32))


def planted(num_rows: int, *, num_labels: int = 4, seed: int = 0) -> tuple[pa.Array, NDArray[np.float64]]:
    """Returns labels, and the logits of the probabilities that they were drawn from."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=1.5, size=(num_rows, num_labels))
    noise = random.gumbel(size=logits.shape)
    return pa.array((logits + noise).argmax(axis=1)), logits


@pytest.mark.parametrize("sureness", [0.5, 1.6, 3.0])
def test_the_temperature_is_how_much_too_sure_the_model_is(sureness: float) -> None:
    targets, logits = planted(4_000)
    assert temperature(targets, softmax(logits * sureness)) == pytest.approx(sureness, rel=0.08)


def test_probabilities_that_float32_has_no_number_for_still_have_a_temperature() -> None:
    targets, logits = planted(1_000)
    outputs = softmax(logits * 60)
    assert to_matrix(outputs).min() == 0
    assert temperature(targets, outputs) == pytest.approx(4.0, rel=0.01), "no further than that"
    assert np.isfinite(to_matrix(tempered(outputs, 4.0))).all()


def test_a_calibrated_model_is_left_alone_nearly_always() -> None:
    found = [temperature(targets, softmax(logits)) for targets, logits in (planted(200, seed=at) for at in range(200))]
    assert 0.01 < np.mean([value != 1.0 for value in found]) < 0.1


@pytest.mark.parametrize(("margin", "share_told"), [(1.8, 101 / 102), (9.0, None)])
def test_a_model_that_is_right_on_every_row_is_not_taken_to_be_never_wrong(
    margin: float, share_told: float | None
) -> None:
    targets = np.arange(100) % 3
    outputs = softmax(margin * np.eye(3)[targets] + 0.1 * np.random.default_rng(0).normal(size=(100, 3)))
    found = temperature(pa.array(targets), outputs)
    if share_told is None:
        assert found == pytest.approx(1.0, abs=1e-3), "it is surer than these rows can tell already"
    else:
        assert 0.25 <= found < 0.5
        assert to_matrix(tempered(outputs, found)).max(axis=1).mean() <= share_told + 1e-3


@pytest.mark.parametrize(("groups", "is_scaled"), [(None, True), (np.arange(200) // 20, False)])
def test_what_one_group_alone_says_of_sureness_is_noise(groups: NDArray[np.int64] | None, is_scaled: bool) -> None:
    """All rows are said to be right with 0.95; one group of ten is wrong."""
    logits = np.tile([3.0, 0.0], (200, 1))
    logits[:20] *= -1
    assert (temperature(pa.array(np.zeros(200, np.int64)), softmax(logits), groups) != 1.0) == is_scaled


def test_few_rows_or_undefined_outputs_tell_nothing() -> None:
    targets, logits = planted(MIN_ROWS)
    outputs = softmax(logits * 3)
    assert temperature(targets, outputs) > 1
    assert temperature(targets[1:], outputs[1:]) == 1.0
    assert temperature(targets, from_matrix(np.full((MIN_ROWS, 4), np.nan, np.float32))) == 1.0


@pytest.mark.parametrize("value", [0.25, 0.8, 1.0, 1.7, 4.0])
def test_tempered_outputs_are_those_of_scaled_logits_and_say_the_same_labels(value: float) -> None:
    _, logits = planted(500)
    found = tempered(softmax(logits), value)
    assert found.type == softmax(logits).type
    np.testing.assert_allclose(to_matrix(found), to_matrix(softmax(logits / value)), atol=1e-6)
    assert (to_matrix(found).argmax(axis=1) == logits.argmax(axis=1)).all()
    assert len(tempered(from_matrix(np.zeros((0, 3), np.float32)), value)) == 0


@pytest.fixture(scope="module", params=SAVED, ids=lambda saved: "-".join(saved[:2]))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, str, Path]:
    """A plan, a trainer's name, and the folder that its model was saved in."""
    kind, trainer, config = request.param
    folder = tmp_path_factory.mktemp(kind)
    asked = question(kind, folder)
    plan = autosft.plan(asked.sentence, asked.data, models=str(asked.base), timing=False, tracker=Tracker())
    arm = next(arm for arm in plan.arms if arm.trainer == trainer)
    train(
        lambda *given, **more: None, trainer=trainer, base_model=arm.base_model, folder=arm.folder,
        config={**arm.default, **config}, task=plan.task, data=plan.data, fold=0,
        fidelity=0.3 if trainer == "transformers" else 1.0, seed=0, scratch=folder / "trial", rungs=(1.0,),
        limits=Limits(num_threads=1, cache=folder / "cache"),
    )  # fmt: skip
    return plan, trainer, folder / "trial" / "model"


def validation(plan: Plan) -> Rows:
    found = plan.data.training(0)[1]
    assert found is not None
    return found


def test_a_saved_model_carries_its_temperature(saved: tuple[Plan, str, Path], tmp_path: Path) -> None:
    plan, trainer, model = saved
    target = tmp_path / "calibrated" / "0"
    rows = validation(plan)
    for _ in range(2):  # Again, as after a crash.
        assert scale(_silent, trainer=trainer, models={model: target}, temperature=2.5, rows=rows)
    before, after = (trainer_class(trainer).load(folder).predict(rows.table()) for folder in (model, target))
    np.testing.assert_allclose(to_matrix(after), to_matrix(tempered(before, 2.5)), atol=1e-5)
    assert np.abs(to_matrix(after) - to_matrix(before)).max() > 1e-2
    assert (to_matrix(after).argmax(axis=1) == to_matrix(before).argmax(axis=1)).all()
    files = {path.relative_to(model) for path in model.rglob("*")}
    assert {path.relative_to(target) for path in target.rglob("*")} == files
    heads_elsewhere = len(list(model.rglob("*.safetensors"))) > 1
    linked = (target / "model.safetensors").samefile(model / "model.safetensors")
    assert linked == heads_elsewhere, "an encoder that is not changed is not written again"


def test_transformers_itself_gives_the_calibrated_logits(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from autosft.inputs.text import TextReader
    from autosft.task import Input, Output
    from autosft.trainers.encoder import EncoderModel
    from autosft.trainers.networks import ArchitectureClassifier, load_with_head

    network = load_with_head(tiny_model, Input.TEXT, Output.LABEL, width=3).eval()
    reader = TextReader.of_base(tiny_model, max_length=16, context_tokens=16)
    model = EncoderModel(ArchitectureClassifier(network), reader, Input.TEXT, Output.LABEL, LABELS[:3])
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    before = network(**batch).logits
    scaled = model.scaled(2.0)
    assert scaled is not None
    scaled.save(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**batch).logits, before / 2)
    torch.testing.assert_close(network(**batch).logits, before, msg="the model itself is as it was")
    own = {id(value) for value in network.parameters()}
    assert sum(id(value) not in own for value in scaled.network.parameters()) == 2, "weight and bias of one layer"


def _silent(*given: Any, **more: Any) -> None:
    pass


class Model(FittedModel):
    """Gives the same probabilities whatever it is divided by."""

    def predict(self, inputs: pa.Table) -> pa.Array:
        return from_matrix(np.tile(np.array([[0.7, 0.3]], np.float32), (inputs.num_rows, 1)))

    def save(self, folder: Path) -> None:
        pass

    @classmethod
    def load(cls, folder: Path) -> Model:
        return cls()


class Deaf(Model):
    """Takes no notice of what its layer is divided by."""

    def scaled(self, temperature: float) -> Deaf:
        return self


def test_a_model_that_cannot_take_it_in_is_told_apart(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"trainer": "mine", "models": {tmp_path: tmp_path / "to"}, "temperature": 2.0}
    monkeypatch.setattr("autosft.trainers.ensemble.trainer_class", lambda name: Model)
    assert not scale(_silent, **given, rows=validation(plan))
    monkeypatch.setattr("autosft.trainers.ensemble.trainer_class", lambda name: Deaf)
    with pytest.raises(TrialFailed, match="other probabilities than the temperature"):
        scale(_silent, **given, rows=validation(plan))


class Answering:
    """A runner whose every job ends as `answer(arguments)` says."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Ended]) -> None:
        self.answer = answer
        self.jobs: list[dict[str, Any]] = []

    def run(self, function: str, arguments: Mapping[str, Any], **job: Any) -> Ended:
        assert function == "autosft.search.work:scale"
        self.jobs.append(job)
        return self.answer(arguments)


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Iterator[Plan]:
    texts, targets = tiny_texts(400)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    options: dict[str, Any] = {"models": str(tiny_model), "budget": "2 trials", "timing": False, "tracker": Tracker()}
    yield autosft.plan("Route each message", rows, **options)


def too_sure(plan: Plan) -> pa.Array:
    """Outputs for the validation rows that are right on seven of ten, and sure of all."""
    targets = np.array(validation(plan).targets())
    said = np.where(np.arange(len(targets)) % 10 < 7, targets, (targets + 1) % len(plan.task.labels))
    return softmax(12.0 * np.eye(len(plan.task.labels))[said])


def calibrated(
    plan: Plan, runner: Any, folder: Path, *, outputs: Any = too_sure, interrupted: bool = False, **changed: Any
) -> Calibration:
    arm, interrupt = plan.arms[0], Interrupt()
    interrupt.requested = interrupted
    winner = Trial(0, arm.name, arm.default, 1.0, 0, 0, True, "complete", 0.9)
    options: dict[str, Any] = {"models": [folder / "refit", folder / "own"], "seconds_left": None, **changed}
    bench = Workbench(plan, runner, folder / "cache", interrupt, {})
    return calibrate(bench, winner, folder / "calibrated", outputs=outputs(plan), **options)


def test_what_was_found_is_told(plan: Plan, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def answer(arguments: Mapping[str, Any]) -> Ended:
        asked.update(arguments)
        return Ended("", "complete", True)

    runner = Answering(answer)
    found = calibrated(plan, runner, tmp_path, seconds_left=30.0)
    assert asked["temperature"] == found.temperature > 2
    assert found.loss_before is not None and found.loss_after is not None
    assert found.loss_after < 0.5 * found.loss_before
    assert found.num_rows == len(validation(plan)) >= MIN_ROWS
    for name in ("refit", "own"):
        assert found.of(tmp_path / name).parent == tmp_path / "calibrated"
    assert found.of(tmp_path / "refit") != found.of(tmp_path / "own")
    assert found.of(tmp_path / "other") == tmp_path / "other"
    assert f"{found.temperature:.2f}" in found.reason
    assert runner.jobs[0]["kill_after_seconds"] == 15.0
    assert runner.jobs[0]["memory_bytes"] >= 4 * plan.arms[0].base_model.num_parameters
    assert found.to_json().keys() == {"temperature", "loss_before", "loss_after", "num_rows", "reason"}


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended("", "failed", message="it gives other probabilities"), "it failed (it gives other probabilities)"),
        (Ended("", "fatal", message="OSError('disk full')\n  its place"), "it failed (OSError('disk full'))"),
        (Ended("", "complete", False), "the model's last layer cannot be scaled"),
    ],
)
def test_where_it_fails_the_model_is_shipped_as_it_was_trained(
    plan: Plan, tmp_path: Path, ended: Ended, reason: str
) -> None:
    found = calibrated(plan, Answering(lambda arguments: ended), tmp_path)
    assert found.reason == f"not calibrated: {reason}"
    assert (found.temperature, found.loss_after) == (1.0, found.loss_before)
    assert found.of(tmp_path / "refit") == tmp_path / "refit"


def test_what_the_caller_must_change_is_raised(plan: Plan, tmp_path: Path) -> None:
    error = BaseModelError("the weights are damaged")
    with pytest.raises(BaseModelError, match="damaged"):
        calibrated(plan, Answering(lambda arguments: Ended("", "fatal", error)), tmp_path)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"interrupted": True}, "interrupted"),
        ({"seconds_left": 1.0}, "no time"),
        ({"seconds_left": 6.0}, "no time"),  # Half of it is the proof's.
        ({"outputs": lambda plan: None}, "lost"),
        ({"outputs": lambda plan: softmax(np.zeros((len(validation(plan)), 3)))}, "no temperature is better than 1"),
    ],
)
def test_no_worker_is_asked_where_nothing_is_to_be_done(
    plan: Plan, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    runner = Answering(lambda arguments: pytest.fail("a worker was asked"))
    found = calibrated(plan, runner, tmp_path, **changed)
    assert reason in found.reason and found.temperature == 1.0 and not found.models
