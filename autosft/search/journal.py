"""The journal of a study: a file that Optuna's own tools open, and that a crash may have torn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autosft.errors import RunFolderError, explain

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STUDY_NAME = "autosft"

Direction = Literal["maximize", "minimize"]


def open_study(journal: Path | None, *, direction: Direction) -> optuna.Study:
    """Opens the study in a journal, or a new one; None keeps it in memory.

    Raises:
        RunFolderError: The file is something else.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if journal is None:
        return optuna.create_study(study_name=STUDY_NAME, direction=direction)
    # A crash while writing leaves the lock behind. Only one process writes here, so three seconds are patience enough;
    # Optuna's own lock would wait thirty, and needs symbolic links.
    lock = JournalFileOpenLock(str(journal), grace_period=3)
    try:
        _drop_torn_end(journal)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        return optuna.create_study(study_name=STUDY_NAME, storage=storage, direction=direction, load_if_exists=True)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise RunFolderError(
            explain(
                wrong=f"{journal} cannot be used as an Optuna journal ({error})",
                expected="a journal that an earlier search wrote, or a place to write a new one",
                fix="choose another folder, or move the file away: the study then starts anew",
            )
        ) from error


def _drop_torn_end(journal: Path) -> None:
    """Cuts off a line that a crash left half-written: Optuna would append to it, and then refuse the journal."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    if kept == content:
        return
    if not content.startswith(b'{"op_code"'[: len(content)]):
        raise ValueError("its first line is none of Optuna's")
    with journal.open("r+b") as file:
        file.truncate(len(kept))


def check_same_search(study: optuna.Study, arms: Sequence[str], *, direction: Direction, journal: Path | None) -> None:
    """Raises RunFolderError unless a study is over these arms, in this direction."""
    found = [trial.distributions["arm"] for trial in study.get_trials(deepcopy=False) if "arm" in trial.distributions]
    choices = [str(name) for name in getattr(found[0], "choices", ())] if found else list(arms)
    if choices == list(arms) and study.direction.name.lower() == direction:
        return
    raise RunFolderError(
        explain(
            wrong=f"{journal} belongs to another search ({study.direction.name.lower()}; arms: {', '.join(choices)})",
            expected=f"a study to {direction} over the arms {', '.join(arms)}",
            fix="resume with the plan it was started with, or choose another folder",
        )
    )


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that have not ended."""
    from optuna.trial import TrialState

    # A crash between queueing and asking leaves a waiting trial; asking is the only way to take it off the queue.
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.ask()
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
