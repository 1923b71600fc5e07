"""Which tracker a run goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from autosft.errors import MissingExtraError
from autosft.tracking import choose
from autosft.tracking.wandb_mirror.ledger import Ledger


def kept(folder: Path, entity: str | None) -> Path:
    (folder / "wandb").mkdir()
    ledger = Ledger(folder)
    ledger.target = (entity, "spam")
    ledger.save()
    return folder


@pytest.mark.parametrize(("entity", "words"), [("team", "wandb:team/spam"), (None, "wandb:spam")])
def test_a_run_goes_on_where_it_was_tracked(tmp_path: Path, entity: str | None, words: str) -> None:
    assert choose.tracked_with(tmp_path) is None
    assert choose.tracked_with(kept(tmp_path, entity)) == words


def test_a_run_goes_on_where_its_tracker_is_no_longer_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingExtraError("wandb")

    monkeypatch.setattr(choose, "require_wandb", missing)
    assert choose.tracked_with(kept(tmp_path, None)) is None
