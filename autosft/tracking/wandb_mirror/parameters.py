"""The search spaces of a plan's arms as the parameters of one W&B sweep, which knows neither arms nor conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: An arm's name, its space and its untuned default, as `plan.json` has them.
ArmRow = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def sweep_parameters(arms: Sequence[ArmRow], *, seen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what varies, under the names that the runs' configs have.

    A parameter that several arms search gets the range or the values of all of them together. Conditions are left out:
    W&B shows a trial without a value as one.

    Args:
        seen: Configs of trials, which alone tell what a user's own function of a space varies.
    """
    ranges: dict[str, list[dict[str, Any]]] = {}
    for _, space, default in arms:
        for row in space.get("parameters", ()):
            ranges.setdefault(row["name"], []).append(_parameter(row, default))
    if any("function" in space for _, space, _ in arms):
        for name in sorted({key for _, _, default in arms for key in default} - ranges.keys()):
            values = _distinct(config[name] for config in seen if name in config)
            if len(values) > 1:
                ranges[name] = [_observed(values)]
    found = {name: _joined(rows) for name, rows in ranges.items()}
    return {"arm": {"values": sorted({name for name, _, _ in arms})}, **found}


def _parameter(row: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    if row["type"] == "choice":
        return {"values": list(row["values"])}
    unit = default[row["name"]] if row["scale"] == "default" else 1
    low, high = row["low"] * unit, row["high"] * unit
    if row["type"] == "int":
        # W&B has no logarithmic whole numbers; the rounded ones are such.
        distribution = "q_log_uniform_values" if row["log"] else "int_uniform"
        return {"distribution": distribution, "min": round(low), "max": round(high)}
    distribution = "log_uniform_values" if row["log"] else "uniform"
    return {"distribution": distribution, "min": float(low), "max": float(high)}


def _observed(values: list[Any]) -> dict[str, Any]:
    if all(isinstance(value, float) for value in values):
        return {"distribution": "uniform", "min": min(values), "max": max(values)}
    return {"values": values}


def _joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns one parameter for what several arms call by the same name."""
    choices = _distinct(value for row in rows for value in row.get("values", ()))
    ranges = [row for row in rows if "min" in row]
    numbers = [value for value in choices if isinstance(value, int | float) and not isinstance(value, bool)]
    if not ranges or len(numbers) < len(choices):
        ends = [row[end] for row in ranges for end in ("min", "max")]
        return {"values": _distinct([*choices, *ends])}
    # Of several distributions the first that is not uniform: it is there for a range over orders of magnitude.
    distributions = [row["distribution"] for row in ranges]
    uneven = [name for name in distributions if "log" in name]
    low = min([*numbers, *(row["min"] for row in ranges)])
    high = max([*numbers, *(row["max"] for row in ranges)])
    return {"distribution": (uneven or distributions)[0], "min": low, "max": high}


def _distinct(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        # 1 and True are equal, and not the same value of a parameter.
        if not any(value == one and type(value) is type(one) for one in found):
            found.append(value)
    return found
