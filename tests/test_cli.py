"""The shell command as a user runs it: what lands on which stream, the exit code, and what is left on the disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

import autosft
from autosft import cli, predictor
from autosft import shell as cli_shell
from autosft.data.read import read_table
from autosft.data.write import write_table
from autosft.testing.tiny_models import write_tiny_encoder

ROOT = Path(__file__).parents[1]
TASK = ("--task", "Is the review positive?")
WORDS = {"pos": ("great", "lovely", "superb"), "neg": ("awful", "broken", "dreadful")}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process, in a folder with a good file in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "good.csv").write_text(reviews(), encoding="utf-8")

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["autosft", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


def reviews(num_rows: int = 80) -> str:
    rng = random.Random(0)
    rows = [
        f"{rng.choice(WORDS[label])} item number {number} {rng.choice('abcdef')},{label}"
        for number, label in enumerate(["pos", "neg"] * (num_rows // 2))
    ]
    return "\n".join(["text,label", *rows]) + "\n"


def labelled(labels: list[str]) -> bytes:
    return "\n".join(["text,label", *(f"some words {n},{label}" for n, label in enumerate(labels))]).encode()


def truncated_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table({"text": ["a", "b"] * 500, "label": ["x", "y"] * 500}), sink)
    return sink.getvalue().to_pybytes()[:-100]


def python(*arguments: str, cwd: Path, cache: Path | None = None) -> Outcome:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "AUTOSFT_CACHE": str(cache or cwd / "cache")}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_refused(outcome: Outcome, *said: str) -> None:
    """Exit 2 and one message in three parts at the end of standard error, with nothing else of ours in the way."""
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    assert outcome.err.count("autosft: ") == 1
    message = outcome.err[outcome.err.index("autosft: ") :]
    _, expected, fix = message.splitlines()
    assert expected.startswith("  Expected: ") and fix.startswith("  To fix: ")
    assert "Traceback" not in outcome.err
    for words in said:
        assert words in message, message


DATA = {
    "empty": (b"", "is empty"),
    "header only": (b"text,label\n", "no rows"),
    "one class": (labelled(["pos"] * 40), "'pos'"),
    "one row per class": (labelled([f"class {n}" for n in range(30)]), "a single row"),
    "labels all missing": (labelled([""] * 40), "missing"),
    "10,000 classes": (labelled([f"class {n % 10_000}" for n in range(20_000)]), "10,000"),
    "random bytes": (random.Random(0).randbytes(4000), "does not look like text"),
}


@pytest.mark.parametrize("target", [(), ("--target", "label")], ids=["target inferred", "target given"])
@pytest.mark.parametrize(("content", "said"), DATA.values(), ids=DATA)
def test_data_that_cannot_be_learnt_from(content: bytes, said: str, target: tuple[str, ...], shell) -> None:
    Path("data.csv").write_bytes(content)
    before = set(Path().iterdir())
    assert_refused(shell("fit", "data.csv", *TASK, *target, "--folder", "run"), said)
    assert set(Path().iterdir()) - before <= {Path("cache")}


def test_a_truncated_parquet(shell) -> None:
    Path("data.parquet").write_bytes(truncated_parquet())
    assert_refused(shell("fit", "data.parquet", *TASK, "--folder", "run"), "not a complete Parquet file")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "lable"), ("'lable' for --target", "did you mean 'label'?")),
        (("--budget", "0"), ("0 seconds",)),
        (("--budget", "soon"), ("'soon'", "--budget '20m'")),
        (("--models", "minlm"), ("did you mean 'minilm'?",)),
        (("--metric", "acuracy"), ("did you mean 'accuracy'?",)),
        (("--trainer", "transformer"), ("did you mean 'transformers'?",)),
        (("--sampler", "tpee"), ("did you mean 'tpe'?",)),
        (("--scheduler", "asah"), ("did you mean 'asha'?",)),
        (("--space", "no.yaml"), ("no.yaml",)),
        (("--fixes-off", "near-duplicate"), ("did you mean 'near-duplicates'?",)),
        (("--test", "no.csv"), ("no.csv",)),
        (("--seed", "-1"), ("--seed",)),
        (("--max-concurrent", "0"), ("--max-concurrent",)),
        (("--bugdet", "3m"), ("--budget",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_an_argument_that_cannot_be_used(arguments: tuple[str, ...], said: tuple[str, ...], shell) -> None:
    assert_refused(shell("fit", "good.csv", *TASK, "--folder", "run", *arguments), *said)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("photos", "is not a run's folder"),
        ("good.csv", "is a file"),
        ("good.csv/run", "cannot be written"),
        ("/proc/run", "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_a_runs(folder: str, said: str, shell) -> None:
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"cat")
    assert_refused(shell("fit", "good.csv", *TASK, "--folder", folder), said)
    assert [path.name for path in Path("photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize("verb", ["resume", "predict", "fit"])
def test_what_a_newer_autosft_wrote(verb: str, shell) -> None:
    for file in ("run/plan.json", "run/model/autosft.json"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps({"format": 99, "autosft": "plan"}))
    arguments = {"resume": ["run"], "predict": ["run", "good.csv", "--out", "o.csv"], "fit": ["run/plan.json"]}
    assert_refused(shell(verb, *arguments[verb]), "format 99")


@pytest.mark.parametrize("verb", [("resume", "photos"), ("predict", "photos", "good.csv", "--out", "o.csv")])
def test_a_folder_that_is_not_a_run(verb: tuple[str, ...], shell) -> None:
    Path("photos").mkdir()
    assert_refused(shell(*verb), "photos")


@pytest.mark.parametrize("arguments", [("fti", "good.csv"), ("predict",), ("models", "--all")])
def test_a_mistyped_command(arguments: tuple[str, ...], shell) -> None:
    assert_refused(shell(*arguments), "--help")


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(reviews(), encoding="utf-8")
    code = (
        "import resource, signal, sys; from autosft import cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "sys.argv = ['autosft', 'plan', 'good.csv', '--task', 'Is it positive?', '--no-timing']; cli.main()"
    )
    assert_refused(python("-c", code, cwd=tmp_path), "File too large")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix == ".arrow"]


def test_a_plan_is_printed_and_nothing_else(shell, tmp_path: Path) -> None:
    model = str(write_tiny_encoder(tmp_path / "tiny"))
    base = ("plan", "good.csv", *TASK, "--models", model, "--no-timing")
    printed = shell(*base)
    assert printed.code == 0
    assert "'text' -> 'label', one of 2 labels" in printed.out
    assert "factor of three" in printed.out
    as_json = shell(*base, "--json")
    assert json.loads(as_json.out)["autosft"] == "plan"
    assert_refused(shell(*base, "--out", "good.csv/plan.json"), "cannot be written")


@pytest.mark.parametrize("verb", ["", "fit", "plan", "predict", "resume", "models", "doctor", "demo"])
def test_every_verb_explains_itself(verb: str, shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = shell(*filter(None, [verb, "--help"]))
    assert shown.code == 0
    assert "Usage: autosft" in shown.out
    assert shown.err == ""


def test_models_lists_licences(shell) -> None:
    listed = shell("models")
    assert listed.code == 0
    lines = listed.out.splitlines()
    assert any("all-MiniLM-L6-v2" in line and "apache-2.0" in line and "512 tokens" in line for line in lines)
    assert any("resnet-18" in line and "224 pixels" in line and "tokens" not in line for line in lines)


def test_models_that_are_made_here_are_on_every_machine(shell) -> None:
    rows = {line[2:].split()[0]: line for line in shell("models").out.splitlines()}
    assert rows["pixels"].startswith("* ") and rows["pixels"].split()[2] == "-"
    assert rows["resnet-small-from-scratch"].startswith("* ")
    assert rows["resnet-small-from-scratch"].split()[2] == "0.7M"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose plan was made first and carried out by `fit plan.json --json`, as separate processes."""
    place = tmp_path_factory.mktemp("run")
    (place / "good.csv").write_text(reviews(), encoding="utf-8")
    model = write_tiny_encoder(place / "tiny", words=[word for words in WORDS.values() for word in words])
    arguments = ("--models", str(model), "--trainer", "frozen_head", "--budget", "2 trials")
    saved = ("--no-timing", "--out", "plan.json")
    planned = python("-m", "autosft", "plan", "good.csv", *TASK, *arguments, *saved, cwd=place)
    assert planned.code == 0, planned.err
    fitted = python("-m", "autosft", "fit", "plan.json", "--folder", "run", "--json", cwd=place)
    assert fitted.code == 0, fitted.err
    (place / "stdout.json").write_text(fitted.out)
    return place / "run"


