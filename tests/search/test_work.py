from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from autosft.arrays import from_matrix, to_matrix
from autosft.data.data import Rows, materialise
from autosft.data.source import Source
from autosft.inputs.text import TextReader, load_tokenizer
from autosft.search import work
from autosft.search.work import predict, train
from autosft.task import Input, Output, Task
from autosft.tasks import kind
from autosft.testing.tiny_data import LABELS, WORDS, tiny_task, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.trainers.base import Limits
from autosft.trainers.encoder import EncoderModel
from autosft.trainers.networks import PooledClassifier, load_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    base, folder = write_tiny_encoder(tmp_path / "tiny", words=WORDS), tmp_path / "model"
    folder.mkdir()
    reader = TextReader(load_tokenizer(base), 32, 64)
    module = PooledClassifier(load_encoder(base), len(LABELS)).eval()
    EncoderModel(module, reader, Input.TEXT, Output.LABEL, tuple(LABELS)).save(folder)
    return folder


def written(path: Path, texts: list[str], targets: Sequence[int | None]) -> Rows:
    table = pa.table({"text": texts, "target": pa.array(targets, pa.int64())})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return Rows(path)


def test_a_pass_that_runs_out_of_time_has_seen_a_random_sample(model: Path, tmp_path: Path) -> None:
    models, rows = {"only": ("frozen_head", str(model))}, written(tmp_path / "rows.arrow", *tiny_texts(600))

    every, whole = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=None, seed=0)
    some, part = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=0.0, seed=0)
    assert every.tolist() == list(range(600))
    assert 0 < len(some) < 600
    assert 0 < np.mean(some) < 599, "not merely the first rows"
    np.testing.assert_allclose(to_matrix(part["only"]), to_matrix(whole["only"])[some], atol=1e-6)


def test_a_pass_of_a_slow_model_looks_at_the_clock_after_a_few_rows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def slow(self: EncoderModel, task: Task, rows: pa.Table, targets: pa.Array) -> pa.Array:
        told.append(len(rows))
        time.sleep(0.1 * len(rows))
        return self.predict(rows)

    monkeypatch.setattr(EncoderModel, "judge", slow)
    models, rows = {"only": ("frozen_head", str(model))}, written(tmp_path / "rows.arrow", *tiny_texts(600))
    some, _ = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=1.0, seed=0)
    assert len(told) > 1 and len(some) < 30, "sixty seconds' worth of rows, of which blocks take two at most"


@pytest.mark.parametrize("num_labelled", [20, 400])
def test_a_pass_that_runs_out_of_time_has_seen_rows_with_targets_first(
    num_labelled: int, model: Path, tmp_path: Path
) -> None:
    texts, targets = tiny_texts(600)
    labelled = {*np.random.default_rng(1).permutation(600)[:num_labelled].tolist()}
    known = [target if at in labelled else None for at, target in enumerate(targets)]
    models, rows = {"only": ("frozen_head", str(model))}, written(tmp_path / "rows.arrow", texts, known)
    some, _ = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=0.0, seed=0)
    assert len(labelled.intersection(some.tolist())) == min(num_labelled, len(some))


def test_the_interval_of_a_trial_is_over_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, targets = tiny_texts(600)
    senders = [f"sender {at // 20}" for at in range(600)]
    rows = pa.table({"text": texts, "label": [LABELS[at] for at in targets], "sender": senders})

    class Partial:
        """Right about all that every other sender wrote, and about nothing else."""

        Config = dict

        def fit(self, config: Any, task: Any, data: Any, *, report: Any, **others: Any) -> Any:
            assert data.input is Input.TEXT
            seen = Rows(data.all.path, data.validation)
            right = seen.numbers("row") // 20 % 2
            found = (seen.targets().to_numpy() + 1 - right) % len(LABELS)
            report(1.0, from_matrix(np.eye(len(LABELS), dtype=np.float32)[found]))
            return SimpleNamespace(save=lambda folder: None, micro_batch_size=None, share_trained=1.0)

    monkeypatch.setattr(work, "_trainer", lambda *_: Partial())
    nothing: Any = None
    widths = []
    for group in (None, "sender"):
        task = replace(tiny_task(), group_column=group)
        data, _ = materialise(kind(task.kind), task, Source({"train": rows}, ""), folder=tmp_path / "data", seed=0)
        outcome = train(
            lambda *_, **values: None, trainer="any", base_model=nothing, folder="", config={}, task=task,
            data=data, fold=0, fidelity=1.0, seed=0, scratch=tmp_path / "scratch", rungs=(1.0,),
            limits=Limits(1, tmp_path),
        )  # fmt: skip
        low, high = outcome["interval"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]
