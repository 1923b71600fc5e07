"""What a finished run leaves: a card that says only what is known, JSON that any parser reads, a result to look at."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import autosft
from autosft.accounting import PHASES
from autosft.batch.folder import BatchFolder
from autosft.batch.table import as_text, rows_of
from autosft.calibration import Calibration
from autosft.ensemble import Ensemble
from autosft.finish import account, finish, seconds_before
from autosft.intervals import Interval
from autosft.planning.plan import Plan
from autosft.proof import Proof, Score
from autosft.refit import Refit
from autosft.run_folder import RunFolder
from autosft.search.trial import Trial, TrialLog
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_models import write_tiny_decoder
from autosft.tracking.base import Tracker


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    """A plan of which nothing was timed."""
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(*tiny_texts(120), strict=True)]
    return autosft.plan("sort messages", rows, models=str(tiny_model), timing=False, tracker=Tracker())


def finished(
    folder: Path,
    plan: Plan,
    score: float = 0.75,
    *,
    winner: Trial | None = None,
    default: Trial | None = None,
    tracker: Tracker | None = None,
    gained: tuple[float, float, float] | None = None,
    rows: str = "proof",
    refit: Refit | None = None,
) -> RunFolder:
    """Finishes a run whose every score is `score`, of one trial where no others are given."""
    run = RunFolder.create(folder / "run")
    run.write(run.plan, plan.to_json())
    arm = plan.arms[0]
    trial = winner or Trial(0, arm.name, dict(arm.default), 1.0, 0, 0, True, "complete", score, (score, score))
    trials = [trial, *([default] if default else [])]
    for one in trials:
        TrialLog(run.trials).append("ended", trial=one.to_json(), spent_seconds=1.0)
    (folder / "weights").mkdir()
    proven = Score(score, Interval(score, score), 30)
    gain, low, high = gained or (score - score,) * 3
    proof = Proof(rows, rows == "folds", proven, proven, gain, Interval(low, high), {"accuracy": score}, 0.5, 30)
    seconds = dict.fromkeys(("wall", "workers", "driver", *PHASES, "start_up", "idle"), 1.0)
    finish(
        run, plan, plan.task, trials, winner=trial, default=default or trial, refit=refit or Refit(None, "no time"),
        ensemble=Ensemble(), calibration=Calibration("not calibrated: too few rows"), proof=proof,
        model=folder / "weights", seconds=seconds, interrupted=False, tracker=tracker,
    )  # fmt: skip
    return run


def card(run: RunFolder) -> str:
    return (run.model / "README.md").read_text()


def strict(file: Path) -> dict[str, object]:
    def refuse(word: str) -> None:
        raise ValueError(f"{file} holds {word}, which is not JSON")

    content: dict[str, object] = json.loads(file.read_text(), parse_constant=refuse)
    return content


def test_the_card_says_where_rows_are_cut_if_that_is_known(plan: Plan, tmp_path: Path) -> None:
    untimed = card(finished(tmp_path, plan))
    assert "None" not in untimed and "cut at" not in untimed and plan.data.fingerprint in untimed
    (tmp_path / "timed").mkdir()
    arms = tuple(replace(arm, max_length=24) for arm in plan.arms)
    assert "cut at 24 tokens" in card(finished(tmp_path / "timed", replace(plan, arms=arms)))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_metric_that_is_not_defined_is_null_and_can_be_shown(plan: Plan, tmp_path: Path, score: float) -> None:
    run = finished(tmp_path, plan, score)
    summary = strict(run.result)
    assert summary["test"]["score"] is None and summary["test"]["interval"] == [None, None]  # type: ignore[index]
    assert summary["gain_over_default"]["proven"] is False  # type: ignore[index]
    assert summary["calibration"] == {
        "temperature": 1.0, "loss_before": None, "loss_after": None, "num_rows": 0,
        "reason": "not calibrated: too few rows",
    }  # fmt: skip
    result = autosft.Result.load(run.path)
    assert "nan" in str(result)
    # Also where a configuration won over the default, the gain is printed.
    tuned = {**result.summary, "best": {**result.summary["best"], "is_default": False}}
    assert "not better" in str(replace(result, summary=tuned))


def test_a_report_that_cannot_be_made_costs_no_result(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("no figures today")

    class Notes(Tracker):
        heard: ClassVar[list[str]] = []

        def note(self, message: str) -> None:
            self.heard.append(message)

    monkeypatch.setattr("autosft.finish.write_report", fails)
    run = finished(tmp_path, plan, tracker=Notes())
    assert strict(run.result)["num_trials"] == 1
    assert not run.report.exists()
    log = run.path / "report.log"
    assert "no figures today" in log.read_text()
    assert len(Notes.heard) == 1 and str(log) in Notes.heard[0]
    assert "Report" not in str(autosft.Result.load(run.path))


def test_a_report_is_made_where_little_is_known(plan: Plan, tmp_path: Path) -> None:
    run = finished(tmp_path, plan, math.nan)
    html = run.report.read_text(encoding="utf-8")
    assert "not defined" in html and 'id="leaderboard"' in html and 'id="errors"' not in html
    assert f"Report    {run.report}" in str(autosft.Result.load(run.path))


def test_a_gain_is_said_to_be_over_a_default_that_was_trained_as_long(plan: Plan, tmp_path: Path) -> None:
    arm = plan.arms[0]
    tuned = Trial(1, arm.name, {**arm.default, "learning_rate": 0.5}, 1.0, 0, 0, False, "complete", 0.75)
    short = Trial(0, arm.name, dict(arm.default), 1 / 9, 0, 0, True, "complete", 0.7, rung=1 / 9)
    for name in ("alone", "short", "whole"):
        (tmp_path / name).mkdir()

    alone = finished(tmp_path / "alone", plan, winner=tuned)
    assert strict(alone.result)["best"]["is_default"] is False  # type: ignore[index]
    assert "not known: no untuned default was trained" in str(autosft.Result.load(alone.path))
    assert "not known, as no untuned default was trained" in card(alone)

    run = finished(tmp_path / "short", plan, winner=tuned, default=short)
    assert "trained for 11% of the full length only" in str(autosft.Result.load(run.path))
    assert "for 11% of the full length only" in card(run)
    run = finished(tmp_path / "whole", plan, winner=tuned, default=replace(short, fidelity=1.0, rung=1.0))
    assert "length only" not in str(autosft.Result.load(run.path)) + card(run)


def test_where_nothing_was_tuned_nobody_says_that_tuning_did_not_pay(plan: Plan, tmp_path: Path) -> None:
    run = finished(tmp_path, plan)
    told, html = str(autosft.Result.load(run.path)), run.report.read_text(encoding="utf-8")
    claim = autosft.review(run.path).topic("winner")[0].sentence
    assert "only untuned defaults were trained" in told
    assert "only untuned defaults were trained" in card(run) and "only untuned defaults were trained" in html
    for text in (told, card(run), html, claim):
        assert not any(words in text for words in ("did not improve", "did not pay", "found nothing that is better"))


def test_a_score_on_folds_is_said_to_be_from_before_the_refit(plan: Plan, tmp_path: Path) -> None:
    run = finished(tmp_path, plan, rows="folds", refit=Refit(tmp_path / "weights", "retrained on all rows"))
    for text in (str(autosft.Result.load(run.path)), run.report.read_text(encoding="utf-8")):
        assert "before it was trained on them too" in text
    assert "measured before the model was trained on them too" in card(run)


def test_a_winner_that_was_cut_short_says_so(plan: Plan, tmp_path: Path) -> None:
    arm = plan.arms[0]
    short = Trial(0, arm.name, dict(arm.default), 0.07, 0, 0, True, "complete", 0.75, (0.7, 0.8))
    told = str(autosft.Result.load(finished(tmp_path, plan, winner=short).path))
    assert "[0.7000, 0.8000] at 7%" in told and "trained for 7% of a full run" in told and "hardly" not in told


def test_bits_per_byte_are_held_against_guessing(tmp_path: Path) -> None:
    rows = [{"prompt": text, "completion": f"about {text}"} for text in tiny_texts(60)[0]]
    decoder = str(write_tiny_decoder(tmp_path / "decoder"))
    made = autosft.plan("write", rows, kind="causal-lm", models=decoder, timing=False, tracker=Tracker())
    run = finished(tmp_path, made, 26.85)
    assert "For scale 0.5000 comes of guessing every byte; the model is not better" in str(
        autosft.Result.load(run.path)
    )
    assert "Guessing every byte, whatever it reads, scores 0.5000" in card(run)
    assert "guessing every byte would score 0.5" in run.report.read_text(encoding="utf-8")


def test_a_winner_that_was_hardly_trained_says_so_wherever_its_score_stands(plan: Plan, tmp_path: Path) -> None:
    arm = plan.arms[0]
    short = Trial(0, arm.name, dict(arm.default), 0.004, 0, 0, True, "complete", 0.75, (0.7, 0.8))
    run = finished(tmp_path, plan, winner=short)
    said = "trained for 0.4% of a full run, which is hardly at all"
    for text in (str(autosft.Result.load(run.path)), card(run), run.report.read_text(encoding="utf-8")):
        assert said in text


@pytest.mark.parametrize("gained", [(-0.0104, -0.04, 0.02), (-0.0304, -0.05, -0.01), (0.0104, -0.02, 0.04)])
def test_an_untuned_winner_is_compared_with_another_untuned_default(
    plan: Plan, tmp_path: Path, gained: tuple[float, float, float]
) -> None:
    one, other = plan.arms[0], plan.arms[-1]
    default = Trial(0, one.name, dict(one.default), 1.0, 0, 0, True, "complete", 0.8)
    winner = Trial(1, other.name, dict(other.default), 1.0, 0, 0, True, "complete", 0.75)
    run = finished(tmp_path, plan, winner=winner, default=default, gained=gained)
    told, number = str(autosft.Result.load(run.path)), f"{gained[0]:+.4f}"
    [line] = [line for line in told.splitlines() if line.startswith("Gain ")]
    html = run.report.read_text(encoding="utf-8")
    claim = autosft.review(run.path).topic("winner")[0].sentence
    [row] = rows_of_one(tmp_path, run)
    for text in (line, card(run), html, claim, as_text([row])):
        assert number in text and f"{gained[1]:.4f}"[1:] in text and f"{gained[2]:.4f}" in text
        assert "default won" not in text and "default itself won" not in text
        assert "another untuned default" in text
        assert ("scored below" in text) is (gained[0] < 0), text
    assert ("worse" in line) is ("worse" in claim) is (gained[2] < 0)


def rows_of_one(place: Path, run: RunFolder) -> list[dict[str, object]]:
    """The table of a batch whose one job is a run."""
    job = {"name": run.path.name, "priority": 1.0, "arguments": {"budget": {"seconds": 60.0}}}
    return rows_of(BatchFolder(place), [job], reasons={})


def test_the_winner_is_shown_however_many_did_better_in_the_search(plan: Plan, tmp_path: Path) -> None:
    run = finished(tmp_path, plan)
    result = autosft.Result.load(run.path)
    [default] = result.trials
    tuned = [
        replace(default, number=at, is_default=False, score=0.8, config={**default.config, "learning_rate": at / 1e4})
        for at in range(1, 12)
    ]
    lines = str(replace(result, trials=(default, *tuned))).splitlines()
    [won] = [line for line in lines if "<- won" in line]
    assert "(default)" in won and any("and 4 more" in line for line in lines)


@pytest.mark.parametrize(("score", "is_better"), [(0.75, True), (0.5, False), (0.4, False)])
def test_a_score_is_set_beside_that_of_the_same_answer_for_every_row(
    plan: Plan, tmp_path: Path, score: float, is_better: bool
) -> None:
    result = autosft.Result.load(finished(tmp_path, plan, score).path)
    assert result.summary["test"]["constant"] == 0.5
    assert "For scale 0.5000 comes of the same answer for every row" in str(result)
    assert ("not better than that beyond the noise" in str(result)) is not is_better


def test_a_plan_with_a_number_that_json_lacks_is_still_json(plan: Plan, tmp_path: Path) -> None:
    replace(plan, quote=replace(plan.quote, gpu_hours=math.inf)).save(tmp_path / "plan.json")
    assert strict(tmp_path / "plan.json")["quote"]["gpu_hours"] is None  # type: ignore[index]


@pytest.fixture
def with_own_metric(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run whose metric function stands in a module that is gone since."""
    (tmp_path / "passing_module.py").write_text("def mine(targets, predictions):\n    return 0.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    import passing_module  # type: ignore[import-not-found]

    metric = autosft.Metric("mine", function=passing_module.mine)
    run = finished(tmp_path, replace(plan, task=replace(plan.task, metric=metric)))
    (tmp_path / "passing_module.py").unlink()
    monkeypatch.delitem(sys.modules, "passing_module")
    return run


def test_a_result_is_read_where_its_metric_function_is_gone(with_own_metric: RunFolder) -> None:
    result = autosft.Result.load(with_own_metric.path)
    assert "mine 0.7500" in str(result)
    assert len(result.leaderboard) == 1
    assert json.loads(json.dumps(result.plan.to_json())) == json.loads(with_own_metric.plan.read_text())
    function = result.plan.task.metric.function
    assert function is not None
    with pytest.raises(autosft.TaskError, match="passing_module:mine can no longer be imported"):
        function([], [])


def test_it_is_not_resumed_and_stays_finished(with_own_metric: RunFolder) -> None:
    assert autosft.resume(with_own_metric.path).summary["metric"] == "mine"
    with pytest.raises(autosft.TaskError, match="passing_module:mine can no longer be imported"):
        autosft.resume(with_own_metric.path, budget="+1 trials", tracker=Tracker())
    assert with_own_metric.result.exists()


def test_a_result_in_a_shell_is_one_line(plan: Plan, tmp_path: Path) -> None:
    result = autosft.Result.load(finished(tmp_path, plan).path)
    shown = repr(result)
    assert "\n" not in shown and len(shown) < 400
    assert str(result.folder) in shown and "text-classification" in shown and "0.7500" in shown
    assert result.summary["best"]["trainer"] in shown
    assert str(result).count("\n") > 3


def test_what_earlier_sittings_spent_is_known_with_a_result_and_without_one(plan: Plan, tmp_path: Path) -> None:
    assert seconds_before(RunFolder.create(tmp_path / "new"), workers=2) == {}
    run = finished(tmp_path, plan)
    assert seconds_before(run, workers=2) == strict(run.result)["seconds"]

    run.result.unlink()
    [trial] = TrialLog(run.trials).trials()
    worked = {"train": 3.0, "start_up": 1.0, "load": 0.5, "total": 4.0}
    TrialLog(run.trials).append("ended", trial=replace(trial, number=1, seconds=worked).to_json(), spent_seconds=6.0)
    before = seconds_before(run, workers=2)
    assert (before["wall"], before["workers"], before["train"], before["start_up"]) == (6.0, 2, 3.0, 1.0)
    assert sum(before[name] for name in (*PHASES, "start_up", "idle")) == pytest.approx(12.0)


def test_seconds_are_of_all_sittings_however_many_workers_each_had(plan: Plan) -> None:
    cpu_seconds = dict.fromkeys((*PHASES, "start_up", "total"), 0.0) | {"train": 5.0, "total": 5.0}
    resources = replace(plan.resources, cpus_per_trial=1, max_concurrent=1)
    first = account(cpu_seconds, replace(resources, max_concurrent=2), wall_seconds=10.0, driver_seconds=1.0)
    both = account(cpu_seconds, resources, wall_seconds=30.0, driver_seconds=1.0, earlier=first)
    assert (both["wall"], both["train"], both["driver"]) == (40.0, 10.0, 2.0)
    assert both["workers"] == pytest.approx((2 * 10 + 30) / 40)
    assert sum(both[name] for name in (*PHASES, "start_up", "idle")) == pytest.approx(both["wall"] * both["workers"])


def test_a_score_on_rows_that_thresholds_were_chosen_on_is_said_to_differ(plan: Plan, tmp_path: Path) -> None:
    result = autosft.Result.load(finished(tmp_path, plan).path)
    several = replace(result.plan, task=replace(result.plan.task, kind="multi-label-classification"))
    folds = {**result.summary, "test": {**result.summary["test"], "rows": "folds"}}
    said = "thresholds were chosen on these rows"
    assert said in str(replace(result, plan=several, summary=folds))
    assert said not in str(replace(result, plan=several)) + str(replace(result, summary=folds))