def test_fit_prints_the_result_and_nothing_else(run: Path) -> None:
    printed = json.loads((run.parent / "stdout.json").read_text())
    assert printed == json.loads((run / "result.json").read_text())
    assert printed["num_trials"] == 2
    assert printed["kind"] == "text-classification"


def test_a_finished_run_is_not_overwritten(run: Path, shell) -> None:
    assert_refused(shell("fit", "good.csv", *TASK, "--folder", str(run)), "a finished run", "autosft resume")
    shown = shell("resume", str(run))
    assert shown.code == 0
    assert "Score     accuracy" in shown.out


ROWS = {
    "id": ["007", "b", "c"],
    "text": ["great item number 3 a", "awful item number 4 b", 'some, "broken" text\tof two\nlines'],
    "prediction": ["old", "older", "oldest"],
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".arrow"])
def test_predict_keeps_columns_rows_and_order(ending: str, run: Path, shell) -> None:
    write_table(pa.table(ROWS), Path(f"rows{ending}"))
    done = shell("predict", str(run), f"rows{ending}", "--out", f"out/predicted{ending}")
    assert done.code == 0, done.err
    assert "3 rows" in done.out
    table = read_table(Path(f"out/predicted{ending}"), columns=["id", "text", "prediction"])
    assert table.column_names == ["id", "text", "prediction", "prediction_1", "score"]
    assert table.select(list(ROWS)).to_pydict() == ROWS
    assert table.column("prediction_1").to_pylist()[:2] == ["pos", "neg"]
    assert all(0 <= score <= 1 for score in table.column("score").to_pylist())
    assert os.listdir("out") == [f"predicted{ending}"]


