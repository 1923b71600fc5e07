"""The whole line, as a user meets it: one call from rows to a proven model, in real Ray and real Optuna."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft.accounting import PHASES
from autosft.run_folder import RunFolder
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

ROOT = Path(__file__).parents[1]
SENTENCE = "Route each customer message to the intent it is about"
NUMBERS = (30, 7, 11)


class Heard(Tracker):
    """Remembers the phases of a run, and how often it was over."""

    def __init__(self):
        self.phases, self.num_closed = [], 0

    def phase(self, name):
        self.phases.append(name)

    def closed(self):
        self.num_closed += 1


def rows(num, *, labels, **columns):
    texts, targets = tiny_texts(num, num_labels=len(labels))
    others = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    found = zip(texts, targets, others or [{}] * num, strict=True)
    return [{"message": text, **other, "intent": labels[target]} for text, target, other in found]


def false_alarms(targets, predictions):
    """A user's metric: it must be shown labels as the user has them."""
    assert {type(value) for value in (*targets, *predictions)} == {bool}
    return float(np.mean([not target and predicted for target, predicted in zip(targets, predictions, strict=True)]))


def exploding(trial):
    """A user's search space, in which every trial fails."""
    return {"learning_rate": trial.suggest_float("learning_rate", 1e37, 1e38), "head": "mean"}


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_session):
    pass


@pytest.fixture(scope="module")
def asked(tiny_model):
    """What is asked in the first run: every trainer, one base model, labels that are numbers."""
    return {
        "task": SENTENCE,
        "data": rows(240, labels=NUMBERS),
        "models": str(tiny_model),
        "budget": "4 trials",
        "scheduler": "none",
    }


@pytest.fixture(scope="module")
def heard():
    return Heard()


