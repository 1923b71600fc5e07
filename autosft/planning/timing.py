"""What an arm's trainings cost here: a few real steps of its untuned default, timed on a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autosft.budget import Clock
from autosft.cache import cache_folder
from autosft.errors import SearchFailed, TrialFailed, explain
from autosft.planning.plan import Arm, Resources
from autosft.prepare import Prepared
from autosft.trainers.base import Cost, Limits

if TYPE_CHECKING:
    from autosft.search.runner import Runner

#: Share of a budget in time that timing the arms may take; an arm it does not reach is estimated.
_SHARE = 0.25

#: An arm that joins late does so where the time left holds so many full runs of every arm that is worth shortening, its
#: own included. What a race gains by then is a tenth of a point (`benchmarks/README.md`), while another way of training
#: may be worth more. And where so many seconds are left, in which its timing, about ten of them, does not count.
_RUNS_EACH, _AMPLE_SECONDS = 6.0, 300.0


def time_arms(
    arms: Sequence[Arm], prepared: Prepared, runner: Runner, resources: Resources, clock: Clock
) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Times the arms, those of a moment first; returns those that could be, and why the others are left out.

    Raises:
        SearchFailed: No arm could be timed.
    """
    timed, reasons = dict[str, Arm](), []
    for arm in sorted(arms, key=lambda arm: not arm.is_quick):
        try:
            timed[arm.name] = _measured(arm, prepared, runner, resources, clock)
        except TrialFailed as error:
            failed, last, reason = arm.name, error, str(error).partition("\n")[0]
            reasons.append(f"{arm.name} is left out: it could not be timed ({reason})")
    if not timed:
        wrong = f"{failed} could not be timed: {last}"
        fix = "leave it out with models= or trainer=, or run `autosft doctor`"
        raise SearchFailed(explain(wrong=wrong, expected="a few steps of its untuned default", fix=fix)) from last
    return tuple(timed[arm.name] for arm in arms if arm.name in timed), tuple(reasons)


def has_ample_time(arms: Sequence[Arm], clock: Clock, *, for_another: bool = True) -> bool:
    """Whether time is ample: for these arms, and for another one that costs as much as they do on average."""
    costly = [arm for arm in arms if not arm.is_quick]
    seconds = [arm.cost.run_seconds for arm in costly if arm.cost is not None]
    if clock.limit_seconds is None or not seconds or len(seconds) < len(costly):
        return False
    needed = sum(seconds) + for_another * sum(seconds) / len(seconds)
    return clock.limit_seconds - clock.spent >= max(_RUNS_EACH * needed, _AMPLE_SECONDS)


def time_latecomers(
    late: Sequence[Arm], arms: Sequence[Arm], prepared: Prepared, runner: Runner, resources: Resources, clock: Clock
) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Times arms that join late, one after another while time is ample; returns those that do, and the reasons."""
    joined, reasons = [*arms], []
    for arm in late:
        if not has_ample_time(joined, clock):
            break
        try:
            timed = _measured(arm, prepared, runner, resources, clock)
        except TrialFailed:
            continue
        if timed.cost is not None and has_ample_time([*joined, timed], clock, for_another=False):
            joined.append(timed)
            reasons.append(f"{arm.name} joins in: the time left holds {_RUNS_EACH:.0f} full runs of each fine-tuning")
    return tuple(joined[len(arms) :]), tuple(reasons)


def _measured(arm: Arm, prepared: Prepared, runner: Runner, resources: Resources, clock: Clock) -> Arm:
    """Times an arm; one that the budget's share for timing no longer holds keeps no cost.

    Raises:
        TrialFailed: It cannot be trained here.
    """
    left = None if clock.limit_seconds is None else _SHARE * clock.limit_seconds - clock.spent
    if left is not None and left <= 0:
        return arm
    arguments = {
        "trainer": arm.trainer,
        "base_model": arm.base_model,
        "folder": arm.folder,
        "config": dict(arm.default),
        "task": prepared.task,
        "data": prepared.data.for_search(),
        "limits": Limits(num_threads=resources.cpus_per_trial, cache=cache_folder(), time_limit_seconds=left),
    }
    # The rest of the budget's half is for loading and tokenising, which know no limit.
    kill_after = None if left is None or clock.limit_seconds is None else left + _SHARE * clock.limit_seconds
    for _ in range(2):
        began = clock.spent
        room = resources.per_job((arm, arm.default))
        ended = runner.run("autosft.search.work:measure", arguments, **room, kill_after_seconds=kill_after).or_raise()
        # What killed a worker once, from outside, need not do so again; without its cost an arm would be left out.
        if not ended.worker_died:
            break
    if ended.fate == "failed" and kill_after is not None and clock.spent - began >= kill_after:
        return arm
    if ended.fate != "complete":
        raise TrialFailed(ended.message)
    cost: Cost = ended.value
    return replace(arm, cost=cost, max_length=cost.max_length)
