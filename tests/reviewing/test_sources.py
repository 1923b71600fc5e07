"""Sweeps from where they are: a run's folder, tables by hand, and what the shell makes of anything else."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import autosft
from autosft import cli
from autosft.errors import AutosftError
from autosft.finish import _write_trials
from autosft.planning.plan import Plan
from autosft.planning.spaces import given_spaces
from autosft.reviewing.claims import claims_of
from autosft.reviewing.from_run import from_memory
from autosft.reviewing.next_space import next_spaces
from autosft.reviewing.open import open_sweep
from autosft.search.space_file import read_space
from autosft.search.trial import Trial, TrialLog
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

ROOT = Path(__file__).parents[2]
ARM = "transformers/tiny-bert"
LENGTHS = (1 / 27, 1 / 9, 1 / 3, 1.0)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["autosft", "review", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


Shell = Callable[..., Outcome]

#: What stands below a review that found a next space, where it was not asked to write it.
HINT = "             --next-space FILE writes it.\n"


@pytest.fixture(scope="module")
def plan(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    texts, targets = tiny_texts(240)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    return autosft.plan(
        "sort messages by topic", rows, models=str(tiny_model), trainer="transformers", timing=False, tracker=Tracker()
    )


def raced() -> list[Trial]:
    """A race over the hundred configurations that were really trained at four lengths (`benchmarks/replay`)."""
    rows = pq.read_table(ROOT / "benchmarks" / "replay" / "banking77.parquet").to_pylist()
    scores = {(row["config_id"], row["run_fidelity"]): row for row in rows if row["run_fidelity"] == row["fidelity"]
              and row["seed"] == 0}  # fmt: skip
    standing, trials = sorted({number for number, _ in scores}), list[Trial]()
    for length in LENGTHS:
        results = [scores[number, length] for number in standing if (number, length) in scores]
        for row in results:
            spread = 1.96 * math.sqrt(row["validation"] * (1 - row["validation"]) / 300)
            trial = Trial(len(trials), ARM, json.loads(row["config"]), length, 0, 0, row["config_id"] == 0, rung=length)
            interval = (row["validation"] - spread, row["validation"] + spread)
            took = {"total": row["seconds"]}
            outcome = {"score": row["validation"], "interval": interval, "loss": row["loss"], "seconds": took}
            trials.append(replace(trial, fate="complete", **outcome))
        results.sort(key=lambda row: -row["validation"])
        standing = [row["config_id"] for row in results[: len(results) // 3]]
        standing += [0] if 0 not in standing else []
    return trials


@pytest.fixture(scope="module")
def run(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "raced"
    folder.mkdir()
    plan = replace(plan, arms=(replace(plan.arms[0], name=ARM),))
    plan.save(folder / "plan.json")
    log, spent = TrialLog(folder / "trials.jsonl"), 0.0
    for trial in raced():
        begun = replace(trial, fate="running", score=None, interval=None, loss=None, seconds={})
        log.append("started", trial=begun.to_json(), spent_seconds=spent)
        spent += trial.seconds["total"]
        log.append("ended", trial=trial.to_json(), spent_seconds=spent)
    return folder


def test_an_unfinished_run_is_reviewed_from_its_log(run: Path) -> None:
    with (run / "trials.jsonl").open("a") as file:
        file.write('{"event": "ended", "trial": {"numb')
    before = {path: path.read_bytes() for path in run.iterdir()}
    found = autosft.review(run)
    assert {path: path.read_bytes() for path in run.iterdir()} == before, "a review only reads: the run may go on"
    trials = raced()
    full = [trial for trial in trials if trial.rung == 1]
    best = max(full, key=lambda trial: trial.score or 0)
    overview, note, *_ = found.topic("sweep")
    assert f"{len(trials)} trials" in overview.sentence
    assert overview.numbers["best"] == best.score
    assert "not finished" in note.sentence
    assert "learning_rate" in found.topic("importance")[0].sentence
    assert [claim.numbers["num_configs"] for claim in found.topic("rungs")] != []


def test_the_next_space_of_a_run_can_be_searched(run: Path, plan: Plan) -> None:
    found = autosft.review(run)
    assert found.next_space is not None
    path = run.parent / "next.yaml"
    assert found.write_next_spaces(path) == [path]
    space = read_space(path)
    default = plan.arms[0].default
    rate = next(parameter for parameter in space.parameters if parameter.name == "learning_rate")
    assert rate.scale == "default"
    # The good learning rates lie in it, as multiples of the default like those that were declared.
    full = sorted((trial for trial in raced() if trial.rung == 1), key=lambda trial: -(trial.score or 0))
    assert all(rate.low <= trial.config["learning_rate"] / default["learning_rate"] <= rate.high for trial in full[:3])
    texts, targets = tiny_texts(240)
    rows = [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    again = autosft.plan(
        "sort messages by topic", rows, models=plan.arms[0].folder, trainer="transformers", space=path, timing=False,
        tracker=Tracker(),
    )  # fmt: skip
    assert again.arms[0].space == space
    [file] = found.write_next_spaces(run.parent / "next")
    assert given_spaces(run.parent / "next", ["transformers"]) == {"transformers": read_space(file)}


def test_a_run_about_to_be_finished_says_the_same_from_memory(plan: Plan) -> None:
    plan = replace(plan, arms=(replace(plan.arms[0], name=ARM),))
    trials = raced()
    best = max((trial for trial in trials if trial.rung == 1), key=lambda trial: trial.score or 0)
    summary = {
        "validation": {"score": best.score, "interval": list(best.interval or ()), "num_rows": 300},
        "test": {"score": 0.8, "interval": [0.78, 0.82], "num_rows": 3000, "selected_on": False},
        "default": {"trial": 0}, "gain_over_default": {"score": 0.02, "interval": [0.01, 0.03], "proven": True},
        "best": {"trial": best.number, "is_default": False},
        "seconds": {"wall": 1000.0, "workers": 2, "train": 900.0, "evaluate": 100.0, "idle": 600.0, "load": 400.0},
    }  # fmt: skip
    found = claims_of(from_memory(plan, trials, summary))
    claims = {claim.topic: claim for claim in reversed(found)}
    assert "+0.0200 [+0.0100, +0.0300]" in claims["winner"].sentence
    assert claims["winner"].level == "good"
    parts = [claim for claim in found if "useful" in claim.numbers]
    assert (parts[0].numbers["useful"], parts[0].numbers["idle"]) == (pytest.approx(0.5), pytest.approx(0.3))


def test_a_run_whose_rows_are_gone_is_still_reviewed(run: Path, tmp_path: Path) -> None:
    saved = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    saved["data"]["folder"] = str(tmp_path / "gone")
    (tmp_path / "plan.json").write_text(json.dumps(saved), encoding="utf-8")
    lines = (run / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_text("".join(lines[:12]), encoding="utf-8")
    found = autosft.review(tmp_path)
    assert found.topic("sweep")[0].numbers["trials"] == 6
    assert found.topic("luck")[0].numbers["standard_error"] > 0


def test_a_path_of_wandbs_that_looks_like_a_files_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("autosft.reviewing.open.from_wandb", lambda path, **_: asked.append(path))
    open_sweep("wandb:lab/digits-v1.5")
    assert asked == ["wandb:lab/digits-v1.5"]
    with pytest.raises(AutosftError, match=r"digits-v1\.5"):
        open_sweep("lab/digits-v1.5")


def test_a_folder_of_runs_is_explained(run: Path, shell: Shell) -> None:
    found = shell(str(run.parent))
    assert (found.code, found.out) == (2, "")
    assert "holds 1 run and is none itself" in found.err and f"To fix: name {run}." in found.err
    (run.parent / "other").mkdir()
    (run.parent / "other" / "plan.json").write_bytes((run / "plan.json").read_bytes())
    found = shell(str(run.parent))
    shutil.rmtree(run.parent / "other")
    assert "holds 2 runs and is none itself" in found.err and f"name one of {run.parent / 'other'}, {run}" in found.err


def by_hand(path: Path, number: int = 40) -> list[dict[str, Any]]:
    """A random search that somebody logged: accuracy follows the learning rate and one optimizer."""
    draw = random.Random(1)
    rows = []
    for at in range(number):
        rate, optimizer = 10 ** draw.uniform(-5, -3), draw.choice(["adamw", "sgd", "lion"])
        accuracy = 0.93 - 0.06 * (math.log10(rate) + 4) ** 2 + draw.gauss(0, 0.005)
        rows.append({"lr": rate, "optimizer": optimizer, "seed": at, "accuracy": accuracy, "epoch_seconds": 3.5,
                     "seconds": 120})  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_table_by_hand(shell: Shell, tmp_path: Path) -> None:
    rows = by_hand(tmp_path / "trials.csv")
    found = shell("trials.csv", "--metric", "accuracy", "--next-space", "next.yaml", "--json")
    assert (found.code, found.err) == (0, "autosft: wrote the next search space: next.yaml\n")
    made = json.loads(found.out)
    assert made["claims"][0]["numbers"]["best"] == max(row["accuracy"] for row in rows)
    importance = next(claim["numbers"] for claim in made["claims"] if claim["topic"] == "importance")
    assert set(importance) == {"arm", "lr", "optimizer"}
    assert importance["lr"][1] > 0.3
    assert (tmp_path / "next.yaml").read_text(encoding="utf-8") == made["next_space"]


def test_what_is_so_or_not_in_a_csv_file_is_no_word_in_the_next_space(shell: Shell, tmp_path: Path) -> None:
    rows = by_hand(tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "warm"])
        writer.writeheader()
        writer.writerows({**row, "warm": at % 2 == 0} for at, row in enumerate(rows))
    found = shell("trials.csv", "--metric", "accuracy", "--next-space", "next.yaml")
    assert found.code == 0, found.err
    warm = yaml.safe_load((tmp_path / "next.yaml").read_text(encoding="utf-8"))["parameters"]["warm"]
    assert {type(value) for value in warm.get("values", [warm.get("value")])} == {bool}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("trials.csv/next.yaml", "cannot be written"),
        ("trials.csv", "trials.csv is what this command reads"),
        ("next.json", "next.json has the ending '.json'"),
        ("mine.yaml", "mine.yaml exists"),
        ("taken", "taken holds search spaces"),
        ("named.yaml", "named.yaml is a folder"),
    ],
)
def test_a_next_space_that_cannot_be_written_costs_no_review(
    shell: Shell, tmp_path: Path, place: str, said: str
) -> None:
    by_hand(tmp_path / "trials.csv")
    mine = (tmp_path / "mine.yaml", tmp_path / "taken" / "sweep.yml")
    for folder in ("taken", "named.yaml"):
        (tmp_path / folder).mkdir()
    for file in mine:
        file.write_text("# by hand\n")
    before = sorted(tmp_path.rglob("*")), (tmp_path / "trials.csv").read_bytes()
    plain = shell("trials.csv", "--metric", "accuracy")
    found = shell("trials.csv", "--metric", "accuracy", "--next-space", place)
    assert found.code == 2 and plain.out == found.out + HINT
    assert said in found.err and "To fix: " in found.err
    assert "Traceback" not in found.err
    assert (sorted(tmp_path.rglob("*")), (tmp_path / "trials.csv").read_bytes()) == before
    assert [file.read_text() for file in mine] == ["# by hand\n"] * 2


@pytest.mark.parametrize("place", ["mine.yaml", "taken", "new", "new.d/", "named.d"])
def test_a_next_space_is_written_over_where_that_is_asked_for(shell: Shell, tmp_path: Path, place: str) -> None:
    by_hand(tmp_path / "trials.csv")
    for folder in ("taken", "named.d"):
        (tmp_path / folder).mkdir()
    for file in ("mine.yaml", "taken/sweep.yaml"):
        (tmp_path / file).write_text("# by hand\n")
    force = ["--force"] if place in ("mine.yaml", "taken") else []
    found = shell("trials.csv", "--metric", "accuracy", "--next-space", place, *force)
    assert (found.code, found.err) == (0, "")
    written = tmp_path / place if place.endswith(".yaml") else next((tmp_path / place).glob("*.yaml"))
    assert written.read_text().startswith("# The next space")
    assert found.out.endswith(f"autosft: wrote the next search space: {written.relative_to(tmp_path)}\n")
    assert "--next-space" not in found.out


def test_every_space_that_is_written_is_named(run: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = {"transformers/tiny": "# one\n", "frozen_head/tiny": "# other\n"}
    found = replace(autosft.review(run), next_space="# one\n", next_spaces=spaces)
    monkeypatch.setattr("autosft.api.review", lambda *_, **__: found)
    last = shell(str(run), "--next-space", "nxt").out.splitlines()[-1]
    assert last == "autosft: wrote the next search spaces: nxt/transformers.yaml, nxt/frozen_head.yaml"


def test_a_space_is_only_called_narrowed_where_it_is(run: Path) -> None:
    sweep = open_sweep(run)
    [arm] = sweep.arms
    name = sweep.spaces[arm].space.name
    narrowed = yaml.safe_load(next_spaces(sweep)[arm])
    assert narrowed["name"] == f"{name}, narrowed"
    # Where all were trained alike long and scored the same, no field can be told from noise.
    trials = tuple(replace(trial, score=0.5, length=1.0) for trial in sweep.trials)
    kept = yaml.safe_load(next_spaces(replace(sweep, trials=trials))[arm])
    assert kept["name"] == name, kept
    assert kept["parameters"].keys() == narrowed["parameters"].keys()


def test_what_decides_is_found_out_and_said(shell: Shell, tmp_path: Path) -> None:
    by_hand(tmp_path / "trials.csv")
    found = shell("trials.csv")
    assert "'accuracy' was taken for what decides" in found.out
    assert "higher is better" in found.out


def test_a_log_full_of_failures_and_odd_columns(shell: Shell, tmp_path: Path) -> None:
    draw = random.Random(0)
    with (tmp_path / "odd.jsonl").open("w", encoding="utf-8") as file:
        for at in range(60):
            rate, fails = 10 ** draw.uniform(-5, -1), at % 3 == 0
            row = {
                "name": f"läuf-{at % 50}", "state": "crashed" if fails else "finished", "error": "CUDA out of memory",
                "config": {"optim": {"lr": rate if at % 2 else f"{rate:.3e}"}, "layers": draw.choice([2, "4", "auto"]),
                           "api_key": "sk-123456", "output_dir": f"/scratch/{at}", "constant": 3},
                "val_loss": [math.nan, 0.5 + 0.1 * (math.log10(rate) + 3) ** 2][bool(at % 5)], "timestamp": 1.7e9 + at,
            }  # fmt: skip
            file.write(json.dumps({**row, "val_loss": None} if fails else row, ensure_ascii=False) + "\n")
    found = shell("odd.jsonl")
    assert found.code == 0
    assert "20 of 60 trials failed" in found.out and "CUDA out of memory (20)" in found.out
    assert "lower is better" in found.out
    assert "Left out, as their names are those of secrets: api_key." in found.out
    assert "sk-123456" not in shell("odd.jsonl", "--json").out
    assert "optim.lr" in next(line for line in found.out.splitlines() if line.startswith("Importance"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.csv",), "there is no file or folder nowhere.csv"),
        (("trials.csv", "--metric", "acuracy"), "did you mean 'accuracy'?"),
        (("trials.csv", "--goal", "up"), "unknown goal 'up'"),
        (("empty",), "is not a run's folder"),
        (("broken.jsonl",), "broken.jsonl, line 2 is not JSON"),
        (("nothing.jsonl",), "holds no trial"),
        (("words.csv", "--metric", "a"), "no trial of words.csv has a number in 'a'"),
    ],
)
def test_mistakes_are_explained(shell: Shell, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    by_hand(tmp_path / "trials.csv", 8)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jsonl").write_text('{"x": 1}\n{"x"\n', encoding="utf-8")
    (tmp_path / "nothing.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "words.csv").write_text("a,b\nx,y\nu,v\n", encoding="utf-8")
    found = shell(*arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("text,label\nmy card,card\nmy loan,loan\n", "no column of few.csv looks like a score"),
        ("lr,score\n0.1,nan\n0.2,\n", "'score' of few.csv was taken for what decides, and holds no number"),
        ("lr,val_accuracy\n0.1,good\n0.2,bad\n", "'val_accuracy' of few.csv was taken for what decides"),
    ],
)
def test_a_table_without_scores_is_no_sweep(shell: Shell, tmp_path: Path, rows: str, words: str) -> None:
    (tmp_path / "few.csv").write_text(rows)
    found = shell("few.csv")
    assert found.code == 2 and words in found.err and "--metric" in found.err, found.err


def test_data_to_train_on_are_no_sweep_and_said_to_be_none(shell: Shell, tmp_path: Path) -> None:
    rows = [f"words number {at},{'ham' if at % 2 else 'spam'}" for at in range(400)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    found = shell("rows.csv")
    assert (found.code, found.out) == (2, "")
    assert "a table of trials, not of data to train on" in found.err and "failed" not in found.err


@pytest.mark.parametrize(
    "rows",
    [
        "lr,state,score\n0.1,failed,\n0.2,crashed,\n",
        "lr,fate\n0.1,failed\n0.2,failed\n",
        "params_lr,state,value\n0.1,TrialState.FAIL,\n0.2,TrialState.FAIL,\n",
        "config/lr,date\n0.1,today\n0.2,today\n",
    ],
    ids=["state", "no column of scores", "optuna", "parameters"],
)
def test_a_sweep_in_which_everything_failed_is_reviewed(shell: Shell, tmp_path: Path, rows: str) -> None:
    (tmp_path / "bad.csv").write_text(rows)
    found = shell("bad.csv")
    assert found.code == 0 and "2 of 2 trials failed" in found.out, found.err
    if "score" in rows:
        named = shell("bad.csv", "--metric", "score")
        assert named.code == 0 and "2 of 2 trials failed" in named.out, named.err


def test_a_table_says_how_far_its_trainings_came(tmp_path: Path) -> None:
    for name, told, reached in (("cut", {"rung": 1.0, "fidelity": 0.238}, 0.238), ("raced", {"rung": 0.25}, 0.25)):
        rows = [json.dumps({"lr": at / 10, "score": at / 10, **told}) for at in range(1, 4)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        assert {trial.reached for trial in open_sweep(tmp_path / f"{name}.jsonl").trials} == {reached}


def test_the_files_of_a_run_are_read_or_the_folder_is_asked_for(run: Path, shell: Shell, tmp_path: Path) -> None:
    _write_trials(run / "trials.parquet", [*raced()])
    table, folder = autosft.review(run / "trials.parquet"), autosft.review(run)
    luck = [claim.sentence for claim in table.topic("luck")]
    assert luck and not any("no intervals" in sentence for sentence in luck), luck
    sweep = open_sweep(run / "trials.parquet")
    assert sweep.ranked[0].interval is not None and "learning_rate" in sweep.ranked[0].config
    assert sweep.ranked[0].seconds and sweep.ranked[0].arm == ARM and "interval" not in sweep.ranked[0].config
    assert table.topic("sweep")[0].numbers["best"] == folder.topic("sweep")[0].numbers["best"]
    (run / "result.json").write_text("{}")
    for name in ("result.json", "plan.json", "trials.jsonl"):
        found = shell(str(run / name))
        assert found.code == 2 and f"autosft review {run}" in found.err, found.err
    (run / "result.json").unlink()


def test_one_trial_that_did_not_end_is_one(run: Path) -> None:
    log = TrialLog(run / "trials.jsonl")
    log.append("started", trial=replace(raced()[0], number=999, fate="running").to_json(), spent_seconds=0.0)
    assert any("1 trial began that did not end" in claim.sentence for claim in autosft.review(run).topic("sweep"))


def test_a_training_that_was_cut_short_does_not_count_as_one_of_full_length(plan: Plan) -> None:
    plan = replace(plan, arms=(replace(plan.arms[0], name=ARM),))
    whole = [trial for trial in raced() if trial.rung == 1]

    def told(trials: list[Trial]) -> str:
        return claims_of(from_memory(plan, trials, None))[0].sentence + " ".join(
            claim.sentence for claim in claims_of(from_memory(plan, trials, None)) if claim.topic == "luck"
        )

    worst = min(whole, key=lambda trial: trial.score or 0)
    cut = [replace(trial, fidelity=0.688) if trial is worst else trial for trial in whole]
    assert f"Of the {len(whole)} at full length" in told(whole)
    assert f"Of the {len(whole) - 1} at full length" in told(cut)


def test_reports_are_shares_of_the_training_however_short_its_time_made_it(plan: Plan) -> None:
    arm = plan.arms[0]
    trial = Trial(0, arm.name, arm.default, 1.0, 0, 0, True, reports=((1 / 9, 0.5), (1 / 3, 0.7), (1.0, 0.8)))
    trials = [
        replace(trial, fate="complete", score=0.8, fidelity=0.4),
        replace(trial, number=1, fate="stopped", score=0.7, reports=trial.reports[:2]),
        replace(trial, number=2, fate="complete", score=0.8, fidelity=1 / 3, rung=1 / 3, reports=((1 / 3, 0.8),)),
    ]
    found = from_memory(plan, trials, None).trials
    assert found[0].reports == trial.reports and found[0].reached == 0.4
    assert found[1].reports == trial.reports[:2]
    assert found[2].reports == ((1.0, 0.8),)
