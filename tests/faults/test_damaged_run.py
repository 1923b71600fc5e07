"""What a crash, a full disk or a careless hand leaves of a run's files: what ended stays, what is wrong is named."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prepared import Head
from shell import Shell, assert_explained, ended

import autosft
from autosft.errors import AutosftError, RunFolderError
from autosft.planning.plan import Plan
from autosft.result import Result
from autosft.search.journal import open_study
from autosft.search.trial import Trial, TrialLog
from autosft.tracking.base import Tracker

pytestmark = pytest.mark.faults

WRONG: tuple[Any, ...] = (None, [], "x", 3, {}, {"x": 1}, [1])


@pytest.fixture(scope="module")
def result(quick: Plan, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return autosft.fit(quick, folder=tmp_path_factory.mktemp("runs") / "run", tracker=Tracker())


@pytest.fixture
def run(result: Result, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(result.folder, tmp_path / "run"))


def test_a_log_of_trials_torn_anywhere_keeps_all_that_ended(run: Path) -> None:
    log, whole = run / "trials.jsonl", (run / "trials.jsonl").read_bytes()
    trials = TrialLog(log).trials()
    start = whole[:-1].rfind(b"\n") + 1
    for end in range(start, len(whole)):
        log.write_bytes(whole[:end])
        torn = TrialLog(log)
        assert torn.trials() == trials[:-1]
        torn.append("ended", trial=trials[-1].to_json())
        assert TrialLog(log).trials() == trials


def test_a_journal_torn_anywhere_can_be_opened_and_written_to(run: Path) -> None:
    journal, whole = run / "study.log", (run / "study.log").read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for end in range(start, len(whole), 7):
        journal.write_bytes(whole[:end])
        study = open_study(journal, direction="maximize")
        num = len(study.get_trials(deepcopy=False))
        study.ask()
        assert len(open_study(journal, direction="maximize").get_trials(deepcopy=False)) == num + 1


@pytest.mark.parametrize("name", ["trials.jsonl", "study.log"])
def test_a_line_damaged_in_the_middle_is_an_error_and_once_mended_nothing_is_lost(
    run: Path, name: str, head: Head
) -> None:
    file, before = run / name, TrialLog(run / "trials.jsonl").trials()
    lines = file.read_bytes().split(b"\n")
    good, lines[2] = lines[2], lines[2][: len(lines[2]) // 2]
    file.write_bytes(b"\n".join(lines))
    (run / "result.json").unlink()
    with pytest.raises(RunFolderError, match=rf"{name}[^$]*To fix"):
        autosft.resume(run, tracker=Tracker())
    if name == "study.log":
        file.unlink()  # As the message says: the study starts anew, the trials stay.
    else:
        lines[2] = good
        file.write_bytes(b"\n".join(lines))
    again = autosft.resume(run, tracker=Tracker())
    assert list(again.trials) == before


def broken(row: dict[str, Any], *, depth: int = 2) -> Iterator[dict[str, Any]]:
    """Yields a JSON object without each of its keys, and with something else in the place of each value."""
    for key, value in row.items():
        yield {name: row[name] for name in row if name != key}
        for wrong in WRONG:
            yield {**row, key: wrong}
        if depth > 1 and isinstance(value, dict):
            for inner in broken(value, depth=depth - 1):
                yield {**row, key: inner}


def test_a_plan_with_anything_missing_or_wrong_is_either_read_or_refused_with_words(run: Path) -> None:
    row = json.loads((run / "plan.json").read_text())
    refused = 0
    for changed in broken(row):
        try:
            Plan.from_json(changed)
        except AutosftError as error:
            assert "To fix:" in str(error)
            refused += 1
    assert refused > 50


def test_a_result_with_anything_missing_or_wrong_is_either_shown_or_refused_with_words(run: Path) -> None:
    row = json.loads((run / "result.json").read_text())
    refused = 0
    for changed in broken(row):
        (run / "result.json").write_text(json.dumps(changed))
        try:
            found = Result.load(run)
            assert str(found) and repr(found)
        except AutosftError as error:
            assert "result.json" in str(error) and "To fix:" in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "autosft.json", "autosft_reader.json",
             "autosft_network.json", "tokenizer_config.json"]
)  # fmt: skip
def test_a_model_without_one_of_its_files_says_so_or_predicts_as_it_did(
    run: Path, result: Result, name: str, damage: str
) -> None:
    file = run / "model" / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    texts = ["card chip pin visa", "send money abroad"]
    try:
        assert autosft.load(run).predict(texts) == result.predict(texts)
    except AutosftError as error:
        assert "Expected:" in str(error) and "To fix:" in str(error)


def test_the_shell_names_a_model_whose_weights_are_gone(run: Path, shell: Shell) -> None:
    (run / "model" / "model.safetensors").unlink()
    done = ended(shell.start("predict", str(run), str(shell.data), "--out", "never.csv"))
    assert_explained(done, str(run / "model"))


def test_a_log_that_the_disk_had_no_room_for_keeps_what_it_held(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    trial = Trial(0, "arm", {"C": 1.0}, 1.0, 0, 0, True, "complete", 0.5)
    log.append("ended", trial=trial.to_json())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 20, hard))
    try:
        with pytest.raises(RunFolderError, match="cannot be written"):
            log.append("ended", trial=trial.to_json())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = TrialLog(log.path)
    again.append("ended", trial=trial.to_json())
    assert TrialLog(log.path).trials() == [trial, trial]
