from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from autosft.data.data import Rows
from autosft.search.work import predict
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.trainers.encoder import EncoderModel, PooledClassifier, load_encoder, load_tokenizer


def test_a_pass_that_runs_out_of_time_has_seen_a_random_sample(tmp_path: Path) -> None:
    base = write_tiny_encoder(tmp_path / "tiny", words=WORDS)
    module = PooledClassifier(load_encoder(base), len(LABELS)).eval()
    (tmp_path / "model").mkdir()
    EncoderModel(module, load_tokenizer(base), 32, tuple(LABELS)).save(tmp_path / "model")
    texts, _ = tiny_texts(600)
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), (table := pa.table({"text": texts})).schema) as writer:
        writer.write_table(table)
    models = {"only": ("frozen_head", str(tmp_path / "model"))}
    rows = Rows(tmp_path / "rows.arrow")

    every, whole = predict(lambda *_: None, models=models, rows=rows, seconds=None, seed=0)
    some, part = predict(lambda *_: None, models=models, rows=rows, seconds=0.0, seed=0)
    assert every.tolist() == list(range(600))
    assert 0 < len(some) < 600
    assert 0 < np.mean(some) < 599, "not merely the first rows"
    np.testing.assert_allclose(part["only"], whole["only"][some], atol=1e-6)
