"""The sampler: which arm and which configuration are tried next, by ask and tell around one Optuna study.

No Ray, no clock and no early stopping here: who runs a proposal, and for how long, is the caller's affair. The study's
journal is for Optuna and its dashboard.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autosft.errors import PlanError, did_you_mean, explain
from autosft.search.journal import Direction, check_same_search, open_study, unfinished
from autosft.search.space import Space
from autosft.search.trial import identity

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

SAMPLERS = ("tpe", "random")

# Random configurations before TPE starts, beyond the default of every arm. Optuna's own 10 would be half of a search of
# twenty trials.
NUM_RANDOM_FIRST = 5

# Draws to find a configuration that was not tried yet; an arm where all of them are known counts as exhausted. In a
# space of 24 configurations with one left, that one is missed in 2 of 10,000 cases.
_NUM_DRAWS = 200

#: Between the seed of a draw's arm and that of its configuration.
_ARM_SEED = 500_009

# Trials that TPE learns from: its `ask` takes 4 ms at 100, 14 at 1,000 and 63 at 5,000 of them. Half are the best, half
# the latest.
_LARGEST_HISTORY = 200

# Factors on the default's learning rate that are tried next to it: the rate has to be searched whatever else is not.
_RATE_FACTORS = (1 / 3, 3.0)
_RATE = "learning_rate"

# Arms, the likeliest of those that have any, whose openings are tried before anything is drawn.
_NUM_ARMS_WITH_OPENINGS = 3

State = Literal["waiting", "complete", "stopped", "failed", "interrupted"]


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
        base_model: Id of the model that it starts from.
        is_probe: Whether it only reads features of that model, so that its score says what the model is worth here.
    """

    space: Space
    defaults: Mapping[str, Any]
    facts: Mapping[str, bool]
    base_model: str = ""
    is_probe: bool = False


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


@dataclass(frozen=True)
class Known:
    """A configuration that an earlier sitting of the same search tried.

    Attributes:
        reports: (fidelity, score) of what it reached.
        state: How it ended, or "waiting" where it may be trained for longer.
    """

    arm: str
    config: Mapping[str, Any]
    is_default: bool
    reports: tuple[tuple[float, float | None], ...]
    state: State


