"""A sweep, a group of runs or a project of W&B's, read through its public API, as a sweep."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from autosft.errors import DataError, MissingExtraError, explain
from autosft.reviewing.columns import number
from autosft.reviewing.records import Record, sweep_of
from autosft.reviewing.sweep import Bounds, Sweep, flat

#: Runs that are fetched at once.
_PAGE = 500

#: Seconds that an answer may take.
_TIMEOUT_SECONDS = 60


def from_wandb(path: str, *, metric: str | None, goal: str | None) -> Sweep:
    """Reads "entity/project/sweep", "entity/project/group" or "entity/project".

    Nothing is written, here or there, and no file of a run is fetched: only configs, summaries and times.

    Raises:
        DataError: There is no such sweep, or W&B cannot be asked.
        MissingExtraError: The package is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        wrong = f"{path} is no file or folder here, and W&B cannot be asked: the package wandb is not installed"
        raise MissingExtraError(explain(wrong=wrong, expected="wandb", fix="pip install 'autosft[wandb]'"))
    parts = path.removeprefix("wandb:").replace("/sweeps/", "/").replace("/groups/", "/").strip("/ ").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        wrong = f"there is no file or folder {path}, and it is no W&B path"
        raise DataError(
            explain(wrong=wrong, expected="a run's folder, a table of trials, or entity/project/sweep", fix="check it")
        )
    entity, project, *rest = parts
    with _errors(path):
        api = _api()
        found = _sweep(api, entity, project, rest[0]) if rest else None
        declared: Mapping[str, Any] = dict(found.config or {}) if found is not None else {}
        filters = {"sweep": rest[0]} if found is not None else {"group": rest[0]} if rest else {}
        runs = list(api.runs(f"{entity}/{project}", filters=filters, per_page=_PAGE, lazy=False))
        records = [_record(run) for run in runs]
    if not records:
        what = "neither a sweep nor a group of runs there" if rest and found is None else "no run in it"
        wrong = f"W&B's {path} cannot be reviewed: there is {what}"
        raise DataError(
            explain(wrong=wrong, expected="entity/project/sweep", fix="check its name in the sweep's address")
        )
    decides = _plain(declared.get("metric"))
    parameters = _parameters(declared.get("parameters"))
    own = decides.get("name")
    # W&B minimises where a sweep does not say.
    own_goal = decides.get("goal", "minimize") if own else None
    return sweep_of(
        records,
        name=path,
        source="wandb",
        metric=metric or own,
        goal=goal or (own_goal if metric in (None, own) else None),
        bounds={name: bounds for name, row in parameters.items() if (bounds := _bounds(row)) is not None},
        declared=parameters,
    )


def _api() -> Any:
    import wandb
    from wandb.errors import UsageError

    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        return wandb.Api(timeout=_TIMEOUT_SECONDS)
    except UsageError as error:
        wrong = f"W&B cannot be asked without a key ({str(error).partition(chr(10))[0]})"
        raise DataError(explain(wrong=wrong, expected="WANDB_API_KEY, or a login", fix="run `wandb login`")) from error


def _sweep(api: Any, entity: str, project: str, name: str) -> Any | None:
    """Returns a sweep, or None where there is none of that name."""
    import wandb

    try:
        return api.sweep(f"{entity}/{project}/{name}")
    except (ValueError, wandb.Error) as error:
        # What W&B says of a sweep that is not there has changed its type before, and not its words.
        if "could not find sweep" in str(error).lower():
            return None
        raise


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    """Words what W&B raises; an address that is wrong, a key that is not known and a server that is away look alike."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except (wandb.Error, WandbApiFailedError, ValueError, OSError, TypeError) as error:
        if isinstance(error, DataError | MissingExtraError):
            raise
        host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        wrong = f"{path} is no file or folder here, and {host} gave no answer about it ({reason})"
        fix = "check the path, WANDB_BASE_URL and the key (`wandb login`)"
        expected = "a run's folder, a table of trials, or entity/project/sweep"
        raise DataError(explain(wrong=wrong, expected=expected, fix=fix)) from error


def _record(run: Any) -> Record:
    summary = _plain(getattr(run.summary, "_json_dict", None) or {})
    config = {key: value for key, value in flat(_plain(run.config)).items() if not key.startswith("_")}
    facts: dict[str, Any] = {
        "name": run.name or run.id,
        "state": summary.pop("fate", None) or run.state,
        "created_at": run.created_at,
        "job_type": getattr(run, "job_type", None),
        "seconds": summary.get("seconds", _runtime(summary)),
        # What crashed logged no runtime, but its last sign of life.
        "ended": getattr(run, "heartbeat_at", None),
        **{key: config.pop(key) for key in ("rung", "is_default") if key in config},
    }
    return Record(config, flat(summary), facts)


def _plain(value: Any) -> dict[str, Any]:
    """Returns what may be anything that JSON holds as a dict."""
    return dict(value) if isinstance(value, Mapping) else {}


def _runtime(summary: Mapping[str, Any]) -> float | None:
    found = summary.get("_wandb")
    inner = found.get("runtime") if isinstance(found, Mapping) else None
    seconds = number(summary.get("_runtime"))
    return number(inner) if seconds is None else seconds


def _parameters(declared: Any, prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """Returns a W&B sweep's parameters by dotted name; nested ones have parameters of their own."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, row in declared.items() if isinstance(declared, Mapping) else ():
        if isinstance(row, Mapping) and isinstance(row.get("parameters"), Mapping):
            found |= _parameters(row["parameters"], f"{prefix}{name}.")
        elif isinstance(row, Mapping):
            found[f"{prefix}{name}"] = row
    return found


def _bounds(row: Mapping[str, Any]) -> Bounds | None:
    low, high = number(row.get("min")), number(row.get("max"))
    name = str(row.get("distribution", ""))
    if low is None or high is None or low >= high:
        return None
    # These take exponents: of e, and with `inv` of one over it.
    if name in ("log_uniform", "q_log_uniform"):
        low, high = math.exp(low), math.exp(high)
    is_log = "log" in name and low > 0
    return Bounds(low, high, is_log)
