"""Search spaces: what may vary for one trainer and one kind of output, and under which condition.

Reading them from YAML, JSON or a user's function, checking them, and drawing a configuration from an Optuna trial
live here. Which trial is drawn next lives in `sampler`; the files themselves lie in `search_spaces/`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from autosft.errors import PlanError, did_you_mean, explain
from autosft.task import Input, Output

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FORMAT = 1

# What a plan can tell about the data; a parameter with `only_if` opens where the fact is true.
FACTS = ("imbalanced", "few_rows_per_class")

_SPACE_KEYS = ("format", "name", "trainer", "input", "output", "parameters")
_CONDITION_KEYS = ("type", "when", "only_if")
_RANGE_KEYS = ("low", "high", "log", "step", "scale")
_KEYS_BY_TYPE = {
    "float": _CONDITION_KEYS + _RANGE_KEYS,
    "int": _CONDITION_KEYS + _RANGE_KEYS,
    "choice": (*_CONDITION_KEYS, "values"),
}

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a space was read from, so that an error can name the line.

    Attributes:
        origin: A path, or words for where a JSON object came from.
        lines: First line (from 1) of each key, by its path of keys.
    """

    origin: str
    lines: Mapping[Keys, int] = field(default_factory=dict)

    def at(self, *keys: str) -> str:
        """Returns the place of a key in words; of the nearest parent where the key itself is missing."""
        for end in range(len(keys), -1, -1):
            if keys[:end] in self.lines:
                return f"{self.origin}, line {self.lines[keys[:end]]}"
        return f"{self.origin}, {'.'.join(keys)}" if keys else self.origin


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
                _refuse_field(place, parameter.name, trainer=self.trainer, fields=fields)
            allowed = typing.get_args(types[parameter.name])
            if typing.get_origin(types[parameter.name]) is typing.Literal:
                for value in parameter.values or (f"a {parameter.type}",):
                    if value not in allowed:
                        wrong = f"'{parameter.name}' cannot be {value!r}"
                        _refuse(place, wrong, f"a value that {self.trainer} knows", str(value), allowed)

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

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> SearchSpace:
        """Rebuilds a space from `to_json`; raises PlanError where it was edited into something unusable."""
        place = Place(f"search space '{row.get('name')}'")
        try:
            parameters = {item["name"]: {key: item[key] for key in item if key != "name"} for item in row["parameters"]}
        except (KeyError, TypeError) as error:
            expected = "a list of objects, each with a 'name'"
            wrong = f"{place.at('parameters')}: this is not a list of parameters"
            raise PlanError(explain(wrong=wrong, expected=expected, fix="make the plan again")) from error
        return _space({**row, "parameters": parameters}, place)


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
            PlanError: The function did not return a dict.
        """
        config = self.function(_PrefixedTrial(trial, prefix))
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
                _refuse_field(self.name, key, trainer=config_class.__name__, fields=fields)

    def to_json(self) -> dict[str, Any]:
        """Returns the place that the function can be imported from."""
        return {"format": FORMAT, "function": self.name}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> FunctionSpace:
        """Imports the function again; raises PlanError when it is no longer there."""
        _check_format(row.get("format"), Place(f"search space {row['function']}"))
        module, _, qualname = row["function"].partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise PlanError(
                explain(
                    wrong=f"the search space {row['function']} can no longer be imported ({error})",
                    expected="a function at the top level of an importable module",
                    fix="move the function into a module, or pass space= again",
                )
            ) from error
        return FunctionSpace(found)


Space = SearchSpace | FunctionSpace


def space_from_json(row: Mapping[str, Any]) -> Space:
    """Rebuilds whichever kind of space wrote `row`."""
    return FunctionSpace.from_json(row) if "function" in row else SearchSpace.from_json(row)


def load_space(trainer: str, input: str, output: str) -> SearchSpace:
    """Reads the search space that is shipped for a trainer and a pair of input and output.

    Raises:
        PlanError: None is shipped for these.
    """
    folder = _shipped_folder()
    wanted = f"{trainer}/{input}-{output}"
    path = folder / f"{wanted}.yaml"
    if not path.is_file():
        shipped = sorted(found.relative_to(folder).with_suffix("").as_posix() for found in folder.glob("*/*.yaml"))
        expected = "a shipped search space, or your own with space="
        _refuse("search spaces", f"none is shipped for {wanted}", expected, wanted, shipped)
    return read_space(path)


def read_space(path: str | Path) -> SearchSpace:
    """Reads a search space from a YAML file, in the format that `search_spaces/README.md` describes.

    Raises:
        PlanError: The file cannot be read or says something that cannot be searched; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            explain(
                wrong=f"the search space {path} cannot be read ({error})",
                expected="a YAML file in UTF-8",
                fix="check the path, or leave space= out to use the shipped one",
            )
        ) from error
    content, place = _parse_yaml(text, str(path))
    return _space(content, place)


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


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def _parse_yaml(text: str, origin: str) -> tuple[Any, Place]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Keys, int] = {(): 1}
        if root is not None:
            _index_lines(root, (), lines, origin)
        return yaml.safe_load(text), Place(origin, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise PlanError(
            explain(
                wrong=f"{origin}{line}: this is not YAML ({problem})",
                expected="YAML as in search_spaces/README.md",
                fix="look at the indentation and the quotes on that line",
            )
        ) from error


def _index_lines(node: Any, keys: Keys, lines: dict[Keys, int], origin: str) -> None:
    # Only mappings are walked, and to the depth that the format has: an alias to itself cannot go round for ever.
    if not isinstance(node.value, list) or node.id != "mapping" or len(keys) > 4:
        return
    for key_node, value_node in node.value:
        path = (*keys, str(key_node.value))
        line = key_node.start_mark.line + 1
        if path in lines:
            raise PlanError(
                explain(
                    wrong=f"{origin}, line {line}: '{path[-1]}' is already given on line {lines[path]}",
                    expected="each key once",
                    fix="remove one of the two",
                )
            )
        lines[path] = line
        _index_lines(value_node, path, lines, origin)


def _space(content: Any, place: Place) -> SearchSpace:
    rows = _mapping(content, place, (), "a mapping with the keys " + ", ".join(_SPACE_KEYS))
    _check_format(rows.get("format"), place)
    _known_keys(rows, _SPACE_KEYS, place, ())
    for key in _SPACE_KEYS:
        if key not in rows:
            _complain(place.at(), f"'{key}' is missing", "all of " + ", ".join(_SPACE_KEYS), f"add '{key}:'")
    for key, options in (("input", list(Input)), ("output", list(Output))):
        if rows[key] not in options:
            wrong = f"unknown {key} '{rows[key]}'"
            _refuse(place.at(key), wrong, f"an {key} that a task can have", str(rows[key]), options)
    parameters: dict[str, Parameter] = {}
    for name, row in _mapping(rows["parameters"], place, ("parameters",), "a mapping from fields to ranges").items():
        parameter = _parameter(str(name), row, place)
        _check_parents(parameter, parameters, place)
        parameters[parameter.name] = parameter
    return SearchSpace(
        name=str(rows["name"]),
        trainer=str(rows["trainer"]),
        input=Input(rows["input"]),
        output=Output(rows["output"]),
        parameters=tuple(parameters.values()),
    )


def _check_format(version: Any, place: Place) -> None:
    if version == FORMAT and not isinstance(version, bool):
        return
    newer = isinstance(version, int) and version > FORMAT
    fix = "install a newer autosft" if newer else f"write `format: {FORMAT}` at the top"
    _complain(place.at("format"), f"the search space has format {version!r}", f"format {FORMAT}", fix)


def _parameter(name: str, content: Any, place: Place) -> Parameter:
    keys = ("parameters", name)
    row = _mapping(content, place, keys, "a mapping such as {type: float, low: 0.0, high: 0.3}")
    kind = str(row.get("type"))
    if kind not in _KEYS_BY_TYPE:
        _refuse(place.at(*keys, "type"), f"'{name}' has the type {kind}", "a type", kind, _KEYS_BY_TYPE)
    _known_keys(row, _KEYS_BY_TYPE[kind], place, keys)
    only_if = row.get("only_if")
    if only_if is not None and only_if not in FACTS:
        wrong = f"unknown condition '{only_if}'"
        _refuse(place.at(*keys, "only_if"), wrong, "a fact about the data", str(only_if), FACTS)
    when = _mapping(row.get("when", {}), place, (*keys, "when"), "a mapping from an earlier choice to its values")
    conditions = {str(parent): _values(values, place, (*keys, "when", str(parent))) for parent, values in when.items()}
    common: dict[str, Any] = {"when": conditions, "only_if": only_if, "place": place.at(*keys)}
    if kind == "choice":
        return Parameter(name, kind, values=_values(row.get("values"), place, (*keys, "values")), **common)
    return Parameter(name, kind, **_range(kind, row, place, keys), **common)


def _range(kind: str, row: Mapping[str, Any], place: Place, keys: Keys) -> dict[str, Any]:
    log, scale = row.get("log", False), row.get("scale")
    if not isinstance(log, bool):
        wrong = f"`log: {log}` is neither true nor false"
        _complain(place.at(*keys, "log"), wrong, "true or false", "write `log: true`")
    if scale not in (None, "default"):
        wrong = f"unknown scale '{scale}'"
        _complain(place.at(*keys, "scale"), wrong, "`scale: default`", "write that or remove it")
    whole = kind == "int" and scale is None
    low, high = (_number(row.get(key), key, whole, place, keys) for key in ("low", "high"))
    step = None if row.get("step") is None else _number(row["step"], "step", whole, place, keys)
    if low > high:
        _complain(place.at(*keys, "low"), f"low is {low} and high is {high}", "low at most high", "exchange the two")
    if log and low <= 0:
        fix = "raise low above zero, or remove `log: true`"
        _complain(place.at(*keys, "low"), f"low is {low} on a logarithmic range", "low above zero", fix)
    if step is not None and (log or step <= 0):
        fix = "remove `step`" if log else "give a step above zero"
        _complain(place.at(*keys, "step"), f"step is {step} with log {log}", "a positive step on a linear range", fix)
    return {"low": low, "high": high, "log": log, "step": step, "scale": scale}


def _number(value: Any, key: str, whole: bool, place: Place, keys: Keys) -> float:
    # YAML 1.1 reads 1e-4 as text, because it has no dot.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        wrong = f"'{key}' of '{keys[-1]}' is missing" if value is None else f"'{key}' of '{keys[-1]}' is {value!r}"
        _complain(place.at(*keys, key), wrong, kind, f"write {kind} such as `{key}: 1`")
    return int(value) if whole else float(value)


def _values(content: Any, place: Place, keys: Keys) -> tuple[Any, ...]:
    values = tuple(content) if isinstance(content, list | tuple) else ()
    if not values or not all(value is None or isinstance(value, str | int | float) for value in values):
        wrong = f"'{keys[-1]}' of '{keys[1]}' is {content!r}"
        _complain(place.at(*keys), wrong, "a list of text, numbers, true or false", "write a list such as [16, 32]")
    # Optuna cannot tell 1 from 1.0 or true, so neither may stand beside the other.
    if len(set(values)) < len(values):
        _complain(place.at(*keys), f"{list(values)} holds a value twice", "each value once", "remove the second")
    return values


def _check_parents(parameter: Parameter, earlier: Mapping[str, Parameter], place: Place) -> None:
    for parent, values in parameter.when.items():
        where = place.at("parameters", parameter.name, "when", parent)
        choices = [name for name, candidate in earlier.items() if candidate.type == "choice"]
        if parent not in choices:
            wrong = f"'{parameter.name}' depends on '{parent}', which is not an earlier choice"
            _refuse(where, wrong, "a choice that stands above it", parent, choices)
        for value in values:
            if value not in earlier[parent].values:
                wrong = f"'{parent}' is never {value!r}"
                _refuse(where, wrong, f"a value of '{parent}'", str(value), earlier[parent].values)


def _mapping(content: Any, place: Place, keys: Keys, expected: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        owner = f"'{keys[-1]}'" if keys else "the search space"
        found = "empty" if content is None else f"{content!r}, not a mapping"
        _complain(place.at(*keys), f"{owner} is {found}", expected, "see search_spaces/README.md")
    return content


def _known_keys(row: Mapping[str, Any], known: Sequence[str], place: Place, keys: Keys) -> None:
    for key in row:
        if key not in known:
            owner = f" of '{keys[-1]}' ({row.get('type')})" if keys else ""
            _refuse(place.at(*keys, str(key)), f"unknown key '{key}'{owner}", "a key of the format", str(key), known)


def _refuse_field(place: str, name: str, *, trainer: str, fields: Sequence[str]) -> NoReturn:
    _refuse(place, f"'{name}' is not something that {trainer} can vary", "a field of its Config", name, fields)


def _refuse(place: str, wrong: str, expected: str, name: str, options: Iterable[Any]) -> NoReturn:
    _complain(place, wrong, expected, did_you_mean(name, options))


def _complain(place: str, wrong: str, expected: str, fix: str) -> NoReturn:
    raise PlanError(explain(wrong=f"{place}: {wrong}", expected=expected, fix=fix))
