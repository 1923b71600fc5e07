"""The sampler: which arm and which configuration are tried next, by ask and tell around one Optuna study.

No Ray, no clock and no early stopping here: who runs a proposal, and for how long, is the caller's affair. The study's
journal is for Optuna and its dashboard.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autosft.errors import PlanError, RunFolderError, did_you_mean, explain
from autosft.search.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("tpe", "random")

STUDY_NAME = "autosft"

# Random configurations before TPE starts, beyond the default of every arm. Optuna's own 10 would be half of a search of
# twenty trials.
NUM_RANDOM_FIRST = 5

# Draws to find a configuration that was not tried yet; an arm where all of them are known counts as exhausted. In a
# space of 24 configurations with one left, that one is missed in 2 of 10,000 cases.
_NUM_DRAWS = 200

State = Literal["complete", "stopped", "failed", "interrupted"]
Direction = Literal["maximize", "minimize"]


def check_sampler(name: str) -> None:
    """Raises PlanError, with the nearest match, unless a sampler has this name."""
    if name not in SAMPLERS:
        wrong = f"no sampler is called '{name}'"
        raise PlanError(explain(wrong=wrong, expected="a sampler", fix=did_you_mean(name, SAMPLERS)))


@dataclass(frozen=True)
class ArmSpace:
    """What the sampler needs to know about one arm.

    Attributes:
        space: What may vary.
        defaults: The untuned default configuration, every field of the trainer's Config.
        facts: What is known about the data; see `autosft.search.space.FACTS`.
    """

    space: Space
    defaults: Mapping[str, Any]
    facts: Mapping[str, bool]


@dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        number: Number of the Optuna trial; `Sampler.tell` takes it. Ascending, not always without gaps.
        arm: Name of the arm.
        config: The full configuration: the arm's default, overridden by what was drawn.
        is_default: Whether this is the arm's untuned default.
    """

    number: int
    arm: str
    config: dict[str, Any]
    is_default: bool


