"""Search spaces: what may vary for one trainer and one kind of output, and under which condition.

Checking them and drawing a configuration from an Optuna trial live here. Reading them lives in `space_file`, which
trial is drawn next in `sampler`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autosft.errors import PlanError, explain
from autosft.search.space_place import refuse, refuse_field
from autosft.task import Input, Output
from autosft.time_limit import time_limit

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FORMAT = 1

# What a plan can tell about the data; a parameter with `only_if` opens where the fact is true.
FACTS = ("imbalanced", "few_rows_per_class", "named_classes", "few_rows")


@dataclass(frozen=True)
class Parameter:
    """One tunable and the range it is searched in.

    Attributes:
        name: Field of the trainer's Config.
        type: "float", "int" or "choice".
        low: Smallest value, inclusive; a multiple of the default where `scale` is set. None for a choice.
        high: Largest value, inclusive; likewise.
        log: Whether the logarithm is sampled.
        step: Distance between values, in the same unit as `low`; None for a continuous range.
        scale: "default" where low, high and step are multiples of the arm's untuned default.
        values: What a choice chooses from.
        when: Values that earlier choices must have taken in the same trial for this parameter to be searched.
        only_if: The fact about the data under which this parameter is searched, one of `FACTS`.
        place: Where it was read, for messages; not part of its identity.
    """

    name: str
    type: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    scale: str | None = None
    values: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    only_if: str | None = None
    place: str = field(default="", compare=False)

    def suggest(self, trial: BaseTrial, *, name: str, default: object) -> Any:
        """Draws a value under the Optuna parameter `name`.

        Args:
            default: The arm's untuned default, which `scale: default` multiplies.

        Raises:
            PlanError: The range is relative to a default that is not a positive number.
        """
        if self.type == "choice":
            return trial.suggest_categorical(name, self.values)
        unit = self._unit(default)
        low, high = self.low * unit, self.high * unit  # type: ignore[operator]
        step = None if self.step is None else self.step * unit
        if self.type == "float":
            return trial.suggest_float(name, low, high, log=self.log, step=step)
        return trial.suggest_int(name, round(low), round(high), log=self.log, step=max(1, round(step or 1)))

    def to_json(self) -> dict[str, Any]:
        """Returns the same keys as in a file, and the name."""
        row: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.type == "choice":
            row["values"] = list(self.values)
        else:
            row |= {"low": self.low, "high": self.high, "log": self.log, "step": self.step, "scale": self.scale}
        when = {parent: list(values) for parent, values in self.when.items()}
        return row | {"when": when, "only_if": self.only_if}

    def _unit(self, default: object) -> float:
        if self.scale is None:
            return 1
        if isinstance(default, bool) or not isinstance(default, int | float) or default <= 0:
            raise PlanError(
                explain(
                    wrong=f"{self.place or 'search space'}: '{self.name}' is relative to its default, {default!r}",
                    expected="a default above zero",
                    fix="give low and high as they are and remove `scale: default`",
                )
            )
        return default


@dataclass(frozen=True)
class SearchSpace:
    """What may vary for one trainer and one kind of output.

    Attributes:
        name: For people: reports and messages.
        trainer: Name of the trainer whose Config the parameters belong to.
        input: What the models are given.
        output: What the models give back.
        parameters: In the order in which they are drawn; a condition looks at earlier ones only.
    """

    name: str
    trainer: str
    input: Input
    output: Output
    parameters: tuple[Parameter, ...]

    def suggest(
        self, trial: BaseTrial, *, prefix: str, defaults: Mapping[str, object], facts: Mapping[str, bool]
    ) -> dict[str, object]:
        """Draws the searched part of a configuration; what is not in it stays at its default.

        Args:
            prefix: Optuna knows each parameter as `prefix.parameter`.
            defaults: The arm's untuned default by field.
            facts: What is known about the data, by name out of `FACTS`; a missing one counts as false.

        Raises:
            PlanError: A relative range meets a default that is not a positive number.
        """
        chosen: dict[str, object] = {}
        for parameter in self.restrict(facts).parameters:
            # A parameter whose parent was not drawn is closed too: the parent's default decides nothing here.
            if all(parent in chosen and chosen[parent] in values for parent, values in parameter.when.items()):
                name = f"{prefix}.{parameter.name}"
                chosen[parameter.name] = parameter.suggest(trial, name=name, default=defaults.get(parameter.name))
        return chosen

    def restrict(self, facts: Mapping[str, bool]) -> SearchSpace:
        """Returns the space for data with these facts: what they close is gone, with all that depends on it."""
        kept: dict[str, Parameter] = {}
        for parameter in self.parameters:
            is_open = parameter.only_if is None or facts.get(parameter.only_if, False)
            if is_open and all(parent in kept for parent in parameter.when):
                kept[parameter.name] = dataclasses.replace(parameter, only_if=None)
        return dataclasses.replace(self, parameters=tuple(kept.values()))

    def pinned(self, values: Mapping[str, object]) -> SearchSpace:
        """Returns the space where these parameters have one value: they are gone, with all that this closes."""
        kept: dict[str, Parameter] = {}
        for parameter in self.parameters:
            others = {parent: allowed for parent, allowed in parameter.when.items() if parent not in values}
            is_open = all(values[parent] in parameter.when[parent] for parent in parameter.when if parent in values)
            if parameter.name not in values and is_open and all(parent in kept for parent in others):
                kept[parameter.name] = dataclasses.replace(parameter, when=others)
        return dataclasses.replace(self, parameters=tuple(kept.values()))

    def check(self, config_class: type[Any]) -> None:
        """Compares the parameters with the fields of a trainer's Config dataclass.

        Raises:
            PlanError: A parameter is no field, or a choice is not among those that the field's Literal type allows.
        """
        fields = [item.name for item in dataclasses.fields(config_class)]
        types = typing.get_type_hints(config_class)
        for parameter in self.parameters:
            place = parameter.place or self.name
            if parameter.name not in fields:
                refuse_field(place, parameter.name, trainer=self.trainer, fields=fields)
            allowed = typing.get_args(types[parameter.name])
            if typing.get_origin(types[parameter.name]) is typing.Literal:
                for value in parameter.values or (f"a {parameter.type}",):
                    if value not in allowed:
                        wrong = f"'{parameter.name}' cannot be {value!r}"
                        refuse(place, wrong, f"a value that {self.trainer} knows", str(value), allowed)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `space_from_json` reads back."""
        return {
            "format": FORMAT,
            "name": self.name,
            "trainer": self.trainer,
            "input": str(self.input),
            "output": str(self.output),
            # A list, because the order of parameters matters and a JSON object may be written with sorted keys.
            "parameters": [parameter.to_json() for parameter in self.parameters],
        }


