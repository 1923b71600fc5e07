"""The story of a run: everything its page says, as plain values, in the order in which it is said."""

from __future__ import annotations

from dataclasses import dataclass

from autosft.report.answers import answers
from autosft.report.blocks import Section, Tile
from autosft.report.calibration import calibration
from autosft.report.cells import shown
from autosft.report.course import claims_section, course
from autosft.report.ended import Ended
from autosft.report.errors import suspected_label_errors, worst_errors
from autosft.report.leaderboard import leaderboard
from autosft.report.procedure import again, audit, cost, plan
from autosft.report.slices import slices
from autosft.report.summary import sentences, tiles
from autosft.reviewing.from_run import from_memory


@dataclass(frozen=True)
class Story:
    """What a page says.

    Attributes:
        title: What was asked for.
        told: What it is about, in a line.
        sentences: What came of it, in three sentences.
        tiles: The numbers that are looked for first.
        sections: The rest.
    """

    title: str
    told: str
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]


def tell(ended: Ended) -> Story:
    """Gathers what there is to say."""
    evidence = ended.proof.evidence
    # One for the review's sentences and the figures beside them, so that they agree.
    sweep = from_memory(ended.plan, ended.trials, ended.summary)
    task = ended.plan.task
    found = [
        leaderboard(ended),
        claims_section(sweep),
        course(ended, sweep),
        *(
            []
            if evidence is None
            else [
                answers(evidence),
                slices(ended, evidence),
                calibration(ended, evidence),
                worst_errors(evidence),
            ]
        ),
        suspected_label_errors(ended.plan, evidence),
        audit(ended),
        cost(ended),
        plan(ended),
        again(ended),
    ]
    title = shown(task.description, limit=120) or task.kind
    told = f"{task.kind}, from {', '.join(task.input_columns)} to {task.target_column}; run {ended.folder.name}"
    sections = tuple(section for section in found if section is not None)
    return Story(title, shown(told), sentences(ended), tiles(ended), sections)