def test_predict_says_how_far_it_has_come(run: Path, shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell("predict", str(run), "good.csv", "--out", "whole.csv").err.count(" of 80 rows") == 0, "nobody waited"
    monkeypatch.setattr(predictor, "_BLOCK_ROWS", 30)
    monkeypatch.setattr(cli_shell, "_QUIET_SECONDS", 0.0)
    done = shell("predict", str(run), "good.csv", "--out", "told.csv")
    assert [line.split("] ")[1] for line in done.err.splitlines() if line.endswith(" of 80 rows")] == [
        "30 of 80 rows",
        "60 of 80 rows",
    ]
    assert done.out == "80 rows with predictions: told.csv\n"
    assert read_table(Path("told.csv")).column("prediction") == read_table(Path("whole.csv")).column("prediction")


@pytest.mark.skipif(sys.platform != "linux", reason="what GNU's OpenMP says of itself")
@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_threads_that_wait_leave_the_processor_to_others(run: Path, chosen: str | None) -> None:
    place = run.parent
    told = {"OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | told
    command = (sys.executable, "-m", "autosft", "predict", str(run), "good.csv", "--out", f"{chosen}.csv")
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{chosen or 'PASSIVE'}'" in done.stderr


def test_predict_says_what_it_needs(run: Path, shell) -> None:
    Path("rows.csv").write_text("id,body\n1,great\n2,awful\n")
    lacking = shell("predict", str(run), "rows.csv", "--out", "out.csv")
    assert_refused(
        lacking, "column 'text' is missing (found: id, body)", "add a column 'text', or rename one to 'text'"
    )
    assert "use one of" not in lacking.err, "predict has no way to choose a column"
    Path("alike.csv").write_text("id,Texts\n1,great\n2,awful\n")
    assert_refused(
        shell("predict", str(run), "alike.csv", "--out", "out.csv"), "or rename one to 'text', such as 'Texts'"
    )
    assert_refused(shell("predict", str(run), "good.csv", "--out", "out.xlsx"), ".xlsx", ".csv")
    assert_refused(shell("predict", str(run), "no.csv", "--out", "out.csv"), "no.csv")
    assert not list(Path().glob("out*"))


def test_no_file_is_written_over_without_being_asked(shell, tmp_path: Path) -> None:
    model = str(write_tiny_encoder(tmp_path / "tiny"))
    base = ("plan", "good.csv", *TASK, "--models", model, "--no-timing")
    Path("mine.json").write_text('{"by": "hand"}')
    assert_refused(shell(*base, "--out", "mine.json"), "mine.json exists", "--force")
    assert Path("mine.json").read_text() == '{"by": "hand"}'
    assert shell(*base, "--out", "mine.json", "--force").code == 0
    assert json.loads(Path("mine.json").read_text())["autosft"] == "plan"
    assert_refused(shell(*base, "--out", "mine.json"), "mine.json exists", "--force")


def test_what_a_command_reads_is_never_written_over(run: Path, shell) -> None:
    Path("rows.jsonl").write_text('{"text": "great", "label": "pos"}\n{"text": "awful", "label": "neg"}\n')
    before = Path("good.csv").read_bytes(), Path("rows.jsonl").read_bytes()
    Path("alias.csv").symlink_to("good.csv")
    for place in ("good.csv", "./good.csv", "alias.csv"):
        assert_refused(shell("predict", str(run), "good.csv", "--out", place), "is what this command reads")
    folder = Path("rows")
    folder.mkdir()
    Path("good.csv").rename(folder / "good.csv")
    assert_refused(shell("predict", str(run), "rows", "--out", "rows/good.csv"), "is what this command reads")
    assert_refused(shell("predict", str(run), "rows", "--out", f"{run}/trials.jsonl"), "is what this command reads")
    for name in ("trials.parquet", "study.log"):
        kept = (run / name).read_bytes()
        out = f"{run}/{name}" if name.endswith(".parquet") else f"{run}/link.csv"
        if not name.endswith(".parquet"):
            Path(out).symlink_to(run / name)
        assert_refused(shell("predict", str(run), "rows", "--out", out), "is what this command reads")
        assert (run / name).read_bytes() == kept
    Path("test.json").write_text("[]")
    refused = shell("plan", "rows/good.csv", *TASK, "--test", "test.json", "--out", "test.json", "--force")
    assert_refused(refused, "is what this command reads")
    assert (Path("rows/good.csv").read_bytes(), Path("rows.jsonl").read_bytes()) == before
    # Predictions of an earlier time are written anew.
    for _ in range(2):
        assert shell("predict", str(run), "rows", "--out", f"{run.parent}/out.csv").code == 0


@pytest.mark.parametrize(
    ("place", "said"),
    [("taken/", "is a folder"), ("taken", "is a folder"), ("new/", "is a folder"), ("p.yaml", "ending '.yaml'"),
     ("good.csv/plan.json", "cannot be written")],
)  # fmt: skip
def test_where_a_plan_cannot_be_written_is_said_before_the_work(place: str, said: str, shell) -> None:
    Path("taken").mkdir()
    refused = shell("plan", "good.csv", *TASK, "--no-timing", "--out", place)
    assert_refused(refused, said)
    assert "Reading the data" not in refused.err
    assert not list(Path("taken").iterdir()) and not Path("new").exists() and not Path("p.yaml").exists()


def test_a_plans_parent_folder_is_made(shell, tmp_path: Path) -> None:
    model = str(write_tiny_encoder(tmp_path / "tiny"))
    shown = shell("plan", "good.csv", *TASK, "--models", model, "--no-timing", "--out", "deep/er/plan.json")
    assert shown.code == 0, shown.err
    assert json.loads(Path("deep/er/plan.json").read_text())["autosft"] == "plan"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "foo", "--budget", "20m"), ("--target", "--budget")),
        (("--task", "Is it good?", "--seed", "0"), ("--task", "--seed")),
        (("--no-refit", "--test", "good.csv"), ("--refit", "--test")),
        (("--no-finals", "--no-soup", "--ensemble"), ("--finals", "--soup", "--ensemble")),
        (("--models", "minilm", "--fixes-off", "all", "--gpus-per-trial", "1"), ("--models", "--fixes-off", "--gpus-")),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_a_saved_plan_has_settled_is_refused(
    options: tuple[str, ...], said: tuple[str, ...], run: Path, shell
) -> None:
    refused = shell("fit", str(run.parent / "plan.json"), *options, "--folder", "again")
    assert_refused(refused, *said, "the plan", "autosft plan")
    assert not Path("again").exists()


