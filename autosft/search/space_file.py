"""Reading search spaces: the shipped YAML files, a user's, and what a plan's JSON holds.

The format stands in `search_spaces/README.md`. What a space does lives in `autosft.search.space`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.resources
import math
import reprlib
import sys
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosft.errors import PlanError, explain
from autosft.search.space import FACTS, FORMAT, FunctionSpace, Parameter, SearchSpace, Space
from autosft.search.space_place import Keys, Place, complain, refuse
from autosft.task import Input, Output
from autosft.trainers import trainer_class, trainer_names

if TYPE_CHECKING:
    import yaml

_SPACE_KEYS = ("format", "name", "trainer", "input", "output", "parameters")
_LONGEST_QUOTE = 60
_CONDITION_KEYS = ("type", "when", "only_if")
_RANGE_KEYS = ("low", "high", "log", "step", "scale")
_KEYS_BY_TYPE = {
    "float": _CONDITION_KEYS + _RANGE_KEYS,
    "int": _CONDITION_KEYS + _RANGE_KEYS,
    "choice": (*_CONDITION_KEYS, "values"),
}


def load_space(trainer: str, input: str, output: str) -> SearchSpace:
    """Reads the search space that is shipped for a trainer and a pair of input and output.

    Raises:
        PlanError: None is shipped for these.
    """
    found = find_space(trainer, input, output)
    if found is None:
        folder, wanted = _shipped_folder(), f"{trainer}/{input}-{output}"
        shipped = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))
        expected = "a shipped search space, or your own with space="
        refuse("search spaces", f"none is shipped for {wanted}", expected, wanted, shipped)
    return found


def find_space(trainer: str, input: str, output: str) -> SearchSpace | None:
    """Reads the space that is shipped with this package, or as package data beside the module of a plugin's trainer.

    Returns:
        What `search_spaces/<trainer>/<input>-<output>.yaml` holds, or None where there is no such file.

    Raises:
        PlanError: The file says something that cannot be searched.
    """
    folder: Traversable = _shipped_folder()
    if not (folder / trainer).is_dir() and trainer in trainer_names():
        package = sys.modules[trainer_class(trainer).__module__].__package__
        if not package:  # A module outside of any package has no data of its own.
            return None
        folder = importlib.resources.files(package) / "search_spaces"
    file = folder / trainer / f"{input}-{output}.yaml"
    if not file.is_file():
        return None
    with importlib.resources.as_file(file) as path:
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


def space_from_json(row: Mapping[str, Any]) -> Space:
    """Rebuilds whichever kind of space wrote `row`."""
    return _function_space(row) if "function" in row else _search_space(row)


def _search_space(row: Mapping[str, Any]) -> SearchSpace:
    """Rebuilds a space from `to_json`; raises PlanError where it was edited into something unusable."""
    place = Place(f"search space '{row.get('name')}'")
    try:
        parameters = {item["name"]: {key: item[key] for key in item if key != "name"} for item in row["parameters"]}
    except (KeyError, TypeError) as error:
        expected = "a list of objects, each with a 'name'"
        wrong = f"{place.at('parameters')}: this is not a list of parameters"
        raise PlanError(explain(wrong=wrong, expected=expected, fix="make the plan again")) from error
    return _space({**row, "parameters": parameters}, place)


def _function_space(row: Mapping[str, Any]) -> FunctionSpace:
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


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "search_spaces"
    # An editable install may leave a copy inside the package, which goes stale when the checkout's files are edited.
    return checkout if checkout.is_dir() else package / "search_spaces"


def _parse_yaml(text: str, origin: str) -> tuple[Any, Place]:
    import yaml

    lines: dict[Keys, int] = {(): 1}
    try:
        loader = safe_loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None, Place(origin, lines)
            _index_lines(root, (), lines, origin)
            return loader.construct_document(root), Place(origin, lines)
        finally:
            loader.dispose()
    except RecursionError as error:
        wrong, fix = f"{origin} is nested too deeply", "write the parameters as they are written there"
        raise PlanError(explain(wrong=wrong, expected="YAML as in search_spaces/README.md", fix=fix)) from error
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


def safe_loader(text: str) -> yaml.SafeLoader:
    """Returns PyYAML's safe loader, all of whose complaints are a YAMLError with its line.

    By itself it lets through what Python says of a value, such as of the 30th of February.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
                problem = f"{_quoted(node.value)} cannot be read: {error}"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    return Loader(text)


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
            complain(place.at(), f"'{key}' is missing", "all of " + ", ".join(_SPACE_KEYS), f"add '{key}:'")
    for key, options in (("input", list(Input)), ("output", list(Output))):
        if rows[key] not in options:
            wrong = f"unknown {key} '{rows[key]}'"
            refuse(place.at(key), wrong, f"an {key} that a task can have", str(rows[key]), options)
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
    complain(place.at("format"), f"the search space has format {version!r}", f"format {FORMAT}", fix)


