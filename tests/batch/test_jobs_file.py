"""A file of jobs is read strictly, and everything that is wrong with it is said at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autosft.batch.jobs_file import places, read_jobs
from autosft.errors import PlanError

DATA = "text,label\na,x\nb,y\n"


def written(folder: Path, text: str, name: str = "jobs.yaml") -> Path:
    (folder / "rows.csv").write_text(DATA)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, name: str = "jobs.yaml") -> str:
    with pytest.raises(PlanError) as caught:
        read_jobs(written(folder, text, name))
    return str(caught.value)


def test_defaults_are_merged_and_paths_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = """
defaults: {budget: 20m, task: Sort these, models: [tiny, owner/model]}
jobs:
  - {name: one, data: rows.csv}
  - {name: two, data: owner/dataset, test: ./rows.csv, budget: 3 trials, priority: 2, models: owner/other}
"""
    one, two = read_jobs(written(tmp_path, text))
    assert one.arguments["data"] == str(tmp_path / "rows.csv")
    assert one.arguments["models"] == [str(tmp_path / "tiny"), "owner/model"]
    assert (one.budget.seconds, one.priority) == (1200.0, 1.0)
    assert two.arguments["data"] == "owner/dataset"
    assert two.arguments["test"] == str(tmp_path / "rows.csv")
    assert two.arguments["models"] == ["owner/other"]
    assert (two.budget.num_trials, two.budget.seconds, two.priority) == (3, None, 2.0)


def test_what_jobs_name_beside_their_file_is_found_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "space.yaml").touch()
    text = f"""
defaults: {{task: Sort these, models: [tiny, owner/model], trainer: known_only_there}}
jobs:
  - {{name: one, data: rows.csv, space: space.yaml}}
  - {{name: two, data: /on/the/cluster.csv, test: ./rows.csv}}
  - {{name: three, data: owner/dataset, test: "{tmp_path}/rows.csv", models: owner/other}}
  - {{name: four, data: ~/rows.csv, test: no-such.csv}}
"""
    assert places(written(tmp_path, text)) == ["rows.csv", "space.yaml", "tiny", "./rows.csv"]


def test_a_key_that_is_no_word_is_refused(tmp_path: Path) -> None:
    assert "is no YAML" in refused(tmp_path, "? [a, b]\n: c\njobs: []\n")


def test_json_is_read_as_well(tmp_path: Path) -> None:
    text = json.dumps({"jobs": [{"name": "one", "task": "Sort", "data": "rows.csv"}]}, indent="\t")
    assert [job.name for job in read_jobs(written(tmp_path, text, "jobs.json"))] == ["one"]


def test_everything_wrong_is_said_at_once_with_its_line_and_job(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        """
jobs:
  - {name: one, task: Sort, data: rows.csv, bugdet: 5m}
  - {name: One, task: Sort, data: missing.csv}
  - {name: ../up, task: Sort, data: rows.csv}
  - name: two
    data: rows.csv
    budget: soon
    metric: acuracy
    trainer: frozen_heat
    cluster: auto
    priority: 0