@pytest.mark.parametrize(
    "given", [{"budget": "5s"}, {"target": "label"}, {"data": pa.table({"a": [1]})}, {"models": ["minilm"], "seed": 3}]
)
def test_what_a_plan_has_settled_is_refused_in_python_too(given: dict[str, object], run: Path, tmp_path: Path) -> None:
    made = autosft.Plan.load(run.parent / "plan.json")
    with pytest.raises(autosft.PlanError) as refused:
        autosft.fit(made, folder=tmp_path / "again", **given)
    assert all(f"{name}=" in str(refused.value) for name in given)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(("interrupted", "said"), [(False, "is finished"), (True, "was interrupted")])
def test_resuming_what_is_done_says_that_nothing_was_done(
    interrupted: bool, said: str, run: Path, shell, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    summary = json.loads((copy / "result.json").read_text()) | {"interrupted": interrupted}
    (copy / "result.json").write_text(json.dumps(summary))
    shown = shell("resume", str(copy))
    assert shown.code == 0 and "Score     accuracy" in shown.out
    [line] = shown.err.splitlines()
    assert said in line and f"autosft resume {copy} --budget +10m" in line


@pytest.mark.parametrize(
    "verb",
    [("resume", "good.csv"), ("sync", "good.csv"), ("predict", "good.csv", "good.csv", "--out", "o.csv")],
    ids=lambda verb: verb[0],
)
def test_a_file_in_the_place_of_a_runs_folder(verb: tuple[str, ...], shell) -> None:
    assert_refused(shell(*verb), "good.csv is a file, not a")


def test_a_space_that_is_something_else_is_not_quoted_whole(shell) -> None:
    refused = shell("fit", "good.csv", *TASK, "--space", "good.csv", "--folder", "run")
    assert_refused(refused, "good.csv", "text,label", "not a mapping")
    assert len(refused.err) < 700


def test_the_name_of_a_new_column_is_said_where_it_is_another(run: Path, shell) -> None:
    write_table(pa.table(ROWS), Path("rows.csv"))
    assert "prediction_1" in shell("predict", str(run), "rows.csv", "--out", "out.csv").out
    assert "prediction_1" not in shell("predict", str(run), "good.csv", "--out", "out.csv").out


@pytest.mark.parametrize(
    "arguments",
    [("review", "{}"), ("resume", "{}"), ("predict", "{}", "good.csv", "--out", "o.csv"), ("batch", "{}"),
     ("fit", "good.csv", *TASK, "--folder", "{}"), ("plan", "good.csv", *TASK, "--space", "{}")],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_sentence_in_the_place_of_a_path(arguments: tuple[str, ...], shell) -> None:
    sentence = "which of the many departments of ours should answer this message, please? " * 4
    refused = shell(*(word.format(sentence) for word in arguments))
    assert_refused(refused, "which of the many departments", "cannot be used")
    assert len(refused.err) < 500


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_was_closed_changes_nothing(closed: str, tmp_path: Path) -> None:
    redirected = {"stdout": ">&-", "stderr": "2>&-"}[closed]
    command = f'"{sys.executable}" -m autosft models {redirected}'
    other = "stderr" if closed == "stdout" else "stdout"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert bool(getattr(done, other)) == (other == "stdout"), "no traceback"


def test_an_unknown_tracker_is_named_before_a_key_is_asked_for(run: Path, shell) -> None:
    assert_refused(shell("sync", str(run), "--tracker", "mlflow"), "'mlflow'", "wandb")


@pytest.mark.parametrize("option", ["--group", "--time"])
def test_a_text_given_away_as_group_or_time(option: str, shell) -> None:
    refused = shell("fit", "good.csv", *TASK, option, "text", "--folder", "run")
    assert_refused(refused, "'text'", f"you gave it as {option}")


@pytest.mark.parametrize("verb", [("plan", "--no-timing"), ("fit", "--folder", "run")], ids=lambda verb: verb[0])
def test_an_interruption_before_anything_is_kept_says_so(verb: tuple[str, ...], shell, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autosft.api.understand", interrupted)
    shown = shell(verb[0], "good.csv", *TASK, *verb[1:])
    assert (shown.code, shown.out) == (130, "")
    assert shown.err.splitlines()[-1] == "autosft: interrupted; nothing was kept"


def test_an_interruption_of_a_run_that_was_begun_says_what_goes_on(run: Path, shell, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autosft.sitting.Sitting.work", interrupted)
    shown = shell("fit", str(run.parent / "plan.json"), "--folder", "again")
    assert (shown.code, shown.out) == (130, "")
    assert shown.err.splitlines()[-1].startswith("autosft: interrupted before there was a result")
    assert f"autosft resume {Path('again').absolute()}" in shown.err
