"""The log of trials: what was appended is read back, whatever a crash did to the end of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autosft.errors import RunFolderError
from autosft.search.trial import Trial, TrialLog

TRIAL = Trial(
    3, "frozen_head/tiny", {"C": 1.5, "pooling": "mean", "x": None}, 0.5, 0, 7, True, "complete", 0.75, (0.7, 0.8), 0.4,
    ((0.1, 0.5), (0.5, 0.75)), {"train": 1.5, "total": 2.0}, "a message, with ünïcode",
)  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> TrialLog:
    return TrialLog(tmp_path / "trials.jsonl")


def test_a_log_that_is_not_there_is_empty(log: TrialLog) -> None:
    assert log.trials() == []
    assert log.spent_seconds() == 0


def test_ended_trials_come_back_as_they_were(log: TrialLog) -> None:
    log.append("started", trial=TRIAL.to_json(), spent_seconds=3.0)
    log.append("ended", trial=TRIAL.to_json(), spent_seconds=5.5)
    log.append("started", trial=TRIAL.to_json(), spent_seconds=6.0)
    again = TrialLog(log.path)
    assert again.trials() == [TRIAL]
    assert again.spent_seconds() == 6.0


@pytest.mark.parametrize("torn", [b'{"event": "ended", "tri', b"{", b'{"event": "ended"}', "\xc3".encode()[:1]])
def test_a_torn_last_line_did_not_happen_and_the_log_goes_on(log: TrialLog, torn: bytes) -> None:
    log.append("ended", trial=TRIAL.to_json(), spent_seconds=5.0)
    with log.path.open("ab") as file:
        file.write(torn)
    again = TrialLog(log.path)
    assert again.trials() == [TRIAL]
    again.append("ended", trial=TRIAL.to_json(), spent_seconds=8.0)
    assert TrialLog(log.path).trials() == [TRIAL, TRIAL]


def test_text_with_unusual_line_ends_stays_one_event(log: TrialLog) -> None:
    odd = Trial(0, "a", {"text": "one\u2028two\x85three\x0cfour"}, 1.0, 0, 0, False)
    log.append("ended", trial=odd.to_json())
    assert TrialLog(log.path).trials() == [odd]


@pytest.mark.parametrize("line", ["not json", '{"event": "ended", "trial": {"number": 1}}', '["a list"]'])
def test_a_line_that_somebody_damaged_is_named(log: TrialLog, line: str) -> None:
    log.append("ended", trial=TRIAL.to_json())
    with log.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunFolderError, match=r"trials\.jsonl.*line 2"):
        TrialLog(log.path).trials()


def test_how_far_a_trial_came_is_what_its_time_allowed_and_so_is_where_it_reported() -> None:
    asked = replace(TRIAL, fidelity=0.9, rung=0.9, reports=((0.3, 0.5), (0.9, 0.75)))
    cut = replace(asked, fidelity=0.3)
    assert (asked.reached, cut.reached) == (0.9, 0.3)
    assert asked.curve == asked.reports
    assert cut.curve == ((pytest.approx(0.1), 0.5), (0.3, 0.75))
    stopped = replace(asked, fate="stopped", reports=((0.3, 0.5),))
    assert (stopped.reached, stopped.curve) == (0.3, ((0.3, 0.5),))
    assert replace(asked, fate="failed", reports=()).reached == 0.9
