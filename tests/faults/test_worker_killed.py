"""Workers killed from outside, as by the kernel where memory runs out: at most a trial is lost, and no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepared import Head
from shell import Shell

import autosft
from autosft import calibration
from autosft.errors import SearchFailed
from autosft.result import Result
from autosft.search.trial import TrialLog
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

pytestmark = pytest.mark.faults


class Killing(Tracker):
    """Has a worker killed at the first job of every phase."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.said: list[str] = []

    def phase(self, name: str) -> None:
        # Probabilities are calibrated between the refit and the proof.
        functions = {"measure": ("measure",), "search": ("train",), "refit": ("train", "scale"), "prove": ("predict",)}
        for function in functions.get(name, ()):
            self.head.kill(function)

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def result(shell: Shell, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Result:
    texts, targets = tiny_texts(60, seed=7)
    test = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        # So few rows tell no temperature, and without one no worker has anything to scale.
        patch.setattr(calibration, "MIN_ROWS", 10)
        patch.setattr(calibration, "temperature", lambda *_: 2.0)
        return autosft.fit(
            "sort messages by topic", str(shell.data), test=test, models=str(shell.model), trainer="frozen_head",
            budget="3 trials", max_concurrent=1, folder=tmp_path_factory.mktemp("runs") / "run", tracker=Killing(head),
        )  # fmt: skip


def test_each_phase_lost_its_worker_once_and_there_is_an_answer(result: Result, head: Head) -> None:
    assert all(head.has_killed(function) for function in ("measure", "train", "scale", "predict"))
    assert result.summary["test"]["num_rows"] == 60
    assert set(result.predict(["card chip pin", "send iban abroad"])) <= set(LABELS)


def test_in_timing_the_arm_is_timed_again_and_not_left_out(result: Result) -> None:
    [arm] = result.plan.arms
    assert arm.cost is not None and not any("left out" in reason for reason in result.plan.reasons)


def test_in_the_search_it_costs_one_trial_that_says_why(result: Result) -> None:
    assert sorted(trial.fate for trial in result.trials) == ["complete", "complete", "failed"]
    [lost] = [trial for trial in result.trials if trial.fate == "failed"]
    assert "its worker died" in lost.message


def test_in_the_refit_the_proven_model_is_shipped(result: Result) -> None:
    assert result.summary["refit"]["done"] is False
    assert "its worker died" in result.summary["refit"]["reason"]


def test_in_the_calibration_the_model_is_shipped_as_it_was_trained(result: Result) -> None:
    found = result.summary["calibration"]
    assert found["temperature"] == 1 and found["loss_after"] == found["loss_before"]
    assert "its worker died" in found["reason"]


def test_in_the_proof_twice_the_run_ends_with_words_and_resume_proves_what_was_found(
    result: Result, head: Head
) -> None:
    class Twice(Tracker):
        def phase(self, name: str) -> None:
            if name == "prove":
                head.kill("predict", times=2)

    before = TrialLog(result.folder / "trials.jsonl").trials()
    with pytest.raises(SearchFailed, match=r"could not be scored .*worker died[^$]*autosft resume"):
        autosft.resume(result.folder, budget="+1 trials", tracker=Twice())
    assert not (result.folder / "result.json").exists()
    assert (Path(result.folder) / "model" / "autosft.json").exists(), "the earlier answer is still there"
    assert autosft.load(result.folder).predict(["card chip pin"])[0] in LABELS
    again = autosft.resume(result.folder, tracker=Tracker())
    assert list(again.trials[:3]) == before and len(again.trials) == 4
