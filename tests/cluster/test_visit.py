"""What a node has fetched before: used again while it is what the driver's machine has, and fetched again where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autosft.cluster import visit
from autosft.cluster.depot import Depot, Entry
from autosft.cluster.visit import Visit
from autosft.search.job import Job

#: What the driver calls the folder, which is not there on this machine.
THERE = Path("/on-the-drivers-machine/model")

WEIGHTS = b"weights" * 1000


class Elsewhere(Depot):
    """The depot of a machine that has under `THERE` what this one has elsewhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _place(self, path: Path) -> Path:
        return self._folder / path.relative_to(THERE)

    def entries(self, path: Path) -> tuple[Entry, ...]:
        return super().entries(self._place(path))

    def digests(self, path: Path) -> tuple[str, ...]:
        return super().digests(self._place(path))

    def chunk(self, file: Path, offset: int) -> bytes:
        return super().chunk(self._place(file), offset)


@pytest.fixture
def depot(ray_session: None, tmp_path: Path) -> Iterator[Any]:
    import ray

    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "deep" / "weights").write_bytes(WEIGHTS)
    actor = ray.remote(Elsewhere).options(num_cpus=0).remote(tmp_path / "model")
    yield actor
    ray.kill(actor)


DAMAGES = {
    "truncated": lambda content: content[:-1],
    "empty": lambda content: b"",
    "one bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
}


def weights_here(depot: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the weights' file as a job of another worker finds it."""
    monkeypatch.setattr(visit, "_SOUND", set())
    with Visit(Job("job", "module:name", {"folder": str(THERE)}), depot, "node").arguments() as given:
        return Path(given["folder"]) / "deep" / "weights"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_fetched_and_then_damaged_is_fetched_again(
    depot: Any, tmp_path: Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    for damaged in (False, False, True):
        file = weights_here(depot, monkeypatch)
        if damaged:
            file.write_bytes(damage(WEIGHTS))
            assert weights_here(depot, monkeypatch) == file
        assert file.is_relative_to(tmp_path / "cache") and file.read_bytes() == WEIGHTS
        assert [*ray.get(depot.fetched.remote()).values()] == [1 + damaged]
