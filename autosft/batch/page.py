"""The batch's table as a page that opens offline: what it says of the jobs, in the blocks of every report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosft.disk import writing
from autosft.report.blocks import Column, Listing, Said, Section, Table, Tile
from autosft.report.page import body, page

Row = Mapping[str, Any]

_COLUMNS = (
    Column("job", "link", "leads to the job's own report"),
    Column("state"),
    Column("kind"),
    Column("metric"),
    Column("score", "interval", "of the shipped model, with its 95 % bootstrap interval"),
    Column("on rows", "text", "test (yours), proof (set aside) or folds (those that the search chose by)"),
    Column("untuned default", "number"),
    Column("gain", "interval", "of the tuned winner over the best untuned default, positive when better"),
    Column("proven", "mark", "whether the gain's interval is above zero"),
    Column("trainer"),
    Column("model"),
    Column("trials", "count"),
    Column("wall", "time"),
    Column("worker-seconds", "time"),
    Column("GPU-hours", "short"),
)


def write_page(path: Path, rows: Sequence[Row], *, summary: str) -> None:
    """Writes the table as a page that needs no network."""
    title = f"Batch {path.parent.name}"
    html = page(f"{title} - autosft", body(title, "autosft batch", (f"{summary}.",), _tiles(rows), _sections(rows)))
    with writing(path.parent):
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(path)


def _tiles(rows: Sequence[Row]) -> list[Tile]:
    finished = [row for row in rows if row["state"] == "finished"]
    worker_hours = sum(row["worker_seconds"] or 0.0 for row in rows) / 3600
    gpu_hours = sum(row["gpu_hours"] or 0.0 for row in rows)
    return [
        Tile("finished", f"{len(finished)} of {len(rows)}", "jobs with a model and a score"),
        Tile("proven gains", str(sum(bool(row["proven"]) for row in finished)), "tuning beat the untuned default"),
        Tile("worker-hours", f"{worker_hours:.1f}", f"{gpu_hours:.1f} GPU-hours"),
    ]


def _sections(rows: Sequence[Row]) -> list[Section]:
    troubles = [row for row in rows if row["state"] != "finished"]
    listed = Listing(tuple(f"{row['name']}, {row['state']}: {row['reason']}" for row in troubles))
    needs_you = [Section("needs-you", "What needs you", (listed,))] if troubles else []
    notes = tuple(f"{row['name']}: {row['reason']}" for row in rows if row["state"] == "finished" and row["reason"])
    table = Table("jobs", "Every job", _COLUMNS, tuple(map(_cells, rows)), filters=("state", "kind"))
    told = Said(
        "Scores are of the shipped model on rows that the search never chose by, where the column does not say folds. "
        "Where the default won that the gain would be over, or none was trained to its end, there is no gain; where "
        "another untuned default won, the gain is over the one that was best on validation rows.",
        "muted",
    )
    return [*needs_you, Section("table", "Jobs", (table, told, *([Listing(notes)] if notes else [])))]


def _cells(row: Row) -> tuple[Any, ...]:
    has_gain = row["gain"] is not None and not row["gain"] == row["gain_low"] == row["gain_high"] == 0
    return (
        (row["name"], row["report"]),
        row["state"],
        row["kind"],
        row["metric"],
        None if row["score"] is None else (row["score"], row["score_low"], row["score_high"]),
        row["score_rows"],
        row["default_score"],
        (row["gain"], row["gain_low"], row["gain_high"]) if has_gain else None,
        row["proven"],
        row["trainer"],
        row["model"],
        row["num_trials"],
        row["wall_seconds"],
        row["worker_seconds"],
        row["gpu_hours"],
    )