""",
    )
    assert "line 3, job 'one': there is no key 'bugdet'; did you mean 'budget'?" in message
    assert "line 4, job 'One': its name is taken by line 3, job 'one'" in message
    assert f"data does not exist: {tmp_path / 'missing.csv'}" in message
    assert "line 5, job '../up': '../up' cannot be its folder's name" in message
    assert "line 6, job 'two': 'task' is missing" in message
    assert "the budget 'soon' cannot be read" in message
    assert "did you mean 'accuracy'?" in message
    assert "did you mean 'frozen_head'?" in message
    assert "'cluster' belongs to the whole batch" in message
    assert "priority is 0, not a number above zero" in message
    assert "nothing was started" in message


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "-x", "a/b", "a\\\\b", "CON", "nul.txt", "end.", "logs", "batch.json", "a b"]
)
def test_names_that_are_no_safe_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    text = f'jobs: [{{name: "{name}", task: Sort, data: rows.csv}}]'
    assert "cannot be its folder's name" in refused(tmp_path, text)


def test_a_name_may_be_as_long_as_its_folder_and_begin_with_what_the_error_says(tmp_path: Path) -> None:
    names = [80 * "x", 66 * "漢", "_x", "7"]
    rows = "".join(f'  - {{name: "{name}", task: Sort, data: rows.csv}}\n' for name in names)
    assert [job.name for job in read_jobs(written(tmp_path, f"jobs:\n{rows}"))] == names
    for name in (81 * "x", 67 * "漢", "-x"):
        message = refused(tmp_path, f'jobs: [{{name: "{name}", task: Sort, data: rows.csv}}]')
        assert "beginning with a letter, a digit or '_', at most 80 of them and 200 bytes" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no list of 'jobs'"),
        ("jobs: []", "there are no jobs"),
        ("- {name: one}", "no list of 'jobs'"),
        ("jobs: [one]", "job 1 in"),
        ("job: []\njobs: []", "did you mean 'jobs'?"),
        ("budget: 5m\njobs: [{name: one}]", "stands under 'defaults'"),
        ("defaults: {bugdet: 5m}\njobs: [{name: one}]", "did you mean 'budget'?"),
        ("defaults: [1]\njobs: [{name: one}]", "'defaults'"),
        ("jobs:\n  - {name: one, name: two}", "line 2: 'name' is there twice"),
        ("jobs:\n  - {name: one", "is no YAML"),
        ("jobs:\n  - {name: 7, task: Sort, data: rows.csv}", "put it in quotes"),
        ("jobs: [{name: !!python/object/apply:os.getcwd []}]", "is no YAML"),
        (
            "jobs:\n  - {name: one, positive: 2024-02-30}",
            "line 2 is no YAML ('2024-02-30' cannot be read: day is",
        ),
        ("jobs:\n  - {name: one, seed: !!int ''}", "line 2 is no YAML ('' cannot be read"),
        ("jobs: &a [*a]", "is nested too deeply, or holds itself"),
        (f"jobs: {2000 * '['}{2000 * ']'}", "is nested too deeply, or holds itself"),
    ],
)
def test_what_is_no_list_of_jobs_is_explained(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"jobs": [{"name": "one"}], "jobs": [{"name": "two"}]}', "'jobs' is there twice"),
        ('{"jobs": [{"name": "one", "task": "Sort", "task": "Order"}]}', "'task' is there twice"),
        (f'{{"jobs": {100_000 * "["}', "is nested too deeply, or holds itself"),
        ('{"jobs": [', "is no JSON"),
    ],
)
def test_json_is_read_as_strictly(tmp_path: Path, text: str, words: str) -> None:
    message = refused(tmp_path, text, "jobs.json")
    assert words in message
    assert ("is no JSON" in message) == ("is no JSON" in words)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("task: {kind: x}", "task is {'kind': 'x'}, not a sentence"),
        ("metric: {a: 1}", "metric is {'a': 1}, not the name of a metric"),
        ("metric: 5", "metric is 5, not the name of a metric"),
        ("answer: 5", "answer is 5, not a regular expression as text"),
        ("answer: '('", "answer is '(', not a regular expression (missing ), unterminated subpattern"),
        ("answer: 'a{99999999999}'", "not a regular expression"),
        ("positive: [1, 2]", "positive is [1, 2], not a text, a number, or true or false"),
        ("positive: 2024-01-01", "positive is datetime.date(2024, 1, 1), not a text, a number, or true or false"),
        ("positive: .nan", "positive is nan"),
        ("target: 2024-01-01", "target is datetime.date(2024, 1, 1), not the name of a column"),
        ("target: 5", "(in YAML, put it in quotes)"),
        ("inputs: [1]", "inputs is [1], not names of columns"),
        ("models: []", "models is [], not one or several hub ids or folders"),
        ("trainer: []", "trainer is [], not one or several names of trainers"),
        ("fixes_off: [nosuch]", "no check is called 'nosuch'"),
        ("fixes_off: near-duplicate", "did you mean 'near-duplicates'?"),
        ("space: 5", "space is 5, not a path of YAML"),
        ("budget: [1]", "budget is [1], not a time such as '20m'"),
        ("seed: 1.5", "seed is 1.5, not a whole number"),
        ("seed: -1", "seed is -1, not a whole number from 0"),
        ("max_concurrent: true", "max_concurrent is True, not a whole number"),
        ("gpus_per_trial: .nan", "gpus_per_trial is nan, not a number from zero"),
        (f"priority: 1{400 * '0'}", "not a number above zero"),
        (f"priority: 0x{5000 * 'f'}", "priority is too long to show, not a number above zero"),
        (f"budget: 1{400 * '0'}", "not a time such as '20m'"),
        (f"seed: 1{400 * '0'}", "not a whole number from 0"),
        ("test: '~nosuchuser/x.csv'", "test does not exist: "),
        (f"test: ./{300 * 'x'}", "test cannot be read (File name too long): "),
        ("models: ['~nosuchuser/x']", "the base model's folder does not exist: "),
        (f"models: [./{300 * 'x'}]", "the base model's folder does not exist: "),
    ],
)
def test_a_value_that_no_run_could_use_is_refused(tmp_path: Path, argument: str, words: str) -> None:
    text = "jobs:\n  - {name: one, data: rows.csv, " + ("" if "task" in argument else "task: Sort, ") + argument + "}"
    message = refused(tmp_path, text)
    assert "line 2, job 'one': " in message
    assert words in message
    assert message.startswith("1 thing is wrong")
    assert len(message) < 1000


def test_values_that_a_run_can_use_are_kept_as_they_are(tmp_path: Path) -> None:
    text = r"""
