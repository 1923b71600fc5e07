"""Rows to predict as they come: blank, empty, in other scripts, or of unreadable files. Nothing is searched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import autosft
from autosft import cli
from autosft.data.read import read_table
from autosft.data.write import write_table
from autosft.errors import DataError
from autosft.planning.arms import draft_arms
from autosft.predictor import Predictor, describe_model
from autosft.prepare import Question, check, understand
from autosft.search.settings import Machine
from autosft.tasks import KINDS
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_kinds import question
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData

SCRIPTS = ["残高はいくらですか", "我的卡在哪里?", "أين بطاقتي؟", "איפה הכרטיס שלי?", "naïve café 👩‍👩‍👧"]


def trained(kind: str, folder: Path) -> Predictor:
    """A model of a kind that hardly learned anything, saved and loaded as a user would."""
    given = question(kind, folder)
    asked = Question(given.sentence, given.data)
    task, source = understand(asked)
    prepared = check(asked, task, source)
    of_kind = task_kind(kind)
    [arm, *_], _ = draft_arms(
        of_kind.input, of_kind.output, num_rows=90, models=[str(given.base)], trainers=None, space=None,
        machine=Machine(1),
    )  # fmt: skip
    rows = prepared.data.training(None)[0]
    everything = np.arange(len(rows))
    data = TrainingData(of_kind.input, of_kind.output, rows, everything, everything[:0], prepared.data.fingerprint)
    trainer = trainer_class(arm.trainer)(arm.base_model, Path(arm.folder))
    for name in ("scratch", "model"):
        (folder / name).mkdir()
    model = trainer.fit(
        trainer.Config(**arm.default), prepared.task, data, fidelity=0.1, seed=0, folder=folder / "scratch",
        report=lambda fidelity, outputs: None, limits=Limits(num_threads=1, cache=folder / "cache"),
    )  # fmt: skip
    model.save(folder / "model")
    describe_model(folder / "model", prepared.task, arm.trainer, card="", versions={})
    return autosft.load(folder / "model")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Predictor]:
    made: dict[str, Predictor] = {}

    def of_kind(kind: str) -> Predictor:
        if kind not in made:
            made[kind] = trained(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return of_kind


def texts(*names: str) -> list[dict[str, Any]]:
    """Rows of texts that are missing, blank, of one sign, very long, or in other scripts."""
    return [dict.fromkeys(names, text) for text in [None, "", " \n", "?", "visa " * 3000, *SCRIPTS]]


PAIRS = [*texts("sentence1", "sentence2"), {"sentence1": "a", "sentence2": None}, {"sentence1": None, "sentence2": "b"}]
TALKS: list[list[dict[str, str | None]]] = [
    [],
    [{"role": "user", "content": None}],
    [{"role": "assistant", "content": "hello"}],
    [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
    [{"role": "system", "content": "be kind"}],
    [{"role": "tool", "content": "42"}, {"role": "user", "content": "hi"}, {"role": "user", "content": "you"}],
    *([{"role": "user", "content": text}] for text in SCRIPTS),
]
WORDS = [None, [], [""], ["visa", "", "chip"], ["x"] * 3000, *(text.split() for text in SCRIPTS)]
ROWS: dict[str, list[dict[str, Any]]] = {
    "text-classification": texts("text"),
    "multi-label-classification": texts("text"),
    "text-regression": texts("text"),
    "text-pair-classification": PAIRS,
    "text-pair-regression": PAIRS,
    "token-classification": [{"tokens": words} for words in WORDS],
    "causal-lm": texts("prompt"),
    "chat": [{"messages": None}, *({"messages": talk} for talk in TALKS)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_gets_a_prediction_in_its_place(model: Callable[[str], Predictor], kind: str, tmp_path: Path) -> None:
    if kind not in ROWS:
        pytest.skip("images are files")
    rows = ROWS[kind]
    table = model(kind).predict_table(rows)
    assert table.drop_columns([name for name in ("prediction", "score") if name in table.column_names]).equals(
        read_table(rows)
    ), "rows and columns stay as they are"
    predicted = table.column("prediction")
    assert predicted.null_count == 0
    if "score" in table.column_names:
        assert np.isfinite(table.column("score").to_numpy()).all()
    if pa.types.is_floating(predicted.type):
        assert np.isfinite(predicted.to_numpy()).all()
    if kind == "token-classification":
        assert list(map(len, predicted.to_pylist())) == [len(words or ()) for words in WORDS]
    # Alone each row gets what it gets among others.
    last = model(kind).predict(rows[-1:])
    assert last == predicted.to_pylist()[-1:] or kind.endswith("regression")
    for name in ("out.csv", "out.tsv", "out.jsonl", "out.parquet"):
        write_table(table, tmp_path / name)
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in written] == predicted.to_pylist()
    column = next(iter(rows[0]))
    again = read_table(tmp_path / "out.csv", columns=[column]).column(column).to_pylist()
    for text in SCRIPTS:
        assert any(text.split()[0] in str(cell) for cell in again), "other scripts come back unharmed"


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_rows_give_what_one_pass_gives(
    model: Callable[[str], Predictor], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = model(kind)
    paths = [str(path) for path in sorted((found.folder.parent / "images").rglob("*.png"))[:5]]
    rows = ROWS.get(kind) or [{"image": path} for path in paths]
    inner = trainer_class(found._trainer).load(found.folder)
    given: list[int] = []
    predict = inner.predict

    def watched(inputs: pa.Table) -> pa.Array:
        given.append(inputs.num_rows)
        return predict(inputs)

    monkeypatch.setattr(inner, "predict", watched)
    loaded: list[Path] = []
    monkeypatch.setattr(type(inner), "load", lambda folder: loaded.append(folder) or inner)
    whole, again = Predictor.load(found.folder), Predictor.load(found.folder)
    table = whole.predict_table(rows)
    assert given == [len(rows)] and len(loaded) == 1
    monkeypatch.setattr("autosft.predictor._BLOCK_ROWS", 2)
    monkeypatch.setattr("autosft.predictor._BLOCK_IMAGES", 2)
    given.clear()
    blocks = again.predict_table(rows)
    assert sum(given) == len(rows) and max(given) == 2 and len(loaded) == 2, "each loads its model once"
    assert blocks.schema == table.schema
    numbers = {name: blocks.column(name) for name in blocks.column_names if pa.types.is_floating(blocks[name].type)}
    for name, column in numbers.items():
        np.testing.assert_allclose(column.to_numpy(), table.column(name).to_numpy(), rtol=1e-4, atol=1e-4)
    assert blocks.drop_columns(list(numbers)).equals(table.drop_columns(list(numbers)))
    assert again.predict(rows) == blocks.column("prediction").to_pylist()
    if "classification" in kind and kind != "token-classification":
        np.testing.assert_allclose(again.predict_proba(rows), whole.predict_proba(rows), atol=1e-5)


def test_an_unreadable_image_far_down_is_told_before_any_work_is_done(
    model: Callable[[str], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = broken_images(model("image-classification").folder.parent)[0]
    found = Predictor.load(model("image-classification").folder)
    monkeypatch.setattr("autosft.predictor._BLOCK_IMAGES", 2)
    rows = [good, good, good, {"image": "gone.png"}, good, {"image": None}]
    with pytest.raises(DataError, match=r"2 of 6 rows .*\(row 3: .*gone\.png: No such.*; row 5: there is no image\)"):
        found.predict(rows)
    assert found._model is None


def broken_images(folder: Path) -> list[dict[str, str | None]]:
    good = sorted((folder / "images").rglob("*.png"))
    whole, half = good[0], folder / "half.png"
    half.write_bytes(good[1].read_bytes()[:90])
    return [{"image": path} for path in (str(whole), str(half), str(folder / "gone.png"), None, str(whole))]


def test_images_that_cannot_be_read_are_named(model: Callable[[str], Predictor], tmp_path: Path) -> None:
    found = model("image-classification")
    rows = broken_images(found.folder.parent)
    for call in (found.predict, found.predict_table, found.predict_proba):
        with pytest.raises(
            DataError, match=r"3 of 5 rows .*'image' \(row 1: .*half\.png: .*; row 2: .*gone\.png: No su"
        ):
            call(rows)
    with pytest.raises(DataError, match="row 3: there is no image"):
        found.predict(rows)
    many = [{"image": str(tmp_path / f"{at}.png")} for at in range(8)]
    with pytest.raises(DataError, match=r"8 of 8 rows .*row 4: [^;]*; and 3 more\)"):
        found.predict(many)
    assert len(found.predict([rows[0], rows[4]])) == 2


def test_the_shell_says_which_image_cannot_be_read(
    model: Callable[[str], Predictor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = model("image-classification")
    rows = broken_images(found.folder.parent)
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = tmp_path / "out.csv"
    arguments = ["predict", str(found.folder), str(tmp_path / "new.jsonl"), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["autosft", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert "row 1: " in said.err and "half.png" in said.err and "Traceback" not in said.err
    assert not out.exists()


def test_lists_of_labels_are_read_again_from_a_cell(tmp_path: Path) -> None:
    kind = task_kind("multi-label-classification")
    labels = [["joy", "fear, of"], [], ["愛", 'it\'s "so"']]
    write_table(pa.table({"text": ["a", "b", "c"], "y": labels}), tmp_path / "rows.csv")
    task = autosft.Task(
        kind.name, "", ("text",), "y", autosft.Metric("micro_f1"), ("fear, of", "joy", "愛", 'it\'s "so"')
    )
    table = read_table(tmp_path / "rows.csv")
    assert kind.target_texts(task, table).to_pylist() == ["fear, of; joy", "(none)", 'it\'s "so"; 愛']
