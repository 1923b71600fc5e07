"""The race: asynchronous promotion halving over arms and configurations, by ask and tell.

A promotion is a new, whole, annealed training of the same configuration for longer, never a training that goes on. Pure
Python: no Ray, no Optuna, no clock of its own. Who trains, and where configurations come from, is the caller's affair.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from autosft.search.heat_costs import Costs
from autosft.search.rungs import Entry, Group, Rung

#: Of so many configurations at a rung one is promoted, and rungs are as many times longer than the one before.
ETA = 3

#: Lengths of trainings, as shares of a full one.
RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)

#: Once there were so many configurations for each arm of several rungs, the best of each group goes on, however few are
#: ranked there. By then the likeliest arms had their default, its other learning rates and a draw; earlier, the first
#: arm would go all the way before the next had begun.
OPENING = 4

#: The search ends early once so many full trainings' worth of time went by without a better full-length score.
PATIENCE_RUNS = 24.0

#: Full-length scores that must be there before the search may end early.
_FEWEST_FULL = 4

#: What must be trained before the end is kept so much more time for than it is predicted to take.
_MARGIN = 1.2

#: A heat that its time cut short counts as at most so many times longer than it was.
_MOST_CUT = 2.0


#: Of those that would take more than the time left, so many are looked at for one that does not.
_MOST_PASSED_OVER = 16


class Proposed(Protocol):
    """A configuration, as `autosft.search.sampler.Proposal` is one."""

    @property
    def number(self) -> int: ...

    @property
    def arm(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def is_default(self) -> bool: ...


class Proposer(Protocol):
    """Where configurations come from: the untuned default of each arm first."""

    def ask(self, arms: Collection[str]) -> Proposed | None: ...


@dataclass(frozen=True)
class Lane:
    """What the race knows about an arm.

    Attributes:
        arm: Its name.
        rungs: Lengths that it is trained for, as shares of a full run, ascending; the last one is its full length.
        run_seconds: Predicted seconds of a full run; any unit will do, where time left is counted in the same. What a
            training pays however short it is, the race finds out.
        most_configs: Configurations of it that are tried at most.
    """

    arm: str
    rungs: tuple[float, ...]
    run_seconds: float
    most_configs: int = 1_000_000


@dataclass(frozen=True)
class Heat:
    """What to run next: one whole training.

    Attributes:
        number: Of the configuration; several heats share it.
        rung: Position in the rungs of its arm.
        fidelity: Length of the training, as a share of a full run.
        seconds: What it is predicted to take.
    """

    number: int
    arm: str
    config: Mapping[str, Any]
    is_default: bool
    rung: int
    fidelity: float
    seconds: float


class Race:
    """Decides which configuration is trained next, and for how long, until time or hope is used up.

    Every arm's default starts. Whenever a worker is free, the longest promotion that is due is made, else a new
    configuration starts at its arm's first rung. A promotion is due to the best third of a rung's results (Li et al.,
    arXiv 1810.05934, who stop; here the promoted are trained anew, so that rungs are comparable), and after the opening
    to the best of fewer than three too: replayed searches lost time by waiting for company (`benchmarks/README.md`).
    Time is always kept to train the best candidate and its arm's default at full length; when only that is left, they
    are trained, and then whoever comes next while there is time. Only a default is trained at full length where there
    is no time for its arm's default as well.

    Asking and telling take logarithmic time in the number of configurations.

    Args:
        lanes: The arms.
        proposer: Where configurations come from.
        workers: Heats that run at once.
        group: Names who is ranked together with whom at lengths below the full one; None ranks all together.
        eta: Reduction factor.
        opening: See `OPENING`; None promotes nobody but the best third.
        patience_runs: See `PATIENCE_RUNS`; None never ends early.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        proposer: Proposer,
        *,
        workers: int,
        group: Callable[[Proposed], str] | None = None,
        eta: int = ETA,
        opening: int | None = OPENING,
        patience_runs: float | None = PATIENCE_RUNS,
    ) -> None:
        self._lanes = {lane.arm: lane for lane in lanes}
        self._proposer = proposer
        self._workers = workers
        self._group = group or (lambda proposal: "")
        self._eta = eta
        self._opening = opening
        self._patience_runs = patience_runs
        self._entries: dict[int, Entry] = {}
        self._defaults: dict[str, Entry] = {}
        lengths = sorted({rung for lane in lanes for rung in lane.rungs}, reverse=True)
        self._rungs = {fidelity: Rung() for fidelity in lengths}
        self._again: list[tuple[int, int]] = []
        self._order = count()
        self._costs = {lane.arm: Costs(lane.run_seconds) for lane in lanes}
        self._num_configs = dict.fromkeys(self._lanes, 0)
        self._exhausted: set[str] = set()
        self._broken: set[str] = set()
        self._compared: dict[str, None] = {}
        self._full_scores: list[float] = []
        self._hope_since = 0.0
        self._spent = 0.0

    @property
    def ended_early(self) -> bool:
        """Whether so much time passed without progress that more of it would be wasted."""
        if self._patience_runs is None or len(self._full_scores) < _FEWEST_FULL:
            return False
        runs = [self._predict(lane.arm, lane.rungs[-1]) for lane in self._lanes.values() if len(lane.rungs) > 1]
        return bool(runs) and self._spent - self._hope_since > self._patience_runs * sum(runs) / len(runs)

    def ask(
        self, seconds_left: float | None = None, heats_left: int | None = None, *, only_must: bool = False
    ) -> Heat | None:
        """Returns what a free worker is to run, None where nothing is worth or has the time to begin.

        Where heats are running, what they say may change that.

        Args:
            seconds_left: Wall time until every heat must have ended; None without such a limit.
            heats_left: Heats that may still begin; None without such a limit.
            only_must: Whether nothing may begin but the best candidate and its arm's default, at full length.
        """
        if heats_left is not None and heats_left <= 0:
            return None
        for lost in sorted(self._again, key=lambda lost: not self._entries[lost[0]].is_default):
            entry, rung = self._entries[lost[0]], lost[1]
            has_time = seconds_left is None or self._predict_heat(entry, rung) <= seconds_left
            if has_time and entry.arm not in self._broken:
                self._again.remove(lost)
                return self._begin(entry, rung)
        must = self._must(seconds_left)
        if not self.ended_early and not only_must:
            heat = self._promotion(must, seconds_left, heats_left, due=True) or self._new(
                must, seconds_left, heats_left
            )
            if heat is not None:
                return heat
        for entry in must:
            if entry.running is None and self._leaves_time(entry, self._top(entry), (), seconds_left, heats_left):
                return self._begin(entry, self._top(entry))
        return None if self.ended_early or only_must else self._promotion(must, seconds_left, heats_left, due=False)

    def tell(
        self, number: int, rung: int, *, score: float | None, seconds: float, fidelity: float | None = None
    ) -> None:
        """Says how a heat ended.

        Args:
            number: Of its configuration. rung: Of the heat.
            score: The greater, the better; None where the training failed, which ends the configuration.
            seconds: What it took, in the unit of `Lane.run_seconds`.
            fidelity: How far it came, where its time did not allow all that was asked for.
        """
        entry = self._entries[number]
        lane = self._lanes[entry.arm]
        self._spent += seconds
        if entry.running == rung:
            entry.running = None
        if (number, rung) in self._again:
            self._again.remove((number, rung))
        if rung in entry.scores:
            # It was given up for lost, run again, and then both came back.
            return
        value = score if score is not None and math.isfinite(score) else -math.inf
        entry.failed = entry.failed or value == -math.inf
        entry.reached, entry.scores[rung] = max(entry.reached, rung), value
        is_full = rung == self._top(entry)
        self._note_full(entry, rung)
        waits = not entry.failed and not is_full
        self._rungs[lane.rungs[rung]].add(entry, value, next(self._order), waits=waits)
        if entry.failed:
            return
        # What was cut short would have taken longer, though not in proportion: every training pays for its start.
        cut = min(_MOST_CUT, lane.rungs[rung] / (fidelity or lane.rungs[rung]))
        entry.slowness = self._costs[entry.arm].add(lane.rungs[rung], seconds * cut)
        if is_full:
            if value > max(self._full_scores, default=-math.inf):
                self._hope_since = self._spent
            self._full_scores.append(value)

    def forget(self, number: int, rung: int) -> None:
        """Says that a heat was lost without a result: it is run again before anything else."""
        entry = self._entries[number]
        if rung not in entry.scores and (number, rung) not in self._again:
            entry.running = rung
            self._again.append((number, rung))

    def give_up(self, arm: str) -> None:
        """Says that nothing more of an arm is to begin."""
        self._broken.add(arm)

    def hope_again(self) -> None:
        """Says that patience begins anew."""
        self._hope_since = self._spent

    def full_seconds(self, arm: str) -> float:
        """Predicts what a training of an arm takes at its full length, by those that it had so far."""
        return self._predict(arm, self._lanes[arm].rungs[-1])

    def knows(self, number: int) -> bool:
        """Whether a configuration is in the race."""
        return number in self._entries

    def recall(self, proposal: Proposed) -> None:
        """Takes over a configuration that an earlier sitting tried.

        Its heats are told as usual, in the order in which they ended; one that had not ended is to be forgotten.
        """
        self._enter(proposal)

    def _enter(self, proposal: Proposed) -> Entry:
        group = self._group(proposal)
        entry = Entry(proposal.number, proposal.arm, proposal.config, proposal.is_default, group)
        self._entries[entry.number] = entry
        self._num_configs[entry.arm] += 1
        if entry.is_default:
            self._defaults[entry.arm] = entry
        return entry

    def _begin(self, entry: Entry, rung: int) -> Heat:
        entry.running = rung
        self._note_full(entry, rung)
        fidelity = self._lanes[entry.arm].rungs[rung]
        seconds = self._predict_heat(entry, rung)
        return Heat(entry.number, entry.arm, entry.config, entry.is_default, rung, fidelity, seconds)

    def _note_full(self, entry: Entry, rung: int) -> None:
        if rung == self._top(entry) and not entry.is_default:
            self._compared[entry.arm] = None

    def _new(self, must: Sequence[Entry], seconds_left: float | None, heats_left: int | None) -> Heat | None:
        """Starts a configuration, where what must be run still fits after it."""
        if heats_left is not None and heats_left <= len(must):
            return None
        reserved = _MARGIN * self._reserved(must)
        while arms := [arm for arm in self._lanes if self._may_start(arm, reserved, seconds_left)]:
            proposal = self._proposer.ask(arms)
            if proposal is not None:
                return self._begin(self._enter(proposal), 0)
            self._exhausted.update(arms)
        return None

    def _may_start(self, arm: str, reserved: float, seconds_left: float | None) -> bool:
        lane = self._lanes[arm]
        if arm in self._exhausted or arm in self._broken or self._num_configs[arm] >= lane.most_configs:
            return False
        needed = self._predict(arm, lane.rungs[0])
        # Without its default an arm has nothing to compare with, so that one starts wherever it fits by itself.
        return seconds_left is None or needed + (reserved if arm in self._defaults else 0.0) <= seconds_left

    def _promotion(
        self, must: Sequence[Entry], seconds_left: float | None, heats_left: int | None, *, due: bool
    ) -> Heat | None:
        """Promotes the best of the highest rung: one that is due, or whoever is next while there is time."""
        for fidelity, rung in self._rungs.items():
            for group in rung.waiting_groups():
                chosen = self._next_of(group, fidelity, must, seconds_left, heats_left, due=due)
                if chosen is not None:
                    return self._begin(chosen, chosen.reached + 1)
        return None

    def _next_of(
        self,
        group: Group,
        fidelity: float,
        must: Sequence[Entry],
        seconds_left: float | None,
        heats_left: int | None,
        *,
        due: bool,
    ) -> Entry | None:
        """Takes the best of a group that there is time for off its heap."""
        passed_over = []
        chosen: Entry | None = None
        while group.waiting and chosen is None:
            negative, order, entry = heapq.heappop(group.waiting)
            if not self._still_waits(entry, fidelity):
                continue
            is_due = group.rank(-negative, order) < self._num_due(group)
            if is_due >= due and self._leaves_time(entry, entry.reached + 1, must, seconds_left, heats_left):
                chosen = entry
                continue
            passed_over.append((negative, order, entry))
            if is_due < due or len(passed_over) >= _MOST_PASSED_OVER:
                break
        for one in passed_over:
            heapq.heappush(group.waiting, one)
        return chosen

    def _num_due(self, group: Group) -> int:
        """Returns how many results of a group are to be promoted."""
        racing = [arm for arm, lane in self._lanes.items() if len(lane.rungs) > 1]
        begun = sum(self._num_configs[arm] for arm in racing)
        is_open = self._opening is not None and begun >= self._opening * len(racing)
        return max(int(is_open), len(group.results) // self._eta)

    def _leaves_time(
        self, entry: Entry, rung: int, must: Sequence[Entry], seconds_left: float | None, heats_left: int | None
    ) -> bool:
        """Returns whether there is time for a heat, and then for what must be run at full length."""
        held = list(must)
        if rung == self._top(entry):
            held = [*dict.fromkeys([*must, *self._owed(entry)])]
            held = [other for other in held if other is not entry]
        if heats_left is not None and heats_left <= len(held):
            return False
        needed = self._predict_heat(entry, rung) + _MARGIN * self._reserved(held)
        return seconds_left is None or needed <= seconds_left

    def _still_waits(self, entry: Entry, fidelity: float) -> bool:
        rungs = self._lanes[entry.arm].rungs
        return (
            entry.running is None
            and not entry.failed
            and entry.arm not in self._broken
            and entry.reached < len(rungs) - 1
            and rungs[entry.reached] == fidelity
        )

    def _must(self, seconds_left: float | None) -> list[Entry]:
        """Returns who is to be trained at full length before the end and was not: the best, and its arm's default.

        So is every default that a configuration at full length will be, or was, compared with.
        """
        due = [self._defaults[arm] for arm in self._compared if arm in self._defaults]
        due = [default for default in due if self._is_open(default) and self._fits([default], seconds_left)]
        best = self._candidate(seconds_left)
        all_due = [*dict.fromkeys([*due, *(self._owed(best) if best else ())])]
        return all_due if self._fits(all_due, seconds_left) else due

    def _owed(self, entry: Entry) -> list[Entry]:
        """Returns what it takes that a configuration is known at full length: its arm's default first, then itself."""
        default = self._defaults.get(entry.arm, entry)
        pair = [default] if default is entry else [default, entry]
        return [one for one in pair if self._is_open(one)]

    def _is_open(self, entry: Entry) -> bool:
        top = self._top(entry)
        return not entry.failed and entry.arm not in self._broken and entry.reached < top and entry.running != top

    def _candidate(self, seconds_left: float | None) -> Entry | None:
        """Returns the best of what the arms have to offer: compared by score, whatever length that was reached at."""
        best, best_score = None, -math.inf
        for arm in self._lanes:
            score, entry = self._best_of(arm, seconds_left)
            if entry is not None and score > best_score:
                best, best_score = entry, score
        return best

    def _best_of(self, arm: str, seconds_left: float | None) -> tuple[float, Entry | None]:
        """Returns an arm's best tuned configuration at the longest rung that has one, else its default.

        Only what was trained at full length or still can be, its arm's default as well, counts.
        """
        top = self._lanes[arm].rungs[-1]
        has_time = seconds_left is None or self._predict(arm, top) <= seconds_left
        found: tuple[float, Entry | None] = -math.inf, None
        for fidelity, rung in self._rungs.items():
            if fidelity < top and (not has_time or arm in self._broken):
                break
            passed_over = 0
            for score, entry in rung.best_first(arm):
                if entry.failed:
                    continue
                if fidelity < top and not self._fits(self._owed(entry), seconds_left):
                    passed_over += 1
                    if passed_over >= _MOST_PASSED_OVER:
                        break
                    continue
                if not entry.is_default:
                    return score, entry
                found = found if found[1] else (score, entry)
        return found

    def _reserved(self, must: Sequence[Entry]) -> float:
        """Predicts the wall time that these take at full length, on all workers."""
        seconds = [self._predict_heat(entry, self._top(entry)) for entry in must]
        return max(max(seconds, default=0.0), sum(seconds) / self._workers)

    def _fits(self, must: Sequence[Entry], seconds_left: float | None) -> bool:
        return seconds_left is None or self._reserved(must) <= seconds_left

    def _top(self, entry: Entry) -> int:
        return len(self._lanes[entry.arm].rungs) - 1

    def _predict(self, arm: str, fidelity: float) -> float:
        return self._costs[arm].predict(fidelity)

    def _predict_heat(self, entry: Entry, rung: int) -> float:
        # Some configurations are slower than others: a smaller batch, more layers that learn.
        return self._predict(entry.arm, self._lanes[entry.arm].rungs[rung]) * max(1.0, entry.slowness)
