"""A Ray that runs in this process already is used as it is: its CPUs count, not the machine's, and it stays up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import ray

import autosft
from autosft import api
from autosft.search.job import Ended
from autosft.search.runner import Runner
from autosft.search.settings import Machine
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.tracking.base import Tracker

pytestmark = pytest.mark.usefixtures("ray_session")

#: What the test session's Ray was started with, see conftest.
CPUS = 2


def node(report: Callable[..., None]) -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_its_cpus_count_and_not_those_of_the_machine(tmp_path: Path) -> None:
    here = ray.get_runtime_context().get_node_id()
    with Runner(scratch=tmp_path / "ray", machine=Machine(64)) as runner:
        assert runner.machine().cpus == CPUS
        ended = runner.run("test_running_ray:node", {}, cpus=float(CPUS))
    assert isinstance(ended, Ended) and ended.value == here, "it ran on that Ray and on no other"
    assert ray.is_initialized(), "whoever started it will end it"


def test_a_plan_is_made_for_its_cpus(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "machine_here", lambda: Machine(64))
    texts, targets = tiny_texts(60)
    options = {
        "task": "Route each message to its intent",
        "data": [{"text": text, "label": LABELS[at]} for text, at in zip(texts, targets, strict=True)],
        "models": str(tiny_model),
        "trainer": "frozen_head",
        "budget": "1 trial",
        "tracker": Tracker(),
    }
    resources = autosft.plan(**options).resources
    assert resources.machine.cpus == CPUS
    assert resources.cpus_per_trial * resources.max_concurrent <= CPUS
    # Trials that were planned for more would wait for ever.
    assert autosft.plan(**options, max_concurrent=8).resources.max_concurrent == CPUS
