"""Features of slow rows: the clock and the stop file are looked at often enough, and what was computed is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray

from autosft.accounting import open_ledger, phase
from autosft.arrays import to_matrix
from autosft.errors import TrialFailed
from autosft.inputs.base import Examples
from autosft.inputs.batches import batches_by_length
from autosft.prepare import Question, check, understand
from autosft.task import Input, Output
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_models import tiny_base_model
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.features import FeatureCache
from autosft.trainers.frozen_head import FrozenHead
from autosft.trainers.networks import PREDICT_BATCH_SIZE, rows_per_second

SECONDS_A_ROW = 0.02
ROWS = np.arange(400)


class Numbers(Examples):
    """Rows that are their own position."""

    def __init__(self) -> None:
        self.lengths = np.full(len(ROWS), 4, np.int32)
        self.max_length = 4

    def collate(self, examples: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        return {"rows": torch.from_numpy(examples)}


def embed(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    time.sleep(SECONDS_A_ROW * len(batch["rows"]))
    return torch.stack([batch["rows"], -batch["rows"]], dim=1)


def cache(folder: Path) -> FeatureCache:
    return FeatureCache(folder, "key", Numbers(), embed, 2)


def test_a_deadline_is_kept_where_rows_are_slow_and_leaves_a_sample(tmp_path: Path) -> None:
    features, limits, started = cache(tmp_path), Limits(1, tmp_path), time.monotonic()
    rows = features.compute(ROWS, limits, deadline=started + 1.0)
    assert 1.0 <= time.monotonic() - started < 4.5, "all of them take eight seconds"
    assert 0 < len(rows) < len(ROWS) and rows.max() > 200, "not the first ones alone"
    np.testing.assert_array_equal(features.take(rows), np.stack([rows, -rows], axis=1))
    assert set(cache(tmp_path).compute(rows, limits)) == set(rows), "none of them is computed again"


def test_a_stop_is_noticed_between_a_few_slow_rows_and_what_there_is_is_kept(tmp_path: Path) -> None:
    limits = Limits(1, tmp_path, stop_file=tmp_path / "stop")
    features = cache(tmp_path / "cache")
    features.compute(ROWS[:32], limits)
    (tmp_path / "stop").touch()
    started = time.monotonic()
    with pytest.raises(TrialFailed, match="stopped"):
        features.compute(ROWS, limits)
    assert time.monotonic() - started < 1
    (tmp_path / "stop").unlink()
    again = cache(tmp_path / "cache")
    np.testing.assert_array_equal(again.compute(ROWS[:32], limits), ROWS[:32])
    assert time.monotonic() - started < 2


def test_who_waits_for_another_process_keeps_to_its_own_time_and_hears_a_stop(tmp_path: Path) -> None:
    features = cache(tmp_path)
    features.compute(ROWS[:8], Limits(1, tmp_path))
    lock = next((tmp_path / "features").iterdir()) / "lock"
    with FileLock(str(lock)):
        started = time.monotonic()
        rows = features.compute(ROWS, Limits(1, tmp_path), deadline=started + 0.3)
        np.testing.assert_array_equal(rows, ROWS[:8], "what is there already is")
        (tmp_path / "stop").touch()
        with pytest.raises(TrialFailed, match="stopped"):
            features.compute(ROWS, Limits(1, tmp_path, stop_file=tmp_path / "stop"))
        assert time.monotonic() - started < 3


def test_what_was_computed_to_know_the_speed_is_kept(tmp_path: Path) -> None:
    features, started = cache(tmp_path), time.monotonic()
    rate = features.measure(ROWS)
    assert time.monotonic() - started < 4.5, "all of them take eight seconds"
    assert 0.5 < rate * SECONDS_A_ROW < 1.05
    kept = cache(tmp_path).compute(ROWS, Limits(1, tmp_path), deadline=time.monotonic())
    assert len(kept) >= 100, "two seconds of rows, and one block more"


@pytest.mark.parametrize("seconds", [60.0, 0.1])
def test_the_speed_is_that_of_many_rows_in_batches_of_one_length(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    examples, rows, clock = Numbers(), np.arange(5000), [0.0]
    examples.lengths = np.clip(np.random.default_rng(0).lognormal(2.7, 0.5, len(rows)), 4, 200).astype(np.int32)

    def run(some: NDArray[np.int64]) -> None:
        """Takes as long as the tokens of padded batches do."""
        for batch in batches_by_length(examples.lengths[some], PREDICT_BATCH_SIZE):
            clock[0] += 1e-4 * len(batch) * int(examples.lengths[some][batch].max())

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    found = rows_per_second(run, examples, rows, seconds=seconds)
    assert seconds == 60.0 or clock[0] < 0.3, "it ends with the batch in which its time is over"
    clock[0] = 0.0
    run(rows)
    assert found * clock[0] == pytest.approx(len(rows), rel=0.1 if seconds == 60.0 else 0.3)


@pytest.mark.parametrize(("seconds", "is_short"), [(4.0, True), (60.0, False)])
def test_there_is_a_head_however_slow_the_validation_rows_are(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, is_short: bool
) -> None:
    forward = FeatureCache._forward

    def slow(self: FeatureCache, rows: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        time.sleep(SECONDS_A_ROW * len(rows))
        return forward(self, rows, batch_size)

    monkeypatch.setattr(FeatureCache, "_forward", slow)
    texts, targets = tiny_texts(400)
    asked = Question(
        "Route each message", [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)]
    )
    prepared = check(asked, *understand(asked))
    rows = prepared.data.training(None)[0]
    train, validation = np.array_split(np.arange(len(rows)), 2)
    data = TrainingData(Input.TEXT, Output.LABEL, rows, train, validation, "slow")
    outputs: list[pa.Array] = []
    trainer = FrozenHead(tiny_base_model(tiny_model), tiny_model)
    model = trainer.fit(
        trainer.Config(), prepared.task, data, fidelity=1.0, seed=0, folder=tmp_path,
        report=lambda fidelity, found: outputs.append(found),
        limits=Limits(1, tmp_path / "cache", time_limit_seconds=seconds),
    )  # fmt: skip
    answers = Counter(map(tuple, to_matrix(outputs[-1]).tolist()))
    assert len(outputs[-1]) == len(validation)
    assert (0.1 < model.share_trained < 0.9) == is_short
    assert (answers.most_common(1)[0][1] > 50) == is_short, "what was not read is answered as the average row"


def wide(folder: Path, *, num_rows: int = 4000, size: int = 500) -> FeatureCache:
    examples = Numbers()
    examples.lengths = np.full(num_rows, 4, np.int32)
    return FeatureCache(folder, "wide", examples, lambda batch: batch["rows"][:, None].expand(-1, size), size)


def test_memory_grows_with_what_is_taken_and_not_with_the_rows(tmp_path: Path) -> None:
    rows, limits = np.arange(4000), Limits(1, tmp_path)
    everything = rows.nbytes // 8 * 500 * 4
    wide(tmp_path, num_rows=32).compute(rows[:32], limits)  # What the first call alone loads.
    tracemalloc.start()
    try:
        wide(tmp_path).compute(rows, limits)
        _, computing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        some = wide(tmp_path).take(rows[::100])
        _, taking = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert computing < 0.75 * everything and taking < 0.1 * everything
    np.testing.assert_array_equal(some, np.repeat(rows[::100, None], 500, axis=1))
    assert isinstance(some, np.ndarray) and not isinstance(some, np.memmap)


KILLED = """
import sys
from pathlib import Path
import numpy as np
from test_features import ROWS, cache
from autosft.prepare import Question, check, understand
from autosft.task import Input, Output
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_models import tiny_base_model
from autosft.trainers.base import Limits, TrainingData
folder = Path(sys.argv[1])
print("ready", flush=True)
cache(folder).compute(ROWS[::-1].copy(), Limits(1, folder))
"""


def test_a_killed_process_leaves_whole_rows_that_count(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parent, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        until = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("rows")) and time.monotonic() < until:
            time.sleep(0.05)
        other.send_signal(signal.SIGKILL)
    limits, features = Limits(1, tmp_path), cache(tmp_path)
    there = features.compute(ROWS, limits, deadline=time.monotonic())
    assert 16 <= len(there) < len(ROWS)
    np.testing.assert_array_equal(features.take(there), np.stack([there, -there], axis=1))


def test_what_was_half_written_is_written_again(tmp_path: Path) -> None:
    limits = Limits(1, tmp_path)
    cache(tmp_path).compute(ROWS[:20], limits)
    for path in (next(tmp_path.rglob("values")), next(tmp_path.rglob("rows"))):
        with path.open("ab") as file:
            file.write(b"\xff" * 5)
    features = cache(tmp_path)
    rows = features.compute(ROWS[:40], limits)
    np.testing.assert_array_equal(rows, ROWS[:40])
    for each in (features, cache(tmp_path)):
        np.testing.assert_array_equal(each.take(rows), np.stack([rows, -rows], axis=1))


def test_the_time_for_features_is_a_phase_of_its_own_that_no_later_training_has(tmp_path: Path) -> None:
    first: dict[str, float] = {}
    later: dict[str, float] = {}
    for found in (first, later):
        with open_ledger() as ledger, phase("evaluate"):
            cache(tmp_path).compute(ROWS[:40], Limits(1, tmp_path))
        found.update(ledger.seconds)
    assert first["features"] > 40 * SECONDS_A_ROW > 10 * (later["features"] + later["evaluate"])


def test_two_that_are_open_share_what_either_computes(tmp_path: Path) -> None:
    limits, first, second = Limits(1, tmp_path), cache(tmp_path), cache(tmp_path)
    for features, rows in ((first, ROWS[:30]), (second, ROWS[20:60]), (first, ROWS[50:70])):
        features.compute(rows, limits)
    started = time.monotonic()
    for features in (first, second):
        rows = features.compute(ROWS[69::-1].copy(), limits)
        np.testing.assert_array_equal(features.take(rows), np.stack([rows, -rows], axis=1))
    assert time.monotonic() - started < 70 * SECONDS_A_ROW, "none of them is computed again"
    assert next(tmp_path.rglob("rows")).stat().st_size == 70 * 16
