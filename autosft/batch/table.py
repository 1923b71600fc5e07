"""One table of a batch: a row a job, read from its folder alone; as text and as Parquet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosft.batch.folder import BatchFolder, Past
from autosft.batch.wants import begun
from autosft.budget import format_seconds
from autosft.disk import writing
from autosft.errors import AutosftError
from autosft.run_folder import default_won
from autosft.search.trial import TrialLog

#: Columns and their Arrow types, in the order in which they stand.
COLUMNS = {
    "name": "string", "state": "string", "kind": "string", "metric": "string", "score": "double",
    "score_low": "double", "score_high": "double", "score_rows": "string", "num_rows": "int64",
    "default_score": "double", "gain": "double", "gain_low": "double", "gain_high": "double", "proven": "bool",
    "trainer": "string", "model": "string", "is_default": "bool", "num_trials": "int64", "budget_seconds": "double",
    "added_seconds": "double", "wall_seconds": "double", "worker_seconds": "double", "gpu_hours": "double",
    "priority": "double", "folder": "string", "report": "string", "reason": "string",
}  # fmt: skip

_WORKED = ("start_up", "load", "compile", "features", "train", "evaluate", "checkpoint")


def rows_of(
    folder: BatchFolder, jobs: Sequence[Mapping[str, Any]], *, reasons: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Returns a row a job, in the order of the jobs, with the keys of COLUMNS.

    Args:
        jobs: As `Job.to_json` gives them.
        reasons: Why jobs were not begun, by name.
    """
    past = folder.past()
    return [_row(folder, job, past.get(job["name"], Past()), reasons.get(job["name"], "")) for job in jobs]


def _row(folder: BatchFolder, job: Mapping[str, Any], past: Past, not_begun: str) -> dict[str, Any]:
    name = job["name"]
    run = folder.run(name)
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "name": name,
        "state": "not started",
        "reason": not_begun,
        "folder": name,
        "priority": job["priority"],
        "budget_seconds": job["arguments"]["budget"]["seconds"],
        "added_seconds": past.added_seconds,
        "wall_seconds": round(past.wall_seconds, 1),
    }
    try:
        begun(run)  # A job whose folder the driver could not read has failed by it.
        if run.result.exists():
            row |= {"state": "finished", **_found(folder, name)}
        elif past.fate == "failed" and not_begun:
            # It may have been mended since: how it failed before says nothing of what it is now.
            told = not_begun if not_begun.startswith("not tried") else f"not tried again: {not_begun}"
            row |= {"state": "unfinished" if run.plan.exists() else "not started", "reason": told}
        elif past.fate == "failed":
            row |= {"state": "failed", "reason": past.reason}
        elif run.plan.exists() or past.fate:
            row |= {"state": "unfinished", "reason": not_begun or past.reason or "it was ended; run the batch again"}
        if run.trials.exists():
            trials = TrialLog(run.trials).trials()
            row["num_trials"] = len(trials)
            worked = sum(trial.seconds.get("total", 0.0) for trial in trials)
            # A result accounts for its trials too, and for what is beside them: the larger one holds the other.
            row["worker_seconds"] = round(max(worked, row["worker_seconds"] or 0.0), 1)
            gpus = run.read(run.plan)["resources"]["gpus_per_trial"]
            row["gpu_hours"] = round(gpus * row["worker_seconds"] / 3600, 4)
    except (AutosftError, OSError, KeyError, TypeError) as error:
        row |= {"state": "failed", "reason": f"its folder cannot be read: {_first_line(str(error))}"}
    if row["state"] != "finished" and not row["reason"]:
        row["reason"] = "it was not its turn"
    return row


def _found(folder: BatchFolder, name: str) -> dict[str, Any]:
    run = folder.run(name)
    found = run.read(run.result)
    test, gain, won = found["test"], found["gain_over_default"], found["best"]
    report = Path(name) / "report.html"
    return {
        "kind": found["kind"],
        "metric": found["metric"],
        "score": test["score"],
        "score_low": test["interval"][0],
        "score_high": test["interval"][1],
        "score_rows": test["rows"],
        "num_rows": test["num_rows"],
        "default_score": found["default"]["score"],
        "gain": gain["score"],
        "gain_low": gain["interval"][0],
        "gain_high": gain["interval"][1],
        "proven": gain["proven"],
        "trainer": won["trainer"],
        "model": _model_name(won["model"]),
        "is_default": won["is_default"],
        "worker_seconds": sum(found["seconds"].get(phase, 0.0) for phase in _WORKED),
        "report": report.as_posix() if (folder.path / report).exists() else None,
        "reason": "; ".join(filter(None, (_early(found), _below(found)))),
    }


