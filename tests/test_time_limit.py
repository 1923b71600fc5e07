from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from autosft import time_limit as limits
from autosft.errors import FunctionTimeout
from autosft.interrupt import Interrupt
from autosft.search.space import FunctionSpace
from autosft.task import Metric
from autosft.tasks.generated_text import answers
from autosft.testing.tiny_data import tiny_task
from autosft.time_limit import overdue, time_limit

# The time limit of a test in the main thread is an alarm itself, which stays as it is.
pytestmark = pytest.mark.timeout(60, method="thread")

#: What a call may take here.
SECONDS = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "LIMIT_SECONDS", SECONDS)
    monkeypatch.setattr(limits, "_AGAIN_SECONDS", 0.1)
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def for_ever() -> None:
    while True:
        pass


def catching_everything() -> None:
    try:
        for_ever()
    except BaseException:
        for_ever()


def waiting_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def waiting_for_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            process.wait()
        finally:
            process.kill()


HANGS = [for_ever, catching_everything, waiting_for_a_lock, waiting_for_a_process, lambda: time.sleep(60)]


@pytest.mark.parametrize("hang", HANGS)
def test_a_metric_that_hangs_is_ended_and_named(hang: Callable[[], None]) -> None:
    def slow(targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        hang()
        return 0.0

    began = time.monotonic()
    with pytest.raises(FunctionTimeout, match=r"the metric slow\(targets, predictions\) gave no answer within 0 s"):
        Metric("slow", function=slow).value(["a"], ["b"])
    assert time.monotonic() - began < 10


def test_a_function_that_hangs_while_it_reads_an_answer_is_ended_and_named() -> None:
    with pytest.raises(FunctionTimeout, match=r"answer=\S*<lambda> \(text: 'all of it'\) gave no answer[^$]*To fix"):
        answers(replace(tiny_task(), answer=lambda text: time.sleep(60)), ["all of it"])


def test_a_pattern_that_backtracks_for_ever_is_ended_and_named() -> None:
    with pytest.raises(FunctionTimeout, match=r"answer='\(a\+\)\+\$' \(text: 'aaa.*gave no answer"):
        answers(replace(tiny_task(), answer="(a+)+$"), ["a" * 60 + "b"])


def test_a_search_space_that_hangs_is_ended_and_named() -> None:
    with pytest.raises(FunctionTimeout, match=r"the search space .*<lambda> gave no answer"):
        FunctionSpace(lambda trial: time.sleep(60)).suggest(None, prefix="arm", defaults={}, facts={})


def test_a_second_ctrl_c_ends_a_call_before_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMIT_SECONDS", 30.0)
    for seconds in (0.1, 0.3):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with Interrupt(), pytest.raises(KeyboardInterrupt):
        Metric("slow", function=lambda targets, predictions: for_ever()).value(["a"], ["b"])
    assert time.monotonic() - began < 10


def test_an_alarm_that_is_set_already_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 2 * SECONDS)
    try:
        with time_limit("something"):
            time.sleep(3 * SECONDS)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert heard == [signal.SIGALRM]


def test_a_function_may_set_an_alarm_of_its_own() -> None:
    def within_a_moment() -> str:
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return "too slow"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return "done"

    with time_limit("something"):
        assert within_a_moment() == "too slow"


def test_outside_of_the_main_thread_a_watch_can_ask_what_is_overdue() -> None:
    go_on, entered = threading.Event(), threading.Event()

    def work() -> None:
        with time_limit("the metric slow(targets, predictions)"):
            entered.set()
            go_on.wait()

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(10)
    assert overdue(60) is None
    time.sleep(2 * SECONDS)
    assert "the metric slow(targets, predictions) gave no answer" in str(overdue())
    go_on.set()
    thread.join()
    assert overdue() is None