jobs:
  - {name: one, task: Sort, data: rows.csv, positive: 1, answer: '#### (.+)', fixes_off: all, metric: macro_f1}
  - {name: two, task: Sort, data: rows.csv, positive: true, inputs: [text], fixes_off: [near-duplicates]}
"""
    one, two = read_jobs(written(tmp_path, text))
    kept = {"positive": 1, "answer": "#### (.+)", "fixes_off": "all", "metric": "macro_f1"}
    assert {key: one.arguments[key] for key in kept} == kept
    assert (two.arguments["positive"], two.arguments["fixes_off"]) == (True, ["near-duplicates"])


def test_a_name_that_is_too_long_to_be_anywhere_is_a_hub_id_or_nothing(tmp_path: Path) -> None:
    name = 300 * "x"
    text = f"jobs: [{{name: one, task: Sort, data: rows.csv, models: {name}}}]"
    path = written(tmp_path, text)
    assert read_jobs(path)[0].arguments["models"] == [name]
    assert places(path) == ["rows.csv"]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="does not exist"):
        read_jobs(tmp_path / "no.yaml")


def test_budget_and_priority_do_not_make_another_job_of_it(tmp_path: Path) -> None:
    text = "jobs: [{{name: one, task: Sort, data: rows.csv, budget: {budget}, priority: {priority}, seed: {seed}}}]"
    digests = [
        read_jobs(written(tmp_path, text.format(budget=budget, priority=priority, seed=seed)))[0].digest
        for budget, priority, seed in (("5m", 1, 0), ("9m", 3, 0), ("5m", 1, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    for name in ("banking77/train.csv", "banking77/test.csv", "sms_spam.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(DATA)
    (tmp_path / "jobs.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    jobs = read_jobs(tmp_path / "jobs.yaml")
    assert [(job.name, job.budget.seconds, job.priority) for job in jobs] == [("intents", 1200, 1), ("spam", 600, 2)]