def _early(found: Mapping[str, Any]) -> str:
    return "it was ended early, with the best model so far" if found.get("interrupted") else ""


def _below(found: Mapping[str, Any]) -> str:
    """Says where an untuned default won that scored below another one on the rows that prove it."""
    gain, won = found["gain_over_default"]["score"], found["best"]
    if default_won(found) or not won["is_default"] or gain is None or gain >= 0:
        return ""
    other = found["default"]["trainer"]
    return (
        f"an untuned default is shipped that scored below another untuned default ({other}) on the rows that prove it"
    )


def _model_name(model: str) -> str:
    """A base model of this machine is known by its folder's name; a hub id as it is."""
    return Path(model).name if Path(model).is_absolute() else model


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the table for whoever computes with it; whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"string": pa.string(), "double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
    schema = pa.schema([(name, names[kind]) for name, kind in COLUMNS.items()])
    with writing(path.parent):
        unfinished = path.with_name(f".{path.name}.unfinished")
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), unfinished)
        unfinished.replace(path)


def summary_of(rows: Sequence[Mapping[str, Any]], *, spent_seconds: float, budget_seconds: float | None) -> str:
    """Says in a sentence how a batch stands."""
    states = [row["state"] for row in rows]
    others = [f"{states.count(state)} {state}" for state in ("failed", "unfinished", "not started") if state in states]
    budget = f" of {format_seconds(budget_seconds)}" if budget_seconds is not None else ""
    proven = sum(bool(row["proven"]) for row in rows)
    gains = f"; in {proven} of them tuning is proven better than the untuned default" if "finished" in states else ""
    told = "".join(f", {words}" for words in others)
    jobs = f"{len(rows)} job{'' if len(rows) == 1 else 's'}"
    return f"{states.count('finished')} of {jobs} finished{told}; {format_seconds(spent_seconds)}{budget}{gains}"


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table for a terminal: a line a job, and below it why some have no score."""
    lines = [[name, *_cells(row)] for row in rows for name in [row["name"]]]
    head = ["job", "state", "metric", "score", "95 % interval", "gain over default", "wall", "won"]
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    right = {3}

    def laid_out(line: Sequence[str]) -> str:
        cells = [cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in
                 enumerate(zip(line, widths, strict=True))]  # fmt: skip
        return "  ".join(cells).rstrip()

    text = [laid_out(head), *(laid_out(line) for line in lines)]
    reasons = [f"{row['name']}: {row['reason']}" for row in rows if row["reason"]]
    return "\n".join([*text, *([""] if reasons else []), *reasons])


def _cells(row: Mapping[str, Any]) -> list[str]:
    wall = format_seconds(row["wall_seconds"]) if row["wall_seconds"] else ""
    if row["state"] != "finished":
        return [row["state"], "", "", "", "", wall, ""]
    proven = " proven" if row["proven"] else ""
    if row["gain"] == row["gain_low"] == row["gain_high"] == 0:
        # Where no default was trained to its end, the winner stands in for it.
        none = "none" if row["is_default"] else "not known"
        return [row["state"], row["metric"], number(row["score"]), _interval(row), none, wall, _won(row)]
    over = " over another untuned default" if row["is_default"] else ""
    gain = f"{signed(row['gain'])} [{signed(row['gain_low'])}, {signed(row['gain_high'])}]{over}{proven}"
    return [row["state"], row["metric"], number(row["score"]), _interval(row), gain, wall, _won(row)]


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{number(row['score_low'])}, {number(row['score_high'])}]"


def _won(row: Mapping[str, Any]) -> str:
    model = str(row["model"]).rpartition("/")[2]
    return f"{row['trainer']} on {model}" + (", its untuned default" if row["is_default"] else "")


def number(value: float | None) -> str:
    """Words a score."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Words a difference of scores."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:+.4f}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