class Sampler:
    """Proposes configurations and learns from their scores.

    The untuned default of every arm comes first, in the order of the arms. Then TPE (Bergstra et al. 2011, NeurIPS;
    multivariate as in Falkner et al. 2018, ICML) or random draws. No configuration is proposed twice. The same seed
    and the same scores in the same order give the same proposals.

    The arm is drawn in a study of its own that holds the finished trials of the permitted arms, and is then fixed for
    the trial in the journal. So the journal's "arm" always has the same choices, which Optuna insists on, while TPE
    weighs the permitted arms alone. Nothing is lost by drawing in two steps: the grouped TPE models the arm and the
    parameters of each arm independently anyway.
    """

    def __init__(
        self,
        arms: Mapping[str, ArmSpace],
        *,
        sampler: str,
        seed: int,
        greater_is_better: bool,
        journal: Path | None,
    ) -> None:
        """Starts a study, or continues the one in the journal.

        Trials that a crash or the user left unfinished are told as failed, and may be proposed again; finished ones
        count.

        Args:
            sampler: One of `SAMPLERS`.
            greater_is_better: Direction of the scores.
            journal: File that optuna-dashboard can open; None keeps the study in memory.

        Raises:
            PlanError: There is no arm, or no sampler of this name.
            RunFolderError: The journal is something else, or belongs to another search.
        """
        check_sampler(sampler)
        if not arms:
            raise PlanError(explain(wrong="there is no arm", expected="at least one", fix="name a trainer and a model"))
        self._arms = dict(arms)
        self._sampler = sampler
        self._seed = seed
        self._direction: Direction = "maximize" if greater_is_better else "minimize"
        self._running: dict[int, Trial] = {}
        self._seen: set[str] = set()
        self._exhausted: set[str] = set()
        self._defaults_left = list(self._arms)
        with _quiet():
            self._study = _open_study(journal, direction=self._direction)
            _check_same_search(self._study, list(self._arms), direction=self._direction, journal=journal)
            _close_orphans(self._study)
            self._recall()
            # A continued study must not draw the same numbers again.
            self._study.sampler = self._optuna_sampler(seed + len(self._study.get_trials(deepcopy=False)))

    def ask(self, arms: Collection[str] | None = None) -> Proposal | None:
        """Proposes what to try next.

        Args:
            arms: Names of the arms that may be proposed now; None for all. The default of an arm that is left out waits
                until the arm is permitted again.

        Returns:
            The proposal, or None when everything that the permitted arms can do was proposed already.

        Raises:
            PlanError: An arm has an unknown name, or a user's function does not return a dict.
        """
        for name in arms or ():
            if name not in self._arms:
                fix = did_you_mean(name, self._arms)
                raise PlanError(explain(wrong=f"no arm is called '{name}'", expected="an arm of the plan", fix=fix))
        permitted = [name for name in self._arms if arms is None or name in arms]
        with _quiet():
            for name in permitted:
                if name in self._defaults_left:
                    return self._ask_default(name)
            while left := [name for name in permitted if name not in self._exhausted]:
                name = self._draw_arm(left)
                proposal = self._ask_new(name)
                if proposal is not None:
                    return proposal
                self._exhausted.add(name)
        return None

    def tell(
        self,
        number: int,
        *,
        score: float | None,
        fidelity: float,
        state: State,
        reports: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Says how a proposal ended.

        A stopped trial is told to Optuna as PRUNED at step round(1000 x fidelity): TPE then ranks it by how far it came
        and below every complete one, so that scores of different fidelities are never mixed.

        Args:
            score: The metric in its natural direction; None where there is none. A complete trial whose score is no
                finite number is told as failed.
            fidelity: Share of the full run that was reached, in (0, 1].
            state: How it ended.
            reports: Earlier (fidelity, score) pairs.

        Raises:
            PlanError: No proposal of this number is running.
        """
        from optuna.trial import TrialState

        if number not in self._running:
            running = ", ".join(map(str, sorted(self._running))) or "none"
            wrong = f"trial {number} was told, but is not running"
            raise PlanError(explain(wrong=wrong, expected=f"a running trial ({running})", fix="tell each trial once"))
        trial = self._running.pop(number)
        told = [*reports, (fidelity, score)]
        steps = {round(1000 * share): value for share, value in told if value is not None and math.isfinite(value)}
        with _quiet():
            for step, value in sorted(steps.items()):
                trial.report(value, step)
            if state == "complete" and score is not None and math.isfinite(score):
                self._study.tell(trial, score)
            elif state == "stopped":
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                if state != "interrupted":
                    # Sets it apart from a trial that merely never ended.
                    trial.set_user_attr("failed", True)
                self._study.tell(trial, state=TrialState.FAIL)

    def _ask_default(self, arm: str) -> Proposal:
        self._defaults_left.remove(arm)
        # TPE learns from a default only where the space could have drawn it.
        params = self._default_params(arm)
        trial = self._start(arm, params or {})
        if params:
            self._draw(arm, trial)
        return self._propose(arm, trial, dict(self._arms[arm].defaults), is_default=True)

    def _ask_new(self, arm: str) -> Proposal | None:
        import optuna

        trial = self._start(arm, {})
        config = self._draw(arm, trial)
        if not self._is_new(arm, config):
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            params = self._unseen_params(arm)
            if params is None:
                return None
            trial = self._start(arm, params)
            config = self._draw(arm, trial)
        return self._propose(arm, trial, config, is_default=False)

    def _unseen_params(self, arm: str) -> dict[str, Any] | None:
        # In memory, so that draws which lead nowhere do not fill the journal.
        seed = self._seed + len(self._study.get_trials(deepcopy=False))
        scratch = _scratch_study(_random_sampler(seed), direction=self._direction)
        for _ in range(_NUM_DRAWS):
            trial = scratch.ask()
            if self._is_new(arm, self._draw(arm, trial)):
                return trial.params
        return None

    def _draw_arm(self, permitted: Sequence[str]) -> str:
        import optuna

        if len(permitted) == 1:
            return permitted[0]
        # With a journal and two arms, all of `ask` took 7 ms after 10 trials, 14 after 100 and 56 after 1,000.
        trials = self._study.get_trials(deepcopy=False)
        study = _scratch_study(self._optuna_sampler(self._seed + len(trials)), direction=self._direction)
        distributions: dict[str, BaseDistribution] = {"arm": optuna.distributions.CategoricalDistribution(permitted)}
        for trial in trials:
            if trial.params.get("arm") in permitted and trial.state != optuna.trial.TrialState.FAIL:
                study.add_trial(_only_arm(trial, distributions))
        return str(study.ask(distributions).params["arm"])

    def _optuna_sampler(self, seed: int) -> BaseSampler:
        import optuna

        if self._sampler == "random":
            return _random_sampler(seed)
        return optuna.samplers.TPESampler(
            n_startup_trials=len(self._arms) + NUM_RANDOM_FIRST,
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
        )

    def _start(self, arm: str, params: Mapping[str, Any]) -> Trial:
        self._study.enqueue_trial({"arm": arm, **params})
        trial = self._study.ask()
        trial.suggest_categorical("arm", list(self._arms))
        return trial

    def _draw(self, arm: str, trial: Any) -> dict[str, Any]:
        chosen = self._arms[arm]
        drawn = chosen.space.suggest(trial, prefix=arm, defaults=chosen.defaults, facts=chosen.facts)
        return {**chosen.defaults, **drawn}

    def _default_params(self, arm: str) -> dict[str, Any] | None:
        import optuna

        fixed = {f"{arm}.{name}": value for name, value in self._arms[arm].defaults.items()}
        trial = optuna.trial.FixedTrial(fixed)
        try:
            self._draw(arm, trial)
        except PlanError:
            raise
        except ValueError:
            # Optuna's word for a choice without the default, and for a parameter that is no field of the Config.
            return None
        inside = all(_contains(trial.distributions[name], value) for name, value in trial.params.items())
        return trial.params if inside else None

    def _propose(self, arm: str, trial: Trial, config: dict[str, Any], *, is_default: bool) -> Proposal:
        trial.set_user_attr("config", config)
        trial.set_user_attr("is_default", is_default)
        self._seen.add(_identity(arm, config))
        self._running[trial.number] = trial
        return Proposal(trial.number, arm, config, is_default)

    def _is_new(self, arm: str, config: Mapping[str, Any]) -> bool:
        return _identity(arm, config) not in self._seen

    def _recall(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name == "FAIL" and "failed" not in trial.user_attrs:
                continue
            arm = trial.params["arm"]
            self._seen.add(_identity(arm, trial.user_attrs["config"]))
            if trial.user_attrs["is_default"] and arm in self._defaults_left:
                self._defaults_left.remove(arm)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna's log and its warnings about experimental arguments and unusual defaults to itself."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna\b")
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _open_study(journal: Path | None, *, direction: Direction) -> optuna.Study:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if journal is None:
        return optuna.create_study(study_name=STUDY_NAME, direction=direction)
    # A crash while writing leaves the lock behind. Only one process writes here, so three seconds are patience enough;
    # Optuna's own lock would wait thirty, and needs symbolic links.
    lock = JournalFileOpenLock(str(journal), grace_period=3)
    try:
        _drop_torn_end(journal)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        return optuna.create_study(study_name=STUDY_NAME, storage=storage, direction=direction, load_if_exists=True)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise RunFolderError(
            explain(
                wrong=f"{journal} cannot be used as an Optuna journal ({error})",
                expected="a journal that an earlier search wrote, or a place to write a new one",
                fix="choose another folder, or move the file away: the study then starts anew",
            )
        ) from error


def _drop_torn_end(journal: Path) -> None:
    """Cuts off a line that a crash left half-written: Optuna would append to it, and then refuse the journal."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    if kept == content:
        return
    if not content.startswith(b'{"op_code"'[: len(content)]):
        raise ValueError("its first line is none of Optuna's")
    with journal.open("r+b") as file:
        file.truncate(len(kept))


def _check_same_search(study: optuna.Study, arms: Sequence[str], *, direction: Direction, journal: Path | None) -> None:
    found = [trial.distributions["arm"] for trial in study.get_trials(deepcopy=False) if "arm" in trial.distributions]
    choices = [str(name) for name in getattr(found[0], "choices", ())] if found else list(arms)
    if choices == list(arms) and study.direction.name.lower() == direction:
        return
    raise RunFolderError(
        explain(
            wrong=f"{journal} belongs to another search ({study.direction.name.lower()}; arms: {', '.join(choices)})",
            expected=f"a study to {direction} over the arms {', '.join(arms)}",
            fix="resume with the plan it was started with, or choose another folder",
        )
    )


def _close_orphans(study: optuna.Study) -> None:
    from optuna.trial import TrialState

    # A crash between queueing and asking leaves a waiting trial; asking is the only way to take it off the queue.
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.ask()
    for orphan in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(orphan.number, state=TrialState.FAIL)


def _only_arm(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    import optuna

    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values,
        params={"arm": trial.params["arm"]},
        distributions=dict(distributions),
        intermediate_values=trial.intermediate_values,
    )


def _scratch_study(sampler: BaseSampler, *, direction: Direction) -> optuna.Study:
    import optuna

    return optuna.create_study(sampler=sampler, direction=direction)


def _random_sampler(seed: int) -> BaseSampler:
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


def _contains(distribution: Any, value: Any) -> bool:
    if hasattr(distribution, "choices"):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)


def _identity(arm: str, config: Mapping[str, Any]) -> str:
    return json.dumps([arm, config], sort_keys=True)
