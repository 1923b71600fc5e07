"""The exceptions autosft raises, and the shape their messages share.

What lives here: exception classes and the helpers that word them. Nothing here imports the rest of the package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutosftError(Exception):
    """Base of every error that autosft raises on purpose: the caller must change something.

    Each message says what was wrong, what was expected and how to fix it (see `explain`). All subclasses take one
    string, so that they survive pickling between processes.
    """


class DataError(AutosftError, ValueError):
    """The data cannot be read, or cannot be trained on as it is."""


class TaskError(AutosftError, ValueError):
    """What is to be predicted cannot be worked out, or an override contradicts the data."""


class MetricError(TaskError):
    """A metric of the user's own raised, or gave something that is no number."""


class FunctionTimeout(TaskError):
    """A function of the user's own gave no answer for too long."""


class PlanError(AutosftError, ValueError):
    """A budget, search space, trainer, sampler or plan file that cannot be used."""


class BaseModelError(AutosftError, OSError):
    """A base model cannot be had: misspelt, gated, offline, or damaged."""


class RunFolderError(AutosftError, OSError):
    """A run or model folder that cannot be written, or is not what it was taken for."""


class MissingExtraError(AutosftError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class TrackerError(AutosftError, ConnectionError):
    """What a run came to could not be sent to where it is tracked."""


class TrialFailed(AutosftError, RuntimeError):
    """One trial could not be trained. The search records it and goes on."""


class SearchFailed(AutosftError, RuntimeError):
    """No trial produced a model, so there is nothing to return."""


class RunnerLost(SearchFailed):
    """What the trials ran on is gone; the run can go on where there is another."""


def explain(*, wrong: str, expected: str, fix: str) -> str:
    """Words an error: what was wrong, what was expected, and what to do about it."""
    return f"{_sentence(wrong)}\n  Expected: {_sentence(expected)}\n  To fix: {_sentence(fix)}"


def _sentence(words: str) -> str:
    return words if words.endswith("?") else words.rstrip(".") + "."


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Returns the option that `name` was most likely meant to be, or None when nothing is close."""
    by_folded = {str(option).casefold(): str(option) for option in options}
    close = difflib.get_close_matches(str(name).casefold(), list(by_folded), n=1, cutoff=0.5)
    return by_folded[close[0]] if close else None


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Returns the fix for an unknown name: its nearest match, or the list of what there is."""
    options = [str(option) for option in options]
    match = nearest(name, options)
    listed = ", ".join(options[:20]) + (f" and {len(options) - 20} more" if len(options) > 20 else "")
    return f"did you mean '{match}'? There is: {listed}" if match else f"use one of: {listed}"