@dataclass(frozen=True)
class FunctionSpace:
    """A user's function of an Optuna trial, in the place of a search space.

    Attributes:
        function: Called as `function(trial)`. It suggests values under plain names ("learning_rate") and returns a
            dict of Config fields.
    """

    function: Callable[[Any], dict[str, object]]

    @property
    def name(self) -> str:
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def suggest(
        self, trial: BaseTrial, *, prefix: str, defaults: Mapping[str, object], facts: Mapping[str, bool]
    ) -> dict[str, object]:
        """Calls the function; see `SearchSpace.suggest`. Defaults and facts are not handed to it.

        Raises:
            PlanError: The function raised, or did not return a dict.
            FunctionTimeout: It gives no answer.
        """
        with time_limit(f"the search space {self.name}"):
            try:
                config = self.function(_PrefixedTrial(trial, prefix))
            except (Exception, SystemExit) as error:  # Of the user's own, and in this very process.
                wrong = f"the search space {self.name} raised {type(error).__name__}: {error}"
                fix = "correct the function; a run that it stopped goes on with `autosft resume`"
                raise PlanError(explain(wrong=wrong, expected="a dict of values for every trial", fix=fix)) from error
        if not isinstance(config, dict):
            raise PlanError(
                explain(
                    wrong=f"the search space {self.name} returned {type(config).__name__}, not a dict",
                    expected="a dict from the trainer's fields to values, such as {'learning_rate': 3e-4}",
                    fix="return the suggested values as a dict",
                )
            )
        return config

    def restrict(self, facts: Mapping[str, bool]) -> FunctionSpace:
        """Returns itself: a function holds its own conditions."""
        return self

    def check(self, config_class: type[Any]) -> None:
        """Calls the function once with random values and compares the keys it returns with the Config's fields.

        Raises:
            PlanError: A key is no field, or no dict was returned.
        """
        import optuna

        # A bare study would announce itself on the log.
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
            config = self.suggest(trial, prefix="check", defaults={}, facts={})
        finally:
            optuna.logging.set_verbosity(verbosity)
        fields = [item.name for item in dataclasses.fields(config_class)]
        for key in config:
            if key not in fields:
                refuse_field(self.name, key, trainer=config_class.__name__, fields=fields)

    def to_json(self) -> dict[str, Any]:
        """Returns the place that the function can be imported from."""
        return {"format": FORMAT, "function": self.name}


Space = SearchSpace | FunctionSpace


class _PrefixedTrial:
    """An Optuna trial whose parameters get a prefix, so that two arms may use the same names."""

    def __init__(self, trial: BaseTrial, prefix: str) -> None:
        self._trial = trial
        self._prefix = prefix

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        return self._trial.suggest_float(f"{self._prefix}.{name}", low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        return self._trial.suggest_int(f"{self._prefix}.{name}", low, high, **options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._trial.suggest_categorical(f"{self._prefix}.{name}", choices)
