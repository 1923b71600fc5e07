"""What a person sees while a batch runs."""

from __future__ import annotations

import io

from rich.console import Console

from autosft.batch.live import Line, LiveView, View, view_for
from autosft.batch.table import as_text, summary_of

SUMMARY = {"metric": "accuracy", "test": {"score": 0.91, "interval": [0.88, 0.94]}}


def played(view: View) -> None:
    view.line("spam", Line("running", seconds=600.0))
    view.slots("spam", 2)
    view.heard("spam", {"event": "phase", "phase": "search"})
    view.heard("spam", {"event": "planned", "kind": "text-classification", "metric": "accuracy"})
    view.heard("spam", {"event": "trial", "number": 0, "arm": "frozen_head/tiny"})
    best = {"score": 0.87, "interval": [0.8, 0.9]}
    view.heard("spam", {"event": "trial_ended", "number": 0, "fate": "complete", "seconds_left": 5.0, "best": best})
    view.line("late", Line("failed", reason="no column looks like a label [bold]"))


def test_a_log_gets_a_line_where_a_jobs_state_changes() -> None:
    stream = io.StringIO()
    view = view_for(["spam", "late", "third"], stream)
    played(view)
    view.line("spam", Line("finished", summary=SUMMARY))
    view.look(spent_seconds=10.0, left_seconds=50.0)
    said = [line.partition("] ")[2] for line in stream.getvalue().splitlines()]
    assert said == [
        "spam: begins, 10m",
        "late: failed: no column looks like a label [bold]",
        "spam: finished in 0s, accuracy 0.9100 [0.8800, 0.9400]",
    ]
    assert view.title() == "1 finished, 1 failed, 1 waiting; 50s left"


def test_a_terminal_gets_a_table_of_all_jobs() -> None:
    view = LiveView(["spam", "late", "third"], io.StringIO())
    played(view)
    view.look(spent_seconds=10.0, left_seconds=50.0)
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(view._table())
    view.closed()
    lines = console.export_text().splitlines()
    assert lines[0] == "1 failed, 1 running, 1 waiting; 50s left"
    assert lines[2].split() == [
        "spam", "searching", "10m", "0s", "accuracy", "0.8700", "[0.8000,", "0.9000]", "1", "2", "frozen_head/tiny",
    ]  # fmt: skip
    assert "[bold]" in lines[3]
    assert lines[4].split() == ["third", "waiting"]


def test_the_last_table_words_what_was_found() -> None:
    gained = {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.15}
    nothing = dict.fromkeys(("gain", "gain_low", "gain_high"), 0.0)
    base = {"state": "finished", "metric": "accuracy", "score": 0.9, "score_low": 0.85, "score_high": 0.95,
            "wall_seconds": 61.0, "trainer": "frozen_head", "model": "owner/tiny", "reason": "",
            "proven": False}  # fmt: skip
    rows = [
        {**base, **nothing, "name": "a", "is_default": True},
        {**base, "name": "b", "is_default": False, **gained, "proven": True},
        {"name": "c", "state": "failed", "wall_seconds": 0.0, "reason": "no rows", "proven": None},
    ]
    text = as_text(rows)
    unknown = {**base, **nothing, "name": "d", "is_default": False}
    assert "  not known  " in as_text([unknown])
    assert text.splitlines()[1].endswith("1m 1s  frozen_head on tiny, its untuned default")
    assert "  none  " in text.splitlines()[1]
    assert "+0.1000 [+0.0500, +0.1500] proven" in text
    assert text.endswith("c: no rows")
    assert summary_of(rows, spent_seconds=90, budget_seconds=120) == (
        "2 of 3 jobs finished, 1 failed; 1m 30s of 2m; in 1 of them tuning is proven better than the untuned default"
    )
    assert summary_of(rows[2:], spent_seconds=90, budget_seconds=None).startswith("0 of 1 job finished, 1 failed")
