"""A worker that stays warm must not stay large: what a job allocated is given back before the next one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from autosft.search.runner import Runner

pytestmark = pytest.mark.usefixtures("ray_session")

_MIB = 2**20
ALLOCATED = 300 * _MIB


def resident(report: Callable[..., None]) -> tuple[int, int]:
    """Returns this process and the bytes of memory that it occupies."""
    return os.getpid(), psutil.Process().memory_info().rss


def in_one_piece(report: Callable[..., None]) -> tuple[int, int]:
    held = np.ones(ALLOCATED // 8)
    assert held[-1] == 1
    return resident(report)


def in_a_cycle(report: Callable[..., None]) -> tuple[int, int]:
    """Allocates what only a garbage collection frees, as trainers and their callbacks do."""
    held: dict[str, Any] = {"array": np.ones(ALLOCATED // 8)}
    held["self"] = held
    return resident(report)


def in_small_pieces(report: Callable[..., None]) -> tuple[int, int]:
    """Allocates below the size that the C library maps apart, with a piece at the end that keeps the heap's top."""
    held = [np.ones(64 * 2**10 // 8) for _ in range(ALLOCATED // (64 * 2**10))]
    _KEPT.append(np.ones(16 * 2**10 // 8))
    assert len(held) > 1
    return resident(report)


def keep(report: Callable[..., None]) -> tuple[int, int]:
    """Allocates what outlives the job, in a cycle."""
    held: dict[str, Any] = {"array": np.ones(ALLOCATED // 8)}
    held["self"] = held
    _KEPT.append(held)
    return resident(report)


def let_go(report: Callable[..., None]) -> tuple[int, int]:
    _KEPT.clear()
    return resident(report)


_KEPT: list[Any] = []


def here(function: Callable[..., Any]) -> str:
    return f"test_worker_memory:{function.__name__}"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(scratch=tmp_path_factory.mktemp("memory") / "ray") as started:
        # The first job of a worker also pays for libraries.
        started.run(here(resident), {})
        yield started


@pytest.mark.parametrize("allocate", [in_one_piece, in_a_cycle, in_small_pieces])
def test_what_a_job_allocated_is_free_before_the_next_one(runner: Runner, allocate: Callable[..., Any]) -> None:
    pid, before = runner.run(here(resident), {}).value
    worker, during = runner.run(here(allocate), {}).value
    assert worker == pid
    assert during - before > 0.8 * ALLOCATED, "otherwise this shows nothing"
    # Between two jobs, as seen from outside: the job has ended, and nothing has asked the worker for anything since.
    assert psutil.Process(pid).memory_info().rss - before < 0.2 * ALLOCATED
    assert runner.run(here(resident), {}).value[0] == pid


def test_many_jobs_do_not_add_up(runner: Runner) -> None:
    sizes = []
    for _ in range(4):
        pid, _ = runner.run(here(in_a_cycle), {}).value
        sizes.append(psutil.Process(pid).memory_info().rss)
    assert sizes[-1] - sizes[0] < 0.2 * ALLOCATED


def test_what_outlived_a_job_is_free_soon_after_it_is_let_go(runner: Runner) -> None:
    pid, during = runner.run(here(keep), {}).value
    assert runner.run(here(let_go), {}).value[0] == pid
    for _ in range(16):
        runner.run(here(resident), {})
    assert during - psutil.Process(pid).memory_info().rss > 0.8 * ALLOCATED
