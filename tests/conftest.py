"""The environment every test runs in: offline, quiet and on one thread. Set before any library reads it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from rays import start_ray

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["WANDB_MODE"] = "offline"
# As autosft starts Ray itself: patient workers, of which a busy machine does not take the CPU away.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray on two CPUs for every test that needs one; a Runner uses it because it runs in this process."""
    import ray

    start_ray()
    yield
    ray.shutdown()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keeps what the tests write out of the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["AUTOSFT_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def only_new_objects_are_collected() -> None:
    """Spares the garbage collector what pytest and the libraries hold for good: it took half of the trainers' tests."""
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a base model of a few thousand weights."""
    from autosft.testing.tiny_data import WORDS
    from autosft.testing.tiny_models import write_tiny_encoder

    return write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-bert", words=WORDS)
