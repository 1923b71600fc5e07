from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from autosft.arrays import to_matrix
from autosft.data.data import Rows
from autosft.inputs.text import TextReader, load_tokenizer
from autosft.search.work import predict
from autosft.task import Input, Output
from autosft.testing.tiny_data import LABELS, WORDS, tiny_task, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.trainers.encoder import EncoderModel
from autosft.trainers.networks import PooledClassifier, load_encoder


def test_a_pass_that_runs_out_of_time_has_seen_a_random_sample(tmp_path: Path) -> None:
    base = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    module = PooledClassifier(load_encoder(base), len(LABELS)).eval()
    (tmp_path / "model").mkdir()
    reader = TextReader(load_tokenizer(base), 32, 64)
    EncoderModel(module, reader, Input.TEXT, Output.LABEL, tuple(LABELS)).save(tmp_path / "model")
    texts, targets = tiny_texts(600)
    table = pa.table({"text": texts, "target": targets})
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    models = {"only": ("frozen_head", str(tmp_path / "model"))}
    rows = Rows(tmp_path / "rows.arrow")

    every, whole = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=None, seed=0)
    some, part = predict(lambda *_: None, task=tiny_task(), models=models, rows=rows, seconds=0.0, seed=0)
    assert every.tolist() == list(range(600))
    assert 0 < len(some) < 600
    assert 0 < np.mean(some) < 599, "not merely the first rows"
    np.testing.assert_allclose(to_matrix(part["only"]), to_matrix(whole["only"])[some], atol=1e-6)
