"""Entries of the cache that a power cut, a failing disk or a careless hand left: noticed, and made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from prepared import planned
from shell import Shell

from autosft import cache
from autosft.errors import PlanError
from autosft.inputs.images import ImageReader
from autosft.inputs.text import cached_table
from autosft.prepare import with_rows
from autosft.testing.tiny_images import tiny_image_data
from autosft.trainers.base import Limits
from autosft.trainers.features import FeatureCache

pytestmark = pytest.mark.faults


def other_arrow(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("something", pa.int64())])) as writer:
        writer.write_table(pa.table({"something": [1, 2, 3]}))
    return sink.getvalue().to_pybytes()


def one_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
    "another file": other_arrow,
    "one bit": one_bit,
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@damages
def test_checked_rows_are_read_again_from_where_they_came(
    shell: Shell, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSFT_CACHE", str(shell.folder / "cache"))
    plan = planned(shell)
    assert with_rows(plan) == plan
    file = plan.data.folder / "rows.arrow"
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert with_rows(plan).data == plan.data
    assert file.read_bytes() == good


def test_where_they_came_from_memory_it_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setenv("AUTOSFT_CACHE", str(shell.folder / "cache"))
    plan = planned(shell)
    file = plan.data.folder / "rows.arrow"
    file.write_bytes(one_bit(file.read_bytes()))
    with pytest.raises(PlanError, match=r"no longer whole[^$]*from memory[^$]*To fix"):
        with_rows(replace(plan, origin=replace(plan.origin, data="")))
    with_rows(plan)


@damages
@pytest.mark.parametrize("which", ["table.arrow", "table.crc32"])
def test_tokens_are_made_again(
    tmp_path: Path, which: str, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"input_ids": [[1, 2, 3], [4, 5]], "full_length": [3, 2]}).replace_schema_metadata(
        {"max_length": "8"}
    )
    made: list[int] = []

    def make() -> pa.Table:
        made.append(1)
        return table

    def another_process() -> pa.Table:
        monkeypatch.setattr(cache, "_SOUND", set())
        return cached_table(tmp_path / "table.arrow", make)

    assert another_process() == table == another_process()
    assert len(made) == 1, "a sound one is not made twice"
    file = tmp_path / which
    file.write_bytes(damage(file.read_bytes()))
    found = another_process()
    assert found == table and found.schema.metadata == table.schema.metadata
    assert len(made) == 2


@damages
@pytest.mark.parametrize("which", ["*.npy", "*.crc32"])
def test_images_are_decoded_again(
    tmp_path: Path, which: str, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = tiny_image_data(tmp_path / "data", num_rows=12)
    processor = {"image_processor_type": "ViTImageProcessor", "size": 16}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))

    def another_process() -> torch.Tensor:
        monkeypatch.setattr(cache, "_SOUND", set())
        reader = ImageReader.of_base(tmp_path, max_length=None, context_tokens=1)
        return reader.cached(data.all, "key", tmp_path / "cache").collate(np.arange(12))["pixel_values"]

    good = another_process()
    [file] = (tmp_path / "cache").rglob(which)
    kept = file.read_bytes()
    file.write_bytes(damage(kept))
    assert another_process().equal(good)
    assert file.read_bytes() == kept


class Numbered:
    """Rows whose features are their number and its negative."""

    max_length = 1

    def __init__(self, num_rows: int) -> None:
        self.lengths = np.ones(num_rows, np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def collate(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"row": torch.from_numpy(rows)}


@damages
@pytest.mark.parametrize("which", ["values", "rows"])
def test_features_are_computed_again_and_only_those_that_changed(
    tmp_path: Path, which: str, damage: Callable[[bytes], bytes]
) -> None:
    computed: list[int] = []

    def embed(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        computed.extend(batch["row"].tolist())
        return torch.stack([batch["row"], -batch["row"]], dim=1).float()

    def cache() -> FeatureCache:
        return FeatureCache(tmp_path, "key", Numbered(50), embed, 2)  # type: ignore[arg-type]

    everything, limits = np.arange(50), Limits(1, tmp_path)
    cache().compute(everything, limits)
    computed.clear()
    cache().compute(everything, limits)
    assert computed == []
    [file] = tmp_path.rglob(which)
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        features = cache()
        features.compute(everything, limits)
        expected = np.stack([everything, -everything], axis=1)
        np.testing.assert_array_equal(features.take(everything), expected)
    assert len(computed) == 1 if damage is one_bit else len(computed) <= 50
