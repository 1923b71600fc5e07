"""What became of a job whose process is gone, in one word and its reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from autosft.budget import format_seconds

#: How often a job is begun in one sitting of the batch, where its process or Ray died under it.
MOST_TRIES = 3


@dataclass(frozen=True)
class Gone:
    """A process that is gone.

    Attributes:
        return_code: Its exit code, below zero for a signal.
        fate: What it said of its job last: "finished", "failed", "interrupted"; "" if it said nothing.
        reason: In the process's own words.
        error: Name of the error's type.
        has_result: Whether the job's result is written.
        num_tries: How often it was begun in this sitting.
        asked_after_seconds: How long it had run when it was asked to end and did, None for one that was not asked.
        was_interrupted: Whether the user ends the batch.
    """

    return_code: int
    fate: str = ""
    reason: str = ""
    error: str = ""
    has_result: bool = False
    num_tries: int = 0
    asked_after_seconds: float | None = None
    was_interrupted: bool = False


def fate_of(gone: Gone) -> tuple[str, str]:
    """Returns the job's fate and why: finished, failed, interrupted, or died, which is to be begun again."""
    # Whatever came after it was written.
    if gone.has_result:
        return "finished", ""
    fate, reason = gone.fate, gone.reason
    if not fate:
        fate, reason = "died", f"its process ended without a word ({_how(gone.return_code)})"
    elif fate == "failed" and gone.error == "RunnerLost":
        fate = "died"
    if fate == "died" and gone.was_interrupted:
        return "interrupted", reason
    if fate == "interrupted" and gone.asked_after_seconds is not None and not gone.was_interrupted:
        took = format_seconds(gone.asked_after_seconds)
        return fate, f"it was ended after {took} without a model; run the batch again with more time for it"
    if fate == "died" and gone.num_tries >= MOST_TRIES:
        return "failed", f"{first_line(reason)} (the last of {MOST_TRIES} times)"
    return fate, reason


def first_line(text: str) -> str:
    """Returns what was wrong, without how to fix it."""
    return text.partition("\n")[0]


def on_one_line(reason: str) -> str:
    """Puts what was wrong and how to fix it on one line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith("Expected:"))


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}" + (", out of memory or ended from outside" if code == -9 else "")