class Sampler:
    """Proposes configurations and learns from their scores.

    The untuned default of every arm comes first, the likeliest arms before the others; then the defaults of the
    likeliest arms with a third and with three times their learning rate, and the other starts that their trainer names,
    as far as the space allows them; then TPE (Bergstra et al. 2011, NeurIPS; multivariate as in Falkner et al. 2018,
    ICML), random draws, or both in turn. No configuration is proposed twice. The same seed and the same scores in the
    same order give the same proposals.

    What TPE learns from is a study in memory, in which a configuration that waits to be trained for longer counts as
    PRUNED at the fidelity that it has reached: Optuna ranks those by how far they came, then by score, and below every
    complete one. The journal, which Optuna's own tools open, would count it as running, that is as poor.

    The arm is drawn in a study of its own that holds the trials of the permitted arms, and is then fixed. So the
    journal's "arm" always has the same choices, which Optuna insists on, while TPE weighs the permitted arms alone.
    Nothing is lost by drawing in two steps: the grouped TPE models the arm and the parameters of each arm independently
    anyway.
    """

    def __init__(
        self,
        arms: Mapping[str, ArmSpace],
        *,
        sampler: str,
        seed: int,
        greater_is_better: bool,
        journal: Path | None,
        random_share: float = 0.0,
        earlier: Sequence[Known] = (),
    ) -> None:
        """Starts a study, or continues the one in the journal.

        Trials that a crash or the user left unfinished are told as failed, and may be proposed again; finished ones
        count.

        Args:
            sampler: One of `SAMPLERS`.
            greater_is_better: Direction of the scores.
            journal: File that optuna-dashboard can open; None keeps the study in memory.
            random_share: Share of the draws that are random although the sampler is TPE.
            earlier: What is known of configurations from elsewhere; of one that the journal holds too, this counts.

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
        self._random_share = random_share
        self._direction: Direction = "maximize" if greater_is_better else "minimize"
        self._open: dict[int, Trial] = {}
        self._learned: dict[int, FrozenTrial] = {}
        self._numbers: dict[str, int] = {}
        self._exhausted: set[str] = set()
        self._num_draws = 0
        with _quiet():
            self._study = open_study(journal, direction=self._direction)
            check_same_search(self._study, list(self._arms), direction=self._direction, journal=journal)
            self._recall(earlier)
            self._defaults_left = [name for name in self._arms if not self._is_known(name, self._arms[name].defaults)]
            self._openings_left = {name: found for name in self._arms if (found := self._openings(name)) is not None}

    def number_of(self, arm: str, config: Mapping[str, Any]) -> int | None:
        """Returns the number that a configuration was proposed under, if it was."""
        return self._numbers.get(identity(arm, config))

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
            for name in self._likeliest(self._defaults_left):
                if name in permitted:
                    self._defaults_left.remove(name)
                    return self._ask_this(name, self._arms[name].defaults, is_default=True)
            for name in self._likeliest(self._openings_left)[:_NUM_ARMS_WITH_OPENINGS]:
                if name in permitted and self._openings_left[name]:
                    return self._ask_this(name, self._openings_left[name].pop(0), is_default=False)
            while left := [name for name in permitted if name not in self._exhausted]:
                self._num_draws += 1  # An arm and its configuration are one draw: both by TPE, or both at random.
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
        """Says how a proposal fares.

        Args:
            score: The metric in its natural direction; None where there is none. A complete trial whose score is no
                finite number is told as failed.
            fidelity: Share of the full run that was reached, in (0, 1].
            state: "waiting" where it may be told of again, at a larger fidelity; else how it ended.
            reports: Earlier (fidelity, score) pairs.

        Raises:
            PlanError: No proposal has this number.
        """
        if number not in self._learned:
            running = ", ".join(map(str, sorted(self._open))) or "none"
            wrong = f"trial {number} was told, but was never proposed"
            raise PlanError(explain(wrong=wrong, expected=f"a trial's number ({running} run)", fix="ask first"))
        with _quiet():
            self._tell(number, [*reports, (fidelity, score)], state)

    def close(self) -> None:
        """Says that no proposal goes on: those that waited are told as stopped."""
        with _quiet():
            for number in [number for number in self._open if self._learned[number].intermediate_values]:
                self._tell(number, (), "stopped")

    def _tell(self, number: int, reports: Sequence[tuple[float, float | None]], state: State) -> None:
        """Writes what is new about a trial to memory, and to the journal if that still holds it open."""
        from optuna.trial import TrialState

        known = self._learned[number]
        steps = {round(1000 * share): value for share, value in reports if value is not None and math.isfinite(value)}
        values = {**known.intermediate_values, **steps}
        score = reports[-1][1] if reports else None
        if state == "complete" and (score is None or not math.isfinite(score)):
            state = "failed"
        optuna_state = {
            "waiting": TrialState.PRUNED if values else TrialState.RUNNING,
            "complete": TrialState.COMPLETE,
            "stopped": TrialState.PRUNED,
        }.get(state, TrialState.FAIL)
        value = score if state == "complete" else None
        self._learned[number] = _frozen(known.params, known.distributions, optuna_state, values, value)
        trial = self._open.get(number)
        if trial is None:
            return
        for step, reported in sorted(steps.items()):
            if step not in known.intermediate_values:
                trial.report(reported, step)
        if state == "waiting":
            return
        del self._open[number]
        if optuna_state == TrialState.FAIL and state != "interrupted":
            # Sets it apart from a trial that merely never ended.
            trial.set_user_attr("failed", True)
        self._study.tell(trial, value, state=optuna_state)

    def _ask_this(self, arm: str, config: Mapping[str, Any], *, is_default: bool) -> Proposal:
        # TPE learns from a configuration only where the space could have drawn it.
        return self._propose(arm, dict(config), self._drawn(arm, config), is_default=is_default)

    def _ask_new(self, arm: str) -> Proposal | None:
        study = self._knowing(list(self._arms), seed=self._next_seed())
        study.enqueue_trial({"arm": arm})
        trial = study.ask()
        trial.suggest_categorical("arm", list(self._arms))
        config = self._draw(arm, trial)
        if self._is_known(arm, config):
            unseen = self._draw_unseen(arm)
            if unseen is None:
                return None
            trial, config = unseen
        return self._propose(arm, config, trial, is_default=False)

    def _draw_unseen(self, arm: str) -> tuple[Trial, dict[str, Any]] | None:
        scratch = _scratch_study(_random_sampler(self._next_seed()), direction=self._direction)
        for _ in range(_NUM_DRAWS):
            trial = scratch.ask()
            config = self._draw(arm, trial)
            if not self._is_known(arm, config):
                return trial, config
        return None

    def _draw_arm(self, permitted: Sequence[str]) -> str:
        import optuna

        if len(permitted) == 1:
            return permitted[0]
        distributions: dict[str, BaseDistribution] = {"arm": optuna.distributions.CategoricalDistribution(permitted)}
        # With a seed of its own: the number that decides on the arm must not decide on a parameter too.
        study = self._knowing(permitted, seed=self._next_seed() + _ARM_SEED, only=distributions)
        return str(study.ask(distributions).params["arm"])

    def _knowing(
        self, permitted: Sequence[str], *, seed: int, only: Mapping[str, BaseDistribution] | None = None
    ) -> optuna.Study:
        """Returns a study in memory that knows what is known of the permitted arms; of some parameters only, if so."""
        import optuna

        sampler = self._optuna_sampler(seed)
        study = _scratch_study(sampler, direction=self._direction)
        if isinstance(sampler, optuna.samplers.RandomSampler):
            return study
        for trial in self._history(permitted):
            if only is not None:
                params = {name: trial.params[name] for name in only}
                trial = _frozen(params, only, trial.state, trial.intermediate_values, trial.value)
            study.add_trial(_shared(trial))
        return study

    def _history(self, permitted: Sequence[str]) -> list[FrozenTrial]:
        known = self._learned.values()
        trials = [trial for trial in known if trial.params["arm"] in permitted and trial.state.name != "FAIL"]
        if len(trials) <= _LARGEST_HISTORY:
            return trials
        half = _LARGEST_HISTORY // 2
        latest, others = trials[-half:], trials[:-half]
        sign = 1 if self._direction == "maximize" else -1

        def rank(trial: FrozenTrial) -> tuple[bool, float, float]:
            step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
            return trial.state.name == "COMPLETE", step, sign * value

        return [*sorted(others, key=rank, reverse=True)[:half], *latest]

    def _next_seed(self) -> int:
        # A continued study must not draw the same numbers again.
        return self._seed + 1009 * len(self._learned) + self._num_draws

    def _optuna_sampler(self, seed: int) -> BaseSampler:
        import optuna

        random_now = int(self._num_draws * self._random_share) > int((self._num_draws - 1) * self._random_share)
        if self._sampler == "random" or random_now:
            return _random_sampler(seed)
        return optuna.samplers.TPESampler(
            n_startup_trials=len(self._arms) + NUM_RANDOM_FIRST,
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
        )

    def _draw(self, arm: str, trial: Any) -> dict[str, Any]:
        chosen = self._arms[arm]
        drawn = chosen.space.suggest(trial, prefix=arm, defaults=chosen.defaults, facts=chosen.facts)
        return {**chosen.defaults, **drawn}

    def _drawn(self, arm: str, config: Mapping[str, Any]) -> FixedTrial | None:
        """Returns what the space would have drawn for a configuration, None where it could not have."""
        import optuna

        trial = optuna.trial.FixedTrial({f"{arm}.{name}": value for name, value in config.items()})
        try:
            self._draw(arm, trial)
        except PlanError:
            raise
        except ValueError:
            # Optuna's word for a choice without the default, and for a parameter that is no field of the Config.
            return None
        inside = all(_contains(trial.distributions[name], value) for name, value in trial.params.items())
        return trial if inside else None

    def _likeliest(self, arms: Collection[str]) -> list[str]:
        """Orders arms: what probes a base model first, then by how well the probes of their base models scored.

        How well a linear head does on frozen features foretells what fine-tuning reaches, though roughly (ACL Findings
        2024.757: H-score and LogME): it says who comes first, and leaves nobody out.
        """
        if len(arms) < 2:
            return [*arms]
        sign, worth = 1 if self._direction == "maximize" else -1, dict[str, float]()
        for trial in self._learned.values():
            arm = self._arms[trial.params["arm"]]
            if arm.is_probe and trial.value is not None:
                worth[arm.base_model] = max(sign * trial.value, worth.get(arm.base_model, -math.inf))

        def place(name: str) -> tuple[bool, float]:
            arm = self._arms[name]
            return not arm.is_probe, 0.0 if arm.is_probe else -worth.get(arm.base_model, -math.inf)

        return sorted(arms, key=place)

    def _openings(self, arm: str) -> list[dict[str, Any]] | None:
        """Returns what comes after an arm's default and was not tried; None where its space allows nothing of it."""
        default = self._arms[arm].defaults
        has_rate = isinstance(default.get(_RATE), float)
        configs = [{**default, _RATE: default[_RATE] * factor} for factor in _RATE_FACTORS if has_rate]
        allowed = [config for config in configs if self._allows(arm, config)]
        return [config for config in allowed if not self._is_known(arm, config)] if allowed else None

    def _allows(self, arm: str, config: Mapping[str, Any]) -> bool:
        """Whether a space could have drawn a configuration, and varies all that sets it apart from the default."""
        drawn, default = self._drawn(arm, config), self._arms[arm].defaults
        changed = [name for name, value in config.items() if name not in default or default[name] != value]
        return drawn is not None and all(f"{arm}.{name}" in drawn.params for name in changed)

    def _propose(
        self, arm: str, config: dict[str, Any], drawn: Trial | FixedTrial | None, *, is_default: bool
    ) -> Proposal:
        """Opens a trial in the journal, all at once: every write there is synced to disk."""
        import optuna

        params, distributions = self._params(arm, drawn)
        attributes = {"config": config, "is_default": is_default}
        running = optuna.trial.TrialState.RUNNING
        self._study.add_trial(
            optuna.trial.create_trial(state=running, params=params, distributions=distributions, user_attrs=attributes)
        )
        added = self._study.get_trials(deepcopy=False)[-1]
        self._admit(arm, optuna.trial.Trial(self._study, added._trial_id), config)
        return Proposal(added.number, arm, config, is_default)

    def _admit(self, arm: str, trial: Trial, config: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState

        self._numbers[identity(arm, config)] = trial.number
        self._open[trial.number] = trial
        self._learned[trial.number] = _frozen(trial.params, trial.distributions, TrialState.RUNNING, {}, None)

    def _is_known(self, arm: str, config: Mapping[str, Any]) -> bool:
        return identity(arm, config) in self._numbers

    def _recall(self, earlier: Sequence[Known]) -> None:
        """Takes over what the journal and the caller know; tells what neither holds as unfinished."""
        import optuna

        orphans = {}
        for trial in unfinished(self._study):
            config = trial.user_attrs.get("config")
            orphans[identity(trial.params["arm"], config) if config else str(trial.number)] = trial
        for trial in self._study.get_trials(deepcopy=False):
            config = trial.user_attrs.get("config")
            if trial.state.is_finished() and config and (trial.state.name != "FAIL" or "failed" in trial.user_attrs):
                self._numbers[identity(trial.params["arm"], config)] = trial.number
                self._learned[trial.number] = self._as_drawn_now(trial, config)
        for known in earlier:
            if known.state == "interrupted":
                continue
            key = identity(known.arm, known.config)
            orphan = orphans.pop(key, None)
            if orphan is not None:
                self._admit(known.arm, optuna.trial.Trial(self._study, orphan._trial_id), known.config)
                number = self._numbers[key]
                self._learned[number] = self._as_drawn_now(self._learned[number], known.config)
            elif key not in self._numbers:
                self._ask_this(known.arm, known.config, is_default=known.is_default)
            self._tell(self._numbers[key], known.reports, known.state)
        for orphan in orphans.values():
            self._study.tell(orphan.number, state=optuna.trial.TrialState.FAIL)

    def _as_drawn_now(self, trial: FrozenTrial, config: Mapping[str, Any]) -> FrozenTrial:
        """Returns a trial as the present space would have drawn it; the journal may hold it as another space did.

        TPE models only what all trials have in common, so ranges of before would end what it knows of a parameter.
        """
        params, distributions = self._params(trial.params["arm"], self._drawn(trial.params["arm"], config))
        if distributions == trial.distributions:
            return trial
        return _frozen(params, distributions, trial.state, trial.intermediate_values, trial.value)

    def _params(self, arm: str, drawn: Trial | FixedTrial | None) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        import optuna

        choices = optuna.distributions.CategoricalDistribution(list(self._arms))
        if drawn is None:
            return {"arm": arm}, {"arm": choices}
        return {"arm": arm, **drawn.params}, {"arm": choices, **drawn.distributions}


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


def _frozen(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    state: TrialState,
    intermediate_values: Mapping[int, float],
    value: float | None,
) -> FrozenTrial:
    import optuna

    return optuna.trial.create_trial(
        state=state,
        value=value,
        params=dict(params),
        distributions=dict(distributions),
        intermediate_values=dict(intermediate_values),
    )


def _shared(trial: FrozenTrial) -> FrozenTrial:
    """Returns a trial whose deep copies share its contents, which nobody changes.

    Optuna copies what it is told, and with hundreds of trials known, that took ten times as long as TPE itself.
    """
    shared = copy.copy(trial)
    shared.__deepcopy__ = lambda memo: copy.copy(trial)  # type: ignore[attr-defined]
    return shared


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
