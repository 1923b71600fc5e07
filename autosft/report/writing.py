"""The file `report.html`: written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from autosft.report.ended import Ended
from autosft.report.page import body, page
from autosft.report.story import tell


def write_report(ended: Ended, path: Path) -> None:
    """Writes the report of a run: one HTML file that needs no other, and no network.

    Args:
        ended: The run.
        path: Where to; what is there is replaced once the new one is whole.
    """
    story = tell(ended)
    content = body(story.title, story.told, story.sentences, story.tiles, story.sections)
    html = page(f"{story.title} - autosft", content, with_figures=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