def _parameter(name: str, content: Any, place: Place) -> Parameter:
    keys = ("parameters", name)
    row = _mapping(content, place, keys, "a mapping such as {type: float, low: 0.0, high: 0.3}")
    kind = str(row.get("type"))
    if kind not in _KEYS_BY_TYPE:
        refuse(place.at(*keys, "type"), f"'{name}' has the type {kind}", "a type", kind, _KEYS_BY_TYPE)
    _known_keys(row, _KEYS_BY_TYPE[kind], place, keys)
    only_if = row.get("only_if")
    if only_if is not None and only_if not in FACTS:
        wrong = f"unknown condition '{only_if}'"
        refuse(place.at(*keys, "only_if"), wrong, "a fact about the data", str(only_if), FACTS)
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
        complain(place.at(*keys, "log"), wrong, "true or false", "write `log: true`")
    if scale not in (None, "default"):
        wrong = f"unknown scale '{scale}'"
        complain(place.at(*keys, "scale"), wrong, "`scale: default`", "write that or remove it")
    whole = kind == "int" and scale is None
    low, high = (_number(row.get(key), key, whole, place, keys) for key in ("low", "high"))
    step = None if row.get("step") is None else _number(row["step"], "step", whole, place, keys)
    if low > high:
        complain(place.at(*keys, "low"), f"low is {low} and high is {high}", "low at most high", "exchange the two")
    if log and low <= 0:
        fix = "raise low above zero, or remove `log: true`"
        complain(place.at(*keys, "low"), f"low is {low} on a logarithmic range", "low above zero", fix)
    if step is not None and (log or step <= 0):
        fix = "remove `step`" if log else "give a step above zero"
        complain(place.at(*keys, "step"), f"step is {step} with log {log}", "a positive step on a linear range", fix)
    return {"low": low, "high": high, "log": log, "step": step, "scale": scale}


def _number(value: Any, key: str, whole: bool, place: Place, keys: Keys) -> float:
    # YAML 1.1 reads 1e-4 as text, because it has no dot.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        wrong = (
            f"'{key}' of '{keys[-1]}' is missing" if value is None else f"'{key}' of '{keys[-1]}' is {_quoted(value)}"
        )
        complain(place.at(*keys, key), wrong, kind, f"write {kind} such as `{key}: 1`")
    return int(value) if whole else float(value)


def _values(content: Any, place: Place, keys: Keys) -> tuple[Any, ...]:
    values = tuple(content) if isinstance(content, list | tuple) else ()
    if not values or not all(value is None or isinstance(value, str | int | float) for value in values):
        wrong = f"'{keys[-1]}' of '{keys[1]}' is {_quoted(content)}"
        complain(place.at(*keys), wrong, "a list of text, numbers, true or false", "write a list such as [16, 32]")
    # Optuna cannot tell 1 from 1.0 or true, so neither may stand beside the other.
    if len(set(values)) < len(values):
        complain(place.at(*keys), f"{list(values)} holds a value twice", "each value once", "remove the second")
    return values


def _check_parents(parameter: Parameter, earlier: Mapping[str, Parameter], place: Place) -> None:
    for parent, values in parameter.when.items():
        where = place.at("parameters", parameter.name, "when", parent)
        choices = [name for name, candidate in earlier.items() if candidate.type == "choice"]
        if parent not in choices:
            wrong = f"'{parameter.name}' depends on '{parent}', which is not an earlier choice"
            refuse(where, wrong, "a choice that stands above it", parent, choices)
        for value in values:
            if value not in earlier[parent].values:
                wrong = f"'{parent}' is never {value!r}"
                refuse(where, wrong, f"a value of '{parent}'", str(value), earlier[parent].values)


def _mapping(content: Any, place: Place, keys: Keys, expected: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        owner = f"'{keys[-1]}'" if keys else "the search space"
        found = "empty" if content is None else f"{_quoted(content)}, not a mapping"
        complain(place.at(*keys), f"{owner} is {found}", expected, "see search_spaces/README.md")
    return content


def _quoted(value: Any) -> str:
    """Returns a value as an error quotes it: a file that is no search space may be one long text to YAML."""
    if not isinstance(value, str):
        return reprlib.repr(value)
    return repr(value if len(value) <= _LONGEST_QUOTE else f"{value[:_LONGEST_QUOTE]}...")


def _known_keys(row: Mapping[str, Any], known: Sequence[str], place: Place, keys: Keys) -> None:
    for key in row:
        if key not in known:
            owner = f" of '{keys[-1]}' ({row.get('type')})" if keys else ""
            refuse(place.at(*keys, str(key)), f"unknown key '{key}'{owner}", "a key of the format", str(key), known)