@pytest.fixture(scope="module")
def result(asked, heard, tmp_path_factory):
    return autosft.fit(**asked, tracker=heard, folder=tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def summary(result):
    return json.loads((result.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def made(asked):
    return autosft.plan(**asked, timing=False, tracker=Tracker())


class TestFirstRun:
    def test_the_line_in_its_order(self, result, heard):
        assert heard.phases == ["read", "audit", "measure", "search", "refit", "prove"]
        assert result.plan.task.kind == "text-classification"
        assert (result.plan.task.input_columns, result.plan.task.target_column) == (("message",), "intent")
        assert [trial.fate for trial in result.trials] == ["complete"] * 4
        assert [trial.is_default for trial in result.trials] == [True, True, True, False]
        assert {trial.arm.partition("/")[0] for trial in result.trials} == {"frozen_head", "transformers", "tfidf"}

    def test_result_json_has_the_keys_that_others_rely_on(self, result, summary):
        assert summary == result.summary
        assert {key: type(value) for key, value in summary.items()} | WANTED == (
            WANTED | {key: type(value) for key, value in summary.items()}
        )
        for part, keys in PARTS.items():
            assert set(keys.split()) <= set(summary[part]), part
        assert (summary["format"], summary["num_trials"], summary["seed"]) == (1, 4, 0)
        assert summary["test"]["rows"] == "folds"
        assert summary["test"]["selected_on"] is True
        assert summary["test"]["interval"][0] <= summary["test"]["score"] <= summary["test"]["interval"][1]
        assert summary["versions"].keys() >= {"ray", "optuna", "torch", "transformers"}

    def test_every_worker_second_is_accounted_for(self, summary):
        seconds = summary["seconds"]
        assert min(seconds.values()) >= 0
        counted = sum(seconds[name] for name in (*PHASES, "start_up", "idle"))
        assert counted == pytest.approx(seconds["wall"] * seconds["workers"], rel=0.02)
        assert min(seconds["train"], seconds["driver"], seconds["evaluate"]) > 0

    def test_the_folder_holds_what_is_promised_and_no_pickle(self, result):
        names = {path.name for path in result.folder.iterdir()}
        assert names >= {"plan.json", "trials.jsonl", "trials.parquet", "study.log", "data", "model", "result.json"}
        assert "ray" not in names
        found = {path.suffix for path in (result.folder / "model").rglob("*")}
        assert not found & {".bin", ".pt", ".pkl", ".npy"}
        assert "safetensors" in " ".join(found)
        assert (result.folder / "model" / "README.md").read_text().count("intent")

    def test_the_refit_is_the_model_that_is_shipped(self, result, summary):
        assert summary["refit"]["done"]
        assert summary["refit"]["reload_difference"] < 1e-5
        assert "240" in summary["refit"]["reason"]

    def test_the_leaderboard_has_every_trial_best_first(self, result):
        board = result.leaderboard
        assert len(board) == 4
        assert board["score"].is_monotonic_decreasing
        assert (board["low"] <= board["score"]).all() and (board["score"] <= board["high"]).all()
        assert board["trial"].is_unique

    def test_printing_says_what_won_and_by_how_much(self, result):
        shown = str(result)
        assert "<- won" in shown and "4 trials" in shown and str(result.folder / "model") in shown

    def test_labels_come_back_as_the_numbers_they_were(self, result, asked):
        texts, targets = tiny_texts(60, seed=5)
        predicted = result.predict(texts)
        assert {type(label) for label in predicted} == {int}
        assert np.mean([NUMBERS[target] == label for target, label in zip(targets, predicted, strict=True)]) > 0.6
        probabilities = result.predict_proba([{"message": text} for text in texts])
        assert probabilities.shape == (60, 3)
        assert [int(result.plan.task.labels[at]) for at in probabilities.argmax(axis=1)] == predicted

    def test_predictions_keep_columns_rows_and_order(self, result):
        texts, _ = tiny_texts(30, seed=6)
        given = pa.table({"id": range(30, 0, -1), "prediction": ["mine"] * 30, "message": texts})
        found = result.predict_table(given)
        assert found.column_names == ["id", "prediction", "message", "prediction_1", "score"]
        assert found.select(given.column_names).equals(given)
        assert found["prediction_1"].to_pylist() == result.predict(texts)
        assert result.predict(texts[::-1]) == result.predict(texts)[::-1]

    def test_the_model_is_read_once_for_all_predictions(self, result, monkeypatch):
        texts, _ = tiny_texts(5, seed=8)
        first = result.predict(texts)
        monkeypatch.setattr("autosft.predictor.load_model", lambda *_, **__: pytest.fail("it is read again"))
        assert result.predict(texts) == first
        assert len(result.predict_proba(texts)) == result.predict_table(texts).num_rows == 5
        assert result == autosft.Result.load(result.folder), "what it was asked makes it no other result"

    def test_a_saved_model_loads_without_the_search_stack(self, result, tmp_path):
        result.predictor.save(tmp_path / "model")
        with pytest.raises(autosft.RunFolderError, match="exists"):
            result.predictor.save(tmp_path / "model")
        texts, _ = tiny_texts(5, seed=7)
        code = (
            "import json, sys, autosft\n"
            f"labels = autosft.load({str(tmp_path / 'model')!r}).predict({texts!r})\n"
            "print(json.dumps([labels, [name for name in ('ray', 'optuna') if name in sys.modules]]))"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        # Below whatever libraries say as they are imported.
        assert json.loads(done.stdout.splitlines()[-1]) == [result.predict(texts), []], done.stdout

    def test_a_finished_run_loads_as_it_is(self, result):
        again = autosft.resume(result.folder)
        assert (again.summary, again.trials) == (result.summary, result.trials)
        assert again.plan.to_json() == result.plan.to_json()

    def test_its_folder_is_not_taken_by_another_run(self, result, asked):
        before = sorted(result.folder.rglob("*"))
        with pytest.raises(autosft.RunFolderError, match="finished run"):
            autosft.fit(**asked, tracker=Tracker(), folder=result.folder)
        assert sorted(result.folder.rglob("*")) == before


WANTED = {
    "format": int, "kind": str, "metric": str, "greater_is_better": bool, "validation": dict, "test": dict,
    "default": dict, "gain_over_default": dict, "best": dict, "num_trials": int, "seconds": dict, "seed": int,
    "versions": dict,
}  # fmt: skip
PARTS = {
    "validation": "score interval num_rows selected_on",
    "test": "score interval num_rows rows",
    "default": "trainer model score interval",
    "gain_over_default": "score interval",
    "best": "trainer model config",
    "seconds": "wall workers driver train evaluate start_up load compile checkpoint idle",
}


class TestResume:
    @pytest.fixture(scope="class")
    @classmethod
    def resumed(cls, result, tmp_path_factory):
        folder = tmp_path_factory.mktemp("resumed") / "run"
        shutil.copytree(result.folder, folder)
        return autosft.resume(folder, budget="+1 trials", tracker=Tracker())

    def test_one_more_trial_is_added(self, result, resumed):
        assert resumed.trials[:4] == result.trials
        assert len(resumed.trials) == resumed.summary["num_trials"] == 5
        assert resumed.trials[4].number == 4
        assert not resumed.trials[4].is_default

    def test_its_seconds_are_of_all_sittings(self, result, resumed):
        before, seconds = result.summary["seconds"], resumed.summary["seconds"]
        assert seconds["wall"] > before["wall"] and seconds["train"] > before["train"]
        counted = sum(seconds[name] for name in (*PHASES, "start_up", "idle"))
        assert counted == pytest.approx(seconds["wall"] * seconds["workers"], rel=0.02)
        assert sum(trial.seconds["total"] for trial in resumed.trials) < counted

    def test_the_result_is_whole_again(self, resumed):
        assert json.loads((resumed.folder / "result.json").read_text()) == resumed.summary
        assert len(resumed.predict(["my card"])) == 1
        assert resumed.summary["test"]["score"] >= 0
        assert "The search ran 5 trials" in resumed.report.read_text(encoding="utf-8"), "the report is made anew"


class TestPlan:
    def test_the_same_seed_gives_the_same_plan_and_splits(self, asked, made, result):
        again = autosft.plan(**asked, timing=False, tracker=Tracker()).to_json()
        first = made.to_json()
        assert {key: again[key] for key in again if key != "quote"} == {
            key: first[key] for key in first if key != "quote"
        }
        assert result.plan.data == made.data
        other = autosft.plan(**asked, seed=1, timing=False, tracker=Tracker())
        assert other.data != made.data

    def test_a_plan_survives_json_and_can_be_read(self, made, tmp_path):
        made.save(tmp_path / "plan.json")
        assert autosft.Plan.load(tmp_path / "plan.json").to_json() == made.to_json()
        shown = str(made)
        assert "'message' -> 'intent'" in shown and "4 trials" in shown and "factor of three" in shown

    def test_a_plan_runs_and_its_configurations_are_those_of_the_same_seed(self, made, result, tmp_path):
        made.save(tmp_path / "plan.json")
        ran = autosft.fit(autosft.Plan.load(tmp_path / "plan.json"), folder=tmp_path / "run", tracker=Tracker())
        assert [(trial.arm, trial.config) for trial in ran.trials] == [
            (trial.arm, trial.config) for trial in result.trials
        ]
        assert ran.plan.to_json() == made.to_json()

    def test_a_plan_whose_rows_are_gone_says_so(self, made, tmp_path):
        moved = {**made.to_json(), "data": {**made.to_json()["data"], "folder": str(tmp_path / "gone")}}
        with pytest.raises(autosft.PlanError, match="no longer"):
            autosft.fit(autosft.Plan.from_json(moved), folder=tmp_path / "run", tracker=Tracker())

    def test_a_users_space_file_is_searched(self, asked, tmp_path):
        (tmp_path / "space.yaml").write_text(
            "format: 1\nname: mine\ntrainer: frozen_head\ninput: text\noutput: label\n"
            "parameters:\n  C: {type: float, low: 0.5, high: 2.0}\n"
        )
        planned = autosft.plan(
            **asked, trainer="frozen_head", space=tmp_path / "space.yaml", timing=False, tracker=Tracker()
        )
        [arm] = planned.arms
        assert [(item.name, item.low, item.high) for item in arm.space.parameters] == [("C", 0.5, 2.0)]


class TestProof:
    @pytest.fixture(scope="class")
    @classmethod
    def proven(cls, tiny_model, tmp_path_factory):
        return autosft.fit(
            SENTENCE,
            rows(2_000, labels=(True, False)),
            metric=autosft.Metric("false_alarms", greater_is_better=False, function=false_alarms),
            models=[str(tiny_model)],
            trainer="frozen_head",
            budget=autosft.Budget(num_trials=2, refit=False),
            folder=tmp_path_factory.mktemp("proof") / "run",
            tracker=Tracker(),
        )

    def test_rows_set_aside_prove_the_model(self, proven):
        test = proven.summary["test"]
        assert (test["rows"], test["num_rows"], test["selected_on"]) == ("proof", 300, False)
        assert proven.summary["gain_over_default"].keys() >= {"score", "interval"}

    def test_what_the_trials_are_given_holds_no_proof_row(self, proven):
        _, held = proven.plan.data.held_out()
        secret = set(held.column("text"))
        given = proven.plan.data.for_search()
        seen = [given.training(None)[0], *given.training(0)]
        assert not any(secret & set(part.column("text")) for part in seen)
        files = [path for path in given.folder.rglob("*") if path.is_file()]
        assert files and not any(text.encode() in path.read_bytes() for path in files for text in list(secret)[:20])

    def test_a_users_metric_decides_in_its_own_direction(self, proven):
        assert (proven.summary["metric"], proven.summary["greater_is_better"]) == ("false_alarms", False)
        assert proven.leaderboard["score"].is_monotonic_increasing
        assert proven.best.score == proven.leaderboard["score"][0] or proven.summary["best"]["is_default"]

    def test_labels_come_back_as_the_truth_values_they_were(self, proven):
        assert {type(label) for label in proven.predict(tiny_texts(9)[0])} == {bool}

    def test_the_model_that_is_shipped_has_the_temperature_that_was_found_and_the_score_that_is_told(self, proven):
        found, (_, held) = proven.summary["calibration"], proven.plan.data.held_out()
        assert found["num_rows"] == proven.summary["validation"]["num_rows"]
        assert 0.25 <= found["temperature"] <= 4 and found["temperature"] != 1, "the tiny model is not calibrated"
        assert found["loss_after"] < found["loss_before"]
        probabilities = proven.predict_proba(held.column("text"))
        nats = -np.log(probabilities[np.arange(len(held)), held.targets()])
        assert nats.mean() == pytest.approx(proven.summary["test"]["scores"]["log_loss"], abs=1e-5)
        assert "the temperature" in (proven.folder / "model" / "README.md").read_text()
        assert not (proven.folder / "trials" / "calibrated").exists()

    def test_without_a_refit_the_searchs_model_is_shipped(self, proven):
        assert not proven.summary["refit"]["done"]
        assert len(proven.predict(["my card"])) == 1


class TestFailingTrials:
    @pytest.fixture(scope="class")
    @classmethod
    def failing(cls, tiny_model, tmp_path_factory):
        return autosft.fit(
            SENTENCE,
            rows(120, labels=LABELS[:2], sender=[f"sender {row // 4}" for row in range(120)]),
            target="intent",
            inputs=["message"],
            metric="f1",
            positive="loan",
            group="sender",
            space=exploding,
            models=[str(tiny_model)],
            trainer="transformers",
            budget="3 trials",
            folder=tmp_path_factory.mktemp("failing") / "run",
            tracker=Tracker(),
        )

    def test_they_are_recorded_and_the_rest_goes_on(self, failing):
        assert [trial.fate for trial in failing.trials] == ["complete", "failed", "failed"]
        assert all("nan" in trial.message.lower() or "inf" in trial.message for trial in failing.trials[1:])
        assert failing.summary["best"]["is_default"]
        assert "2 failed" in str(failing)

    def test_a_users_function_was_the_space(self, failing):
        assert all(1e37 <= trial.config["learning_rate"] <= 1e38 for trial in failing.trials[1:])
        assert {trial.config["head"] for trial in failing.trials[1:]} == {"mean"}

    def test_the_positive_label_is_the_one_named(self, failing):
        metric = autosft.Plan.load(failing.folder / "plan.json").task.metric
        assert (metric.name, metric.positive) == ("f1", "loan")

    def test_groups_stay_on_one_side(self, failing):
        train, validation = failing.plan.data.training(0)
        sides = [{row // 4 for row in part.column("row")} for part in (train, validation)]
        assert all(sides) and not sides[0] & sides[1]


BAD = {
    "metric": ({"metric": "acuracy"}, autosft.TaskError, "did you mean 'accuracy'"),
    "model": ({"models": ["sentence-transformers/all-MiniLM-L6-v3"]}, autosft.BaseModelError, "did you mean '.*v2'"),
    "model folder": ({"models": ["/no/such/model"]}, autosft.BaseModelError, "no model folder"),
    "trainer": ({"trainer": "transformer"}, autosft.PlanError, "did you mean 'transformers'"),
    "sampler": ({"sampler": "tpee"}, autosft.PlanError, "did you mean 'tpe'"),
    "scheduler": ({"scheduler": "ahsa"}, autosft.PlanError, "did you mean 'asha'"),
    "no budget": ({"budget": 0}, autosft.PlanError, "above zero"),
    "no trials": ({"budget": "0 trials"}, autosft.PlanError, "above zero"),
    "a vague budget": ({"budget": "soon"}, autosft.PlanError, "budget='20m'"),
    "target": ({"target": "intents"}, autosft.TaskError, "did you mean 'intent'"),
    "positive": ({"metric": "f1", "positive": "31"}, autosft.TaskError, "31"),
    "fix": ({"fixes_off": ["duplicate"]}, autosft.PlanError, "duplicate"),
    "space": ({"space": "/no/such/space.yaml"}, autosft.PlanError, "space.yaml"),
    "function space": ({"space": exploding}, autosft.PlanError, "pass trainer="),
    "a place that cannot be written": ({"folder": "/proc/autosft/run"}, autosft.RunFolderError, "cannot be written"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_explained_and_leaves_nothing_behind(case, asked, tmp_path):
    changed, error, message = BAD[case]
    with pytest.raises(error, match=message) as raised:
        autosft.fit(**{**asked, "folder": tmp_path / "run", "tracker": Tracker(), **changed})
    assert "Expected:" in str(raised.value) and "To fix:" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def write(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("files", "message"), [({"notes": {}}, "not a run's folder"), ({"plan": {}}, "autosft resume")]
)
def test_a_folder_in_use_is_left_alone(files, message, asked, tmp_path):
    folder = write(tmp_path / "run", **files)
    with pytest.raises(autosft.RunFolderError, match=message):
        autosft.fit(**asked, tracker=Tracker(), folder=folder)
    assert {path.name for path in folder.iterdir()} == {f"{name}.json" for name in files}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"plan": {"format": 2, "autosft": "plan"}}, "format 2"),
        ({"plan": {"format": 1, "autosft": "plan"}, "result": {"format": 2}}, "format 2"),
        ({"notes": {}}, "no plan.json"),
    ],
)
def test_a_run_that_cannot_be_read_is_not_resumed(files, message, tmp_path):
    folder = write(tmp_path / "run", **files)
    with pytest.raises(autosft.RunFolderError, match=message):
        autosft.resume(folder, budget="+1 trials", tracker=Tracker())


@pytest.mark.parametrize(
    ("changed", "files", "message"),
    [
        ({}, {"plan": {"format": 1, "autosft": "plan"}}, "cannot be read"),
        ({"budget": "soon"}, {}, "budget='20m'"),
        ({"space": "/no/such/space.yaml"}, {}, "space.yaml"),
        ({"budget": None}, {"result": {"format": 1}}, "result.json is damaged"),
        ({"budget": None, "space": "space.yaml"}, {"result": {"format": 1}}, "more budget"),
    ],
    ids=["plan", "budget", "space", "result", "finished"],
)
def test_whoever_listens_hears_the_end_of_a_run_that_cannot_go_on(changed, files, message, made, tmp_path):
    folder, heard = write(tmp_path / "run", **{"plan": made.to_json(), **files}), Heard()
    with pytest.raises(autosft.AutosftError, match=message):
        autosft.resume(folder, **{"budget": "+1 trials", "tracker": heard, **changed})
    assert heard.num_closed == 1


def test_whoever_listens_hears_the_end_of_a_run_that_another_process_works_on(made, tmp_path):
    folder, heard = write(tmp_path / "run", plan=made.to_json()), Heard()
    with RunFolder.open(folder).locked(), pytest.raises(autosft.RunFolderError, match="another process"):
        autosft.resume(folder, budget="+1 trials", tracker=heard)
    assert heard.num_closed == 1


def test_whoever_listens_hears_the_end_of_a_plan_that_cannot_be_made(asked):
    for changed in ({"seed": -1}, {"seed": 2**32}, {"sampler": "tpee"}, {"target": "intents"}):
        heard = Heard()
        with pytest.raises(autosft.AutosftError):
            autosft.plan(**{**asked, **changed}, tracker=heard)
        assert heard.num_closed == 1


def test_a_missing_folder_is_neither_resumed_nor_loaded(tmp_path):
    for verb in (autosft.resume, autosft.load):
        with pytest.raises(autosft.RunFolderError, match="does not exist"):
            verb(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
