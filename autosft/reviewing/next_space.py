"""The next search space as YAML: in autosft's own format for its runs, as a W&B sweep for others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autosft.counting import counted
from autosft.reviewing.claim import Claim
from autosft.reviewing.columns import number
from autosft.reviewing.from_run import unit_of
from autosft.reviewing.next_range import FEWEST, NextRange, next_ranges
from autosft.reviewing.sweep import ArmSpace, Sweep
from autosft.search.space import FORMAT, Parameter


def next_spaces(sweep: Sweep) -> dict[str, str]:
    """Returns a search space in YAML by arm, the best arm first; arms with too few configurations have none."""
    spaces = {}
    for arm in sweep.arms:
        ranges = {row.field: row for row in next_ranges(sweep, arm)}
        found = sweep.spaces.get(arm)
        # W&B has no word for a field that is to stay as it was: its program's own value is what is left out.
        if found is None:
            ranges = {name: row for name, row in ranges.items() if not row.says_nothing}
        if not ranges or (sweep.source == "autosft" and found is None):
            continue
        spaces[arm] = _own(sweep, arm, found, ranges) if found is not None else _for_wandb(sweep, ranges)
    return spaces


def next_claim(sweep: Sweep, spaces: Mapping[str, str]) -> list[Claim]:
    """Returns what is said about the next space."""
    if not sweep.ranked:
        return []
    if not spaces:
        most = max(len(sweep.standings(arm)) for arm in sweep.arms)
        told = (
            f"No next space: the largest arm has {counted(most, 'configuration')} with a score, {FEWEST} are needed."
            if most < FEWEST
            else "No next space: nothing varied that can be narrowed."
        )
        return [Claim("next", told, level="unknown")]
    arm = next(iter(spaces))
    ranges = next_ranges(sweep, arm)
    by_sort: dict[str, list[str]] = {"narrowed": [], "widened": [], "fixed": [], "kept": [], "left_out": []}
    for row in ranges:
        is_left_out = row.says_nothing and arm not in sweep.spaces
        by_sort["left_out" if is_left_out else _sort(row)].append(row.field)
    told = "; ".join(f"{sort.replace('_', ' ')}: {', '.join(names)}" for sort, names in by_sort.items() if names)
    of_arm = f" for {arm}" if arm else ""
    return [Claim("next", f"The next space{of_arm}: {told}.", by_sort)]


def _sort(row: NextRange) -> str:
    if "widened" in row.why:
        return "widened"
    return next((sort for sort in ("fixed", "kept") if row.why.startswith(sort)), "narrowed")


def _own(sweep: Sweep, arm: str, found: ArmSpace, ranges: Mapping[str, NextRange]) -> str:
    space = found.space
    rows, ways = list[str](), set[str]()
    chosen: dict[str, tuple[Any, ...]] = {}
    for parameter in space.parameters:
        row = ranges.get(parameter.name)
        changed, why = _changed(parameter, row, found.default)
        if row is not None and changed != parameter:
            ways.add("widened" if _sort(row) == "widened" else "narrowed")
        # What a dropped choice closed is gone with it, and a condition names only choices that are left.
        when = {
            parent: tuple(value for value in values if value in chosen[parent])
            for parent, values in parameter.when.items()
            if parent in chosen
        }
        if any(not values for values in when.values()) or len(when) < len(parameter.when):
            continue
        changed = replace(changed, when=when)
        if changed.type == "choice":
            chosen[changed.name] = changed.values
        rows.append(f"  {changed.name}: {_row(changed)}  # {_comment(why)}")
    name = f"{space.name}, {' and '.join(sorted(ways))}" if ways else space.name
    head = {
        "format": FORMAT, "name": name, "trainer": space.trainer, "input": str(space.input),
        "output": str(space.output),
    }  # fmt: skip
    heading = [_origin(sweep, arm), *(f"{key}: {_scalar(value)}" for key, value in head.items())]
    return "\n".join([*heading, "parameters:", *rows]) + "\n"


def _changed(parameter: Parameter, row: NextRange | None, default: Mapping[str, Any]) -> tuple[Parameter, str]:
    """Returns a parameter with its next range; one that nothing is said about stays as it is."""
    if row is None:
        return parameter, "kept: it did not vary, or too few trials have it"
    if row.says_nothing:
        return parameter, row.why
    if row.values and row.bounds is None and (parameter.type != "choice" or row.why.startswith("fixed")):
        value = row.values[0]
        value = round(value) if parameter.type == "int" and isinstance(value, float) else value
        # What is fixed is written as it is, also where the range was relative to the default.
        fixed = Parameter(parameter.name, "choice", values=(value,), when=parameter.when, only_if=parameter.only_if)
        return fixed, row.why
    if parameter.type == "choice":
        # A choice of numbers stays one; what its range was widened to holds no choice yet.
        if row.bounds is not None:
            inside = tuple(value for value in parameter.values if _within(value, row))
            return (replace(parameter, values=inside), row.why) if inside else (parameter, "kept")
        kept = tuple(value for value in parameter.values if value in row.values)
        return (replace(parameter, values=kept), row.why) if kept else (parameter, "kept")
    if row.bounds is None or row.why.startswith("kept"):
        return parameter, row.why
    unit = unit_of(parameter, default)
    low, high = row.bounds.low / unit, row.bounds.high / unit
    if parameter.type == "int" and parameter.scale is None:
        low, high = math.floor(low), math.ceil(high)
        low = max(low, 1) if parameter.log else low
    return replace(parameter, low=_short(low), high=_short(high)), row.why


def _within(value: Any, row: NextRange) -> bool:
    assert row.bounds is not None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return not is_number or row.bounds.low <= value <= row.bounds.high


def _row(parameter: Parameter) -> str:
    # Not by equality with what says nothing: a `low` of zero equals false.
    row = {
        key: value
        for key, value in parameter.to_json().items()
        if key != "name" and value is not None and value is not False and value != {}
    }
    return _flow(row)


def _for_wandb(sweep: Sweep, ranges: Mapping[str, NextRange]) -> str:
    goal = "maximize" if sweep.greater_is_better else "minimize"
    lines = [
        _origin(sweep, ""),
        "method: bayes",
        f"metric: {_flow({'name': sweep.metric or 'score', 'goal': goal})}",
        "parameters:",
    ]
    # A field that begins another one's dotted name cannot hold a value and that one too: both keep their whole names.
    pairs = [(field, longer) for field in ranges for longer in ranges if longer.startswith(f"{field}.")]
    whole = {field for pair in pairs for field in pair}
    tree: dict[str, Any] = {}
    for row in ranges.values():
        *parents, name = [row.field] if row.field in whole else row.field.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = row
    return "\n".join([*lines, *_wandb_lines(sweep, tree, "  ")]) + "\n"


def _wandb_lines(sweep: Sweep, tree: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for name, row in tree.items():
        if isinstance(row, Mapping):
            lines += [f"{indent}{_scalar(name)}:", f"{indent}  parameters:", *_wandb_lines(sweep, row, indent + "    ")]
        else:
            lines.append(f"{indent}{_scalar(name)}: {_flow(_wandb_row(sweep, row))}  # {_comment(row.why)}")
    return lines


def _wandb_row(sweep: Sweep, row: NextRange) -> dict[str, Any]:
    if row.bounds is None:
        return {"value": row.values[0]} if len(row.values) == 1 else {"values": list(row.values)}
    # Numbers may have been logged as text, which YAML makes of 1e-4.
    given = [trial.config.get(row.field) for trial in sweep.ranked]
    tried = {value if isinstance(value, int) else found for value in given if (found := number(value)) is not None}
    is_whole = all(isinstance(value, int) for value in tried)
    # A handful of numbers were choices, whatever they were declared as.
    if len(tried) <= 5 and "widened" not in row.why:
        inside = sorted(value for value in tried if row.bounds.low <= value <= row.bounds.high)
        return {"values": inside or sorted(tried)}
    low, high = row.bounds.low, row.bounds.high
    if is_whole:
        name = "q_log_uniform_values" if row.bounds.is_log else "int_uniform"
        first = math.floor(low)
        return {"distribution": name, "min": max(first, 1) if row.bounds.is_log else first, "max": math.ceil(high)}
    name = "log_uniform_values" if row.bounds.is_log else "uniform"
    return {"distribution": name, "min": _short(low), "max": _short(high)}


def _origin(sweep: Sweep, arm: str) -> str:
    number = len(sweep.standings(arm if arm else sweep.arms[0]))
    what = f" of {_comment(arm)}," if arm else ""
    return f"# The next space, from {counted(number, 'configuration')}{what} of {_comment(sweep.name)}."


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _comment(text: str) -> str:
    """Returns text on one line: a name that a run was given must not write YAML of its own."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _scalar(value: Any) -> str:
    """Returns a value as YAML reads it back, on one line."""
    import yaml

    # What JSON has no word for, such as a table's decimals, is written as text.
    plain = json.loads(json.dumps(value, default=str))
    text: str = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**6)
    if len(text.removesuffix("...\n").splitlines()) > 1:
        # Only between double quotes does YAML write a line break as a sign.
        text = yaml.safe_dump(plain, default_flow_style=True, default_style='"', allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()


def _flow(row: Mapping[str, Any]) -> str:
    """Returns a mapping on one line, its keys in their order."""
    # As lists, since a comma or a brace is only quoted inside of one.
    return "{" + ", ".join(f"{key}: {_scalar([value])[1:-1]}" for key, value in row.items()) + "}"
